"""Profile likelihood: how far one parameter can go while the others follow."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.fitting.coordinates import Constraints, coordinates
from scaling.fitting.criterion import Criterion, root_weights
from scaling.fitting.estimate import LEVEL, Estimate
from scaling.fitting.parametric import fit_parametric, objective_at, residuals_of
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import Fit
from scaling.fitting.settings import DEFAULTS, FitSettings
from scaling.fitting.solver import solve
from scaling.laws.law import Parameter
from scaling.laws.table import get_law

FURTHEST = 1e6  # times a scale's value: where a search gives up and the interval is open
FIRST_STEP = 0.02  # of the parameter's logarithm, or of the scale of what may be negative
SMALLEST_STEP = 1e-9
TOLERANCE = 1e-4  # of an end, likewise


@dataclass(frozen=True)
class Profile:
    """The profile of one parameter.

    Attributes
    ----------
    name : str
    estimate : Estimate
        Point estimate and the interval in which the objective stays below `cutoff`. An end that
        the data do not set is 0, infinite or the parameter's bound, and the status "at_bound"; of
        runs without noise both ends are NaN.
    table : DataFrame
        One row per value tried, ascending: the parameter, all others at their best, objective.
    objective : float
        At the optimum.
    cutoff : float

    Examples
    --------
    `runs` of help(scaling), whose beta is 0.3, with noise of about 0.2 %:

    >>> noisy = runs.assign(loss=runs.loss * ([1.002, 0.998, 1.001] * 5))
    >>> profile = scaling.profile_law(noisy, "beta", loss="mse")
    >>> f"beta from {profile.estimate.low:.2f} to {profile.estimate.high:.2f}"
    'beta from 0.27 to 0.31'
    """

    name: str
    estimate: Estimate
    table: pd.DataFrame
    objective: float
    cutoff: float

    def __repr__(self) -> str:
        return f"profile of {self.name}: {self.estimate!r}, from {len(self.table)} fits"


def profile_parametric(
    data: Prepared,
    name: str,
    criterion: Criterion = DEFAULTS.criterion,
    *,
    law: str = "chinchilla",
    constraints: Constraints | None = None,
) -> Profile:
    """Fix one parameter at values around its estimate and fit the others again.

    Parameters as in `scaling.fitting.parametric.fit_parametric`, and the `name` of a free parameter
    of the law.

    Returns
    -------
    Profile

    Raises
    ------
    ValueError
        The law has no such parameter, or a constraint sets it.

    Notes
    -----
    The interval holds the values at which the objective exceeds its minimum by at most
    F(1, n - p) kappa / 2, with kappa = sum of psi^2 / (n - p) over the mean of psi', psi the
    derivative of the robust loss: the likelihood-ratio interval for least squares, and its robust
    counterpart (Heritier and Ronchetti 1994) otherwise. Where few residuals are inside of delta,
    the mean of psi' comes from the density of the residuals around zero. Rows of one training run
    count as independent: with many rows a run, trust the bootstrap instead.
    """
    obs, form, constraints = data.obs, get_law(law), dict(constraints or {})
    if name not in form.params or name in constraints:
        free = [n for n in form.params if n not in constraints]
        raise ValueError(f"cannot profile {name!r} of {form.formula}; it is free in {free}")
    best = fit_parametric(
        data, FitSettings(criterion, bootstrap=0), law=law, constraints=constraints
    )
    cutoff = best.objective + _allow_excess(obs, best, criterion)
    tried: list[dict] = [{**best.params, "objective": best.objective}]
    axis = _Axis.of(best.params[name], form.params[name])

    def excess(step: float) -> float:
        value = axis.at(step)
        fixed = constraints | {name: value}
        params = {n: fixed.get(to, to) if isinstance(to, str) else to for n, to in fixed.items()}
        if set(fixed) != set(form.params):
            where = coordinates(obs, form, criterion.residual, fixed)
            nearest = min(tried, key=lambda row: abs(axis.step_to(row[name]) - step))
            starts = [where.theta(pd.DataFrame([row])) for row in (nearest, tried[0])]
            deltas = criterion.deltas(where.unit, warm=True)
            found = solve(where.problem, np.concatenate(starts), deltas)
            params = where.raw(found.theta[[np.argmin(found.objective)]]).iloc[0].to_dict()
        objective = objective_at(obs, params, law=law, criterion=criterion)
        tried.append(params | {"objective": objective})
        return objective - cutoff

    (low, low_open), (high, high_open) = (_find_end(excess, axis, limit) for limit in axis.limits)
    status = "at_bound" if (low_open or high_open) and best.status == "ok" else best.status
    table = pd.DataFrame(tried).sort_values(name, ignore_index=True)
    estimate = Estimate(best.params[name], low, high, status)
    return Profile(name, estimate, table, best.objective, cutoff)


@dataclass(frozen=True)
class _Axis:
    """Steps away from a value: of its logarithm, or in `scale` of what may be negative.

    limits are the steps at which a search gives up, ends what is then reported.
    """

    value: float
    scale: float | None
    limits: tuple[float, float]
    ends: tuple[float, float]

    @classmethod
    def of(cls, value: float, parameter: Parameter) -> "_Axis":
        ends = parameter.lower, parameter.upper
        if ends == (-np.inf, np.inf):
            scale = max(abs(value), float(np.ptp(parameter.start)))
            return cls(value, scale, (-FURTHEST, FURTHEST), ends)
        if parameter.is_scale:
            return cls(value, None, (-np.log(FURTHEST), np.log(FURTHEST)), ends)
        low, high = (float(np.log(end / value)) for end in ends)
        return cls(value, None, (low, high), ends)

    def at(self, step: float) -> float:
        return float(
            self.value * np.exp(step) if self.scale is None else self.value + step * self.scale
        )

    def step_to(self, value: float) -> float:
        if self.scale is None:
            return float(np.log(value / self.value))
        return (value - self.value) / self.scale


def _find_end(excess, axis: _Axis, limit: float) -> tuple[float, bool]:
    """Where the excess crosses zero on the way to the limit, and whether it does not."""
    inside, step = np.copysign(SMALLEST_STEP, limit), np.copysign(FIRST_STEP, limit)
    if excess(inside) > 0:  # no noise: nothing sets an end
        return float("nan"), False
    while abs(step) < abs(limit) and excess(step) <= 0:
        inside, step = step, 2 * step
    if abs(step) >= abs(limit):
        if excess(limit) <= 0:
            return axis.ends[int(limit > 0)], True
        step = limit
    from scipy.optimize import root_scalar  # here, so that `import scaling` stays fast

    found = root_scalar(excess, bracket=(inside, step), xtol=TOLERANCE)
    return axis.at(found.root), False


def _allow_excess(obs: pd.DataFrame, best: Fit, criterion: Criterion) -> float:
    from scipy.special import fdtri  # here, so that `import scaling` stays fast

    residuals = residuals_of(obs, get_law(best.law), best.params, criterion)
    residuals = residuals * root_weights(obs.weight.to_numpy(float))
    spare = max(len(obs) - len(best.params) + len(best.constraints), 1)
    psi = np.sign(residuals) if criterion.loss == "l1" else criterion.score(residuals)
    kappa = (psi**2).sum() / spare / _mean_curvature(residuals, criterion)
    return float(fdtri(1, spare, LEVEL) * kappa / 2)


def _mean_curvature(residuals: np.ndarray, criterion: Criterion) -> float:
    """Mean of psi', from the share of residuals inside of delta or their density at zero."""
    if criterion.loss == "mse":
        return 1.0
    size = np.abs(residuals)
    spread = np.median(size) / 0.6745
    width = max(criterion.delta, 0.8 * spread * len(size) ** -0.2, np.finfo(float).tiny)
    inside = max((size <= width).mean(), 1 / len(size))
    unit = 1.0 if criterion.loss == "l1" else criterion.delta
    return inside if width == criterion.delta else inside / width * unit
