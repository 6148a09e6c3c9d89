"""Every method on a published table, beside the exponents that its authors print."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import pandas as pd

from scaling.fitting.report import Report
from scaling.fitting.result import Fit
from scaling.laws import papers
from scaling.laws.frontier import exponents
from scaling.replication.checks import (
    APART,
    MISSED,
    NAN,
    Check,
    checks_table,
    compare_intervals,
    quote_fit,
    with_estimate,
)
from scaling.replication.references import CHINCHILLA, RATIO
from scaling.tables.published import PUBLISHED, PublishedTable

METHODS = {  # ours -> the approach of Hoffmann et al. 2022 that it follows
    "parametric": "parametric",
    "isoflop": "isoflop",
    "isoflop_power": "isoflop",
    "envelope": "envelope",
}
EXPONENTS = ("N_exponent", "D_exponent")
COMPARED = (*EXPONENTS, RATIO)
HOFFMANNS_POINTS = ("epoch2024", "epoch2024_all", "kyo2024")
MCLEISH = PUBLISHED["gemstones_hot"].citation
BOWLS = ("isoflop", "isoflop_power")
GEMSTONES = ("gemstones_hot", "gemstones_hot_100b", "gemstones_cool_end")
CHINCHILLA_MODEL = (70e9, 1.4e12)  # parameters, tokens
BESIROGLU_EXPONENT = 0.513  # a of N_opt ~ C^a, as the paper prints it

_NARROW = (
    "a known inconsistency: their 10-90 % interval is far narrower than these points allow, and "
    "leaves out the exponent of their own unrounded parameters"
)
_OUTLIERS = "a known effect of the five rows with the highest loss, which epoch2024 leaves out"
_TRUNKS = (
    "a known disagreement of methods: the printed exponents are of a parametric fit to all "
    "checkpoints, and no group of these checkpoints was planned as an IsoFLOP bowl"
)
_BENT = (
    "the minima of these runs bend, as their authors say of the frontier (appendix E), and this "
    "budget lies 44 times beyond the runs: the tangent of the curve leads elsewhere than the "
    "straight line that gave 20, and neither is tested there"
)
KNOWN = {  # (entry, method, quantity, printed by) -> why our interval excludes the printed value
    case: why
    for why, *cases in (
        (_NARROW, HOFFMANNS_POINTS, ["parametric"], EXPONENTS, [papers.HOFFMANN]),
        (_TRUNKS, GEMSTONES, ["isoflop", "isoflop_power", "envelope"], EXPONENTS, [MCLEISH]),
        (_BENT, ["epoch2024", "kyo2024"], BOWLS, [RATIO], [papers.HOFFMANN]),
        (_OUTLIERS, ["epoch2024_all"], ["parametric"], [RATIO], [papers.HOFFMANN]),
        (_OUTLIERS, ["epoch2024_all"], ["parametric"], ["N_exponent"], [papers.BESIROGLU]),
    )
    for case in product(*cases)
}


class Printed(NamedTuple):
    """A published exponent or ratio; the ends are NaN where none are printed."""

    value: float
    paper: str
    where: str
    low: float = NAN
    high: float = NAN


def printed_values(entry: str, table: PublishedTable, method: str, quantity: str) -> list[Printed]:
    """What papers print for a method on the runs of this table, or on the runs behind it.

    Of other tables than Hoffmann's, it is what follows from the alpha and beta that the authors
    print for the customary objective.
    """
    if entry not in HOFFMANNS_POINTS:
        own = [r for r in table.references if {*r.params} == {"alpha", "beta"} and r.is_optimum]
        found = [exponents("chinchilla", r.params) for r in own if quantity in EXPONENTS]
        where = "from alpha and beta of their own fit"
        return [Printed(values[quantity], table.citation, where) for values in found]
    if quantity == RATIO:
        N, D = CHINCHILLA_MODEL
        return [Printed(D / N, papers.HOFFMANN, "tokens over parameters of Chinchilla")]
    value, low, high = papers.HOFFMANN_EXPONENTS[METHODS[method]][quantity]
    found = [Printed(value, papers.HOFFMANN, "table 2, 10-90 %", low, high)]
    if (method, quantity) == ("parametric", "N_exponent"):
        found.append(Printed(BESIROGLU_EXPONENT, papers.BESIROGLU, "their a"))
    return found


def method_checks(entry: str, table: PublishedTable, report: Report) -> pd.DataFrame:
    """Exponents and tokens per parameter of every method beside the printed ones.

    One row for a method that was refused. ok is false where intervals exclude each other and
    `KNOWN` does not say why.
    """
    fits, refusals = {fit.method: fit for fit in report.fits}, dict(report.refusals)
    checks: list[Check] = []
    for method in METHODS:
        if method in fits:
            checks += _of_method(entry, table, fits[method])
        else:
            refused = f"refused: {refusals.get(method, 'not tried')}"
            checks.append(Check(entry, method, ", ".join(COMPARED), verdict=refused))
    return checks_table(checks)


def _of_method(entry: str, table: PublishedTable, fit: Fit) -> Iterator[Check]:
    found = fit.exponents() | {RATIO: fit.tokens_per_param(CHINCHILLA)}
    for quantity in COMPARED:
        note = "" if found[quantity].status == "ok" else found[quantity].status
        check = quote_fit(entry, fit.method, fit, quantity=quantity, note=note)
        check = with_estimate(check, found[quantity])
        printed = printed_values(entry, table, fit.method, quantity)
        yield from (_judge(check, value) for value in printed)
        if not printed:
            yield replace(check, verdict="no published value")


def _judge(check: Check, printed: Printed) -> Check:
    ends = {"published_low": printed.low, "published_high": printed.high}
    source = f"{printed.paper}, {printed.where}"
    check = replace(check, published=printed.value, source=source, **ends)
    verdict = compare_intervals(check)
    is_apart = verdict in (APART, MISSED)
    why = KNOWN.get((check.entry, check.method, check.quantity, printed.paper), "")
    note = "; ".join(filter(None, (check.note, why if is_apart else "")))
    ok = not is_apart or bool(why)
    return replace(check, verdict=verdict, ok=ok, is_finding=is_apart, note=note)
