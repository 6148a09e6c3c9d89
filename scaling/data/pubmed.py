"""PubMed's citation files to plain text: one document per abstract."""

from collections.abc import Iterator
from typing import IO
from xml.etree import ElementTree


def abstracts(xml: IO[bytes]) -> Iterator[str]:
    """Yield title and abstract of every citation that has both: a line for each of their parts.

    The file, a PubmedArticleSet, is read piece by piece: its whole tree never stands in memory.
    """
    events = ElementTree.iterparse(xml, events=("start", "end"))
    _, root = next(events)
    for event, element in events:
        if event == "end" and element.tag == "PubmedArticle":
            if text := _title_and_abstract(element):
                yield text
            root.clear()


def _title_and_abstract(citation):
    article = citation.find("MedlineCitation/Article")
    if article is None:
        return ""
    title = _words(article.find("ArticleTitle"))
    parts = [_words(part) for part in article.iterfind("Abstract/AbstractText")]
    abstract = "\n".join(part for part in parts if part)
    return f"{title}\n{abstract}" if title and abstract else ""


def _words(element):
    return "" if element is None else " ".join("".join(element.itertext()).split())
