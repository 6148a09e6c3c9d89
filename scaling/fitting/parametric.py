"""Approach 3: one loss law fitted to all runs at once, robustly."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from scaling.errors import FitError
from scaling.fitting.bootstrap import resample
from scaling.fitting.coordinates import (
    Constraints,
    FormulaCoordinates,
    PowerCoordinates,
    coordinates,
)
from scaling.fitting.criterion import Criterion
from scaling.fitting.diagnosis import (
    Diagnosis,
    condition_number,
    explain_unidentified,
    lack_of_fit,
)
from scaling.fitting.origin import Bootstrap
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import Fit, Status
from scaling.fitting.settings import DEFAULTS, FitSettings
from scaling.fitting.solver import Solution, objective, solve
from scaling.laws.law import Law
from scaling.laws.table import get_law

N_STARTS = 256
FEWER_STARTS = 64  # of a law that is no sum of power terms
DIRECT = 16  # of them that skip least squares
SCANNED = 8  # values of a scanned parameter
AGREE = 1e-6  # relative difference of objectives that count as one optimum
FLAT = 1e-9  # abs(r) per run that does, where the objective itself is zero


def fit_parametric(
    data: Prepared,
    settings: FitSettings = DEFAULTS,
    *,
    law: str = "chinchilla",
    constraints: Constraints | None = None,
    n_starts: int | pd.DataFrame | None = None,
) -> Fit:
    """Minimise the summed robust loss of the residuals over all runs, from many starts.

    sum_i Huber(sqrt(w_i) (ln L_predicted(N_i, D_i) - ln L_i); 1e-3), unless told otherwise, w_i
    being the weight 1/variance of a run over the mean weight

    Parameters
    ----------
    data : Prepared
    settings : FitSettings
        Refits start from the point estimate; `scaling.fitting.bootstrap.default_kind` of bootstrap.
    law : str
        Key of `scaling.laws.table.LAWS`.
    constraints : dict, parameter -> value, or -> the parameter that it equals, optional
        {"beta": "alpha"} ties two exponents, {"E": 1.69} fixes a value in raw units.
    n_starts : int, or DataFrame with one column per parameter
        How many spread-out starts, rounded up to a power of two, 256 of a sum of power terms and 64
        of another law if omitted; or the starts, in raw units.

    Returns
    -------
    Fit; "at_bound" when a term vanishes or an exponent ends on its bound, "not_converged" when a
        further step promises a lower objective, "not_identified" (without intervals) when other
        parameters give the same losses, "rejected" when the runs contradict the law.

    Raises
    ------
    ValueError
        The law or a constraint is unknown or impossible, or the observations lack a variable of
        the law.
    FitError
        No more runs than parameters, fewer than three values of a variable, or a parameter that
        overflows.

    References
    ----------
    Hoffmann et al. 2022, arXiv:2203.15556, section 3.3.

    Notes
    -----
    Hoffmann et al. minimise with L-BFGS from a grid of 4,500 starts, which stops early; here ln N,
    ln D and ln L are centred and a Newton method goes down a ladder of delta, from least squares,
    so that most starts meet in one optimum; those that met go on as one.
    """
    obs, form, criterion = data.obs, get_law(law), settings.criterion
    constraints = dict(constraints or {})
    _refuse(obs, form, constraints)
    _refuse_starts(n_starts, form)
    where = _locate(obs, form, criterion, constraints)
    found = _search(where, n_starts, criterion)
    values = found.objective
    best = int(np.argmin(values))
    small = FLAT if criterion.loss == "mse" else criterion.delta / where.unit
    flat = FLAT * len(obs) * small
    agree = values <= values[best] + AGREE * values[best] + flat
    theta = found.theta[best]
    hit = where.on_bound(theta)
    params = {name: float(v) for name, v in where.raw(theta[None]).iloc[0].items()}
    weights = obs.weight.to_numpy(float)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        in_logs = residuals_of(obs, form, params)
    _refuse_overflow(params, in_logs, form)
    lack = None
    if form.target == "L" and {"N", "C"} <= {*obs.columns}:
        plain = (criterion.residual, criterion.loss) == ("log", "mse")  # least squares already
        least = None if plain else _least_squares(obs, form, where, theta, constraints)
        lack = lack_of_fit(in_logs, obs, len(theta), data.noise, least=least)
    condition = condition_number(where.squared_jacobian(theta))
    status, reason = _judge_optimum(hit, found, best)
    if status == "ok":
        reason = explain_unidentified(obs, form, params, constraints, data.compute, condition)
        status = "not_identified" if reason else "ok"
    if status == "ok" and lack is not None and lack.rejected:
        status, reason = "rejected", lack.describe()
    if status == "not_identified":  # refits would stay at one of several optima
        settings = replace(settings, bootstrap=0)
    draws, bootstrap = _refit(obs, where, theta, settings)
    return data.fit(
        method="parametric",
        law=law,
        params=params,
        status=status,
        reason=reason,
        objective=objective_at(obs, params, law=law, criterion=criterion),
        objective_name=criterion.describe(),
        constraints=constraints,
        n_runs=len(obs),
        draws=draws,
        bootstrap=bootstrap,
        diagnosis=Diagnosis(
            start_agreement=float(agree.mean()),
            gradient_norm=float(found.gradient[best]),
            bounds_hit=tuple(hit),
            residuals=tuple((in_logs * np.sqrt(weights / weights.mean())).tolist()),
            lack_of_fit=lack,
            condition=condition,
        ),
    )


def residuals_of(
    obs: pd.DataFrame, law: Law, params, criterion: Criterion = DEFAULTS.criterion
) -> np.ndarray:
    """Residuals of the given parameters, one per run, in the unit of the criterion."""
    predicted = law.loss(params, **{v: obs[v].to_numpy(float) for v in law.variables})
    observed = obs[law.target].to_numpy(float)
    if criterion.residual == "log":
        return np.log(predicted) - np.log(observed)
    return predicted - observed


def objective_at(
    obs: pd.DataFrame,
    params,
    *,
    law: str = "chinchilla",
    criterion: Criterion = DEFAULTS.criterion,
) -> float:
    """Value of the objective at given parameters, for instance somebody else's."""
    residuals = residuals_of(obs, get_law(law), params, criterion)
    return criterion.sum(residuals, obs.weight.to_numpy(float))


def _search(where, n_starts: int | pd.DataFrame | None, criterion: Criterion) -> Solution:
    """Descend from all starts; of a law that is no sum of power terms, from the best once more.

    All starts of a ladder may meet where least squares lead and follow it into one basin of the
    robust loss. Those which are lowest under the robust loss itself descend from where they are.
    """
    deltas, is_sum = criterion.deltas(where.unit), isinstance(where, PowerCoordinates)
    if isinstance(n_starts, pd.DataFrame):
        return solve(where.problem, where.theta(n_starts), deltas, merge=True)
    starts = where.starts(n_starts or (N_STARTS if is_sum else FEWER_STARTS))
    found = solve(where.problem, starts, deltas, merge=True)
    if is_sum or criterion.loss == "mse":
        return found
    values = [objective(where.problem, theta, deltas[-1]) for theta in starts]
    lowest = np.argsort(values)[:DIRECT]
    direct = solve(where.problem, starts[lowest], criterion.deltas(where.unit, warm=True))
    better = direct.objective < found.objective[lowest]
    which = np.arange(len(starts))
    which[lowest[better]] = len(starts) + np.flatnonzero(better)
    return found.join(direct).take(which)


def _locate(obs, law: Law, criterion: Criterion, constraints: Constraints):
    where = coordinates(obs, law, criterion.residual, constraints)
    if isinstance(where, FormulaCoordinates) and (law.simpler or law.terms):
        guesses = [*_guess_starts(obs, law, criterion, constraints)]
        return where.guessed_from(pd.concat(guesses, ignore_index=True)) if guesses else where
    return where


def _guess_starts(obs, law: Law, criterion: Criterion, constraints) -> Iterator[pd.DataFrame]:
    """Fit a simpler law first, or a sum of power terms without the constraints.

    Once for each value of the parameter that the law scans, which then stands in the guess.
    """
    simpler = get_law(law.simpler) if law.simpler else law
    known = {*simpler.params} if law.simpler and not law.local else set()
    kept = {
        name: to
        for name, to in constraints.items()
        if name in known and (not isinstance(to, str) or to in known)
    }
    if set(kept) == set(simpler.params):
        return
    obs = obs if "S_min" in obs or "S" not in obs else obs.assign(S_min=obs.S)
    scanned: list[dict] = [{}]
    if law.scanned:
        at = constraints.get(law.scanned)
        values = np.geomspace(*law.params[law.scanned].start, SCANNED) if at is None else [at]
        scanned = [{law.scanned: float(value)} for value in values]
    for given in scanned:
        columns = law.simplified(**given, **obs[[*law.variables]]) if law.simplified else {}
        where = coordinates(obs.assign(**columns), simpler, criterion.residual, kept)
        starts = where.starts(N_STARTS // len(scanned))
        deltas = criterion.deltas(where.unit)[: 2 if law.scanned else None]
        found = solve(where.problem, starts, deltas, merge=True)
        yield where.raw(found.theta[[np.argmin(found.objective)]]).assign(**given)


def _refuse(obs: pd.DataFrame, law: Law, constraints: Constraints) -> None:
    needed = [*law.variables, law.target]
    if lacking := [name for name in needed if name not in obs]:
        raise ValueError(
            f"{law.formula} needs columns {lacking}, which the observations lack: {[*obs.columns]}"
        )
    free = len(law.params) - len(constraints)
    if len(obs) <= free:
        raise FitError(f"{free} parameters of {law.formula} need more than {len(obs)} runs")
    for symbol in law.variables:
        if (values := len(np.unique(obs[symbol]))) < 3 and _is_free(symbol, law, constraints):
            raise FitError(
                f"{law.formula} needs at least 3 values of {symbol}, the runs have {values}; "
                f"train more values of {symbol}"
            )


def _refuse_starts(n_starts: int | pd.DataFrame | None, law: Law) -> None:
    if n_starts is None:
        return
    if isinstance(n_starts, int):
        if n_starts < 1:
            raise ValueError(f"n_starts must be at least 1, got {n_starts}")
    elif lacking := [name for name in law.params if name not in n_starts]:
        raise ValueError(f"the starts lack columns {lacking} of {law.formula}")


def _refuse_overflow(params: dict[str, float], residuals: np.ndarray, law: Law) -> None:
    beyond = [name for name, value in params.items() if not np.isfinite(value)]
    if beyond or not np.isfinite(residuals).all():  # finite parameters too may give no loss
        raise FitError(
            f"{', '.join(beyond) or 'a term'} of {law.formula} left the range of numbers: the "
            "runs cannot tell its parameters apart; fit a law with fewer"
        )


def _is_free(symbol: str, law: Law, constraints: Constraints) -> bool:
    """Whether an exponent of this variable is left to the data."""
    return any(
        symbol in variables and name not in constraints
        for term in law.terms
        for name, variables in term.powers.items()
    )


def _judge_optimum(hit: list[str], found: Solution, best: int) -> tuple[Status, str]:
    if hit:
        return "at_bound", f"{', '.join(hit)} ended on a bound or idle: the runs do not identify it"
    if not found.converged[best]:
        gradient = f"{found.gradient[best]:.1e}"
        return "not_converged", f"a further step promises a lower objective; gradient {gradient}"
    return "ok", ""


def _least_squares(obs, law: Law, where, theta, constraints: Constraints) -> np.ndarray:
    """Residuals of ln L at the least-squares fit next to theta."""
    if where.problem.exponential:
        raw = where.raw(theta[None])
        where = coordinates(obs, law, "log", constraints)
        theta = where.theta(raw)[0]
    found = solve(where.problem, theta[None], (np.inf,))
    return where.predict(found.theta[0]) - np.log(obs[law.target].to_numpy(float))


def _refit(obs, where, theta, settings: FitSettings) -> tuple[pd.DataFrame, Bootstrap]:
    if not (n := settings.bootstrap):
        return pd.DataFrame(), Bootstrap()
    runs, rng = obs.assign(L=obs[where.law.target]), np.random.default_rng(settings.seed)
    plan = resample(runs, where.predict(theta), len(theta), n, rng, settings.kind)
    problem = where.with_data(plan.target, plan.counts)
    deltas = settings.criterion.deltas(where.unit, warm=True)
    found = solve(problem, np.tile(theta, (n, 1)), deltas)
    kept = found.converged
    return where.raw(found.theta[kept]), Bootstrap(plan.kind, n, int(kept.sum()), plan.noise)
