"""Approach 2: one parabola in ln N per compute budget, and power laws through the minima."""

import numpy as np

from scaling.fitting.bowls import Bowl, BowlKind, Bowls, BudgetRuns, fit_bowls
from scaling.fitting.lines import line
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import Fit
from scaling.fitting.settings import DEFAULTS, FitSettings

LEVEL = 1e-12  # depth of a bowl, in losses, whose sign is rounding


def fit_isoflop(data: Prepared, settings: FitSettings = DEFAULTS) -> Fit:
    """Fit L = a + b ln N + c (ln N)^2 per budget; results and errors as in `fit_bowls`.

    References
    ----------
    Hoffmann et al. 2022, arXiv:2203.15556, section 3.2.

    Notes
    -----
    Runs of one budget never spend exactly the same C. Each loss is moved to the nominal budget
    along d ln L / d ln C of the first pass's minima, which is exact to first order at the minimum
    (envelope theorem). D_opt is the budget over the runs' own C/D, interpolated at N_opt.

    A bowl is skewed where alpha differs from beta, and a symmetric curve then misses its minimum
    by more the wider the grid: `scaling.fitting.isoflop_power` does not, and its intervals cover.
    """
    return fit_bowls(data, settings, PARABOLA)


def parabolas(budgets: list[BudgetRuns], log_L: np.ndarray, weights: np.ndarray) -> Bowls:
    """One parabola per budget and data set, its losses moved to the nominal budget."""
    slope = np.zeros(len(log_L))
    bowls = [_bowl(b, log_L, weights, slope) for b in budgets]
    log_C = np.log([b.budget for b in budgets])
    slope = np.nan_to_num(line(log_C, np.stack([b.log_L for b in bowls], axis=1))[1])
    return Bowls([_bowl(b, log_L, weights, slope) for b in budgets])


PARABOLA = BowlKind("isoflop", "parabola", "the parabola opens downward", parabolas)


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
    log_N = middle + half * at
    return Bowl(log_N, runs.log_tokens(log_N), log_min, c / half**2, fitted + off_budget)


def _least_squares(X: np.ndarray, L: np.ndarray, weights: np.ndarray) -> np.ndarray:
    normal = np.einsum("kn,ni,nj->kij", weights, X, X)
    right = np.einsum("kn,ni->ki", weights * L, X)
    solvable = np.linalg.det(normal) > 1e-9 * np.trace(normal, axis1=1, axis2=2) ** 3
    normal = np.where(solvable[:, None, None], normal, np.eye(3))
    found = np.linalg.solve(normal, np.broadcast_to(right, (len(normal), 3))[:, :, None])[:, :, 0]
    return np.where(solvable[:, None], found, np.nan)
