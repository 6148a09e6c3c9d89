"""python -m scaling.fit runs=PATH: fit any table with N, D (or C) and loss, by every method."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import MISSING
from rich.console import Console

from scaling import results
from scaling.commandline import verb
from scaling.fitting.settings import FitConfig
from scaling.pages.fits import print_report


@dataclass
class FitCommand:
    """Which table to fit, how, and where to put what is found."""

    runs: str = MISSING  # a CSV file, or a results folder with runs.csv
    columns: Any = None  # {their name: ours}; columns N, D (or C) and loss need none
    family: str | None = None  # gpt, bert or t5, of a table that holds several
    objective: str | None = None  # clm, mlm, ..., likewise
    out: str | None = None  # folder for fits.csv and optima.csv; None: print only
    results: str = "results"
    fit: FitConfig = field(default_factory=FitConfig)


@verb("fit", FitCommand)
def main(command: FitCommand) -> None:
    """Read, fit, print, write."""
    console = Console(soft_wrap=True)
    runs, curves = results.read_tables(Path(command.runs), command.columns)
    for name, wanted in (("family", command.family), ("objective", command.objective)):
        runs = choose_rows(runs, name, wanted)
    report = results.fit_tables(runs, curves, command.fit)
    print_report(console, runs, report)
    if command.out is not None:
        folder = Path(command.out)
        results.write_fits(folder, report, results.data_hash(runs, curves, command.fit))
        console.print(f"fits.csv and optima.csv are in {folder.resolve()}")


def choose_rows(runs: pd.DataFrame, name: str, wanted: str | None) -> pd.DataFrame:
    """Rows of one family or objective, all of them without a wish; ValueError for none."""
    if wanted is None:
        return runs
    if name not in runs or wanted not in set(runs[name]):
        known = sorted(set(runs[name])) if name in runs else []
        raise ValueError(f"{name}={wanted}: {runs.attrs['source']} has {known or 'no such column'}")
    rows = runs.loc[runs[name] == wanted]
    filters = [runs.attrs["filter"], f"{name} == {wanted}"]
    rows.attrs = runs.attrs | {"filter": " and ".join(filter(None, filters))}
    return rows


if __name__ == "__main__":
    main()
