"""The answer first: what a command found, on one screen of a terminal.

A verb makes an `Answer`; `print_answer` is the end of each of them. All tables come before it
where they are asked for, and stand on the page anyway.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from scaling.pages.text import Section, print_sections
from scaling.quantities import count

LINES, WIDTH = 24, 80  # of a terminal as it opens
FIRST_ROWS = 3  # of a table, of which there is no sentence
WIDEST = 100  # lines that the eye still finds the next of
LONGEST = 4  # lines of one sentence: a reason that others wrote may be long
FIGURES, MOST_NAMED = (".png", ".svg", ".pdf"), 8  # names of files that are read
FIRST = ("README.md", "report.html")  # pages to open: always named
GLUE = "\0"  # a space within brackets: an interval stays on its line
ANSWER = "The answer"  # title of it, on pages too


@dataclass(frozen=True)
class Answer:
    """What a reader needs at once.

    Attributes
    ----------
    found : tuple of str
        Sentences, the numbers to quote first.
    doubts : tuple of str
        What to distrust, the worst first.
    steps : tuple of str
        Command lines to go on with; they are never broken.
    rest : tuple of str
        Where everything else is.
    """

    found: tuple[str, ...]
    doubts: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()


def print_answer(
    console: Console, answer: Answer, sections: Iterable[Section] = (), *, verbose: bool = True
) -> None:
    """Print every section where that is asked for, and the answer below; sections may be lazy.

    A section of a page that holds the answer itself is left out.
    """
    if verbose:
        print_sections(console, (section for section in sections if section.title != ANSWER))
        console.rule(ANSWER, align="left")
    width = min(console.width, WIDEST)
    for line in write_answer(answer, width, None if verbose else LINES):
        console.print(line, markup=False, highlight=False)


def tell_sections(sections: Iterable[Section]) -> Answer:
    """An answer of sections that have none of their own: their texts and first rows."""
    found = []
    for section in sections:
        found.append(f"{section.title}. {' '.join(section.text)}")
        for table in section.tables:
            for first, *cells in table.cells()[:FIRST_ROWS]:
                heads = zip(table.heads[1:], cells, strict=True)
                found.append(f"- {first}: {', '.join(f'{head} {cell}' for head, cell in heads)}")
    return Answer(tuple(found))


def write_answer(answer: Answer, width: int = WIDTH, lines: int | None = LINES) -> list[str]:
    """The answer in so many lines at most; what is left out is counted.

    Doubts go first, the last of them ahead of others, but for one; then sentences are cut short,
    then left out from the end. Without a limit all is said, and nothing of the tables elsewhere.
    """
    if lines is None:
        return _lay_out(answer, width)
    text = []
    for found, doubts, most in _shorten(answer):
        gone = len(answer.found) + len(answer.doubts) - found - doubts
        rest = f"Every table{f', and {gone} more of this' if gone else ''}: with verbose=true"
        kept = Answer(answer.found[:found], answer.doubts[:doubts], answer.steps)
        text = _lay_out(replace(kept, rest=(*answer.rest, rest)), width, most)
        if sum(_height(line, width) for line in text) <= lines:
            break
    return text


def _shorten(answer: Answer) -> Iterator[tuple[int, int, int]]:
    """How many sentences and doubts to say, and in how many lines each, ever less."""
    found, doubts = len(answer.found), len(answer.doubts)
    few = min(doubts, 1)
    yield from ((found, n, LONGEST) for n in range(doubts, few - 1, -1))
    yield from ((found, few, most) for most in range(LONGEST - 1, 1, -1))
    yield from ((n, few, 2) for n in range(found - 1, 0, -1))


def _lay_out(answer: Answer, width: int, most: int | None = None) -> list[str]:
    """Lines of an answer; a sentence has at most so many, but for the first, a doubt two."""
    limits = [most and LONGEST, *[most] * len(answer.found)]
    text = [
        line
        for part, limit in zip(answer.found, limits, strict=False)
        for line in wrap(part, width, limit)
    ]
    if answer.doubts:
        text += ["", "Distrust:"]
        text += [line for part in answer.doubts for line in _list_item(part, width, most and 2)]
    if answer.steps:
        text += ["", "Next:", *(f"  {step}" for step in answer.steps)]
    if answer.rest:
        text += ["", *(line for part in answer.rest for line in wrap(part, width))]
    return text


def _list_item(text: str, width: int, most: int | None) -> list[str]:
    first, *more = wrap(text, width - 2, most)
    return [f"- {first}", *(f"  {line}" for line in more)]


def _height(line: str, width: int) -> int:
    """Lines that a terminal takes for it."""
    return max(1, -(-len(line) // width))


def wrap(text: str, width: int = WIDTH, most: int | None = None) -> list[str]:
    """Break a text between words, and not within brackets; `most` lines end with "..."."""
    glued = re.sub(r"\[[^\[\]]{,30}\]", lambda found: found[0].replace(" ", GLUE), text)
    lines = textwrap.wrap(
        glued,
        width,
        max_lines=most,
        placeholder=" ...",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(GLUE, " ") for line in lines] or [""]


def name_files(names: Iterable[str], folder: Path) -> str:
    """Say what was written and where; many of a kind are counted."""
    names = [*dict.fromkeys(names)]
    figures = [Path(name).stem for name in names if Path(name).suffix in FIGURES]
    others = sorted(name for name in names if Path(name).suffix not in FIGURES)
    told = [name for name in others if name in FIRST or len(others) <= MOST_NAMED]
    told.sort(key=lambda name: name not in FIRST)
    told += [count(len(others) - len(told), "more file")] if len(others) > len(told) else []
    if figures:
        some = f"figures {', '.join(figures)}" if len(figures) > 1 else f"figure {figures[0]}"
        told.append(some if len(figures) <= MOST_NAMED else count(len(figures), "figure"))
    are = "is" if len(names) == 1 else "are"
    return f"{', '.join(told)} {are} in {folder.resolve()}"
