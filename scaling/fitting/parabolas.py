"""One parabola in ln N per compute budget, for many data sets at once."""

import numpy as np

from scaling.fitting.bowl import Bowl, BudgetRuns, spread_of_minimum
from scaling.fitting.bowls import Bowls
from scaling.fitting.lines import line

LEVEL = 1e-12  # depth of a bowl, in losses, whose sign is rounding


def parabolas(budgets: list[BudgetRuns], log_L: np.ndarray, weights: np.ndarray) -> Bowls:
    """One parabola per budget and data set, its losses moved to the nominal budget."""
    slope = np.zeros(len(log_L))
    bowls = [_bowl(b, log_L, weights, slope) for b in budgets]
    log_C = np.log([b.budget for b in budgets])
    slope = np.nan_to_num(line(log_C, np.stack([b.log_L for b in bowls], axis=1))[1])
    return Bowls([_bowl(b, log_L, weights, slope) for b in budgets])


def _bowl(runs: BudgetRuns, log_L, weights, slope) -> Bowl:
    sets = max(len(log_L), len(weights))
    if runs.refusal:
        return Bowl.absent(sets)
    off_budget = slope[:, None] * (runs.log_C - np.log(runs.budget))
    L = np.exp(log_L[:, runs.rows] - off_budget)
    middle, half = runs.log_N.mean(), np.ptp(runs.log_N) / 2
    x = (runs.log_N - middle) / half
    X = np.stack([np.ones_like(x), x, x * x], axis=1)
    coefficients = _least_squares(X, L, np.broadcast_to(weights[:, runs.rows], (sets, len(x))))
    a, b, c = coefficients.T
    c = np.where(np.abs(c) > LEVEL * np.abs(a), c, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.where(c > 0, -b / (2 * c), np.nan)
        log_min = np.log(np.where(c > 0, a - b * b / (4 * c), np.nan))
        fitted = np.log(coefficients @ X.T)
    log_N, curvature = middle + half * at, c / half**2
    slopes = np.array([0.0, 1.0, 2 * at[0]]) / half
    root = np.sqrt(weights[0, runs.rows])[:, None]
    spread = spread_of_minimum(root * X, slopes, curvature[0], log_min[0])
    log_D = runs.log_tokens(log_N)
    return Bowl(log_N, log_D, log_min, curvature, fitted + off_budget, spread)


def _least_squares(X: np.ndarray, L: np.ndarray, weights: np.ndarray) -> np.ndarray:
    normal = np.einsum("kn,ni,nj->kij", weights, X, X)
    right = np.einsum("kn,ni->ki", weights * L, X)
    solvable = np.linalg.det(normal) > 1e-9 * np.trace(normal, axis1=1, axis2=2) ** 3
    normal = np.where(solvable[:, None, None], normal, np.eye(3))
    found = np.linalg.solve(normal, np.broadcast_to(right, (len(normal), 3))[:, :, None])[:, :, 0]
    return np.where(solvable[:, None], found, np.nan)
