"""One published table or paper at a time: everything that can be checked of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

from scaling.errors import FitError, PublishedDataError
from scaling.fitting.audit import audit_laws
from scaling.fitting.prepared import Prepared, prepare
from scaling.fitting.report import report_on
from scaling.fitting.settings import FitSettings
from scaling.laws.papers import PUBLISHED_LAWS
from scaling.laws.table import LAWS
from scaling.replication.checks import Check, checks_table, keep_stable_digits
from scaling.replication.formulas import FORMULAS
from scaling.replication.methods import METHODS, method_checks
from scaling.replication.references import law_checks, reference_checks
from scaling.tables.published import PUBLISHED, get_table, read_published
from scaling.tables.runs import load_runs

ENTRIES = tuple(dict.fromkeys([*PUBLISHED, *FORMULAS]))
Refit = tuple[list[pd.DataFrame], pd.DataFrame]  # tables of checks, and an audit
ONE_VARIABLE = "not applicable: one model per budget, so that N and D are one variable"


@dataclass(frozen=True)
class Replication:
    """What was checked of one entry."""

    entry: str
    checks: pd.DataFrame  # as `scaling.replication.checks.checks_table` makes it
    audit: pd.DataFrame = field(default_factory=pd.DataFrame)  # a ranking with a column entry
    rows: int = 0  # fitted ones; 0 for a paper without a table, or one that cannot be had
    unavailable: str = ""  # why the table cannot be had

    def describe(self) -> str:
        """One line: how many checks, how many of them findings, and how many not ok."""
        if self.unavailable:
            return f"{self.entry}: unavailable, {self.unavailable}"
        wrong, found = (~self.checks.ok).sum(), self.checks.is_finding.sum()
        rows = f"{self.rows} rows, " if self.rows else ""
        return f"{self.entry}: {rows}{len(self.checks)} checks, {found} findings, {wrong} not ok"


def chosen_entries(only: Iterable[str] | None) -> tuple[str, ...]:
    """All entries, or those named, in the order of `ENTRIES`; ValueError for an unknown one."""
    if only is None:
        return ENTRIES
    names = list(only)
    if unknown := [name for name in names if name not in ENTRIES] or not names:
        raise ValueError(f"only={names} must name entries; {unknown}: use some of {[*ENTRIES]}")
    return tuple(name for name in ENTRIES if name in names)


def replicate(entry: str, *, bootstrap: int = 4000, seed: int = 0) -> Replication:
    """Check everything that is known of an entry.

    Parameters
    ----------
    entry : str, one of `ENTRIES`
    bootstrap : int, > 0
        Refits behind every interval.
    seed : int

    Returns
    -------
    Replication; a table that cannot be had is one row of verdict "unavailable".
    """
    chosen_entries([entry])
    if bootstrap < 1:
        raise ValueError(f"bootstrap={bootstrap} gives no intervals to compare; 4000 is usual")
    by_formula = checks_table(FORMULAS[entry]() if entry in FORMULAS else ())
    if entry not in PUBLISHED:
        return Replication(entry, by_formula)
    try:
        runs = load_runs(read_published(entry))
    except PublishedDataError as error:
        row = Check(entry, "", "all", verdict="unavailable", note=str(error))
        checks = _join([by_formula, checks_table([row])])
        return Replication(entry, checks, unavailable=str(error))
    law = PUBLISHED_LAWS.get(entry)
    is_of_compute = law is not None and LAWS[law.law].variables == ("C",)
    refit = _compute_law if is_of_compute else _every_method
    by_fit, audit = refit(entry, prepare(runs), FitSettings(bootstrap=bootstrap, seed=seed))
    audit.insert(0, "entry", entry)
    checks = keep_stable_digits(_join([by_formula, *by_fit]))
    return Replication(entry, checks, audit, rows=len(runs))


def _every_method(entry: str, data: Prepared, settings: FitSettings) -> Refit:
    table, report = get_table(entry), report_on(data, settings=settings)
    by_reference = reference_checks(entry, data, table.references, settings)
    checks = [by_reference, method_checks(entry, table, report)]
    if report.audit is None:
        return checks, _refuse(dict(report.refusals)["audit"])
    return checks, report.audit.ranking.copy()


def _compute_law(entry: str, data: Prepared, settings: FitSettings) -> Refit:
    published = PUBLISHED_LAWS[entry]
    methods = [Check(entry, method, "N_exponent", verdict=ONE_VARIABLE) for method in METHODS]
    checks = [law_checks(entry, data, published, settings), checks_table(methods)]
    try:
        laws = (published.law.removesuffix("_E"), published.law)
        return checks, audit_laws(data, settings, laws=laws).ranking
    except FitError as error:
        return checks, _refuse(str(error))


def _refuse(reason: str) -> pd.DataFrame:
    return pd.DataFrame([{"law": "", "status": "refused", "reason": reason}])


def _join(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([table for table in tables if len(table)], ignore_index=True)
