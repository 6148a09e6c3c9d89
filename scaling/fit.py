"""python -m scaling.fit runs=PATH: fit any table with N, D (or C) and loss, by every method."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import MISSING

from scaling import products, results
from scaling.commandline import TABLES, job_folder, make_console, retell, verb
from scaling.fitting.conventions import convention_table
from scaling.fitting.settings import FitConfig
from scaling.pages.answer import print_answer
from scaling.pages.fit_answer import end_with, tell_report
from scaling.pages.fits import report_sections
from scaling.quantities import count
from scaling.tables.noise import seed_noise
from scaling.tables.runs import check_where


@dataclass
class FitCommand:
    """Which table to fit, how, and where to put what is found."""

    runs: str = MISSING  # a file, a results folder with runs.csv, or wandb:ENTITY/PROJECT
    columns: Any = None  # {their name: ours}; columns N, D (or C) and loss need none
    family: str | None = None  # gpt, bert or t5, of a table that holds several
    objective: str | None = None  # clm, mlm, ..., likewise
    where: Any = None  # {column: value}; keeps the rows of this value, as {metric: text}
    best_of: list[str] = field(default_factory=list)  # [N, D] keeps the lowest loss of each N, D
    out: str | None = None  # folder for page, tables and figures; None: try/NAME under results
    overwrite: bool = False  # files of the folder that are not ours
    verbose: bool = False  # print every table, not the answer alone
    results: str = "results"  # where folders are made
    fit: FitConfig = field(default_factory=FitConfig)


@verb("fit", FitCommand, TABLES)
def main(command: FitCommand) -> None:
    """Read, fit, write, print."""
    console, folder = make_console(), job_folder(command.out or derived_folder(command))
    products.refuse_foreign(folder, results.FOUND, overwrite=command.overwrite)
    where = check_where(command.where)
    named = {"family": command.family, "objective": command.objective, **where}
    wanted = {name: value for name, value in named.items() if value is not None}
    runs, curves = results.read_tables(
        Path(command.runs), command.columns, where=wanted, best_of=command.best_of
    )
    report = results.fit_tables(runs, curves, command.fit)
    others = results.fit_conventions(runs, command.fit)
    products.claim(folder, results.FOUND, overwrite=command.overwrite)
    made = {
        "title": f"Fits of {results.name_table(Path(command.runs))}",
        "command": retell("fit"),
        "facts": facts(command, runs),
        "settings": {"fit": asdict(command.fit)},
    }
    names, refused = results.write_found(folder, runs, curves, [report, *others], **made)
    products.settle(folder, results.FOUND, names)
    answer = end_with(tell_report(report, convention_table(others)), folder, names, refused)
    print_answer(console, answer, report_sections(runs, report), verbose=command.verbose)


def derived_folder(command: FitCommand) -> Path:
    """Name the folder after the table; never that of the table itself."""
    path = Path(command.runs)
    folder = Path(command.results) / "try" / results.name_table(path)
    is_its = folder.resolve() in (path.resolve(), path.resolve().parent)
    return folder.with_name(f"{folder.name}-fit") if is_its else folder


def facts(command: FitCommand, runs: pd.DataFrame) -> list[str]:
    """What a reader of the page should know of the runs."""
    kept = runs.attrs.get("filter", "")
    lines = [f"{count(len(runs), 'run')} of {command.runs}{f', {kept}' if kept else ''}"]
    noise = seed_noise(runs)
    return lines if noise is None else [*lines, noise.describe()]


if __name__ == "__main__":
    main()
