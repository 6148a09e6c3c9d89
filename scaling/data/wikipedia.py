"""Wikipedia's page dump to plain text: one document per article."""

import html
import re
from collections.abc import Iterator

TITLE = re.compile(rb"<title>([^<]*)</title>")
TEXT = re.compile(rb"<text xml:space=\"preserve\">([^<]*)</text>")
NAMESPACE = re.compile(
    r"(?:Talk|User|Wikipedia|Image|MediaWiki|Template|Help|Category|Portal)(?: talk)?:"
)
REDIRECT = re.compile(r"\s*#\s*redirect", re.I)

# Elements whose content is no prose. Loops over innermost braces need `math` gone first.
DROPPED = re.compile(
    r"<!--.*?-->|<(math|ref|gallery|timeline|hiero|table)\b[^<>]*(?<!/)>.*?</\1\s*>", re.S | re.I
)
LINE_BREAK = re.compile(r"<(?:br|p|li|dd|dt|hr)\b[^<>]*>", re.I)
TAG = re.compile(
    r"</?(?:a|abbr|b|big|blockquote|br|caption|center|cite|code|dd|del|div|dl|dt|em|font|gallery|"
    r"h[1-6r]|i|includeonly|ins|kbd|li|math|noinclude|nowiki|ol|onlyinclude|p|pre|ref|references|"
    r"s|samp|small|span|strike|strong|su[bp]|table|tbody|td|th|thead|tr|tt|u|ul|var)"
    r"(?:[\s/][^<>]*)?>",
    re.I,
)
# Templates that only say how to set their last argument; all others are dropped whole.
TYPESETTING = ("ipa", "polytonic", "unicode", "lang", "arabdin", "nihongo", "nowrap")
TEMPLATE = re.compile(r"\{\{([^{}]*)\}\}")
TABLE_OPEN, TABLE_CLOSE = re.compile(r"[\s:*#]*\{\|"), re.compile(r"\s*\|\}")
EXTERNAL_LINK = re.compile(r"\[(?:https?|ftp|news|mailto|irc):[^\s\]]*\s*([^\]\n]*)\]", re.I)
BARE_URL = re.compile(r"\b(?:https?|ftp)://[^\s<>\])]*[^\s<>\]).,;:]", re.I)
LINK = re.compile(r"\[\[([^\[\]]*)\]\]")
# Images, categories and the same article in another language: [[de:..]], [[zh-min-nan:..]].
NOT_PROSE = re.compile(r"\s*(?:(?i:image|file|media|category)|[a-z]{2,3}(?:-[a-z-]+)?|simple)\s*:")
LINES = (  # (pattern, replacement), in this order, over the whole article
    (re.compile(r"'{2,5}"), ""),
    (re.compile(r"^\s*(={1,6})[ \t]*(.*?)[ \t]*\1[ \t]*$", re.M), r"\n\2\n"),
    (re.compile(r"^[ \t]*[*#:;]+[ \t]*", re.M), ""),
    (re.compile(r"^\s*-{4,}", re.M), ""),
    (re.compile(r"^[ \t]*(?:\{\||[|!]).*$", re.M), ""),  # rows of tables that never closed
    (re.compile(r"__(?:NO|FORCE)?(?:TOC|EDITSECTION)__"), ""),
    (re.compile(r"\[\[|\]\]|\{\{|\}\}"), ""),
    (re.compile(r"\([\s,;:]*\)"), ""),  # what a template left in brackets
    (re.compile(r"[^\S\n]+"), " "),
    (re.compile(r" (?=[,.;:)]|$)|(?<=\() |^ ", re.M), ""),
    (re.compile(r"\n{3,}"), "\n\n"),
)


def articles(xml: bytes) -> Iterator[tuple[str, str]]:
    """Yield the title and the plain text of every article in a page dump.

    The dump is MediaWiki's export in UTF-8, possibly truncated: enwik8 ends in the middle of a
    page. Redirects, pages outside the main namespace, pages cut off by the end of the dump and
    articles without any prose are left out. Texts are in reading order: paragraphs, headings and
    list items, a line each.
    """
    for page in xml.split(b"<page>")[1:]:
        title, wikitext = _content(TITLE, page), _content(TEXT, page)
        if NAMESPACE.match(title) or REDIRECT.match(wikitext):
            continue
        if text := plain_text(wikitext):
            yield title, text


def _content(element, page):
    found = element.search(page)
    return html.unescape(found[1].decode()) if found else ""


def plain_text(wikitext: str) -> str:
    """Strip the markup of one article, its XML layer already unescaped, and keep its words.

    Labels of links and text of headings are kept; templates, tables, references, formulas,
    comments, images, categories and links to other languages are gone.
    """
    text = DROPPED.sub("", wikitext)
    text = _innermost_first(TEMPLATE, _template_text, text)
    text = _without_tables(text)
    text = EXTERNAL_LINK.sub(r"\1", text)
    text = _innermost_first(LINK, _link_text, text)
    text = BARE_URL.sub("", text)
    text = html.unescape(TAG.sub("", LINE_BREAK.sub("\n", text)))
    for pattern, replacement in LINES:
        text = pattern.sub(replacement, text)
    return text.strip()


def _innermost_first(pattern, replace, text):
    """Substitute until nothing matches: a nested pair goes before the pair around it."""
    found = True
    while found:
        text, found = pattern.subn(replace, text)
    return text


def _template_text(match):
    name, *arguments = match[1].split("|")
    return arguments[-1] if arguments and name.strip().lower() in TYPESETTING else ""


def _link_text(match):
    target, *labels = match[1].split("|")
    if NOT_PROSE.match(target):
        return ""
    return labels[-1] if labels else target.lstrip(":")


def _without_tables(text):
    """Drop {| ... |} and what is nested inside; one that never closes loses its rows later."""
    kept, opened = [], []
    for line in text.split("\n"):
        if TABLE_OPEN.match(line):
            opened.append(len(kept))
        kept.append(line)
        if opened and TABLE_CLOSE.match(line):
            del kept[opened.pop() :]
    return "\n".join(kept)
