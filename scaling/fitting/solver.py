"""Robust fits of loss laws, vectorised over starts and resamples.

The one numerical engine of `scaling.fitting`: a damped Newton method with the exact Hessian of the
Huber objective, run on a whole batch of problems at once.
"""

from dataclasses import dataclass, replace

import numpy as np

from scaling.fitting.predictors import Predictor

BLOCK = 2**16  # batch x rows handled at a time: the working arrays stay in the cache
COARSE = 64  # rows on which many starts descend first
APART = 16  # starts that do not, in case those rows mislead: 6 of 600 wild tables, then none
TOLERANCE = 1e-10  # largest projected gradient of objective/delta, per unit of weight
COARSER = 1e-6  # the same before the last stage
NEGLIGIBLE = 1e-6  # share of the objective: a step that promises less need not be taken
ROUNDING = 32 * np.finfo(float).eps  # of a residual, in sizes of what it is the difference of
DAMPING = 1e-14  # least of a step, per unit of weight
STUCK = 1e10  # damping, in curvatures of a row inside delta, at which no step helps any more
SQUARES = 1e-2  # stands for delta in tolerances where delta is infinite
RELATIVE_PIVOT = 1e-12  # of a diagonal entry, below which a Hessian counts as indefinite
TINY = 1e-300
SAME_POINT = 1e-5  # distance of starts, relative to 1 + abs(theta), that have met


@dataclass(frozen=True)
class Problem:
    """Residuals r = f(theta) - target, or exp(f(theta)) - target, and where theta may lie.

    The objective is the sum of weights * Huber(scale * r): a weight of two is a run counted twice,
    a scale of two one of half the noise.

    Attributes
    ----------
    model : Predictor
    target : array, shape (rows,) or (batch, rows)
    weights : array, shape (rows,) or (batch, rows), >= 0
    lower, upper : array, shape (parameters,)
    exponential : bool
        Whether the residual is that of exp(f).
    scale : array, shape (rows,), or 1
        1/sd of each run up to a unit.
    """

    model: Predictor
    target: np.ndarray
    weights: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    exponential: bool = False
    scale: np.ndarray | float = 1.0

    def rough(self) -> "Problem":
        """Return the same problem without logarithms, on at most 64 of its rows."""
        kept = np.sort(np.random.default_rng(0).permutation(self.model.rows)[:COARSE])
        target = self.target[kept] if self.exponential else np.exp(self.target[kept])
        parts = {"model": self.model.subset(kept), "target": target, "weights": self.weights[kept]}
        parts |= {"scale": self.scale[kept] if isinstance(self.scale, np.ndarray) else self.scale}
        return replace(self, exponential=True, **parts)


@dataclass(frozen=True)
class Solution:
    """One row per member of the batch.

    Attributes
    ----------
    theta : array, shape (batch, parameters)
    objective : array, shape (batch,), sum of weights * Huber(scale * r)
    gradient : array, shape (batch,)
        Largest projected derivative of objective/delta, per unit of weight.
    converged : array of bool, shape (batch,)
        Whether the gradient is below `TOLERANCE`, or a Newton step from there promises to lower the
        objective by no more than `NEGLIGIBLE` of it and its own rounding.
    """

    theta: np.ndarray
    objective: np.ndarray
    gradient: np.ndarray
    converged: np.ndarray

    def join(self, other: "Solution") -> "Solution":
        """Return the members of both."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Solution(*(np.concatenate(pair) for pair in pairs))

    def take(self, rows: np.ndarray) -> "Solution":
        """Return these members, in this order."""
        return Solution(
            self.theta[rows], self.objective[rows], self.gradient[rows], self.converged[rows]
        )


def solve(
    problem: Problem,
    starts: np.ndarray,
    deltas: tuple[float, ...],
    *,
    merge: bool = False,
    max_iter: int = 200,
) -> Solution:
    """Minimise sum_i weight_i * Huber(scale_i * r_i; delta) from every start.

    Parameters
    ----------
    problem : Problem
    starts : array, shape (batch, parameters)
    deltas : tuple of float, decreasing, > 0; infinite for least squares
        Graduated: each stage starts where the one before it ended. Only the last one is polished
        to `TOLERANCE`. Stages that stop short of an optimum leave starts behind: at 1e-3 instead
        of `COARSER`, 71-80 % instead of all reach it on Gemstones' tables.
    merge : bool
        For many starts of one and the same problem: all but a few descend on 64 of its rows
        first, and those that meet in one point go on as one.
    max_iter : int
        Newton steps per stage.

    Returns
    -------
    Solution

    Notes
    -----
    Huber(r) = r**2/2 for abs(r) <= delta, else delta*(abs(r) - delta/2). Its Hessian counts the
    rows inside delta only, so that a step solves the active piece exactly (Madsen and
    Nielsen 1990).

    The first descent of many starts is a Gauss-Newton one of L itself, in the terms' sizes instead
    of their logarithms: L is linear in them, and no start gets lost where a term has vanished.
    """
    with np.errstate(all="ignore"):  # far from the data a law may overflow; such steps are refused
        return _descend(problem, starts, deltas, merge, max_iter)


def _descend(problem: Problem, starts, deltas, merge, max_iter) -> Solution:
    theta = np.clip(starts, problem.lower, problem.upper)
    follows = np.arange(len(theta))
    if merge:
        apart = np.unique(np.linspace(0, len(theta) - 1, APART).astype(int))
        began = theta[apart]
        rough = problem.rough()
        theta, follows = _met(_stage(rough, theta, np.inf, COARSER, max_iter, exact=False).theta)
        follows[apart] = len(theta) + np.arange(len(apart))
        theta = np.concatenate([theta, began])
    for delta in deltas[:-1]:
        theta = _stage(problem, theta, delta, COARSER, max_iter).theta
        if merge:
            theta, joined = _met(theta)
            follows = joined[follows]
    return _stage(problem, theta, deltas[-1], TOLERANCE, max_iter).take(follows)


def objective(problem: Problem, theta: np.ndarray, delta: float) -> float:
    """Sum of weights * Huber(scale * r; delta) at one theta."""
    block = _Block(problem, problem.target[None], problem.weights[None])
    return float(block(theta[None], delta, np.arange(1))[0][0])


def _met(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct points, and which of them each start has reached."""
    kept: list[np.ndarray] = []
    joined = np.full(len(theta), -1)
    for i in range(len(theta)):
        if joined[i] < 0:
            near = np.abs(theta - theta[i]) <= SAME_POINT * (1 + np.abs(theta[i]))
            joined[near.all(1) & (joined < 0)] = len(kept)
            kept.append(theta[i])
    return np.array(kept), joined


def _stage(problem: Problem, theta, delta, tolerance, max_iter, exact=True) -> Solution:
    rows, batch = problem.model.rows, len(theta)
    size = max(1, BLOCK // rows)
    target = np.broadcast_to(problem.target, (batch, rows))
    weights = np.broadcast_to(problem.weights, (batch, rows))
    parts = []
    for i in range(0, batch, size):
        part = slice(i, i + size)
        block = _Block(problem, target[part], weights[part])
        parts.append(_newton(block, theta[part], delta, tolerance, max_iter, exact))
    return Solution(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class _Block:
    """A batch small enough for the cache; evaluates objective, gradient and Hessian."""

    def __init__(self, problem: Problem, target: np.ndarray, weights: np.ndarray):
        self.problem, self.target, self.weights = problem, target, weights
        self.total = weights.sum(1)

    def __call__(self, theta, delta, members, exact=True):
        weights = self.weights[members]
        f, state = self.problem.model.forward(theta)
        predicted = np.exp(f) if self.problem.exponential else f
        scale = self.problem.scale
        r = predicted - self.target[members]
        r = r * scale if isinstance(scale, np.ndarray) else r
        clipped = np.clip(r, -delta, delta)
        psi = weights * clipped
        value = (psi * (r - 0.5 * clipped)).sum(1)
        active = np.where(clipped == r, weights, 0.0)
        if isinstance(scale, np.ndarray):
            active, psi = active * scale**2, psi * scale
        if self.problem.exponential:
            active, psi = (active * predicted + psi * exact) * predicted, psi * predicted
        return value, *self.problem.model.contract(state, active, psi, exact)

    def free(self, theta, slope):
        """Entries of theta that no bound holds back."""
        lower, upper = self.problem.lower, self.problem.upper
        return ~(((theta <= lower) & (slope > 0)) | ((theta >= upper) & (slope < 0)))

    def rounding(self, theta, members):
        """Residuals, and what their last digits may be wrong by, both of shape (batch, rows)."""
        f, target = self.problem.model.forward(theta)[0], self.target[members]
        predicted = np.exp(f) if self.problem.exponential else f
        size = (1 + np.abs(f)) * (predicted if self.problem.exponential else 1.0)
        scale = self.problem.scale
        return (predicted - target) * scale, ROUNDING * (size + np.abs(target)) * scale


def _newton(block: _Block, theta, delta, tolerance, max_iter, exact=True):
    lower, upper = block.problem.lower, block.problem.upper
    theta, unit = theta.copy(), delta if np.isfinite(delta) else SQUARES
    value, slope, hessian = (v / unit for v in block(theta, delta, np.arange(len(theta)), exact))
    damping, growth = np.full(len(theta), 1e-3), np.full(len(theta), 2.0)
    gradient = np.full(len(theta), np.inf)
    for steps in range(max_iter + 1):
        free = block.free(theta, slope)
        gradient = np.abs(np.where(free, slope, 0)).max(1) / block.total
        on = np.flatnonzero((gradient > tolerance) & (damping < STUCK / unit))
        if not len(on) or steps == max_iter:
            break
        at = theta[on], slope[on], hessian[on], free[on]
        step, inverse, _ = _model_step(block, *at, damping[on] * block.total[on], exact)
        grown = np.log(np.maximum(1 + step * inverse, TINY))
        moved = np.where(block.problem.model.coefficients, grown, step)
        trial = np.clip(theta[on] + moved, lower, upper)
        new = [v / unit for v in block(trial, delta, on, exact)]
        better = new[0] < value[on]
        won = on[better]
        theta[won] = trial[better]
        for kept, found in zip((value, slope, hessian), new, strict=True):
            kept[won] = found[better]
        damping[on] = np.maximum(damping[on] * np.where(better, 0.1, growth[on]), DAMPING)
        growth[on] = np.where(better, 2.0, 2.0 * growth[on])
    converged = gradient <= tolerance
    rest = np.flatnonzero(~converged)
    converged[rest] = _promises_nothing(block, theta[rest], delta, rest)
    return theta, value * unit, gradient, converged


def _promises_nothing(block: _Block, theta, delta, members) -> np.ndarray:
    """Whether a Newton step would lower the objective by nothing but rounding, or next to nothing.

    A gradient cannot tell: where rows are fitted exactly it is their rounding over delta.
    """
    r, error = block.rounding(theta, members)
    width = np.maximum(delta, error.max(1))  # within rounding, it is chance which rows lie inside
    value, slope, hessian = block(theta, width[:, None], members)
    error = np.minimum(error, width[:, None])
    clipped = np.minimum(np.abs(r), width[:, None])
    floor = (block.weights[members] * (clipped + error / 2) * error).sum(1)
    unit = np.where(np.isfinite(width), width, SQUARES)
    damping = DAMPING * block.total[members] * unit
    free = block.free(theta, slope)
    promised = _model_step(block, theta, slope, hessian, free, damping)[2]
    return promised <= NEGLIGIBLE * value + floor


def _model_step(block: _Block, theta, slope, hessian, free, damping, exact=True):
    """Damped step in the size that a coefficient has, one over that, and the promised decrease."""
    sizes = block.problem.model.coefficients
    inverse = np.where(sizes, np.exp(-theta), 1.0)
    bent = hessian * inverse[:, :, None] * inverse[:, None, :]
    if exact:
        i = np.flatnonzero(sizes)
        bent[:, i, i] -= (slope * inverse**2)[:, i]
    step = _damped_step(slope * inverse, bent, free, damping)
    return step, inverse, -(slope * inverse * step).sum(1) / 2


def _damped_step(slope, hessian, free, damping):
    """Newton's step where the damped Hessian is positive definite, else along its eigenvectors."""
    both = free[:, :, None] & free[:, None, :]
    hessian, slope = np.where(both, hessian, 0.0), np.where(free, slope, 0.0)
    step, definite = _definite_step(slope, hessian, damping)
    if not definite.all():
        rest = ~definite
        known = np.nan_to_num(hessian[rest], nan=0.0, posinf=0.0, neginf=0.0)
        values, vectors = np.linalg.eigh(known)
        along = np.einsum("kij,ki->kj", vectors, slope[rest])
        along /= np.abs(values) + damping[rest, None]
        step[rest] = -np.einsum("kij,kj->ki", vectors, along)
    return step


def _definite_step(slope, hessian, damping):
    """Solve all small systems at once by L D L'; false where D is not positive."""
    p = slope.shape[1]
    rows = np.array(hessian.transpose(1, 2, 0), order="C")  # a copy, for a batch of one too
    diagonal = rows[np.arange(p), np.arange(p)] + damping
    floor = RELATIVE_PIVOT * diagonal
    step, definite = -slope.T, np.ones(len(slope), bool)
    for j in range(p):
        definite &= diagonal[j] > floor[j]
        for i in range(j + 1, p):
            factor = rows[i, j] / diagonal[j]
            diagonal[i] -= factor * rows[i, j]
            for k in range(i + 1, p):
                rows[k, i] -= factor * rows[k, j]
            step[i] -= factor * step[j]
            rows[i, j] = factor
    for j in reversed(range(p)):
        step[j] /= diagonal[j]
        for i in range(j + 1, p):
            step[j] -= rows[i, j] * step[i]
    return step.T, definite & np.isfinite(step).all(0)
