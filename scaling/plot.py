"""python -m scaling.plot runs=PATH: draw every figure of a runs table."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from rich.console import Console

from scaling import results
from scaling.commandline import verb
from scaling.fitting.settings import FitConfig


@dataclass
class PlotCommand:
    """Which table to draw, fitted how, and where to put the figures."""

    runs: str = MISSING  # a CSV file, or a results folder with runs.csv
    columns: Any = None  # {their name: ours}; columns N, D (or C) and loss need none
    where: Any = None  # {column: value}; keeps the rows of this value, as {metric: text}
    best_of: list[str] = field(default_factory=list)  # [N, D] keeps the lowest loss of each N, D
    out: str | None = None  # folder for the figures; None: beside the table
    format: str = "png"  # of the figures: png, svg or pdf
    results: str = "results"
    fit: FitConfig = field(default_factory=FitConfig)


@verb("plot", PlotCommand)
def main(command: PlotCommand) -> None:
    """Read, fit, draw."""
    from scaling.figures.saving import check_format  # here, so that a wrong option is told at once

    console = Console(soft_wrap=True)
    check_format(command.format)
    path = Path(command.runs)
    runs, curves = results.read_tables(
        path, command.columns, where=command.where, best_of=command.best_of
    )
    report = results.fit_tables(runs, curves, replace(command.fit, audit=False))  # not drawn
    beside = path if path.is_dir() else path.parent
    folder = beside if command.out is None else Path(command.out)
    figures, refused = results.write_figures(folder, runs, curves, report, command.format)
    for name, reason in refused.items():
        console.print(f"figure {name} not drawn: {reason}")
    for figure in figures:
        console.print(figure.resolve())


if __name__ == "__main__":
    main()
