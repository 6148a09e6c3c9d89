"""python -m scaling.fit runs=PATH: fit any table with N, D (or C) and loss, by every method."""

import shlex
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from scaling import products, results
from scaling.commandline import TABLES, job_folder, make_console, verb
from scaling.fitting.settings import FitConfig
from scaling.pages.fits import print_report
from scaling.tables.runs import check_where

PRODUCTS = (*results.FITS, results.REPORT)


@dataclass
class FitCommand:
    """Which table to fit, how, and where to put what is found."""

    runs: str = MISSING  # a file, a results folder with runs.csv, or wandb:ENTITY/PROJECT
    columns: Any = None  # {their name: ours}; columns N, D (or C) and loss need none
    family: str | None = None  # gpt, bert or t5, of a table that holds several
    objective: str | None = None  # clm, mlm, ..., likewise
    where: Any = None  # {column: value}; keeps the rows of this value, as {metric: text}
    best_of: list[str] = field(default_factory=list)  # [N, D] keeps the lowest loss of each N, D
    out: str | None = None  # folder for fits.csv, optima.csv and report.html; None: print only
    overwrite: bool = False  # files of the folder that are not ours
    results: str = "results"  # where folders are made
    fit: FitConfig = field(default_factory=FitConfig)


@verb("fit", FitCommand, TABLES)
def main(command: FitCommand) -> None:
    """Read, fit, print, write."""
    console = make_console()
    folder = None if command.out is None else job_folder(command.out)
    if folder is not None:
        products.refuse_foreign(folder, PRODUCTS, overwrite=command.overwrite)
    where = check_where(command.where)
    named = {"family": command.family, "objective": command.objective, **where}
    wanted = {name: value for name, value in named.items() if value is not None}
    runs, curves = results.read_tables(
        Path(command.runs), command.columns, where=wanted, best_of=command.best_of
    )
    report = results.fit_tables(runs, curves, command.fit)
    print_report(console, runs, report)
    if folder is not None:
        products.claim(folder, PRODUCTS, overwrite=command.overwrite)
        asked = shlex.join(["python", "-m", "scaling.fit", *sys.argv[1:]])
        settings, title = {"fit": asdict(command.fit)}, f"Fits of {Path(command.runs).name}"
        written = results.write_report(folder, title, asked, runs, curves, [report], settings)
        products.settle(folder, PRODUCTS, [*results.write_fits(folder, report), written])
        console.print(f"fits.csv, optima.csv and {written} are in {folder.resolve()}")


if __name__ == "__main__":
    main()
