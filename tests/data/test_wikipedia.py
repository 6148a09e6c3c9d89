import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.data.wikipedia import articles, plain_text


@pytest.mark.parametrize(
    "wikitext, text",
    [
        ("'''Bold''' and ''slanted''", "Bold and slanted"),
        ("a [[cat]], two [[cat|kittens]], many [[cat]]s", "a cat, two kittens, many cats"),
        ("[[Image:a.png|thumb|the [[moon]], [http://a.b c]]]After", "After"),
        ("Text\n\n[[Category:Moons| ]]\n[[de:Mond]]\n[[zh-min-nan:Goeh]]\n[[simple:M]]", "Text"),
        ("[[:Category:Moons|list]] and [[CSI: Miami]]", "list and CSI: Miami"),
        ("x{{infobox|a={{b|c}}\n|d=[[e]]}}y", "xy"),
        ("{{IPA|/aɪ/}} and {{lang|el|ἄλφα}}", "/aɪ/ and ἄλφα"),
        ("before\n{|\n|a\n{|\n|b\n|}\n|c\n|}\nafter", "before\nafter"),
        ("before\n{| border\n|-\n|a || b\n! c\n\nafter", "before\n\nafter"),
        ("== Head ==\ntext", "Head\n\ntext"),
        ("=== [[Deep]] ===", "Deep"),
        ("fact<ref name=a>source</ref>, fact<ref name=a/>.", "fact, fact."),
        ("a<!-- no\nno -->b, <math>\\frac{{1}}{2}</math>c", "ab, c"),
        ("10&nbsp;km&mdash;far; H<sub>2</sub>O<br />new", "10 km—far; H2O\nnew"),
        ("if a < b and b > c", "if a < b and b > c"),
        ("#include <stdio.h>", "include <stdio.h>"),
        ("see [http://a.b/c?d the site] or http://a.b/c.", "see the site or."),
        ("* one\n** two\n# three\n: four", "one\ntwo\nthree\nfour"),
        ("Name ({{polytonic}}; {{x}}) is", "Name is"),
        ("a\n\n\n\n----\n\nb\n__NOTOC__", "a\n\nb"),
    ],
)
def test_markup_goes_and_words_stay(wikitext, text):
    assert plain_text(wikitext) == text


@given(st.lists(st.text("abc äß漢,.", min_size=1).map(str.strip).filter(bool), min_size=1))
def test_prose_is_left_alone(paragraphs):
    prose = "\n\n".join(
        " ".join(p.replace(" ,", ",").replace(" .", ".").split()) for p in paragraphs
    )
    assert plain_text(plain_text(prose)) == plain_text(prose)
    assert plain_text(prose).replace(" ", "") == prose.replace(" ", "")


@given(st.text("[]{}|='<>! \na", max_size=60))
def test_no_input_breaks_it_and_no_link_survives(wikitext):
    text = plain_text(wikitext)
    assert "[[" not in text and "{{" not in text


def page(title, text):
    return f'<page><title>{title}</title><id>1</id><text xml:space="preserve">{text}</text></page>'


def test_pages_that_are_no_articles_are_left_out():
    xml = "".join(
        [
            page("A &amp; B", "&lt;b&gt;one&lt;/b&gt; &amp;ndash; 1"),
            page("Old", "#REDIRECT [[A]]"),
            page("Wikipedia:About", "about"),
            page("Empty", "{{stub}}"),
            '<page><title>Void</title><text xml:space="preserve" /></page>',
            page("Batman: Year One", "two"),
        ]
    )
    cut = '<page><title>Cut</title><text xml:space="preserve">half ü'.encode()[:-1]
    assert list(articles(xml.encode() + cut)) == [("A & B", "one – 1"), ("Batman: Year One", "two")]
