"""Approach 2: one parabola in ln N per compute budget, and power laws through the minima."""

import numpy as np
import pandas as pd

from scaling.fitting.bowls import Bowl, Bowls, Group, Shape, fit_bowls
from scaling.fitting.lines import line
from scaling.fitting.result import Fit
from scaling.tables.observations import Convention

LEVEL = 1e-12  # depth of a bowl, in losses, whose sign is rounding


def fit_isoflop(
    obs: pd.DataFrame,
    *,
    convention: Convention | None = None,
    n_bootstrap: int = 1000,
    kind: str | None = None,
    seed: int = 0,
    excluded: tuple[tuple[str, str], ...] = (),
) -> Fit:
    """Fit L = a + b ln N + c (ln N)^2 per budget, then N_opt, D_opt, L_opt over C.

    Parameters
    ----------
    obs : DataFrame, as `scaling.tables.observations.observations` returns it
    convention, seed, excluded
        As in `scaling.fitting.parametric.fit_parametric`.
    n_bootstrap : int, >= 0
        Refits of all parabolas and lines.
    kind : {"seed", "wild", "pairs"}, optional
        Kind of bootstrap; seed noise if omitted: never pairs,
        which leave out whole sizes of a bowl.

    Returns
    -------
    Fit of law "power_frontier". `minima` has one row per budget: budget (FLOPs), N_opt, D_opt,
        L_opt, tokens_per_param, their _low and _high if resampled, n_runs, curvature, status,
        reason. A parabola that opens downward is "no_minimum", a minimum outside of
        the sampled sizes "extrapolated"; neither enters the power laws.

    Raises
    ------
    FitError
        Fewer than two budgets with an interior minimum; says why of each.

    References
    ----------
    Hoffmann et al. 2022, arXiv:2203.15556, section 3.2.

    Notes
    -----
    Runs of one budget never spend exactly the same C. Each loss is moved to the nominal budget
    along d ln L / d ln C of the first pass's minima, which is exact to first order at the minimum
    (envelope theorem). D_opt is the budget over the group's own C/D, interpolated at N_opt.

    A bowl is skewed where alpha differs from beta, and a symmetric curve then misses its minimum
    by more the wider the grid: `scaling.fitting.isoflop_power` does not, and its intervals cover.
    """
    return fit_bowls(obs, PARABOLA, convention, n_bootstrap, kind, seed, excluded)


def parabolas(groups: list[Group], log_L: np.ndarray, weights: np.ndarray) -> Bowls:
    """One parabola per group and data set, its losses moved to the nominal budget."""
    slope = np.zeros(len(log_L))
    bowls = [_bowl(g, log_L, weights, slope) for g in groups]
    log_C = np.log([g.budget for g in groups])
    slope = np.nan_to_num(line(log_C, np.stack([b.log_L for b in bowls], axis=1))[1])
    return Bowls([_bowl(g, log_L, weights, slope) for g in groups])


PARABOLA = Shape("isoflop", "parabola", "the parabola opens downward", parabolas)


def _bowl(group: Group, log_L, weights, slope) -> Bowl:
    sets = max(len(log_L), len(weights))
    if group.refusal:
        return Bowl.absent(sets)
    off_budget = slope[:, None] * (group.log_C - np.log(group.budget))
    L = np.exp(log_L[:, group.rows] - off_budget)
    middle, half = group.log_N.mean(), np.ptp(group.log_N) / 2
    x = (group.log_N - middle) / half
    coefficients = _parabola(x, L, np.broadcast_to(weights[:, group.rows], (sets, len(x))))
    a, b, c = coefficients.T
    c = np.where(np.abs(c) > LEVEL * np.abs(a), c, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.where(c > 0, -b / (2 * c), np.nan)
        log_min = np.log(np.where(c > 0, a - b * b / (4 * c), np.nan))
        fitted = np.log(coefficients @ np.stack([np.ones_like(x), x, x * x]))
    log_N = middle + half * at
    return Bowl(log_N, group.log_tokens(log_N), log_min, c / half**2, fitted + off_budget)


def _parabola(x: np.ndarray, L: np.ndarray, weights: np.ndarray) -> np.ndarray:
    X = np.stack([np.ones_like(x), x, x * x], axis=1)
    normal = np.einsum("kn,ni,nj->kij", weights, X, X)
    right = np.einsum("kn,ni->ki", weights * L, X)
    solvable = np.linalg.det(normal) > 1e-9 * np.trace(normal, axis1=1, axis2=2) ** 3
    normal = np.where(solvable[:, None, None], normal, np.eye(3))
    found = np.linalg.solve(normal, np.broadcast_to(right, (len(normal), 3))[:, :, None])[:, :, 0]
    return np.where(solvable[:, None], found, np.nan)
