"""Every method on one runs table, and what they say as tidy tables."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from scaling.errors import FitError
from scaling.fitting.audit import Audit, audit_laws
from scaling.fitting.coordinates import Constraints
from scaling.fitting.criterion import Objective
from scaling.fitting.envelope import fit_envelope
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.one_variable import fit_LC, fit_LD, fit_LN
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.profile import Profile, profile_parametric
from scaling.fitting.result import LEVEL, Data, Estimate, Fit
from scaling.laws.frontier import FRONTIERS
from scaling.tables.observations import (
    Convention,
    default_convention,
    observations,
    refuse_mixed_objectives,
    refuse_too_few,
    warn_of_oddities,
)
from scaling.tables.runs import load_runs

QUANTITIES = {
    "N_opt": "parameters",
    "D_opt": "tokens",
    "L_opt": "nats/token",
    "tokens_per_param": "tokens/parameter",
}
BOWLS = ("isoflop", "isoflop_power")
UNITS = QUANTITIES | {
    "E": "nats/token",
    "A": "nats/token at N or C of 1",
    "B": "nats/token at D of 1",
    "C_ref": "FLOPs",
    "N_ref": "parameters",
    "D_ref": "tokens",
    "L_ref": "nats/token",
    "L_floor": "nats/token",
}


@dataclass(frozen=True)
class Report:
    """What all methods found.

    Attributes
    ----------
    fits : tuple of Fit
    refusals : tuple of (method, reason)
    convention : Convention
    budgets : tuple of float, FLOPs
    audit : Audit or None
        How well laws predict the largest budgets from the smaller ones; None if it was refused.
    """

    fits: tuple[Fit, ...]
    refusals: tuple[tuple[str, str], ...]
    convention: Convention
    budgets: tuple[float, ...]
    audit: Audit | None = None

    def __getitem__(self, method: str) -> Fit:
        """The fit of a method; KeyError with the refusal if there is none."""
        for fit in self.fits:
            if fit.method == method:
                return fit
        raise KeyError(dict(self.refusals).get(method, f"no method {method!r}"))


def fit_law(
    runs,
    law: str = "chinchilla",
    *,
    columns: dict[str, str] | None = None,
    convention: Convention | None = None,
    residual: str = "log",
    loss: str = "huber",
    huber_delta: float = 1e-3,
    constraints: Constraints | None = None,
    bootstrap: int = 1000,
    kind: str | None = None,
    seed: int = 0,
) -> Fit:
    """Fit one loss law to a runs table: `fit_law("epoch2024").tokens_per_param(5.76e23)`.

    Parameters
    ----------
    runs : path, registry name or DataFrame, as `scaling.tables.runs.load_runs` takes it
    law : str
        Key of `scaling.laws.table.LAWS`.
    columns : dict, their name -> our name, optional
    convention : Convention, optional
        What N and C mean; the table's default if omitted.
    residual : {"log", "linear"}
        ln L_predicted - ln L, or L_predicted - L.
    loss : {"huber", "l1", "mse"}
        Of the residual, summed over the runs.
    huber_delta : float, > 0
        Half-width of the quadratic part of the Huber loss.
    constraints : dict, parameter -> value, or -> the parameter that it equals, optional
        {"beta": "alpha"} or {"E": 1.69}
    bootstrap : int
        Refits for the intervals; 0 for the point estimate alone.
    kind, seed
        As in `scaling.fitting.parametric.fit_parametric`, which documents results and errors.
    """
    obs, shared = _prepared(load_runs(runs, columns), convention)
    fit = fit_parametric(
        obs,
        law=law,
        objective=Objective(residual, loss, huber_delta),
        constraints=constraints,
        convention=shared.convention,
        n_bootstrap=bootstrap,
        kind=kind,
        seed=seed,
        excluded=shared.excluded,
    )
    return replace(fit, data=shared.data)


def profile_law(
    runs,
    name: str,
    law: str = "chinchilla",
    *,
    columns: dict[str, str] | None = None,
    convention: Convention | None = None,
    residual: str = "log",
    loss: str = "huber",
    huber_delta: float = 1e-3,
    constraints: Constraints | None = None,
) -> Profile:
    """Profile likelihood of one parameter: `profile_law("epoch2024", "beta")`.

    For directions in which the objective is flat or lopsided, where a bootstrap's interval says
    little. Parameters as in `fit_law`, result and errors as in
    `scaling.fitting.profile.profile_parametric`.
    """
    obs, _ = _prepared(load_runs(runs, columns), convention)
    objective = Objective(residual, loss, huber_delta)
    return profile_parametric(obs, name, law=law, objective=objective, constraints=constraints)


def fit_all(
    runs: pd.DataFrame,
    curves: pd.DataFrame | None = None,
    *,
    convention: Convention | None = None,
    objective: Objective | None = None,
    n_bootstrap: int = 1000,
    audit: bool = True,
    seed: int = 0,
) -> Report:
    """Fit by every method; a method that refuses never stops the others.

    Parameters
    ----------
    runs : DataFrame, as `scaling.tables.runs.load_runs` returns it
    curves : DataFrame, as `scaling.tables.runs.load_curves` returns it, optional
        For the envelope; without it that uses final losses.
    convention, n_bootstrap, seed
        As in `fit_law`.
    objective : Objective, optional
        Of the parametric fits.
    audit : bool
        Leave out the largest budgets, refit and predict them; see `scaling.fitting.audit`.

    Returns
    -------
    Report with parametric, isoflop, isoflop_power, envelope, kaplan_LC, kaplan_LN, kaplan_LD, or
        their refusals.
    """
    obs, prepared = _prepared(runs, convention)
    common = {"convention": prepared.convention, "n_bootstrap": n_bootstrap, "seed": seed}
    shared: dict[str, Any] = common | {"excluded": prepared.excluded}
    found: dict[str, Fit] = {}
    refusals: dict[str, str] = {}

    def attempt(method: str, fit: Callable[[], Fit]) -> None:
        try:
            found[method] = replace(fit(), data=prepared.data)
        except FitError as error:
            refusals[method] = str(error)

    def derive(method: str, source: str, read: Callable[[Fit], Fit]) -> None:
        if source in found:
            found[method] = read(found[source])
        else:
            refusals[method] = f"it is read off the {source} fit, which was refused"

    attempt("parametric", lambda: fit_parametric(obs, objective=objective, **shared))
    attempt("isoflop", lambda: fit_isoflop(obs, **shared))
    attempt("isoflop_power", lambda: fit_isoflop_power(obs, **shared))
    noise = found["parametric"].bootstrap.noise if "parametric" in found and n_bootstrap else None
    attempt("envelope", lambda: fit_envelope(obs, curves, noise=noise, **shared))
    derive("kaplan_LC", "isoflop", fit_LC)
    derive("kaplan_LN", "parametric", fit_LN)
    derive("kaplan_LD", "parametric", fit_LD)
    audited = None
    if audit:
        try:
            audited = audit_laws(obs, objective=objective, **common)
        except FitError as error:
            refusals["audit"] = str(error)
    budgets = tuple(sorted({float(budget) for budget in obs.budget.dropna()}))
    fits, reasons = tuple(found.values()), tuple(refusals.items())
    return Report(fits, reasons, prepared.convention, budgets, audited)


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
    DataFrame with columns C (FLOPs), method, N_opt (parameters), D_opt (tokens), L_opt
        (nats/token), tokens_per_param, each but the first two with _low and _high, and status.
    """
    table = pd.DataFrame(_long(report, budgets))
    if not len(table):
        return pd.DataFrame(columns=["C", "method", *QUANTITIES, "status"])
    keys = ["C", "method", "status"]
    wide = table.pivot(index=keys, columns="quantity", values=["value", "low", "high"])
    wide.columns = [q if end == "value" else f"{q}_{end}" for end, q in wide.columns]
    order = [q + end for q in QUANTITIES for end in ("", "_low", "_high")]
    return wide.reset_index().reindex(columns=["C", "method", *order, "status"])


def disagreement_table(report: Report, budgets: list[float] | None = None) -> pd.DataFrame:
    """How far the methods are apart at each budget.

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
    """
    if budgets is None:
        budgets = [report.budgets[0], report.budgets[-1], 10 * report.budgets[-1]]
    rows = []
    for C in budgets:
        for quantity in QUANTITIES:
            fits = [fit for fit in report.fits if fit.law in FRONTIERS]
            found = {fit.method: getattr(fit, quantity)(C) for fit in fits}
            if len(found) < 2:
                continue
            low = min(found, key=lambda method: found[method].value)
            high = max(found, key=lambda method: found[method].value)
            row = {"C": C, "quantity": quantity, "lowest": found[low].value, "lowest_method": low}
            row |= {"highest": found[high].value, "highest_method": high}
            row["ratio"] = row["highest"] / row["lowest"]
            ends = [(e.low, e.high) for e in found.values() if np.isfinite(e.low)]
            common = (
                bool(max(low for low, _ in ends) <= min(high for _, high in ends))
                if ends
                else np.nan
            )
            rows.append(row | {"overlap": common})
    return pd.DataFrame(rows)


def fits_table(report: Report) -> pd.DataFrame:
    """Everything a report says, one number a row, in full precision; for fits.csv.

    Returns
    -------
    DataFrame with columns method, law, quantity, C (FLOPs, NaN where it does not apply), value,
        low, high, unit, status, reason, level, and what the fit was made of: objective,
        objective_name, n_runs, n_excluded, N_convention, C_convention, kappa, gamma, bend,
        compute_rms, bootstrap, n_bootstrap, n_converged, start_agreement, gradient_norm,
        note. A refused method is one row of status "refused".
    """
    rows = []
    for fit in report.fits:
        numbers = {name: fit.param(name) for name in fit.params}
        numbers |= fit.exponents() if fit.law in FRONTIERS else {}
        rows += [_row(fit.method, name, np.nan, number) for name, number in numbers.items()]
    table = pd.DataFrame(rows + list(_long(report, None)))
    refused = pd.DataFrame(
        [{"method": m, "status": "refused", "reason": why} for m, why in report.refusals],
        columns=["method", "status", "reason"],
    )
    if not len(table):
        return refused
    described = pd.DataFrame([_description(fit) for fit in report.fits])
    table["of"] = table.method.str.removesuffix("_bowl")
    table = table.merge(described, on="of", how="left").drop(columns="of")
    return pd.concat([table, refused], ignore_index=True) if len(refused) else table


@dataclass(frozen=True)
class _Prepared:
    """What every fit of one table records."""

    convention: Convention
    excluded: tuple[tuple[str, str], ...]
    data: Data


def _prepared(runs: pd.DataFrame, convention: Convention | None) -> tuple[pd.DataFrame, _Prepared]:
    convention = convention or default_convention(runs)
    obs, excluded = observations(runs, convention)
    refuse_mixed_objectives(runs)
    refuse_too_few(runs)
    warn_of_oddities(obs)
    pairs = tuple(zip(excluded.run_id, excluded.reason, strict=True))
    rows = np.ascontiguousarray(obs[["N", "D", "C", "L", "weight"]].to_numpy("<f8"))
    digest = hashlib.sha256(rows.tobytes()).hexdigest()
    data = Data(runs.attrs.get("source", ""), digest, runs.attrs.get("filter", ""))
    return obs, _Prepared(convention, pairs, data)


def _long(report: Report, budgets: list[float] | None) -> Iterator[dict]:
    for fit in [fit for fit in report.fits if fit.law in FRONTIERS]:
        for C in report.budgets if budgets is None else budgets:
            for quantity in QUANTITIES:
                yield _row(fit.method, quantity, C, getattr(fit, quantity)(C))
        if fit.method in BOWLS and budgets is None:
            yield from _bowls(fit)


def _bowls(fit: Fit) -> Iterator[dict]:
    for bowl in fit.minima.to_dict("records"):
        for q in QUANTITIES:
            low, high = (bowl.get(f"{q}_{end}", np.nan) for end in ("low", "high"))
            number = Estimate(bowl[q], low, high, bowl["status"])
            yield _row(f"{fit.method}_bowl", q, bowl["budget"], number)


def _row(method: str, quantity: str, C: float, number: Estimate) -> dict:
    return {
        "method": method,
        "quantity": quantity,
        "C": C,
        "value": number.value,
        "low": number.low,
        "high": number.high,
        "unit": UNITS.get(quantity, ""),
        "status": number.status,
        "level": LEVEL,
    }


def _description(fit: Fit) -> dict:
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
        "start_agreement": fit.start_agreement,
        "gradient_norm": fit.gradient_norm,
        "note": fit.note,
    }
