"""Seed noise: how far runs alike but for their seed lie apart, and what weights follow.

A law fitted by least squares wants each run weighted by 1 / variance. Runs repeated with other
seeds measure that variance; where it changes with N, it becomes the weights of the fit.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.quantities import LEVEL

MIN_GROUPS = 3  # sizes that are repeated, for a trend in N
SAME = ["total_params", "n_layers", "width", "n_heads", "tokens", "lr", "batch_tokens", "precision"]


@dataclass(frozen=True)
class SeedNoise:
    """Spread of ln L over seeds, s^2 = std^2 * (N / N_middle)^slope.

    Attributes
    ----------
    std : float
        Standard deviation of ln L (of L over L) at the middle size, pooled over the groups.
    slope, slope_low, slope_high : float
        Power of N in the variance, and its interval at 90 %.
    N_low, N_high : float, parameters
        The sizes between which it was measured; beyond them the variance stays that of the end.
    groups, freedom : int
        Sets of runs alike but for the seed, and their runs less one each.
    """

    std: float
    slope: float
    slope_low: float
    slope_high: float
    N_low: float
    N_high: float
    groups: int
    freedom: int

    @property
    def varies(self) -> bool:
        """Whether the variance changes with N beyond doubt, so that weights should differ."""
        return self.slope_low > 0 or self.slope_high < 0

    def weights(self, runs: pd.DataFrame) -> pd.Series:
        """1 / variance of each run, of mean 1; equal where the variance does not vary."""
        if not self.varies:
            return pd.Series(1.0, index=runs.index)
        weight = runs.total_params.clip(self.N_low, self.N_high).astype(float) ** -self.slope
        return weight / weight.mean()

    def describe(self) -> str:
        """One line for a page."""
        trend = f"variance ~ N^{self.slope:.2f} [{self.slope_low:.2f}, {self.slope_high:.2f}]"
        use = "weights follow it" if self.varies else "no trend beyond doubt: weights are equal"
        return (
            f"seed noise: standard deviation {100 * self.std:.2f} % of the loss over {self.groups} "
            f"sizes ({self.freedom} degrees of freedom); {trend}; {use}"
        )


def seed_noise(runs: pd.DataFrame) -> SeedNoise | None:
    """Measure the noise of seeds in a runs table.

    Parameters
    ----------
    runs : DataFrame, as `scaling.tables.runs.load_runs` returns it

    Returns
    -------
    SeedNoise, or None if fewer than 3 sizes have runs that differ in nothing but the seed.

    Notes
    -----
    The variance s^2 of k + 1 normal values is sigma^2 * chi2_k / k, so that ln s^2 has mean
    ln sigma^2 + digamma(k/2) - ln(k/2) and variance trigamma(k/2); the slope is that of the least
    squares of ln s^2 on ln N with these weights.
    """
    from scipy.special import digamma, ndtri, polygamma  # here, so that `import scaling` is fast

    if "seed" not in runs or not {*SAME} <= {*runs.columns}:
        return None
    finished = runs[runs.status == "ok"]
    table = pd.DataFrame(finished[SAME]).assign(log_L=np.log(finished.loss.to_numpy(float)))
    count = table.groupby(SAME, as_index=False).agg(n=("log_L", "count"), variance=("log_L", "var"))
    count = count[count.variance > 0]
    if count.total_params.nunique() < MIN_GROUPS:
        return None
    freedom = count.n.to_numpy(float) - 1
    weight = 1 / polygamma(1, freedom / 2)
    x = np.log(count.total_params.to_numpy(float))
    x_middle = np.average(x, weights=weight)
    y = np.log(count.variance.to_numpy(float)) - digamma(freedom / 2) + np.log(freedom / 2)
    spread = float((weight * (x - x_middle) ** 2).sum())
    slope = float((weight * (x - x_middle) * y).sum() / spread)
    margin = float(ndtri((1 + LEVEL) / 2) / np.sqrt(spread))
    levelled = count.variance * np.exp(-slope * (x - x_middle))
    return SeedNoise(
        std=float(np.sqrt(np.average(levelled, weights=freedom))),
        slope=slope,
        slope_low=slope - margin,
        slope_high=slope + margin,
        N_low=float(count.total_params.min()),
        N_high=float(count.total_params.max()),
        groups=len(count),
        freedom=int(freedom.sum()),
    )
