"""What a report says as tidy tables."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd

from scaling.fitting.estimate import Estimate
from scaling.fitting.report import ENDS, Report
from scaling.fitting.result import Fit
from scaling.laws.frontier import FRONTIERS, QUANTITIES

BOWLS = ("isoflop", "isoflop_power")
UNITS = QUANTITIES | {
    "E": "nats/token",
    "A": "nats/token at N or C of 1",
    "B": "nats/token at D of 1",
    "C_ref": "FLOPs",
    "C_edge": "FLOPs",
    "N_ref": "parameters",
    "D_ref": "tokens",
    "L_ref": "nats/token",
    "L_floor": "nats/token",
}


def optima_table(report: Report, budgets: list[float] | None = None) -> pd.DataFrame:
    """Compute-optimal models per budget and method.

    Parameters
    ----------
    report : Report
    budgets : list of float, FLOPs, optional
        Those of the runs if omitted; then each bowl's own minimum stands beside the power laws
        through all of them, as method "isoflop_bowl".

    Returns
    -------
    DataFrame with columns C (FLOPs), method, the `QUANTITIES`, each with _low and _high, and
        status.

    Examples
    --------
    >>> table = scaling.optima_table(report, budgets=[1e19])  # `report` of help(scaling)
    >>> table.set_index("method").tokens_per_param.round(2).to_dict()
    {'isoflop': 9.2, 'isoflop_power': 9.31, 'parametric': 9.31}
    """
    table = pd.DataFrame([_tell(*number) for number in _list_optima(report, budgets)])
    if not len(table):
        return pd.DataFrame(columns=["C", "method", *QUANTITIES, "status"])
    keys = ["C", "method", "status"]
    wide = table.pivot(index=keys, columns="quantity", values=["value", "low", "high"])
    wide.columns = [q if end == "value" else f"{q}_{end}" for end, q in wide.columns]
    order = [q + end for q in QUANTITIES for end in ENDS]
    return wide.reset_index().reindex(columns=["C", "method", *order, "status"])


def disagreement_table(report: Report, budgets: list[float] | None = None) -> pd.DataFrame:
    """How far the methods whose fit is "ok" are apart at each budget.

    Parameters
    ----------
    report : Report
    budgets : list of float, FLOPs, optional
        The smallest and the largest of the runs if omitted, and ten times the largest.

    Returns
    -------
    DataFrame with columns C (FLOPs), quantity, lowest, lowest_method, highest, highest_method,
        ratio (highest/lowest), overlap (whether the intervals of all methods have a value in
        common; NaN without intervals).

    Examples
    --------
    >>> apart = scaling.disagreement_table(report, budgets=[1e19])  # `report` of help(scaling)
    >>> apart.set_index("quantity").ratio.round(3).to_dict()
    {'N_opt': 1.006, 'D_opt': 1.006, 'L_opt': 1.006, 'tokens_per_param': 1.012}
    """
    fits = [fit for fit in report.fits if fit.law in FRONTIERS and fit.status == "ok"]
    if len(fits) < 2:
        return pd.DataFrame()
    if budgets is None:
        budgets = [report.budgets[0], report.budgets[-1], 10 * report.budgets[-1]]
    rows = []
    for C, quantity in product(budgets, QUANTITIES):
        found = {fit.method: getattr(fit, quantity)(C) for fit in fits}
        row: dict = {"C": C, "quantity": quantity}
        for name, pick in (("lowest", min), ("highest", max)):
            method = pick(found, key=lambda method: found[method].value)
            row |= {name: found[method].value, f"{name}_method": method}
        row["ratio"] = row["highest"] / row["lowest"]
        known = [e for e in found.values() if np.isfinite(e.low)]
        shared = known and bool(max(e.low for e in known) <= min(e.high for e in known))
        rows.append(row | {"overlap": shared if known else np.nan})
    return pd.DataFrame(rows)


def fits_table(report: Report) -> pd.DataFrame:
    """Everything a report says, one number a row, in full precision; for fits.csv.

    Returns
    -------
    DataFrame with columns method, law, quantity, C (FLOPs, NaN where it does not apply), value,
        low, high, unit, status, reason, level, and what the fit was made of: objective,
        objective_name, n_runs, n_excluded, N_convention, C_convention, kappa, gamma, bend,
        compute_rms, bootstrap, n_bootstrap, n_converged, start_agreement, gradient_norm,
        lack_of_fit (in words), p_value (of it), inflation, note. A refused method is one row of
        status "refused".

    Examples
    --------
    >>> table = scaling.fits_table(report)  # `report` of help(scaling)
    >>> table[(table.method == "parametric") & table.C.isna()].quantity.tolist()
    ['E', 'A', 'B', 'alpha', 'beta', 'N_exponent', 'D_exponent']
    """
    numbers = [*_list_params(report), *_list_optima(report, None)]
    table = pd.DataFrame([_tell(*number) for number in numbers])
    refused = pd.DataFrame(
        [{"method": m, "status": "refused", "reason": why} for m, why in report.refusals],
        columns=["method", "status", "reason"],
    )
    if not len(table):
        return refused
    described = pd.DataFrame([_describe(fit) for fit in report.fits])
    table["of"] = table.method.str.removesuffix("_bowl")
    table = table.merge(described, on="of", how="left").drop(columns="of")
    return pd.concat([table, refused], ignore_index=True) if len(refused) else table


Number = tuple[str, str, float, Estimate]  # method, quantity, C (FLOPs), its value


def _list_params(report: Report) -> Iterator[Number]:
    for fit in report.fits:
        numbers = {name: fit.param(name) for name in fit.params}
        numbers |= fit.exponents() if fit.law in FRONTIERS else {}
        yield from ((fit.method, name, np.nan, number) for name, number in numbers.items())


def _list_optima(report: Report, budgets: list[float] | None) -> Iterator[Number]:
    for fit in [fit for fit in report.fits if fit.law in FRONTIERS]:
        for C, quantity in product(report.budgets if budgets is None else budgets, QUANTITIES):
            yield fit.method, quantity, C, getattr(fit, quantity)(C)
        if fit.method not in BOWLS or budgets is not None:
            continue
        for bowl, quantity in product(fit.minima.to_dict("records"), QUANTITIES):
            value, low, high = (bowl.get(quantity + end, np.nan) for end in ENDS)
            number = Estimate(value, low, high, bowl["status"])
            yield f"{fit.method}_bowl", quantity, bowl["budget"], number


def _tell(method: str, quantity: str, C: float, number: Estimate) -> dict:
    row = {"method": method, "quantity": quantity, "C": C}
    row |= {"value": number.value, "low": number.low, "high": number.high}
    row |= {"unit": UNITS.get(quantity, ""), "status": number.status, "level": number.level}
    return row


def _describe(fit: Fit) -> dict:
    return {
        "of": fit.method,
        "law": fit.law,
        "reason": fit.reason,
        "objective": fit.objective,
        "objective_name": fit.objective_name,
        "n_runs": fit.n_runs,
        "n_excluded": len(fit.excluded),
        "N_convention": fit.convention.N,
        "C_convention": fit.convention.C,
        "kappa": fit.compute.kappa,
        "gamma": fit.compute.gamma,
        "bend": fit.compute.bend,
        "compute_rms": fit.compute.rms,
        "bootstrap": fit.bootstrap.kind,
        "n_bootstrap": fit.bootstrap.n,
        "n_converged": fit.bootstrap.converged,
        "start_agreement": fit.diagnosis.start_agreement,
        "gradient_norm": fit.diagnosis.gradient_norm,
        "lack_of_fit": fit.lack_of_fit.describe() if fit.lack_of_fit else "",
        "p_value": fit.lack_of_fit.p_value if fit.lack_of_fit else np.nan,
        "inflation": fit.inflation,
        "note": fit.note,
    }
