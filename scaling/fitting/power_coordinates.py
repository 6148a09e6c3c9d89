"""Sums of power terms as the solver sees them: every term's logarithm at the centre of the data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scaling.fitting.criterion import root_weights
from scaling.fitting.predictors import PowerSum, Predictor
from scaling.fitting.solver import Problem
from scaling.laws.law import Law, Term

TERM_SHARE = (1e-4, 10.0)  # bounds of one term at the centre of the data, in typical losses
INNER_SHARE = (1e-8, 1e4)  # the same where the sum is raised to a power
INNER_EXPONENT = (0.02, 50.0)
LOCAL_EXPONENT = (0.005, 3.0)  # at the centre of the data, of an exponent that varies
START_SHARES = (1.0, 8.0)  # parts of the typical loss, before they are made to sum to one
START_EXPONENTS = (0.05, 1.5)
START_INNER = (0.2, 5.0)
Constraints = Mapping[str, float | str]


def target_of(obs: pd.DataFrame, law: Law) -> np.ndarray:
    """Logarithm of what the law predicts, one per run."""
    return np.log(obs[law.target].to_numpy(float))


@dataclass(frozen=True)
class Coordinates:
    """What both kinds of coordinates have in common: theta, one entry per free parameter.

    Attributes
    ----------
    law : Law
    constraints : dict, parameter -> value, or -> the parameter that it equals
    free : list of str
        Parameters that theta stands for, in its order.
    problem : Problem
    loss_centre : float
        Mean logarithm of the target, which theta is free of.
    """

    law: Law
    constraints: dict[str, float | str]
    free: list[str]
    problem: Problem
    loss_centre: float

    @property
    def unit(self) -> float:
        """Nats/token of a residual of 1 where it is linear; 1 for a logarithm."""
        return float(np.exp(self.loss_centre)) if self.problem.exponential else 1.0

    def with_data(self, log_L: np.ndarray, counts: np.ndarray) -> Problem:
        """Return the same problem on other losses, each run counted so often.

        Both of shape (rows,) or (batch, rows).
        """
        target = scale_target(log_L, self.loss_centre, self.problem.exponential)
        return replace(self.problem, target=target, weights=counts)

    def predict(self, theta: np.ndarray) -> np.ndarray:
        """Logarithm of the prediction, one per run."""
        return self.problem.model.forward(theta[None])[0][0] + self.loss_centre

    def squared_jacobian(self, theta: np.ndarray) -> np.ndarray:
        """J'J of the logarithm of the prediction in theta."""
        model = self.problem.model
        ones = np.ones((1, model.rows))
        return model.contract(model.forward(theta[None])[1], ones, ones, exact=False)[1][0]

    def on_bound(self, theta: np.ndarray) -> list[str]:
        """Names of the parameters that ended on a bound."""
        low, high = theta <= self.problem.lower + 1e-6, theta >= self.problem.upper - 1e-6
        return [name for name, hit in zip(self.free, low | high, strict=True) if hit]


def spread_out(dimensions: int, n: int) -> np.ndarray:
    """Sobol points in the unit cube, `n` rounded up to a power of two."""
    from scipy.stats import qmc  # here, so that `import scaling` stays fast

    return qmc.Sobol(dimensions, scramble=False).random_base2(int(np.ceil(np.log2(n))))


def scale_target(log_L, centre, exponential):
    """Target of the solver, from logarithms."""
    return np.exp(log_L - centre) if exponential else log_L - centre


def pose(model: Predictor, obs: pd.DataFrame, centred: np.ndarray, bounds, residual) -> Problem:
    """What the solver is given: the centred logarithms of the target, every run counted once."""
    lower, upper = np.array(bounds, float).T
    exponential = residual == "linear"
    target = scale_target(centred, 0.0, exponential)
    roots = root_weights(obs.weight.to_numpy(float))
    return Problem(model, target, np.ones(len(obs)), lower, upper, exponential, roots)


@dataclass(frozen=True)
class PowerCoordinates(Coordinates):
    """Every term's logarithm at the centre of the data, and exponents, both over s.

    Attributes
    ----------
    centre : dict, variable -> mean of its logarithm
    s : float or None
        The power of the whole sum where it is fixed (1 for a plain sum), None where it is fitted.
    shifts : dict, (exponent, local exponent) -> factor
        A bend moves the exponents at the centre: local = raw + sum of factor * bend.
    """

    centre: dict[str, float]
    s: float | None
    shifts: dict[tuple[str, str], float]

    @classmethod
    def of(cls, obs: pd.DataFrame, law: Law, residual: str, constraints) -> "PowerCoordinates":
        """Build design, offsets and bounds; `coordinates` documents the arguments."""
        logs = {v: np.log(obs[v].to_numpy(float)) for v in law.variables}
        centre = {v: float(x.mean()) for v, x in logs.items()}
        log_L = target_of(obs, law)
        loss_centre = float(log_L.mean())
        s = 1.0 if not law.outer else constraints.get(law.outer)
        s = None if s is None or isinstance(s, str) else float(s)
        free = [name for name in law.params if name not in constraints]
        shifts = _find_shifts(law, constraints, centre)
        design = np.zeros((len(law.terms), len(obs), len(free)))
        offset = np.zeros((len(law.terms), len(obs)))
        for t, term in enumerate(law.terms):
            if (fixed := constraints.get(term.coefficient)) is None:
                design[t, :, free.index(term.coefficient)] = 1.0
            else:
                height = 0.0 if term.is_ratio else np.log(fixed)
                offset[t] += (height - loss_centre) / (s or 1.0)
            for name in term.powers:  # slope: of the term's logarithm over s, in the exponent
                slope = _slope(name, term, logs, centre, fixed, shifts)
                exponent = constraints.get(name, name)
                if exponent == law.outer and law.outer and s is None:
                    offset[t] += slope
                elif isinstance(exponent, str):
                    design[t, :, free.index(exponent)] += slope
                else:
                    offset[t] += slope * exponent / (s or 1.0)
        local = {to for _, to in shifts if not law.params[to].is_signed}
        model = PowerSum(design, offset, free.index(law.outer) if s is None else None, s or 1.0)
        problem = pose(model, obs, log_L - loss_centre, _bounds(law, free, s, local), residual)
        return cls(law, constraints, free, problem, loss_centre, centre, s, shifts)

    def starts(self, n: int) -> np.ndarray:
        """Sobol points: shares of the loss among the terms, exponents from 0.05 to 1.5."""
        u = spread_out(len(self.free), n)
        kind = np.array([_kind(name, self.law) for name in self.free])
        inner = START_INNER if self.law.outer else START_EXPONENTS
        ends = np.log([START_SHARES, START_EXPONENTS, inner, (1.0, 1.0)])[kind]
        logs = ends[:, 0] + u * (ends[:, 1] - ends[:, 0])
        scales, signed = kind == SHARE, kind == SIGNED
        total = np.log(np.exp(logs[:, scales]).sum(1, keepdims=True)) if scales.any() else 0.0
        starts = np.where(scales, logs - total, np.exp(logs))
        low, high = np.array([self.law.params[name].start for name in self.free]).T
        return np.where(signed, low + u * (high - low), starts)

    def raw(self, theta: np.ndarray) -> pd.DataFrame:
        """Parameters of the law in raw units, one row per row of theta."""
        given = dict(zip(self.free, theta.T, strict=True))
        s = self.s if self.s is not None else given[self.law.outer]
        whole = np.ones(len(theta))
        found = {}
        for name in self.law.params:
            to = self.constraints.get(name, name)
            if not self.law.params[name].is_scale:
                scale = 1.0 if to == self.law.outer else s
                value = given[to] * scale if isinstance(to, str) else to
                found[name] = whole * value
        for (bend, local), factor in self.shifts.items():
            found[local] = found[local] - factor * found[bend]
        for term in self.law.terms:
            found[term.coefficient] = self._coefficient(term, found, given, s) * whole
        return pd.DataFrame({name: found[name] for name in self.law.params})

    def _coefficient(self, term: Term, found, given, s):
        if term.coefficient not in given:
            return float(self.constraints[term.coefficient])
        height = s * given[term.coefficient] + self.loss_centre
        with np.errstate(over="ignore"):
            for name, variables in term.powers.items():
                centre, exponent = self._centre(variables), found[name]
                height = height / exponent + centre if term.is_ratio else height + exponent * centre
            return np.exp(height)

    def theta(self, params: pd.DataFrame) -> np.ndarray:
        """Inverse of `raw`."""
        params = params.astype(float)
        s = params[self.law.outer] if self.law.outer else 1.0
        found = {name: params[name] / (1.0 if name == self.law.outer else s) for name in self.free}
        for (bend, local), factor in self.shifts.items():
            found[local] = found[local] + factor * params[bend]
        for term in self.law.terms:
            if term.coefficient in found:
                height = np.log(params[term.coefficient])
                for name, variables in term.powers.items():
                    height = height * params[name] if term.is_ratio else height
                    height = height - params[name] * self._centre(variables)
                found[term.coefficient] = (height - self.loss_centre) / s
        return np.stack([found[name].to_numpy() for name in self.free], axis=1)

    def _centre(self, variables: tuple[str, ...]) -> float:
        return float(np.prod([self.centre[v] for v in variables]))


def _find_shifts(law: Law, constraints, centre) -> dict[tuple[str, str], float]:
    """Exponents that are fitted at the centre of the data, and what each bend adds to them there.

    An exponent that is given, or shared with another term, stays what it is in raw units.
    """
    used = [constraints.get(name, name) for term in law.terms for name in term.powers]
    shifts: dict[tuple[str, str], float] = {}
    for term in law.terms:
        if term.coefficient in constraints:
            continue
        local = {
            variables[0]: name
            for name, variables in term.powers.items()
            if len(variables) == 1 and name not in constraints and used.count(name) == 1
        }
        for bend, variables in term.powers.items():
            if len(variables) == 2:
                for v, other in (variables, variables[::-1]):
                    if v in local:
                        key = bend, local[v]
                        shifts[key] = shifts.get(key, 0.0) + centre[other]
    return shifts


def _slope(name: str, term: Term, logs, centre, fixed, shifts) -> np.ndarray:
    """Derivative of the term's logarithm in one of its exponents, which other ones follow."""
    first, *others = term.powers[name]
    if fixed is not None and term.is_ratio:
        return np.log(fixed) - logs[first]
    level = 0.0 if fixed is not None else centre[first]
    if not others:
        return level - logs[first]
    slope = -logs[first] * logs[others[0]]
    if fixed is not None:
        return slope
    slope += centre[first] * centre[others[0]]
    for local, (v, *more) in term.powers.items():
        if not more:
            slope += shifts.get((name, local), 0.0) * (logs[v] - centre[v])
    return slope


SHARE, OUTER, EXPONENT, SIGNED = range(4)  # kinds of parameters


def _kind(name: str, law: Law) -> int:
    parameter = law.params[name]
    if parameter.is_scale:
        return SHARE
    if parameter.is_signed:
        return SIGNED
    return OUTER if name == law.outer else EXPONENT


def _bounds(law: Law, free: list[str], s: float | None, local) -> np.ndarray:
    bounds = []
    for name in free:
        parameter, kind = law.params[name], _kind(name, law)
        if kind == SHARE:
            bounds.append(np.log(INNER_SHARE if law.outer else TERM_SHARE))
        elif s is None and kind == EXPONENT:
            bounds.append(INNER_EXPONENT)
        elif name in local:
            bounds.append(LOCAL_EXPONENT)
        else:
            scale = 1.0 if s is None else s
            bounds.append((parameter.lower / scale, parameter.upper / scale))
    return np.array(bounds, float)
