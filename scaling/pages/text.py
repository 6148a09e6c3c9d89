"""A page is sections of text, items and tables; here for the terminal and as Markdown."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as Grid

NOTHING = "-"  # for a number that is not there
WIDE = 10**4  # columns in which every table finds room
Format = str | Callable[[Any], str]  # ".3g", or a function of the value


@dataclass(frozen=True)
class Column:
    """One column of a table: its head, and what stands in it for a row."""

    head: str
    write: Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class Table:
    """A table in full precision, and how its rows are shown."""

    frame: pd.DataFrame
    columns: tuple[Column, ...]
    caption: str = ""

    @property
    def heads(self) -> list[str]:
        """Heads of the columns."""
        return [column.head for column in self.columns]

    def cells(self) -> list[list[str]]:
        """What is shown, a list a row."""
        rows = self.frame.to_dict("records")
        return [[column.write(row) for column in self.columns] for row in rows]


@dataclass(frozen=True)
class Section:
    """A titled part of a page: paragraphs, a list of items, tables."""

    title: str
    text: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[str, ...] = ()  # stems of their files


def make_section(title: str, rows: pd.DataFrame, columns: tuple[Column, ...], *text) -> Section:
    """Make a section of paragraphs and one table."""
    return Section(title, text, tables=(Table(rows, columns),))


def shown(
    name: str, head: str | None = None, write: Format = "", missing: str = NOTHING, star: str = ""
) -> Column:
    """Show the column `name` of the frame, with a star where the column `star` is true."""

    def cell(row: Mapping[str, Any]) -> str:
        return written(row[name], write, missing) + (" *" if star and row[star] else "")

    return Column(name if head is None else head, cell)


def shown_interval(name: str, head: str | None = None, write: Format = ".3g") -> Column:
    """Show `name` with `name`_low and `name`_high in brackets, where they are finite numbers."""

    def cell(row: Mapping[str, Any]) -> str:
        return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], write)

    return Column(name if head is None else head, cell)


def written(value: Any, write: Format = "", missing: str = NOTHING) -> str:
    """One value by a format; NaN and None are missing."""
    if value is None or value != value:
        return missing
    return format(value, write) if isinstance(write, str) else write(value)


def with_interval(
    value: Any, low: Any, high: Any, write: Format = ".3g", write_ends: Format | None = None
) -> str:
    """Write "value [low, high]"; the value alone where there is no interval."""
    inner = write if write_ends is None else write_ends
    ends = f" [{written(low, inner)}, {written(high, inner)}]"
    there = all(number is not None and number == number for number in (value, low, high))
    return written(value, write) + (ends if there else "")


def tell(number: Any, write: Format = ".3g") -> str:
    """Write an `Estimate` as `with_interval` does."""
    return with_interval(number.value, number.low, number.high, write)


# ---------------------------------------------------------------- Markdown


def markdown(sections: Iterable[Section], level: int = 2) -> str:
    """Sections as Markdown, their titles at this level."""
    return "\n\n".join(part for section in sections for part in _markdown_parts(section, level))


def _markdown_parts(section: Section, level: int) -> list[str]:
    parts = [plain(text) for text in section.text]
    parts += [markdown_list(section.items)] if section.items else []
    parts += [f"![{plain(section.title)}]({stem}.png)" for stem in section.figures]
    for table in section.tables:
        parts += [plain(table.caption)] if table.caption else []
        parts.append(markdown_table(table.heads, table.cells()))
    title = f"{'#' * level} {plain(section.title)}"
    return ["\n".join([title, *parts[:1]]), *parts[1:]]


def markdown_list(items: Iterable[str]) -> str:
    """Return a list of items in Markdown."""
    return "\n".join(f"- {plain(item)}" for item in items)


def plain(text: str) -> str:
    """Text as one line in which a name that others gave is no tag, link or image."""
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", " ".join(text.splitlines()))
    return text.replace("](", "]\\(")


def code(text: str) -> str:
    """Text as one line of code, whatever quotes stand in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{' '.join(text.splitlines())}{space}{fence}"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown; a "|" within a cell is escaped."""
    lines = [[plain(cell).replace("|", "\\|") for cell in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# ---------------------------------------------------------------- the terminal


def print_sections(console: Console, sections: Iterable[Section]) -> None:
    """Print sections one below the other; an interval stands below its value."""
    for section in sections:
        console.rule(section.title, align="left")
        parts = [*section.text, *section.items]
        for table in section.tables:
            parts += [table.caption] if table.caption else []
            parts += [_grid(table, console)]
        for part in parts:
            console.print(part, markup=False, highlight=False)


def _grid(table: Table, console: Console) -> Grid:
    grid = _fill(table, table.heads)
    wide = console.options.update_width(WIDE)
    if console.measure(grid, options=wide).maximum <= console.width:
        return grid
    return _fill(table, [head.replace("/", "/ ") for head in table.heads])  # breaks at a blank


def _fill(table: Table, heads: Sequence[str]) -> Grid:
    grid = Grid(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for i, head in enumerate(heads):
        grid.add_column(head, no_wrap=i == 0, overflow="fold")
    for row in table.cells():
        grid.add_row(*(cell.replace(" [", "\n[").replace(" (", "\n(") for cell in row))
    return grid
