"""A law on data as the solver sees it: centred logarithms there, raw parameters here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scaling.fitting.predictors import Formula, PowerSum
from scaling.fitting.solver import Problem
from scaling.laws.table import Law, Term

TERM_SHARE = (1e-4, 10.0)  # bounds of one term at the centre of the data, in typical losses
INNER_SHARE = (1e-8, 1e4)  # the same where the sum is raised to a power
INNER_EXPONENT = (0.02, 50.0)
START_SHARES = (1.0, 8.0)  # parts of the typical loss, before they are made to sum to one
START_EXPONENTS = (0.05, 1.5)
START_INNER = (0.2, 5.0)
Constraints = Mapping[str, float | str]


def coordinates(
    obs: pd.DataFrame, law: Law, residual: str = "log", constraints: Constraints | None = None
) -> "PowerCoordinates | FormulaCoordinates":
    """Centred coordinates for a sum of power terms, logarithms of the parameters for the rest.

    Parameters
    ----------
    obs : DataFrame with the law's variables, its target and weight
    law : Law
    residual : {"log", "linear"}
    constraints : dict, parameter -> value, or -> the parameter that it equals

    Raises
    ------
    ValueError
        A constraint names no parameter of the law, ties other than two exponents, or leaves
        nothing free.
    """
    constraints = dict(constraints or {})
    _check(law, constraints)
    if isinstance(other := constraints.get(law.outer), str):
        del constraints[law.outer]
        constraints[other] = law.outer
    if law.function is None and _is_linear(law, constraints):
        return PowerCoordinates.of(obs, law, residual, constraints)
    return FormulaCoordinates.of(obs, law, residual, constraints)


def _check(law: Law, constraints: Constraints) -> None:
    for name, to in constraints.items():
        if name not in law.params:
            raise ValueError(f"cannot constrain {name!r}: {law.formula} has {[*law.params]}")
        if isinstance(to, str):
            if to not in law.params or law.params[to].is_scale or law.params[name].is_scale:
                raise ValueError(f"cannot tie {name!r} to {to!r}: only two exponents can be equal")
            if to in constraints or to == name:
                raise ValueError(f"cannot tie {name!r} to {to!r}, which is constrained itself")
        elif not law.params[name].lower <= to <= law.params[name].upper or not np.isfinite(to):
            raise ValueError(
                f"cannot fix {name}={to}: it lies outside of "
                f"{law.params[name].lower:g} .. {law.params[name].upper:g}"
            )
    if set(law.params) == set(constraints):
        raise ValueError(f"constraints leave no parameter of {law.formula} free")


def _is_linear(law: Law, constraints: Constraints) -> bool:
    """Whether the constraints stay linear in the solver's coordinates of a power sum."""
    fixed = {name for name, to in constraints.items() if not isinstance(to, str)}
    return not law.outer or not fixed or law.outer in fixed


def target_of(obs: pd.DataFrame, law: Law) -> np.ndarray:
    """Logarithm of what the law predicts, one per run."""
    return np.log(obs[law.target].to_numpy(float))


@dataclass(frozen=True)
class _Base:
    law: Law
    constraints: dict[str, float | str]
    free: list[str]
    problem: Problem
    loss_centre: float

    @property
    def unit(self) -> float:
        """Nats/token of a residual of 1 where it is linear; 1 for a logarithm."""
        return float(np.exp(self.loss_centre)) if self.problem.exponential else 1.0

    def with_data(self, log_L: np.ndarray, weights: np.ndarray) -> Problem:
        """Return the same problem on other losses, shape (rows,) or (batch, rows)."""
        target = _scaled_target(log_L, self.loss_centre, self.problem.exponential)
        return replace(self.problem, target=target, weights=weights)

    def predict(self, theta: np.ndarray) -> np.ndarray:
        """Logarithm of the prediction, one per run."""
        return self.problem.model.forward(theta[None])[0][0] + self.loss_centre

    def on_bound(self, theta: np.ndarray) -> list[str]:
        """Names of the parameters that ended on a bound."""
        low, high = theta <= self.problem.lower + 1e-6, theta >= self.problem.upper - 1e-6
        return [name for name, hit in zip(self.free, low | high, strict=True) if hit]


def _spread(dimensions: int, n: int) -> np.ndarray:
    """Sobol points in the unit cube, `n` rounded up to a power of two."""
    from scipy.stats import qmc  # here, so that `import scaling` stays fast

    return qmc.Sobol(dimensions, scramble=False).random_base2(int(np.ceil(np.log2(n))))


def _scaled_target(log_L, centre, exponential):
    return np.exp(log_L - centre) if exponential else log_L - centre


# ---------------------------------------------------------------- sums of power terms


@dataclass(frozen=True)
class PowerCoordinates(_Base):
    """Every term's logarithm at the centre of the data, and exponents, both over s.

    Attributes
    ----------
    centre : dict, variable -> mean of its logarithm
    s : float or None
        The power of the whole sum where it is fixed (1 for a plain sum), None where it is fitted.
    """

    centre: dict[str, float]
    s: float | None

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
        design = np.zeros((len(law.terms), len(obs), len(free)))
        offset = np.zeros((len(law.terms), len(obs)))
        for t, term in enumerate(law.terms):
            x = logs.get(term.variable, np.zeros(len(obs)))
            level, height = _level(term, constraints, centre, loss_centre, s)
            slope = level - x  # of the term's logarithm over s, in the exponent over s
            exponent = constraints.get(term.exponent, term.exponent)
            offset[t] += height
            if term.coefficient in free:
                design[t, :, free.index(term.coefficient)] = 1.0
            if exponent == law.outer and law.outer and s is None:
                offset[t] += slope
            elif isinstance(exponent, str) and exponent:
                design[t, :, free.index(exponent)] += slope
            elif exponent:
                offset[t] += slope * exponent / (s or 1.0)
        outer = free.index(law.outer) if s is None else None
        exponential = residual == "linear"
        lower, upper = _bounds(law, free, s).T
        problem = Problem(
            PowerSum(design, offset, outer, s or 1.0),
            _scaled_target(log_L, loss_centre, exponential),
            obs.weight.to_numpy(float),
            lower,
            upper,
            exponential,
        )
        return cls(law, constraints, free, problem, loss_centre, centre, s)

    def starts(self, n: int) -> np.ndarray:
        """Sobol points: shares of the loss among the terms, exponents from 0.05 to 1.5."""
        u = _spread(len(self.free), n)
        inner = START_INNER if self.law.outer else START_EXPONENTS
        low, high = (
            np.log(np.array(ends))
            for ends in zip(START_SHARES, inner, START_EXPONENTS, strict=True)
        )
        scales = np.array([self.law.params[name].is_scale for name in self.free])
        kind = np.where(scales, 0, np.where(np.array(self.free) == self.law.outer, 2, 1))
        logs = low[kind] + u * (high - low)[kind]
        total = np.log(np.exp(logs[:, scales]).sum(1, keepdims=True)) if scales.any() else 0.0
        return np.where(scales, logs - total, np.exp(logs))

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
        for term in self.law.terms:
            found[term.coefficient] = self._coefficient(term, found, given, s) * whole
        return pd.DataFrame({name: found[name] for name in self.law.params})

    def _coefficient(self, term: Term, found, given, s):
        if term.coefficient not in given:
            return float(self.constraints[term.coefficient])
        height = s * given[term.coefficient] + self.loss_centre
        if not term.variable:
            return np.exp(height)
        centre = self.centre[term.variable]
        exponent = found[term.exponent]
        with np.errstate(over="ignore"):
            return np.exp(
                height / exponent + centre if term.is_ratio else height + exponent * centre
            )

    def theta(self, params: pd.DataFrame) -> np.ndarray:
        """Inverse of `raw`."""
        params = params.astype(float)
        s = params[self.law.outer] if self.law.outer else 1.0
        found = {name: params[name] / (1.0 if name == self.law.outer else s) for name in self.free}
        for term in self.law.terms:
            if term.coefficient in found:
                height = np.log(params[term.coefficient])
                if term.variable:
                    centre, exponent = self.centre[term.variable], params[term.exponent]
                    height = height * exponent if term.is_ratio else height
                    height = height - exponent * centre
                found[term.coefficient] = (height - self.loss_centre) / s
        return np.stack([found[name].to_numpy() for name in self.free], axis=1)


def _level(term: Term, constraints, centre, loss_centre, s) -> tuple[float, float]:
    """Where the term's logarithm over s turns around its exponent, and its height there."""
    fixed = constraints.get(term.coefficient)
    if fixed is None:
        return centre.get(term.variable, 0.0), 0.0
    if term.is_ratio:
        return np.log(fixed), -loss_centre / s
    return 0.0, (np.log(fixed) - loss_centre) / s


def _bounds(law: Law, free: list[str], s: float | None) -> np.ndarray:
    bounds = []
    for name in free:
        parameter = law.params[name]
        if parameter.is_scale:
            bounds.append(np.log(INNER_SHARE if law.outer else TERM_SHARE))
        elif s is None and name != law.outer:
            bounds.append(INNER_EXPONENT)
        else:
            scale = 1.0 if s is None else s
            bounds.append((parameter.lower / scale, parameter.upper / scale))
    return np.array(bounds, float)


# ---------------------------------------------------------------- any other formula


@dataclass(frozen=True)
class FormulaCoordinates(_Base):
    """Logarithms of the scales and plain exponents, of any law that takes complex numbers.

    Attributes
    ----------
    guesses : DataFrame
        Starting values of some parameters, one row per guess, from a simpler law.
    """

    guesses: pd.DataFrame

    @classmethod
    def of(cls, obs: pd.DataFrame, law: Law, residual: str, constraints) -> "FormulaCoordinates":
        """Wrap the law's formula; `coordinates` documents the arguments."""
        free = [name for name in law.params if name not in constraints]
        scales = np.array([law.params[name].is_scale for name in free])
        variables = {v: obs[v].to_numpy(float) for v in law.variables}
        log_L = target_of(obs, law)
        loss_centre = float(log_L.mean())

        def predict(theta, kept):
            given = {
                name: np.exp(column) if scale else column
                for name, column, scale in zip(free, theta.transpose(1, 0, 2), scales, strict=True)
            }
            params = given | {n: given.get(to, to) for n, to in constraints.items()}
            return (
                np.log(law.loss(params, **{v: x[kept] for v, x in variables.items()})) - loss_centre
            )

        bounds = np.array(
            [(-np.inf, np.inf) if law.params[n].is_scale else law.params[n][1:3] for n in free]
        )
        exponential = residual == "linear"
        lower, upper = bounds.T
        problem = Problem(
            Formula(predict, np.arange(len(obs))),
            _scaled_target(log_L, loss_centre, exponential),
            obs.weight.to_numpy(float),
            lower,
            upper,
            exponential,
        )
        return cls(law, dict(constraints), free, problem, loss_centre, pd.DataFrame())

    def on_bound(self, theta: np.ndarray) -> list[str]:
        """Names of the parameters that ended on a bound, or that the runs do not depend on."""
        model = self.problem.model
        ones = np.ones((1, model.rows))
        _, hessian = model.contract(model.forward(theta[None])[1], ones, ones, exact=False)
        idle = np.sqrt(np.diag(hessian[0])) <= TERM_SHARE[0]
        hit = {*super().on_bound(theta), *np.array(self.free)[idle]}
        return [name for name in self.free if name in hit]

    def starts(self, n: int) -> np.ndarray:
        """Sobol points over the ranges in which the law's parameters are expected."""
        u = _spread(len(self.free), n)
        ends = np.log([self.law.params[name].start for name in self.free])
        logs = ends[:, 0] + u * (ends[:, 1] - ends[:, 0])
        scales = [self.law.params[name].is_scale for name in self.free]
        starts = np.where(scales, logs, np.exp(logs))
        for k, name in enumerate(self.free):
            if name in self.guesses:
                guess = self.guesses[name].to_numpy()[np.arange(len(u)) % len(self.guesses)]
                starts[:, k] = np.log(guess) if scales[k] else guess
        return starts

    def raw(self, theta: np.ndarray) -> pd.DataFrame:
        """Parameters of the law in raw units, one row per row of theta."""
        given = {
            name: np.exp(column) if self.law.params[name].is_scale else column
            for name, column in zip(self.free, theta.T, strict=True)
        }
        whole = np.ones(len(theta))
        tied = {
            name: (given[to] if isinstance(to, str) else to) * whole
            for name, to in self.constraints.items()
        }
        return pd.DataFrame({name: (given | tied)[name] for name in self.law.params})

    def theta(self, params: pd.DataFrame) -> np.ndarray:
        """Inverse of `raw`."""
        columns = [
            np.log(params[name]) if self.law.params[name].is_scale else params[name]
            for name in self.free
        ]
        return np.stack([np.asarray(column, float) for column in columns], axis=1)
