"""The same runs under every meaning of N: the answer hangs on what N leaves out."""

from collections.abc import Sequence

import pandas as pd

from scaling.errors import FitError
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.report import ENDS, Report
from scaling.fitting.result import Fit
from scaling.fitting.settings import DEFAULTS, FitSettings
from scaling.tables.observations import N_COLUMNS, Convention, observations

FITTED = {  # under every N
    "isoflop": fit_isoflop,
    "isoflop_power": fit_isoflop_power,
    "parametric": fit_parametric,
}


def fit_conventions(
    runs: pd.DataFrame, C: str, settings: FitSettings = DEFAULTS
) -> tuple[Report, ...]:
    """Fit by isoflop, isoflop_power and parametric under each N that the table tells apart.

    Parameters
    ----------
    runs : DataFrame, as `scaling.load_runs` returns it
    C : {"counted", "6ND", "as_given"}
        Meaning of C, the same in every row.
    settings : FitSettings

    Returns
    -------
    tuple of Report, without an audit; one per N
    """
    found, seen = [], []
    for N, needed in N_COLUMNS.items():
        if not {*needed} <= {*runs.columns}:
            continue
        data = Prepared.of(observations(runs, Convention(N, C))[0], Convention(N, C))
        if any(data.obs.N.equals(known) for known in seen):  # no head of its own, as the last
            continue
        seen.append(data.obs.N)
        fits, refusals = [], []
        for method, fit in FITTED.items():
            try:
                fits.append(fit(data, settings))
            except FitError as error:
                refusals.append((method, str(error)))
        budgets = tuple(sorted({float(budget) for budget in data.obs.budget.dropna()}))
        found.append(Report(tuple(fits), tuple(refusals), data.convention, budgets))
    return tuple(found)


def convention_table(reports: Sequence[Report]) -> pd.DataFrame:
    """What the same runs say under each N: the ratio depends on what N leaves out.

    Parameters
    ----------
    reports : sequence of Report, as `fit_conventions` returns them

    Returns
    -------
    DataFrame with one row per N and method (isoflop, isoflop_power, parametric): N, method, C
        (FLOPs, the largest budget), N_exponent, N_opt (parameters) and tokens_per_param there, each
        with _low and _high, status, reason. A refused fit has status "refused" and NaN.
    """
    rows = []
    for report in reports:
        budget = max(report.budgets, default=float("nan"))
        fits, refusals = {fit.method: fit for fit in report.fits}, dict(report.refusals)
        for method in FITTED:
            row = {"N": report.convention.N, "method": method, "C": budget}
            if method in fits:
                rows.append(row | _tell_convention(fits[method], budget))
            else:
                rows.append(row | {"status": "refused", "reason": refusals[method]})
    order = [q + end for q in ("N_exponent", "N_opt", "tokens_per_param") for end in ENDS]
    return pd.DataFrame(rows, columns=["N", "method", "C", *order, "status", "reason"])


def _tell_convention(fit: Fit, C: float) -> dict:
    ratio = fit.tokens_per_param(C)
    found = {"N_exponent": fit.exponents()["N_exponent"], "N_opt": fit.N_opt(C)}
    row = {"status": ratio.status, "reason": fit.reason}
    for name, number in (found | {"tokens_per_param": ratio}).items():
        row |= {name + end: getattr(number, end[1:] or "value") for end in ENDS}
    return row
