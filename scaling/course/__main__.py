"""python -m scaling.course: tables, figures and statements of the course, in results/course."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.console import Console

from scaling.commandline import verb
from scaling.course.figures import (
    crossing_figure,
    known_models_figure,
    memory_figure,
    pf_days_figure,
    tokens_figure,
)
from scaling.course.page import counted, course_page, course_sections, ours_of
from scaling.course.section import Section
from scaling.course.statements import REPRODUCED, statements_table
from scaling.course.tables import Model
from scaling.files import write_text
from scaling.quantities import positive_quantity

FIGURES: dict[str, Callable[..., Figure]] = {  # section -> figure of its first tables
    "tokens": lambda tokens: tokens_figure(tokens),
    "pf_days": lambda pf_days: pf_days_figure(pf_days),
    "memory": lambda memory, **_: memory_figure(memory),
    "known_models": lambda lines, known_models, **_: known_models_figure(lines, known_models),
    "crossing": lambda lines, crossings: crossing_figure(lines, crossings),
}


@dataclass
class CourseCommand:
    """A model of your own to stand beside the course's, and where to put what comes out."""

    out: str = "${results}/course"  # folder for tables (CSV), figures (PNG, SVG) and README.md
    params: str | None = None  # size of your model, as in 7B
    tokens: str | None = None  # what it was trained on, as in 2T
    name: str = "yours"  # what your model is called
    results: str = "results"


@verb("course", CourseCommand)
def main(command: CourseCommand) -> None:
    """Compute, draw, write, print the statements that differ."""
    console, folder = Console(soft_wrap=True), Path(command.out)
    sections, statements = course_sections(_own_model(command)), statements_table()
    folder.mkdir(parents=True, exist_ok=True)
    for section in sections:
        _write(folder, section)
        drawn = f"{section.name}.png and .svg" if section.has_figure else f"{section.name}.csv"
        console.print(f"{section.title}: {folder / drawn}", markup=False)
    write_text(folder / "statements.csv", statements.to_csv(index=False))
    write_text(folder / "README.md", course_page(sections, statements, _said(command)))
    console.print(counted(statements))
    for row in statements.loc[statements.verdict != REPRODUCED].to_dict("records"):
        console.print(f"{row['verdict']}: {row['statement']}; {ours_of(row)}", markup=False)
    console.print(f"README.md is in {folder.resolve()}")


def _write(folder: Path, section: Section) -> None:
    """Tables in full precision, the figure as PNG and SVG; the same files every time."""
    for name, table in section.tables.items():
        write_text(folder / f"{name}.csv", table.to_csv(index=False))
    if not section.has_figure:
        return
    figure = FIGURES[section.name](**section.tables)
    figure.savefig(folder / f"{section.name}.png", dpi=160)
    with rc_context({"svg.hashsalt": section.name}):
        figure.savefig(folder / f"{section.name}.svg", metadata={"Date": None})


def _own_model(command: CourseCommand) -> list[Model]:
    if command.params is None and command.tokens is None:
        return []
    if command.params is None or command.tokens is None:
        raise ValueError("a model of your own needs both params=N and tokens=D, as in 7B and 2T")
    N = positive_quantity(command.params, "params")
    return [Model(command.name, N, positive_quantity(command.tokens, "tokens"))]


def _said(command: CourseCommand) -> str:
    usual, asked = vars(CourseCommand()), vars(command)
    chosen = [f"{k}={asked[k]}" for k in ("params", "tokens", "name") if asked[k] != usual[k]]
    return " ".join(["python -m scaling.course", *chosen])


if __name__ == "__main__":
    main()
