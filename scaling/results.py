"""A results folder: tables, fits, figures and a page for a reader, written and read back."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from scaling.files import DIGITS, write_text
from scaling.fitting import conventions
from scaling.fitting.optima import fits_table, optima_table
from scaling.fitting.prepared import prepare
from scaling.fitting.report import Report, report_on
from scaling.fitting.result import Fit
from scaling.fitting.settings import FitConfig
from scaling.pages.fits import results_page
from scaling.tables.observations import N_COLUMNS
from scaling.tables.reading import flatten
from scaling.tables.runs import load_curves, load_runs, runs_to_csv

FITS = ("fits.csv", "optima.csv", "audit.csv", "fit.json", "answer.json")
REPORT, CARD = "report.html", "MODEL_CARD.md"
FIGURES = ("compute", "isoflop", "contour", "triptych", "ratio")
FOUND = ("README.md", REPORT, "conventions.csv", *FITS, *(f"{name}.png" for name in FIGURES))


def read_tables(path: Path, columns: dict[str, str] | None = None, **chosen: Any):
    """Read the runs table of a file or a results folder, and the curves beside it or None.

    `columns` and what is `chosen` (`where`, `best_of`) as `scaling.load_runs` takes them.
    """
    file = path / "runs.csv" if path.is_dir() else path
    runs = load_runs(file, columns, **chosen)
    beside = file.with_name("curves.csv")
    return runs, load_curves(beside) if file.name == "runs.csv" and beside.exists() else None


def read_config(folder: Path) -> dict[str, Any]:
    """What a sweep was asked for, as the config.yaml of its folder says; empty without one."""
    file = folder / "config.yaml"
    found = OmegaConf.to_container(OmegaConf.load(file)) if file.is_file() else None
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def name_table(path: Path) -> str:
    """Name of a table: that of its file, or of the results folder that it lies in."""
    path = path.resolve()
    if path.name == "runs.csv":
        return path.parent.name
    return path.name if path.is_dir() else path.stem


def write_tables(folder: Path, runs: pd.DataFrame, curves: pd.DataFrame) -> None:
    """Write runs.csv and curves.csv."""
    write_text(folder / "runs.csv", runs_to_csv(runs))
    write_text(folder / "curves.csv", runs_to_csv(curves))


def fit_tables(runs: pd.DataFrame, curves: pd.DataFrame | None, config: FitConfig) -> Report:
    """Fit by every method, as configured."""
    data = prepare(runs, convention=config.convention(runs))
    return report_on(data, curves, config.settings(), audit=config.audit)


def fit_conventions(runs: pd.DataFrame, config: FitConfig) -> tuple[Report, ...]:
    """Fit under every N that the table has; see `scaling.fitting.conventions.fit_conventions`.

    None where it has one only: that is fitted already.
    """
    if sum({*needed} <= {*runs.columns} for needed in N_COLUMNS.values()) < 2:
        return ()
    return conventions.fit_conventions(runs, config.convention(runs).C, config.settings())


def data_hash(runs: pd.DataFrame, curves: pd.DataFrame | None, config: FitConfig) -> str:
    """Hash of all that decides a fit: both tables and the settings."""
    parts = [runs_to_csv(runs), "" if curves is None else runs_to_csv(curves), str(asdict(config))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def write_cards(
    folder: Path, runs: pd.DataFrame, models: Mapping[str, Path], data: Mapping[str, Any], by: str
) -> None:
    """Write MODEL_CARD.md, and README.md beside every saved model that has none.

    Parameters
    ----------
    models : mapping, run id -> folder of its model, whether there is one or not
    data : mapping, the data configuration
    by : str
        The command that trained them.
    """
    from scaling.pages import cards  # here: only who trains writes them

    write_text(folder / CARD, cards.write_sweep_card(f"Models of {folder.name}", runs, data, by))
    for run in runs.loc[runs.status == "ok"].to_dict("records"):
        model = models[run["run_id"]]
        # what is there may be somebody's own
        if (model / "config.json").is_file() and not (model / "README.md").exists():
            named = {str(name): value for name, value in run.items()}
            write_text(model / "README.md", cards.write_model_card(named, data, by))


def write_fits(folder: Path, report: Report) -> list[str]:
    """Write a report: those of `FITS` that it has; return their names.

    fit.json is the parametric fit, answer.json that of the method to quote; `scaling.load_fit`
    reads both.
    """
    tables = {"fits.csv": fits_table(report), "optima.csv": optima_table(report)}
    if report.audit is not None:
        tables["audit.csv"] = report.audit.ranking
    for name, table in tables.items():
        write_text(folder / name, table.to_csv(index=False))
    methods = {"fit.json": "parametric", "answer.json": report.recommended.method}
    fits = {fit.method: fit for fit in report.fits}
    kept = {name: fits[method] for name, method in methods.items() if method in fits}
    for name, fit in kept.items():
        _with_fewer_digits(fit).save(folder / name)
    return [*tables, *kept]


def _with_fewer_digits(fit: Fit) -> Fit:
    """The fit with draws as short as tables are: a file half as large."""
    return replace(fit, draws=fit.draws.map(lambda x: float(f"{x:.{DIGITS}g}")))


def write_found(
    folder: Path,
    runs: pd.DataFrame,
    curves: pd.DataFrame | None,
    reports: Sequence[Report],
    *,
    title: str,
    command: str,
    facts: list[str],
    settings: Mapping[str, Any],
    beside: Sequence[str] = (),
) -> tuple[list[str], dict[str, str]]:
    """Write fits, figures and both pages, those of `FOUND` that there are.

    The first report is the one to quote, others are those under other conventions of N. `command`
    made the folder, `facts` are of its runs, `beside` are files that lie there already. Returns
    the names, `beside` first, and which figures were not drawn and why.
    """
    report, *others = reports
    figures, refused = write_figures(folder, runs, curves, report)
    names, table = [*beside, *write_fits(folder, report)], conventions.convention_table(others)
    if len(table):
        write_text(folder / "conventions.csv", table.to_csv(index=False))
        names.append("conventions.csv")
    names += [path.name for path in figures]
    page = results_page(title, command, facts, runs, report, table, names)
    write_text(folder / "README.md", page)
    made = write_report(folder, title, command, runs, curves, reports, settings)
    return [*names, "README.md", made], refused


def write_report(
    folder: Path,
    title: str,
    command: str,
    runs: pd.DataFrame,
    curves: pd.DataFrame | None,
    reports: Sequence[Report],
    settings: Mapping[str, Any],
) -> str:
    """Write report.html, the page to send on; return its name.

    The first report is the one to quote, others are those under other conventions of N. `settings`
    may be nested.
    """
    from scaling.pages.html.report import report_page  # here: only who writes it pays for it

    flat = dict(flatten(settings))
    write_text(folder / REPORT, report_page(title, command, runs, curves, reports, flat))
    return REPORT


def write_figures(
    folder: Path, runs: pd.DataFrame, curves: pd.DataFrame | None, report: Report, kind: str = "png"
) -> tuple[list[Path], dict[str, str]]:
    """Write every figure as png, svg or pdf; return their paths, and why others were not drawn."""
    from scaling.figures import all_figures  # here, so that a wrong option is told at once
    from scaling.figures.saving import save_figure

    figures, refused = all_figures(runs, curves, report)
    paths = {folder / f"{name}.{kind}": figure for name, figure in figures.items()}
    for path, figure in paths.items():
        save_figure(figure, path)
    return [*paths], refused
