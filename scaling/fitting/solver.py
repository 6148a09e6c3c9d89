"""Robust fits of sums of power terms, vectorised over starts and resamples.

The one numerical engine of `scaling.fitting`: a damped Newton method with the exact Hessian of the
Huber objective, run on a whole batch of problems at once.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

BLOCK = 2**16  # batch x rows handled at a time: the working arrays stay in the cache
TOLERANCE = 1e-10  # largest projected gradient of objective/delta, per unit of weight
CONVERGED = 1e-6  # the same where rounding stops the descent, and before the last stage
STUCK = 1e12  # damping at which no step helps any more


@dataclass(frozen=True)
class Problem:
    """Residuals r = log(sum_t exp(design_t @ theta)) - target, and where theta may lie.

    Attributes
    ----------
    design : array, shape (terms, rows, parameters)
    target : array, shape (rows,) or (batch, rows)
    weights : array, shape (rows,) or (batch, rows), >= 0
    lower, upper : array, shape (parameters,)
    """

    design: np.ndarray
    target: np.ndarray
    weights: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True)
class Solution:
    """One row per member of the batch.

    Attributes
    ----------
    theta : array, shape (batch, parameters)
    objective : array, shape (batch,), sum of weights * Huber(r)
    gradient : array, shape (batch,)
        Largest projected derivative of objective/delta, per unit of weight.
    converged : array of bool, shape (batch,)
    """

    theta: np.ndarray
    objective: np.ndarray
    gradient: np.ndarray
    converged: np.ndarray


def solve(
    problem: Problem,
    starts: np.ndarray,
    deltas: tuple[float, ...],
    *,
    max_iter: int = 200,
) -> Solution:
    """Minimise sum_i weight_i * Huber(r_i; delta) from every start.

    Parameters
    ----------
    problem : Problem
    starts : array, shape (batch, parameters)
    deltas : tuple of float, decreasing, > 0
        Graduated: each stage starts where the one before it ended. Only the last one is polished
        to `TOLERANCE`. Stages that stop short of an optimum leave starts behind: at 1e-3 instead
        of `CONVERGED`, 71-80 % instead of all reach it on Gemstones' tables.
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
    """
    rows, batch = problem.design.shape[1], len(starts)
    size = max(1, BLOCK // rows)
    target = np.broadcast_to(problem.target, (batch, rows))
    weights = np.broadcast_to(problem.weights, (batch, rows))
    blocks = [slice(i, i + size) for i in range(0, batch, size)]
    parts = [
        _solve_block(_Block(problem, target[b], weights[b]), starts[b], deltas, max_iter)
        for b in blocks
    ]
    return Solution(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class _Block:
    """A batch small enough for the cache; evaluates objective, gradient and Hessian."""

    def __init__(self, problem: Problem, target: np.ndarray, weights: np.ndarray):
        self.problem, self.target, self.weights = problem, target, weights
        self.total = weights.sum(1)
        terms, rows, self.p = problem.design.shape
        self.transposed = problem.design.transpose(0, 2, 1)
        self.pairs = []
        for t, u in combinations_with_replacement(range(terms), 2):
            outer = problem.design[t][:, :, None] * problem.design[u][:, None, :]
            outer = outer if t == u else outer + outer.transpose(0, 2, 1)
            outer = outer.reshape(rows, -1)
            used = np.flatnonzero(outer.any(0))
            self.pairs.append((t, u, used, np.ascontiguousarray(outer[:, used])))

    def __call__(self, theta, delta, members):
        target, weights = self.target[members], self.weights[members]
        z = np.matmul(theta, self.transposed)
        top = z.max(0)
        share = np.exp(z - top)
        total = share.sum(0)
        share /= total
        r = top + np.log(total) - target
        clipped = np.clip(r, -delta, delta)
        value = (weights * clipped * (r - 0.5 * clipped)).sum(1)
        psi = weights * clipped
        slope = sum((psi * s) @ X for s, X in zip(share, self.problem.design, strict=True))
        core = np.where(clipped == r, weights, 0.0) - psi
        hessian = np.zeros((len(theta), self.p * self.p))
        for t, u, used, outer in self.pairs:
            mix = core * share[t] * share[u]
            hessian[:, used] += (mix + psi * share[t] if t == u else mix) @ outer
        return value / delta, slope / delta, hessian.reshape(-1, self.p, self.p) / delta


def _solve_block(block: _Block, starts, deltas, max_iter):
    *rougher, last = deltas
    theta = np.clip(starts, block.problem.lower, block.problem.upper)
    for delta in rougher:
        theta = _newton(block, theta, delta, CONVERGED, max_iter)[0]
    theta, value, gradient, converged = _newton(block, theta, last, TOLERANCE, max_iter)
    return theta, value * last, gradient, converged


def _newton(block: _Block, theta, delta, tolerance, max_iter):
    lower, upper = block.problem.lower, block.problem.upper
    theta = theta.copy()
    value, slope, hessian = block(theta, delta, np.arange(len(theta)))
    damping = np.full(len(theta), 1e-3)
    gradient = np.full(len(theta), np.inf)
    for _ in range(max_iter):
        free = ~(((theta <= lower) & (slope > 0)) | ((theta >= upper) & (slope < 0)))
        gradient = np.abs(np.where(free, slope, 0)).max(1) / block.total
        on = np.flatnonzero((gradient > tolerance) & (damping < STUCK))
        if not len(on):
            break
        step = _damped_step(slope[on], hessian[on], free[on], damping[on] * block.total[on])
        trial = np.clip(theta[on] + step, lower, upper)
        new = block(trial, delta, on)
        better = new[0] < value[on]
        won = on[better]
        theta[won] = trial[better]
        for kept, found in zip((value, slope, hessian), new, strict=True):
            kept[won] = found[better]
        damping[on] = np.maximum(damping[on] * np.where(better, 0.1, 4.0), 1e-14)
    return theta, value, gradient, gradient <= CONVERGED


def _damped_step(slope, hessian, free, damping):
    both = free[:, :, None] & free[:, None, :]
    values, vectors = np.linalg.eigh(np.where(both, hessian, 0.0))
    projected = np.einsum("kij,ki->kj", vectors, np.where(free, slope, 0.0))
    return -np.einsum("kij,kj->ki", vectors, projected / (np.abs(values) + damping[:, None]))
