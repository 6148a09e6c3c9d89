"""python -m scaling.report runs=PATH: one HTML page of any runs table, to look into and send on."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from scaling import products, results
from scaling.commandline import TABLES, job_folder, make_console, name_step, retell, verb
from scaling.fitting.conventions import convention_table
from scaling.fitting.settings import FitConfig
from scaling.pages.answer import print_answer
from scaling.pages.fit_answer import tell_report
from scaling.pages.fits import report_sections


@dataclass
class ReportCommand:
    """Which table, fitted how, and where the page goes."""

    runs: str = MISSING  # a file, a folder with runs.csv, a published table, wandb:ENTITY/PROJECT
    columns: Any = None  # {their name: ours}; columns N, D (or C) and loss need none
    where: Any = None  # {column: value}; keeps the rows of this value, as {metric: text}
    best_of: list[str] = field(default_factory=list)  # [N, D] keeps the lowest loss of each N, D
    conventions: bool = True  # fit under every N that the table has, to choose from: some seconds
    out: str | None = None  # folder for report.html; None: beside the table
    overwrite: bool = False  # a report.html that is not ours
    verbose: bool = False  # print every table, not the answer alone
    results: str = "results"  # where folders are made
    fit: FitConfig = field(default_factory=FitConfig)


@verb("report", ReportCommand, TABLES)
def main(command: ReportCommand) -> None:
    """Read, fit, write the page."""
    console, path = make_console(), Path(command.runs)
    folder = _choose_folder(command, path)
    products.refuse_foreign(folder, [results.REPORT], overwrite=command.overwrite)
    runs, curves = results.read_tables(
        path, command.columns, where=command.where, best_of=command.best_of
    )
    report = results.fit_tables(runs, curves, command.fit)
    others = results.fit_conventions(runs, command.fit) if command.conventions else ()
    asked = retell("report")
    settings = results.read_config(path) | {"fit": asdict(command.fit)}
    products.claim(folder, [results.REPORT], overwrite=command.overwrite)
    title = f"Scaling laws of {results.name_table(path)}"
    page = results.write_report(folder, title, asked, runs, curves, [report, *others], settings)
    products.settle(folder, [results.REPORT], [page])
    answer = tell_report(report, convention_table(others))
    where = f"The page: {(folder / page).resolve()}"
    answer = replace(answer, steps=(name_step(path, *answer.steps),), rest=(where,))
    print_answer(console, answer, report_sections(runs, report), verbose=command.verbose)


def _choose_folder(command: ReportCommand, path: Path) -> Path:
    """The folder that is named, else the table's own, else one to try a published table in."""
    if command.out is not None:
        return job_folder(command.out)
    if path.is_dir():
        return path
    return path.parent if path.is_file() else Path(command.results) / "try" / path.name


if __name__ == "__main__":
    main()
