"""The checks for people: cells of a table, findings in words, and the page of a results folder."""

import platform
import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import NamedTuple

import pandas as pd

from scaling.pages.text import markdown_table
from scaling.replication.entries import Replication
from scaling.replication.kaplan import STEPS_METHOD
from scaling.replication.references import CHINCHILLA, RATIO
from scaling.tables.published import PUBLISHED

HEADER = ["method", "quantity", "published", "source", "ours", "objective", "verdict"]
PRINTED_HEADER = ["quantity", "published", "ours", "verdict"]
CORE_HEADER = ["entry", "quantity", "published", "source", "ours", "verdict"]
PACKAGES = ("scaling-laboratory", "numpy", "scipy", "pandas")
AUDIT = {
    "law": "law",
    "n_training": "trained on",
    "n_held_out": "held out",
    "mean_abs_error": "mean error",
    "bias": "bias",
    "coverage": "held by 90 %",
    "training_error": "error in training",
    "status": "status",
}
PERCENT = ("mean_abs_error", "bias", "coverage", "training_error")


class Headline(NamedTuple):
    """One row of the core table: which check it is, and what a reader calls it."""

    entry: str
    method: str
    quantity: str
    source: str  # a part of it
    label: str


_LAW, _LAW_3, _LONG = "parametric, chinchilla", "parametric, ", f"tokens/param at {CHINCHILLA:.3g}"
CORE = (
    Headline("epoch2024", _LAW, "alpha", "table 1", "alpha, as Besiroglu et al. print it"),
    Headline("epoch2024", _LAW, "beta", "table 1", "beta, as Besiroglu et al. print it"),
    Headline("epoch2024", _LAW, "beta", "reference", "beta, minimum of the stated objective"),
    Headline("epoch2024", _LAW, "standard error of beta", "reference", "standard error of beta"),
    Headline("epoch2024", "parametric", "N_exponent", "Besiroglu", "a, parametric"),
    Headline("epoch2024", "parametric", "N_exponent", "Hoffmann", "a, parametric"),
    Headline("epoch2024", "isoflop", "N_exponent", "Hoffmann", "a, isoflop"),
    Headline("epoch2024", "isoflop_power", "N_exponent", "Hoffmann", "a, isoflop_power"),
    Headline("epoch2024", "envelope", "N_exponent", "Hoffmann", "a, envelope"),
    Headline("epoch2024", "parametric", RATIO, "Chinchilla", f"{_LONG}, parametric"),
    Headline("epoch2024_all", "parametric", RATIO, "Chinchilla", f"{_LONG}, parametric"),
    Headline("kyo2024", "parametric", RATIO, "Chinchilla", f"{_LONG}, parametric"),
    Headline("gemstones_hot", _LAW, "beta", "own fit", "beta, as the authors print it"),
    Headline("hoffmann2022", f"{_LAW_3}hoffmann2022", RATIO, "", f"{_LONG}, unrounded law"),
    Headline("hoffmann2022", f"{_LAW_3}hoffmann2022_rounded", RATIO, "", f"{_LONG}, rounded law"),
    Headline("kaplan2020", STEPS_METHOD, "N_exponent", "as fitted", "a, from the printed laws"),
    Headline("cerebras2023", "parametric, power_C_E", "alpha", "", "exponent of L(C)"),
)


def core_checks(checks: pd.DataFrame) -> pd.DataFrame:
    """The first check that fits each headline, with its label in a column."""
    found = []
    for headline in CORE:
        rows = checks[
            (checks.entry == headline.entry)
            & (checks.method == headline.method)
            & (checks.quantity == headline.quantity)
            & checks.source.str.contains(headline.source, regex=False)
        ]
        found.append(rows.head(1).assign(label=headline.label))
    return pd.concat(found, ignore_index=True)


# ---------------------------------------------------------------- cells


def digits(value: float, n: int = 6) -> str:
    """A number in so many significant digits; a dash for none."""
    return f"{value:.{n}g}" if pd.notna(value) else "-"


def with_interval(value: float, low: float, high: float, n: int = 6) -> str:
    """A number and its interval, if it has one."""
    return digits(value, n) + (f" [{digits(low, 4)}, {digits(high, 4)}]" if pd.notna(low) else "")


def short(source: str) -> str:
    """A citation without title and number: "Hoffmann et al. 2022, table 2"."""
    return re.sub(r"(\d{4}),.*?arXiv:[\d.]+", r"\1", source)


def objective_of_row(row: dict) -> str:
    """What was minimised, at their parameters and at ours; a dash for a formula."""
    theirs, ours = row["objective_published"], row["objective_ours"]
    if pd.isna(ours):
        return "-"
    at = f"{digits(ours, 8)} at ours"
    at = at if pd.isna(theirs) else f"{digits(theirs, 8)} at theirs, {at}"
    return f"{row['objective_name']}: {at}"


def check_cells(checks: pd.DataFrame) -> Iterator[list[str]]:
    """Rows under `HEADER`."""
    for row in checks.to_dict("records"):
        published, ours = _compared(row)
        source, verdict = short(row["source"]), _marked(row)
        verdict += f"; {row['note']}" if row["note"] else ""
        cells = [row["method"], row["quantity"], published, source, ours]
        yield [*cells, objective_of_row(row), verdict]


def core_cells(checks: pd.DataFrame) -> Iterator[list[str]]:
    """Rows under `CORE_HEADER`."""
    for row in core_checks(checks).to_dict("records"):
        published, ours = _compared(row, 4)
        cells = [row["entry"], row["label"], published, short(row["source"])]
        yield [*cells, ours, _marked(row)]


def printed_groups(checks: pd.DataFrame) -> Iterator[tuple[str, list[list[str]]]]:
    """For a terminal: what a group of checks shares, and their rows under `PRINTED_HEADER`."""
    groups: dict[str, list[dict]] = {}
    for row in checks.to_dict("records"):
        parts = [row["method"], short(row["source"]), objective_of_row(row)]
        groups.setdefault("; ".join(part for part in parts if part != "-"), []).append(row)
    for title, rows in groups.items():
        yield title, [[row["quantity"], *_compared(row), _marked(row)] for row in rows]


def _compared(row: dict, n: int = 6) -> tuple[str, str]:
    published = with_interval(row["published"], row["published_low"], row["published_high"], n)
    return published, with_interval(row["ours"], row["low"], row["high"], n)


def _marked(row: dict) -> str:
    return row["verdict"] if row["ok"] else f"NOT OK: {row['verdict']}"


def findings(checks: pd.DataFrame) -> Iterator[str]:
    """One line for the findings of an entry that share source, method and verdict."""
    groups: dict[tuple, list[dict]] = {}
    for row in checks.to_dict("records"):
        if row["is_finding"]:
            key = row["entry"], row["method"], short(row["source"]), row["verdict"]
            groups.setdefault(key, []).append(row)
    for (entry, method, source, verdict), rows in groups.items():
        notes = {row["note"] for row in rows}
        shared = f" ({notes.pop()})" if len(notes) == 1 and notes != {""} else ""
        numbers = "; ".join(_finding(row, with_note=not shared) for row in rows)
        yield f"{entry}, {method}, {source}: {verdict}{shared}. {numbers}."


def _finding(row: dict, with_note: bool) -> str:
    ours = with_interval(row["ours"], row["low"], row["high"])
    note = f" ({row['note']})" if with_note and row["note"] else ""
    return f"{row['quantity']} {digits(row['published'])}, ours {ours}{note}"


def audit_cells(audit: pd.DataFrame) -> Iterator[list[str]]:
    """Rows under `AUDIT`, the law that predicts best first."""
    for row in audit.reindex(columns=[*AUDIT, "reason"]).to_dict("records"):
        cells = [
            f"{row[name]:.2%}" if name in PERCENT and pd.notna(row[name]) else row[name]
            for name in AUDIT
        ]
        cells = ["-" if pd.isna(cell) else _whole(cell) for cell in cells]
        reason = row["reason"] if isinstance(row["reason"], str) and row["reason"] else ""
        yield [*cells[:-1], f"{cells[-1]}: {reason}" if reason else cells[-1]]


def _whole(cell) -> str:
    return f"{cell:.0f}" if isinstance(cell, float) else str(cell)


# ---------------------------------------------------------------- the page


def replication_page(
    replications: Iterable[Replication], command: str, n_bootstrap: int, seed: int
) -> str:
    """README.md of the results folder: core table, findings, every check, every audit.

    Parameters
    ----------
    replications : iterable of Replication
    command : str
    n_bootstrap, seed : int

    Returns
    -------
    str, Markdown
    """
    done = list(replications)
    checks = pd.concat([r.checks for r in done], ignore_index=True)
    wrong = int((~checks.ok).sum())
    sections = [
        "# What the papers say, computed again",
        f"Made by `{command}`: {len(checks)} checks of {len(done)} entries, {wrong} not ok.",
        "Every published table is fitted by every method that applies, under exactly the objective "
        "that its authors state; papers that publish constants only are checked by formula. "
        f"Brackets behind ours are 90 % intervals of {n_bootstrap} bootstrap refits (seed {seed}), "
        "of training runs where rows share one; behind a formula they say how far the rounding of "
        "its ingredients reaches. Brackets behind published values are the source's own. "
        "Objectives are sums over rows, at their parameters as printed and at ours; where too few "
        "parameters are printed, theirs is the printed sum. A reference optimum is no author's: it "
        "was found beforehand by other programs and stands in the registry. N_exponent is a of "
        "N_opt ~ C^a, D_exponent b of D_opt ~ C^b.",
        "## The core\n" + markdown_table(CORE_HEADER, list(core_cells(checks))),
        "## Findings\nPublished numbers that do not hold as stated, or that the runs contradict or "
        "leave open:\n\n" + _bullets(findings(checks)),
        "## What was available\n" + _bullets(_availability(done)),
        "## All checks",
        *(f"### {r.entry}\n" + markdown_table(HEADER, _safe(check_cells(r.checks))) for r in done),
        "## Extrapolation audit\nLaws fitted without the largest budgets, which they then predict.",
        *(f"### {r.entry}\n" + _audit(r.audit) for r in done if len(r.audit)),
        "## Made with\n" + _bullets(_versions()),
        "Files: `checks.csv` (every number here in full precision), `audit.csv`.",
    ]
    return "\n\n".join(sections) + "\n"


def _audit(audit: pd.DataFrame) -> str:
    return markdown_table([*AUDIT.values()], _safe(audit_cells(audit)))


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) or "None."


def _safe(rows: Iterable[list[str]]) -> list[list[str]]:
    return [[cell.replace("|", "\\|") for cell in row] for row in rows]


def _availability(done: list[Replication]) -> Iterator[str]:
    for r in done:
        if r.entry in PUBLISHED:
            table = PUBLISHED[r.entry]
            state = f"unavailable: {r.unavailable}" if r.unavailable else f"{r.rows} rows"
            kept = f"; {table.filter}" if table.filter else ""
            yield f"**{r.entry}**: {state}{kept}. {table.citation}. {table.url} ({table.licence})"
        else:
            cited = dict.fromkeys(source for source in r.checks.source)
            yield f"**{r.entry}**: constants only. {next(iter(cited))}"


def _versions() -> Iterator[str]:
    yield f"Python {platform.python_version()}"
    yield from (f"{name} {metadata.version(name)}" for name in PACKAGES)
