"""One budget: its runs, and the bowl of their losses over size."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scaling.laws.frontier import QUANTITIES
from scaling.quantities import count

OWN = 3  # coefficients of one budget's bowl
MIN_SIZES = OWN + 1  # three determine a bowl; the fourth can contradict it
MAX_SPREAD = 1.5  # largest C over smallest C that still is one budget
WIDE = 120.0  # largest over smallest size from which on no one curve follows the whole bowl
WINDOW = 4.0  # sizes within this factor of the lowest run are fitted then
BIAS_SHARES = (0.0, 0.5, 1.0, 1.5)  # of an estimated bias, in the draws: it is known to a half


@dataclass(frozen=True)
class BudgetRuns:
    """The runs of one budget (FLOPs): their places in obs, logarithms, and why not to fit them.

    Of a budget whose sizes span more than x120 only those within x4 of the lowest run, and at
    least the `MIN_SIZES` nearest to it; `cut` is how many runs are left out.
    """

    budget: float
    rows: np.ndarray
    log_N: np.ndarray
    log_D: np.ndarray
    log_C: np.ndarray
    refusal: str
    cut: int = 0

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "BudgetRuns":
        """Runs of one budget; refused with too few sizes, or where C is not one value."""
        kept = rows.loc[_find_window(rows)]
        cut, rows = len(rows) - len(kept), kept
        log_N, log_D, log_C = (np.log(rows[symbol].to_numpy(float)) for symbol in "NDC")
        sizes, spread = len(np.unique(log_N)), float(np.exp(np.ptp(log_C)))
        refusal = ""
        if sizes < MIN_SIZES:
            refusal = f"{count(sizes, 'size')}, a bowl needs {MIN_SIZES}"
        elif spread > MAX_SPREAD:
            refusal = f"C varies x{spread:.3g} within the budget, more than x{MAX_SPREAD:g}"
        places = rows.index.to_numpy()
        return cls(float(rows.budget.iloc[0]), places, log_N, log_D, log_C, refusal, cut)

    @classmethod
    def split(cls, obs: pd.DataFrame) -> list["BudgetRuns"]:
        """Runs of every budget of observations."""
        return [cls.of(rows) for _, rows in obs.groupby("budget")]

    def log_tokens(self, log_N: np.ndarray) -> np.ndarray:
        """Logarithm of the tokens that spend the budget at N; C/D interpolated between the runs."""
        order = np.argsort(self.log_N)
        per_token = (self.log_C - self.log_D)[order]
        return np.log(self.budget) - np.interp(log_N, self.log_N[order], per_token)


@dataclass(frozen=True)
class Bowl:
    """Minima of one budget's bowl, one entry per data set; NaN where there is none.

    Attributes
    ----------
    log_N, log_D, log_L : array, shape (sets,)
    curvature : array, shape (sets,), nats/token
        Half of the second derivative of the loss in ln N at the minimum.
    log_fitted : array, shape (sets, runs)
        What the bowl says of each run at that run's own C.
    spread : float
        Standard deviation of log_N over that of ln L of a run of unit weight, in the first set.
    """

    log_N: np.ndarray
    log_D: np.ndarray
    log_L: np.ndarray
    curvature: np.ndarray
    log_fitted: np.ndarray
    spread: float = float("nan")

    @classmethod
    def absent(cls, sets: int) -> "Bowl":
        """No minimum in any data set."""
        nothing = np.full(sets, np.nan)
        return cls(nothing, nothing, nothing, nothing, nothing[:, None])

    def optima(self) -> dict[str, np.ndarray]:
        """Optima in raw units under the names of the minima table."""
        logs = (self.log_N, self.log_D, self.log_L, self.log_D - self.log_N)
        with np.errstate(over="ignore"):  # a minimum that a resample leaves open is infinite
            return dict(zip(QUANTITIES, map(np.exp, logs), strict=True))

    def __sub__(self, other: "Bowl") -> "Bowl":
        """Less the minima of another bowl, 0 where one of the two has none."""
        less = {
            name: np.nan_to_num(getattr(self, name) - getattr(other, name), posinf=0, neginf=0)
            for name in ("log_N", "log_D", "log_L")
        }
        return replace(self, **less)

    def move_by(self, bias: "Bowl") -> "Bowl":
        """Minima of resampled sets less shares of a bias, `BIAS_SHARES` in turn."""
        share = np.resize(BIAS_SHARES, len(self.log_N))
        return replace(
            self,
            log_N=self.log_N - share * bias.log_N,
            log_D=self.log_D - share * bias.log_D,
            log_L=self.log_L - share * bias.log_L,
        )


def spread_of_minimum(
    design: np.ndarray, slopes: np.ndarray, curvature: float, log_L: float
) -> float:
    """`Bowl.spread` of a bowl that is linear in its coefficients (delta method).

    Parameters
    ----------
    design : array, shape (runs, OWN)
        What each coefficient adds to each run, times the root of its weight.
    slopes : array, shape (OWN,)
        Derivatives of what each coefficient adds, in ln N at the minimum.
    curvature, log_L : float
        As in `Bowl`.
    """
    if not np.isfinite([*design.flat, *slopes, curvature, log_L]).all():
        return float("nan")
    gradient = np.linalg.pinv(design).T @ slopes / (2 * curvature)
    return float(np.exp(log_L) * np.linalg.norm(gradient))


def _find_window(rows: pd.DataFrame) -> np.ndarray:
    """Whether each run of a budget is near enough to the lowest to share a bowl with it."""
    log_N = np.log(rows.N.to_numpy(float))
    if np.ptp(log_N) <= np.log(WIDE):
        return np.ones(len(rows), bool)
    distance = np.abs(log_N - log_N[rows.L.to_numpy(float).argmin()])
    nearest = np.sort([distance[log_N == size].min() for size in np.unique(log_N)])
    least = nearest[min(MIN_SIZES, len(nearest)) - 1]
    return distance <= max(np.log(WINDOW), least) * (1 + 1e-9)
