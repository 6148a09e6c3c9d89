"""Lines of ln(L_opt - E) over ln C of two sweeps, and the gain between them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from scaling.fitting.estimate import Estimate, interval
from scaling.fitting.lines import FLOOR_POINTS, FLOORS, lines_above
from scaling.fitting.result import SLACK

REACH = 1e3  # times beyond the budgets, how far a crossing is looked for
STEPS = 601  # of ln C, there


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines of ln(L_opt - floor) over ln C of two sweeps, an entry per data set.

    level_a - slope_a (ln C - middle), and so for b; slopes are positive where the loss falls.
    """

    middle: float
    floor: np.ndarray
    level_a: np.ndarray
    level_b: np.ndarray
    slope_a: np.ndarray
    slope_b: np.ndarray

    @classmethod
    def through(cls, log_C: Sequence[np.ndarray], log_L: Sequence[np.ndarray]) -> "Lines":
        """Least squares, with the floor that suits both (0 of fewer than 4 budgets).

        Parameters
        ----------
        log_C : two arrays, shape (budgets,)
        log_L : two arrays, shape (sets, budgets)
        """
        middle = float(np.mean([x.mean() for x in log_C]))
        points = min(len(x) for x in log_C)
        shares = FLOORS if points >= FLOOR_POINTS else FLOORS[:1]
        lowest = np.exp(np.minimum(*(y.min(axis=1) for y in log_L)))
        floors = lowest[:, None] * shares
        squares, fitted = np.zeros(floors.shape), []
        for x, y in zip(log_C, log_L, strict=True):
            at, slope, missed = lines_above(x - middle, y, floors)
            squares += missed
            fitted += [at, -slope]
        best = np.arange(len(floors)), squares.argmin(1)
        at_a, slope_a, at_b, slope_b = (values[best] for values in fitted)
        return cls(middle, floors[best], at_a, at_b, slope_a, slope_b)

    @property
    def excess(self) -> np.ndarray:
        """gamma_b - gamma_a."""
        return self.slope_b - self.slope_a

    @property
    def constant(self) -> np.ndarray:
        """Give ln g of equal slopes: their mean."""
        return 2 * (self.level_a - self.level_b) / (self.slope_a + self.slope_b)

    def log_gain(self, log_C: np.ndarray) -> np.ndarray:
        """Give ln g at every ln C, shape (sets, n)."""
        x = np.atleast_1d(log_C)[None] - self.middle
        apart = (self.level_a - self.level_b)[:, None]
        return (apart + self.excess[:, None] * x) / self.slope_a[:, None]

    def log_loss(self, which: str, log_C: np.ndarray) -> np.ndarray:
        """Give ln L_opt of a or b at every ln C, shape (sets, n)."""
        level, slope = (getattr(self, f"{name}_{which}")[:, None] for name in ("level", "slope"))
        x = np.atleast_1d(log_C)[None] - self.middle
        return np.log(self.floor[:, None] + np.exp(level - slope * x))

    def log_points(self, log_C: Sequence[np.ndarray], log_L: Sequence[np.ndarray]) -> np.ndarray:
        """Give ln g at every budget from its own two minima, shape (sets, budgets)."""
        floor = self.floor[:, None]
        above_a, above_b = (np.log(np.exp(y) - floor) for y in log_L)
        return (above_a - above_b) / self.slope_a[:, None] + (log_C[0] - log_C[1])

    def keep(self, which: np.ndarray) -> "Lines":
        """Only these data sets."""
        return Lines(
            self.middle, *(getattr(self, f.name)[which] for f in fields(self) if f.name != "middle")
        )


@dataclass(frozen=True)
class Crossing:
    """Where the lines of a and b cross.

    Attributes
    ----------
    C : Estimate
        FLOPs; "extrapolated" outside of the budgets, an end inf or 0 where the band never leaves 1
        again; NaN where equal exponents are not excluded.
    clear_low, clear_high : float, FLOPs
        Between which the interval of the gain leaves out 1, around the middle of the budgets; NaN
        where it holds 1 there.
    """

    C: Estimate
    clear_low: float
    clear_high: float


def find_crossing(
    lines: Lines, drawn: Lines, budgets: np.ndarray, told: bool, status: str
) -> Crossing:
    """Find where the gain is 1, and how far from the budgets its interval leaves out 1.

    Parameters
    ----------
    budgets : array, FLOPs
    told : bool
        Whether the exponents differ; lines whose slopes may be equal need not cross.
    """
    ends = np.log(budgets.min() / REACH), np.log(budgets.max() * REACH)
    grid = np.linspace(*ends, STEPS)
    low, high = interval(drawn.log_gain(grid))
    clear = (low > 0) | (high < 0)
    middle = int(np.abs(grid - lines.middle).argmin())
    span = (float("nan"), float("nan"))
    if clear[middle]:
        below, above = np.flatnonzero(~clear[:middle]), np.flatnonzero(~clear[middle:])
        first = below[-1] + 1 if len(below) else 0
        last = middle + above[0] - 1 if len(above) else STEPS - 1
        span = float(np.exp(grid[first])), float(np.exp(grid[last]))
    nowhere = Estimate(float("nan"), float("nan"), float("nan"), "not_identified")
    if not told or not lines.excess[0]:
        return Crossing(nowhere, *span)
    at = float(lines.middle - (lines.level_a - lines.level_b)[0] / lines.excess[0])
    if not ends[0] <= at <= ends[1]:
        return Crossing(nowhere, *span)
    held = grid[~clear]
    first, last = (held.min(), held.max()) if len(held) else (at, at)
    low = 0.0 if first == grid[0] else float(np.exp(min(first, at)))
    high = float("inf") if last == grid[-1] else float(np.exp(max(last, at)))
    inside = budgets.min() / SLACK <= np.exp(at) <= budgets.max() * SLACK
    where = status if inside or status != "ok" else "extrapolated"
    return Crossing(Estimate(float(np.exp(at)), low, high, where), *span)
