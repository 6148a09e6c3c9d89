"""One HTML file that needs nothing else: all text escaped, script and style known by their hash."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scaling.pages.text import Section, Table

HERE = Path(__file__).parent
HINT = "Point at a run, or press Tab and the arrow keys; Enter or a click shows its curve."
DIGITS = 5  # of a number in the data of a page
ATTENTION = re.compile(r"(?<![\w*])\*([A-Za-z][\w ]*)\*(?![\w*])")  # *word* in a text


def page(
    title: str,
    headline: str,
    parts: Iterable[str],
    command: str,
    data: Any,
    scripts: Sequence[str],
) -> str:
    """Assemble a page of parts in HTML, with the named scripts of this folder and their data.

    It begins with the headline, and ends with the command that makes it again.

    The policy of the page lets nothing run or load but what its hashes name: a text that somehow
    became a tag would do nothing.
    """
    script = "\n".join((HERE / name).read_text("utf-8") for name in scripts)
    style = (HERE / "page.css").read_text("utf-8")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>",
            f"<header><h1>{escape(title)}</h1>",
            f'<p class="answer">{escape(headline)}</p></header>',
            "<main>",
            *parts,
            f"</main><footer><p>Made by <code>{escape(command)}</code>. One file: no network, no "
            "script of others.</p></footer>",
            f'<script type="application/json" id="data">{write_data(data)}</script>',
            f"<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def escape(text: Any) -> str:
    """Text in which nothing is a tag, an entity or the end of an attribute."""
    return html.escape(str(text), quote=True)


def write_data(data: Any) -> str:
    """Data as JSON in which no text ends the script that holds it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def to_numbers(values: Any, digits: int = DIGITS) -> Any:
    """Numbers, nested as they are, in few digits; None for what is not finite."""
    if np.ndim(values):
        return [to_numbers(value, digits) for value in np.asarray(values)]
    value = float(values)
    if not np.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e6 else short


# ---------------------------------------------------------------- what pages are made of


def show_sections(sections: Iterable[Section], folded: Collection[str] = ()) -> str:
    """Sections one below the other; those of the folded titles open on demand."""
    return "\n".join(_show_section(section, section.title in folded) for section in sections)


def _show_section(section: Section, is_folded: bool) -> str:
    parts = [f"<p>{show_text(text)}</p>" for text in section.text]
    if section.items:
        parts.append(f"<ul>{''.join(f'<li>{show_text(item)}</li>' for item in section.items)}</ul>")
    parts += [show_table(table) for table in section.tables]
    title, body = escape(section.title), "\n".join(parts)
    if is_folded:
        return f"<section>\n{fold(section.title, body)}\n</section>"
    return f"<section>\n<h2>{title}</h2>\n{body}\n</section>"


def fold(title: str, body: str) -> str:
    """Something that opens when its title is chosen, and in print."""
    return f"<details>\n<summary><h2>{escape(title)}</h2></summary>\n{body}\n</details>"


def show_text(text: str) -> str:
    """A text with its *emphasis*."""
    return ATTENTION.sub(r"<em>\1</em>", escape(text))


def show_table(table: Table) -> str:
    """A table that scrolls sideways in itself where the screen is narrow."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.heads)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in table.cells()
    )
    caption = f"<caption>{show_text(table.caption)}</caption>" if table.caption else ""
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="table">\n<table>{caption}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>\n</div>"
    )


def show_choices(legend: str, name: str, choices: Mapping[str, str], chosen: str) -> str:
    """Radio buttons: value -> what it is called."""
    buttons = "".join(
        f'<label><input type="radio" name="{escape(name)}" value="{escape(value)}"'
        f"{' checked' if value == chosen else ''}> <span>{escape(text)}</span></label>"
        for value, text in choices.items()
    )
    return f"<fieldset><legend>{escape(legend)}</legend>{buttons}</fieldset>"


def show_slider(name: str, label: str, low: int, high: int, value: int) -> str:
    """A slider of whole steps with a field in which its value can be written."""
    return (
        f'<div class="slider"><label for="{name}">{escape(label)}</label>'
        f'<input id="{name}" type="range" min="{low}" max="{high}" step="1" value="{value}">'
        f'<input id="{name}-text" type="text" inputmode="text" autocomplete="off" '
        f'aria-label="{escape(label)}, written"></div>'
    )


def show_chart(name: str, title: str) -> str:
    """Room for a chart that the script draws, its legend, and what it says of one run."""
    return (
        f'<figure class="chart" id="{name}"><figcaption>{escape(title)}</figcaption>'
        f'<div class="plot"></div><p class="legend"></p><p class="told">{HINT}</p></figure>'
    )
