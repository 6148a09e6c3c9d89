"""python -m scaling.plot runs=PATH: draw every figure of a runs table."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from scaling import products, results
from scaling.commandline import TABLES, job_folder, make_console, name_step, verb
from scaling.fitting.settings import FitConfig
from scaling.pages.answer import print_answer
from scaling.pages.fit_answer import end_with, tell_report
from scaling.pages.fits import report_sections


@dataclass
class PlotCommand:
    """Which table to draw, fitted how, and where to put the figures."""

    runs: str = MISSING  # a CSV file, or a results folder with runs.csv
    columns: Any = None  # {their name: ours}; columns N, D (or C) and loss need none
    where: Any = None  # {column: value}; keeps the rows of this value, as {metric: text}
    best_of: list[str] = field(default_factory=list)  # [N, D] keeps the lowest loss of each N, D
    out: str | None = None  # folder for the figures; None: beside the table
    format: str = "png"  # of the figures: png, svg or pdf
    overwrite: bool = False  # files of the folder that are not ours
    verbose: bool = False  # print every table, not the answer alone
    results: str = "results"  # where folders are made
    fit: FitConfig = field(default_factory=FitConfig)


@verb("plot", PlotCommand, TABLES)
def main(command: PlotCommand) -> None:
    """Read, fit, draw."""
    from scaling.figures.saving import check_format  # here, so that a wrong option is told at once

    console = make_console()
    check_format(command.format)
    path = Path(command.runs)
    beside = path if path.is_dir() else path.parent
    folder = beside if command.out is None else job_folder(command.out)
    names = [f"{name}.{command.format}" for name in results.FIGURES]
    products.refuse_foreign(folder, names, overwrite=command.overwrite)
    runs, curves = results.read_tables(
        path, command.columns, where=command.where, best_of=command.best_of
    )
    report = results.fit_tables(runs, curves, replace(command.fit, audit=False))  # not drawn
    products.claim(folder, names, overwrite=command.overwrite)
    figures, refused = results.write_figures(folder, runs, curves, report, command.format)
    products.settle(folder, names, [figure.name for figure in figures])
    names = [figure.name for figure in figures]
    answer = tell_report(report)
    step = name_step(path, *answer.steps)
    answer = replace(end_with(answer, folder, names, refused), steps=(step,))
    print_answer(console, answer, report_sections(runs, report), verbose=command.verbose)


if __name__ == "__main__":
    main()
