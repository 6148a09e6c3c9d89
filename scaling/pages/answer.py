"""The answer first: what a command found, on one screen of a terminal.

A verb makes an `Answer`; `print_answer` is the end of each of them. All tables come before it
where they are asked for, and stand on the page anyway.
"""

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from scaling.pages.text import Section, print_sections

LINES, WIDTH = 24, 80  # of a terminal as it opens
WIDEST = 100  # lines that the eye still finds the next of
LONGEST = {"found": 6, "doubt": 3}  # lines of one sentence; a reason that others wrote may be long
GLUE = "\0"  # a space within brackets: an interval stays on its line


@dataclass(frozen=True)
class Answer:
    """What a reader needs at once; sentences are plain text without a full stop's worth of doubt.

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
    """Print every section where that is asked for, and the answer below; sections may be lazy."""
    if verbose:
        print_sections(console, sections)
        console.rule("The answer", align="left")
    else:
        answer = _add_rest(answer, "Every table: the same command with verbose=true")
    for line in write_answer(answer, min(console.width, WIDEST)):
        console.print(line, markup=False, highlight=False)


def write_answer(answer: Answer, width: int = WIDTH, lines: int = LINES) -> list[str]:
    """The answer in so many lines; what is least important is left out, and counted."""
    doubts, found = [*answer.doubts], [*answer.found]
    left_out = 0
    while True:
        text = _lay_out(found, doubts, answer, left_out, width)
        if sum(_height(line, width) for line in text) <= lines:
            return text
        shorter = doubts if len(doubts) > 1 or len(found) < 2 else found
        if len(shorter) < 2:
            return text
        shorter.pop()
        left_out += 1


def _lay_out(
    found: Sequence[str], doubts: Sequence[str], answer: Answer, left_out: int, width: int
) -> list[str]:
    text = [line for part in found for line in wrap(part, width, most=LONGEST["found"])]
    if doubts:
        text += ["", "Distrust:"]
        text += [line for part in doubts for line in _wrap_item(part, width)]
    text += [f"- {left_out} more with verbose=true"] if left_out else []
    if answer.steps:
        text += ["", "Next:", *(f"  {step}" for step in answer.steps)]
    if answer.rest:
        text += ["", *(line for part in answer.rest for line in wrap(part, width))]
    return text


def _wrap_item(text: str, width: int) -> list[str]:
    first, *more = wrap(text, width - 2, most=LONGEST["doubt"])
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
    """Say what was written and where; figures in one word."""
    names = [*names]
    figures = [name for name in names if Path(name).suffix in (".png", ".svg", ".pdf")]
    told = sorted({*names} - {*figures}, key=lambda name: (name != "README.md", name))
    if figures:
        told.append(f"figures {', '.join(Path(name).stem for name in figures)}")
    return f"{', '.join(told)} are in {folder.resolve()}"


def _add_rest(answer: Answer, text: str) -> Answer:
    return Answer(answer.found, answer.doubts, answer.steps, (*answer.rest, text))
