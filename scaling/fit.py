"""python -m scaling.fit runs=PATH: fit any table with N, D (or C) and loss, by every method."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from rich.console import Console

from scaling import results
from scaling.commandline import verb
from scaling.fitting.settings import FitConfig
from scaling.pages.fits import print_report
from scaling.tables.runs import check_where


@dataclass
class FitCommand:
    """Which table to fit, how, and where to put what is found."""

    runs: str = MISSING  # a CSV file, or a results folder with runs.csv
    columns: Any = None  # {their name: ours}; columns N, D (or C) and loss need none
    family: str | None = None  # gpt, bert or t5, of a table that holds several
    objective: str | None = None  # clm, mlm, ..., likewise
    where: Any = None  # {column: value}; keeps the rows of this value, as {metric: text}
    best_of: list[str] = field(default_factory=list)  # [N, D] keeps the lowest loss of each N, D
    out: str | None = None  # folder for fits.csv and optima.csv; None: print only
    results: str = "results"
    fit: FitConfig = field(default_factory=FitConfig)


@verb("fit", FitCommand)
def main(command: FitCommand) -> None:
    """Read, fit, print, write."""
    console = Console(soft_wrap=True)
    where = check_where(command.where)
    named = {"family": command.family, "objective": command.objective, **where}
    wanted = {name: value for name, value in named.items() if value is not None}
    runs, curves = results.read_tables(
        Path(command.runs), command.columns, where=wanted, best_of=command.best_of
    )
    report = results.fit_tables(runs, curves, command.fit)
    print_report(console, runs, report)
    if command.out is not None:
        folder = Path(command.out)
        results.write_fits(folder, report, results.data_hash(runs, curves, command.fit))
        console.print(f"fits.csv and optima.csv are in {folder.resolve()}")


if __name__ == "__main__":
    main()
