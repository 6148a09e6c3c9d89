"""python -m scaling.course: tables, figures and statements of the course."""

import math
from dataclasses import dataclass

from scaling import products
from scaling.commandline import TABLES, job_folder, make_console, verb
from scaling.course.figures import course_figures
from scaling.course.material import claims_table
from scaling.course.page import course_page
from scaling.course.statements import REPRODUCED, count_verdicts, statements_table, write_ours
from scaling.course.tables import Model, course_tables
from scaling.figures.saving import save_figure
from scaling.files import write_table, write_text
from scaling.pages.answer import Answer, name_files, print_answer
from scaling.quantities import positive_quantity


@dataclass
class CourseCommand:
    """A model of your own to stand beside the course's, and where to put what comes out."""

    out: str = "${results}/try/course"  # folder for tables (CSV), figures (PNG) and README.md
    params: str | None = None  # size of your model, as in 7B
    tokens: str | None = None  # what it was trained on, as in 2T
    name: str = "yours"  # what your model is called
    number: float = math.pi  # shown bit by bit in every format
    overwrite: bool = False  # files of the folder that are not ours
    verbose: bool = False  # print every statement that differs, not the answer alone
    results: str = "results"  # where folders are made


@verb("course", CourseCommand, TABLES)
def main(command: CourseCommand) -> None:
    """Compute, draw, write, print the statements that differ."""
    console, folder = make_console(), job_folder(command.out)
    if not math.isfinite(command.number):
        raise ValueError(f"number={command.number} must be finite: int8 has no other")
    tables = course_tables(_parse_model(command), command.number)
    statements, figures = statements_table(tables), course_figures(tables)
    shown = {**tables, "statements": statements, "claims": claims_table(statements)}
    written = [f"{name}.csv" for name in shown]
    written += ["README.md", *(f"{name}.png" for name in figures)]
    products.claim(folder, written, overwrite=command.overwrite)
    for name, table in shown.items():
        write_table(folder / f"{name}.csv", table)
    for name, figure in figures.items():
        save_figure(figure, folder / f"{name}.png")
    write_text(folder / "README.md", course_page(tables, statements, _restate(command)))
    products.settle(folder, written, written)
    rows = statements.loc[statements.verdict != REPRODUCED].to_dict("records")
    apart = tuple(f"{row['verdict']}: {row['statement']}; {write_ours(row)}" for row in rows)
    steps = () if command.params else ("python -m scaling.course params=7B tokens=2T",)
    files = name_files(written, folder)
    answer = Answer((count_verdicts(statements),), apart, steps, rest=(files,))
    print_answer(console, answer, verbose=command.verbose)


def _parse_model(command: CourseCommand) -> list[Model]:
    if command.params is None and command.tokens is None:
        return []
    if command.params is None or command.tokens is None:
        raise ValueError("a model of your own needs both params=N and tokens=D, as in 7B and 2T")
    N = positive_quantity(command.params, "params")
    return [Model(command.name, N, positive_quantity(command.tokens, "tokens"))]


def _restate(command: CourseCommand) -> str:
    usual, asked = vars(CourseCommand()), vars(command)
    chosen = [
        f"{k}={asked[k]}" for k in ("params", "tokens", "name", "number") if asked[k] != usual[k]
    ]
    return " ".join(["python -m scaling.course", *chosen])


if __name__ == "__main__":
    main()
