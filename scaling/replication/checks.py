"""One comparison of a published number with ours, and the table of many."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from decimal import Decimal
from itertools import product

import numpy as np
import pandas as pd

from scaling.fitting.result import Estimate, Fit

NAN = float("nan")
OVERLAP, APART = "intervals overlap", "intervals exclude each other"
SAME_DIGITS = "agrees to the printed digits"
HELD, MISSED = "inside of our interval", "outside of our interval"


@dataclass(frozen=True)
class Check:
    """What somebody printed, and what comes out here; NaN where there is no such number."""

    entry: str  # a published table, or a paper
    method: str  # how our number was found
    quantity: str
    published: float = NAN
    published_low: float = NAN
    published_high: float = NAN
    source: str = ""
    ours: float = NAN
    # a 90 % bootstrap interval for a fit; for a formula, how far the rounding of its input reaches
    low: float = NAN
    high: float = NAN
    objective_name: str = ""
    objective_published: float = NAN  # at their parameters, or as printed if they print too few
    objective_ours: float = NAN
    verdict: str = ""
    ok: bool = True  # an agreement, or a disagreement that is known
    is_finding: bool = False  # the published number does not hold as it is stated
    note: str = ""


def quote_paper(entry: str, paper: str) -> Callable[..., Check]:
    """Make checks of one paper; `where` in it a number stands may be empty."""

    def check(method: str, quantity: str, published: float, where: str, ours, **more) -> Check:
        source = ", ".join(filter(None, (paper, where)))
        return Check(entry, method, quantity, published, source=source, ours=float(ours), **more)

    return check


def quote_fit(entry: str, method: str, fit: Fit, quantity: str = "", **more) -> Check:
    """Begin the check of a number that a fit gives."""
    name, ours = fit.objective_name, fit.objective
    return Check(entry, method, quantity, objective_name=name, objective_ours=ours, **more)


def judge(check: Check, is_so: bool, verdict: str, otherwise: str) -> Check:
    """Give the first verdict where it is so, and another, which is not ok, where it is not."""
    return replace(check, verdict=verdict if is_so else otherwise, ok=bool(is_so))


def judge_digits(check: Check, otherwise: str = "differs", unit: float = 1.0) -> Check:
    """Give the verdict whether ours rounds to the published number, printed in this unit."""
    is_same = agrees(check.ours / unit, check.published / unit)
    return judge(check, is_same, SAME_DIGITS, otherwise)


def checks_table(checks: Iterable[Check]) -> pd.DataFrame:
    """One row per check, one column per attribute of `Check`."""
    names = [field.name for field in fields(Check)]
    table = pd.DataFrame([asdict(check) for check in checks], columns=names)
    return table.astype({"ok": bool, "is_finding": bool})


def with_estimate(check: Check, found: Estimate, **more) -> Check:
    """Give a check our number and its interval, and what else is known."""
    return replace(check, ours=found.value, low=found.low, high=found.high, **more)


def keep_stable_digits(checks: pd.DataFrame) -> pd.DataFrame:
    """Round our numbers to the digits that are the same on every processor.

    A solver stops within about 3e-7 of an optimum: 6 digits, and 4 of the ends of an interval. A
    sum of absolute values has edges, at which refits stop within 1e-4: 3 digits of the ends.
    Formulas keep all.
    """
    is_fit = checks.objective_ours.notna()
    ends = is_fit * (4 - checks.objective_name.str.contains("abs(", regex=False))
    rounded = {
        name: [float(f"{x:.{n}g}") if n else x for x, n in zip(checks[name], kept, strict=True)]
        for name, kept in {"ours": is_fit * 6, "low": ends, "high": ends}.items()
    }
    return checks.assign(**rounded)


def half_unit(printed: float) -> float:
    """Half a unit in the last decimal of a printed number: .0005 for .073.

    Trailing zeros are lost to a float, so that .690 counts as .69.
    """
    exponent = Decimal(repr(float(printed))).normalize().as_tuple().exponent
    return 0.5 * 10.0 ** int(exponent)


def agrees(ours: float, printed: float) -> bool:
    """Whether ours rounds to the printed number."""
    return bool(abs(ours - printed) <= half_unit(printed) * (1 + 1e-9))


def rounding(function: Callable[..., float], *printed: float) -> tuple[float, float]:
    """Smallest and largest value of a monotone function of printed, hence rounded, numbers."""
    corners = [(x - half_unit(x), x + half_unit(x)) for x in printed]
    values = [float(function(*corner)) for corner in product(*corners)]
    return min(values), max(values)


def compare_intervals(check: Check) -> str:
    """Verdict on two intervals, or on an interval and a published number without one."""
    if np.isnan(check.published_low):
        return HELD if check.low <= check.published <= check.high else MISSED
    common = max(check.low, check.published_low) <= min(check.high, check.published_high)
    return OVERLAP if common else APART
