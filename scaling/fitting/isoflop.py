"""Approach 2: one parabola in ln N per compute budget, and power laws through the minima."""

import numpy as np

from scaling.fitting.bowl import Bowl, BudgetRuns
from scaling.fitting.bowls import BowlKind, fit_bowls
from scaling.fitting.isoflop_power import power_bowls
from scaling.fitting.parabolas import parabolas
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import Fit
from scaling.fitting.settings import DEFAULTS, FitSettings


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
    by more the wider the grid: `scaling.fitting.isoflop_power` does not. How far parabolas miss the
    minima of its bowls is in the intervals, which hold the truth in 90 % of cases at the largest
    budget of the reference's design, against 51 % without.
    """
    return fit_bowls(data, settings, PARABOLA)


def estimate_bias(budgets: list[BudgetRuns], log_L: np.ndarray, weights: np.ndarray) -> list[Bowl]:
    """How far parabolas through the bowls of `isoflop_power` miss the minima of these bowls."""
    known, smooth = power_bowls(budgets, log_L, weights).each, log_L.copy()
    for runs, bowl in zip(budgets, known, strict=True):
        fitted = bowl.log_fitted
        smooth[:, runs.rows] = np.where(np.isfinite(fitted), fitted, log_L[:, runs.rows])
    return [p - b for p, b in zip(parabolas(budgets, smooth, weights).each, known, strict=True)]


PARABOLA = BowlKind(
    "isoflop", "parabola", "the parabola opens downward", parabolas, bias=estimate_bias
)
