"""The checks for people: tables, findings in words, and the page of a results folder."""

import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.pages.answer import Answer
from scaling.pages.text import (
    NOTHING,
    Column,
    Section,
    Table,
    code,
    make_section,
    markdown,
    markdown_list,
    shown,
    with_interval,
    written,
)
from scaling.quantities import count
from scaling.replication.entries import Replication
from scaling.tables.published import PUBLISHED

CORE = Path(__file__).with_name("core.csv")  # which checks, by a part of their source
RATIO = "tokens/param"  # of the headlines that a reader sees at once
PACKAGES = ("scaling-laboratory", "numpy", "scipy", "pandas")


# ---------------------------------------------------------------- columns


def _number(head: str, digits: int = 6) -> Column:
    """Published or ours, with its interval."""
    stem = "published_" if head == "published" else ""
    low, high, write = f"{stem}low", f"{stem}high", f".{digits}g"
    return Column(head, lambda row: with_interval(row[head], row[low], row[high], write, ".4g"))


def _shorten(source: str) -> str:
    """A citation without title and number: "Hoffmann et al. 2022, table 2"."""
    return re.sub(r"(\d{4}),.*?arXiv:[\d.]+", r"\1", source)


def _objective(row: Mapping[str, Any]) -> str:
    """What was minimised, at their parameters and at ours; a dash for a formula."""
    theirs, ours = (written(row[f"objective_{whose}"], ".8g") for whose in ("published", "ours"))
    if ours == NOTHING:
        return NOTHING
    at = "" if theirs == NOTHING else f"{theirs} at theirs, "
    return f"{row['objective_name']}: {at}{ours} at ours"


def _verdict(row: Mapping[str, Any]) -> str:
    return row["verdict"] if row["ok"] else f"NOT OK: {row['verdict']}"


def _status(row: Mapping[str, Any]) -> str:
    reason = row["reason"] if isinstance(row["reason"], str) else ""
    return ": ".join(filter(None, (written(row["status"]), reason)))


SOURCE = shown("source", write=_shorten)
CHECKS = (
    shown("method"),
    shown("quantity"),
    _number("published"),
    SOURCE,
    _number("ours"),
    Column("objective", _objective),
    Column("verdict", lambda row: "; ".join(filter(None, (_verdict(row), row["note"])))),
)
GROUPED = (CHECKS[1], CHECKS[2], CHECKS[4], Column("verdict", _verdict))
HEADLINES = (
    shown("entry"),
    shown("label", "quantity"),
    _number("published", 4),
    SOURCE,
    _number("ours", 4),
    Column("verdict", _verdict),
)
AUDIT = (
    shown("law"),
    shown("n_training", "trained on", ".0f"),
    shown("n_held_out", "held out", ".0f"),
    shown("mean_abs_error", "mean error", ".2%"),
    shown("bias", write=".2%"),
    shown("claimed", "held as claimed", ".0%"),
    shown("coverage", "held widened", ".0%"),
    shown("inflation", write=".2f"),
    shown("training_error", "error in training", ".2%"),
    Column("status", _status),
)
AUDITED = ("law", "n_training", "n_held_out", "mean_abs_error", "bias", "claimed", "coverage")
AUDITED += ("inflation", "training_error", "status", "reason")


# ---------------------------------------------------------------- sections


def checks_section(entry: str, checks: pd.DataFrame) -> Section:
    """Every check of an entry."""
    return make_section(entry, checks, CHECKS)


def grouped_section(replication: Replication) -> Section:
    """The checks of an entry for a terminal: what a group of them shares is said once."""
    parts = [
        [row["method"], _shorten(row["source"]), _objective(row)]
        for row in replication.checks.to_dict("records")
    ]
    titles = ["; ".join(part for part in own if part != NOTHING) for own in parts]
    groups = replication.checks.groupby(titles, sort=False)
    tables = (Table(rows, GROUPED, caption=str(title)) for title, rows in groups)
    return Section(replication.entry, tables=tuple(tables))


def core_checks(checks: pd.DataFrame) -> pd.DataFrame:
    """The first check that fits each headline, with its label in a column."""
    found = []
    for wanted in pd.read_csv(CORE, keep_default_na=False).to_dict("records"):
        is_it = checks.source.str.contains(wanted["source"], regex=False)
        for name in ("entry", "method", "quantity"):
            is_it &= checks[name] == wanted[name]
        found.append(checks[is_it].head(1).assign(label=wanted["label"]))
    return pd.concat(found, ignore_index=True)


def core_section(checks: pd.DataFrame) -> Section:
    """The checks that a reader asks for first."""
    return make_section("The core", core_checks(checks), HEADLINES)


def findings_section(checks: pd.DataFrame) -> Section:
    """What does not hold as stated; one item for an entry, source, method and verdict."""
    text = (
        "Published numbers that do not hold as stated, or that the runs contradict or leave open:"
    )
    found = checks[checks.is_finding].assign(source=checks.source.map(_shorten))
    groups = found.groupby(["entry", "method", "source", "verdict"], sort=False)
    items = tuple(_tell(rows.to_dict("records")) for _, rows in groups)
    return Section("Findings", (text,) if items else (text, "None."), items)


def _tell(rows: list[dict]) -> str:
    entry, method, source, verdict = (rows[0][n] for n in ("entry", "method", "source", "verdict"))
    notes = {row["note"] for row in rows}
    shared = f" ({notes.pop()})" if len(notes) == 1 and notes != {""} else ""
    numbers = []
    for row in rows:
        note = f" ({row['note']})" if row["note"] and not shared else ""
        ours = CHECKS[4].write(row)
        numbers.append(f"{row['quantity']} {written(row['published'], '.6g')}, ours {ours}{note}")
    return f"{entry}, {method}, {source}: {verdict}{shared}. {'; '.join(numbers)}."


def tell_replication(checks: pd.DataFrame) -> Answer:
    """How many checks there are and how they end, the ratios that readers ask for, the findings."""
    wrong, found = checks.loc[~checks.ok], int(checks.is_finding.sum())
    entries = count(checks.entry.nunique(), "entry", "entries")
    told = [
        f"{count(len(checks), 'check')} of {entries}: {len(wrong)} not ok, "
        f"{count(found, 'published number')} that the runs contradict or leave open."
    ]
    core = core_checks(checks)
    for row in core.loc[core.label.str.contains(RATIO)].to_dict("records"):
        told.append(f"{row['entry']}: {': '.join(_tell_headline(row))}.")
    doubts = [f"{row['entry']}, {row['method']}: NOT OK" for row in wrong.to_dict("records")]
    return Answer(tuple(told), (*doubts, *findings_section(checks).items))


def _tell_headline(row: Mapping[str, Any]) -> Iterator[str]:
    """What a headline is of, its two numbers, and the verdict."""
    published, ours = (_number(head, 4).write(row) for head in ("published", "ours"))
    yield f"{row['label']}, published {published}, ours {ours}"
    yield _verdict(row)


# ---------------------------------------------------------------- the page


def replication_page(
    replications: Iterable[Replication], command: str, n_bootstrap: int, seed: int
) -> str:
    """README.md of the results folder: core table, findings, every check, every audit."""
    done = list(replications)
    checks = pd.concat([r.checks for r in done], ignore_index=True)
    wrong = int((~checks.ok).sum())
    audits = [
        make_section(r.entry, r.audit.reindex(columns=AUDITED), AUDIT) for r in done if len(r.audit)
    ]
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {metadata.version(name)}" for name in PACKAGES]
    parts = [
        "# What the papers say, computed again",
        f"Made by {code(command)}: {len(checks)} checks of {len(done)} entries, {wrong} not ok.",
        "Every published table is fitted by every method that applies, under exactly the objective "
        "that its authors state; papers that publish constants only are checked by formula. "
        f"Brackets behind ours are 90 % intervals of {n_bootstrap} bootstrap refits (seed {seed}), "
        "of training runs where rows share one; behind a formula they say how far the rounding of "
        "its ingredients reaches. Brackets behind published values are the source's own. "
        "Objectives are sums over rows, at their parameters as printed and at ours; where too few "
        "parameters are printed, theirs is the printed sum. A reference optimum is no author's: it "
        "was found beforehand by other programs and stands in the registry. N_exponent is a of "
        "N_opt ~ C^a, D_exponent b of D_opt ~ C^b.",
        markdown([core_section(checks), findings_section(checks)]),
        "## What was available\n" + markdown_list(_list_sources(done)),
        "## All checks",
        markdown((checks_section(r.entry, r.checks) for r in done), level=3),
        f"## Extrapolation audit\n{_sum_up(done)}",
        *(markdown([audit], level=3) for audit in audits),
        "## Made with\n" + markdown_list(versions),
        "Files: `checks.csv` (every number here), `audit.csv`; each in the digits that are the "
        "same on every processor.",
    ]
    return "\n\n".join(parts) + "\n"


def _sum_up(done: list[Replication]) -> str:
    """How often prediction intervals held over all tables, as claimed and widened."""
    audits = [r.audit for r in done if {"claimed", "inflation"} <= {*r.audit.columns}]
    text = (
        "Every larger budget, up to x4.4 ahead, is predicted from the smaller ones. An interval of "
        "90 % is widened by what the law's earlier predictions missed, once two origins tell"
    )
    if not audits:
        return f"{text}."
    known = pd.concat(audits).dropna(subset=["claimed", "inflation"])
    laws = known.groupby("law", sort=False)
    shares = zip(laws.claimed.mean().items(), laws.coverage.mean(), strict=True)
    each = ", ".join(f"{law} {claimed:.0%} to {widened:.0%}" for (law, claimed), widened in shares)
    return f"{text}: mean share held, as claimed and widened, over the tables below: {each}."


def _list_sources(done: list[Replication]) -> Iterator[str]:
    for r in done:
        if r.entry in PUBLISHED:
            table = PUBLISHED[r.entry]
            state = f"unavailable: {r.unavailable}" if r.unavailable else f"{r.rows} rows"
            kept = f"; {table.filter}" if table.filter else ""
            yield f"**{r.entry}**: {state}{kept}. {table.citation}. {table.url} ({table.licence})"
        else:
            cited = dict.fromkeys(source for source in r.checks.source)
            yield f"**{r.entry}**: constants only. {next(iter(cited))}"
