"""Seed noise: how far runs alike but for their seed lie apart, and what weights follow.

A law fitted by least squares wants each run weighted by 1 / variance. Runs repeated with other
seeds measure that variance; where it changes with N or from budget to budget, it becomes the
weights of the fit. A budget whose seeds scatter widely is on a plateau: some of its runs have begun
to learn and others have not, and no law of N and D speaks of that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from scaling.quantities import LEVEL

MIN_GROUPS = 3  # sizes that are repeated, for a trend in N
PLATEAU = 0.05  # sd of ln L between the seeds of a budget from which on it is on a plateau
MIN_FREEDOM = 3  # degrees of freedom of a budget's seeds that tell
UNEQUAL = 0.001  # p-value (Bartlett 1937) below which budgets have a noise each
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
    by_budget : dict, FLOPs -> standard deviation of ln L
        Where budgets differ beyond doubt; empty otherwise. It then takes the place of the trend.
    """

    std: float
    slope: float
    slope_low: float
    slope_high: float
    N_low: float
    N_high: float
    groups: int
    freedom: int
    by_budget: Mapping[float, float] = field(default_factory=dict)

    @property
    def varies(self) -> bool:
        """Whether the variance changes beyond doubt, so that weights should differ."""
        return bool(self.by_budget) or self.slope_low > 0 or self.slope_high < 0

    def weights(self, runs: pd.DataFrame) -> pd.Series:
        """1 / variance of each run, of mean 1; equal where the variance does not vary."""
        if self.by_budget and "flops_budget" in runs:
            weight = runs.flops_budget.map(self.by_budget).fillna(self.std) ** -2.0
            return weight / weight.mean()
        if not self.varies:
            return pd.Series(1.0, index=runs.index)
        weight = runs.total_params.clip(self.N_low, self.N_high).astype(float) ** -self.slope
        return weight / weight.mean()

    def describe(self) -> str:
        """One line for a page."""
        trend = f"variance ~ N^{self.slope:.2f} [{self.slope_low:.2f}, {self.slope_high:.2f}]"
        use = "weights follow it" if self.varies else "no trend beyond doubt: weights are equal"
        if self.by_budget:
            each = (f"{std:.2%} at {C:.3g} FLOPs" for C, std in self.by_budget.items())
            use = f"budgets differ: {', '.join(each)}; weights follow them"
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
    finished = runs.loc[(runs.status == "ok") & ~on_plateau(runs, find_plateaus(runs))]
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
        by_budget=_compare_budgets(finished),
    )


def find_plateaus(runs: pd.DataFrame) -> dict[float, float]:
    """Budgets (FLOPs) whose seeds differ by `PLATEAU` and more, and by how much (sd of ln L)."""
    if not {"seed", "flops_budget"} <= {*runs.columns}:
        return {}
    spread = _by_budget(runs.loc[runs.status == "ok"])
    wide = spread.loc[(spread["std"] > PLATEAU) & (spread.freedom >= MIN_FREEDOM)]
    return dict(zip(wide.index, wide["std"], strict=True))


def on_plateau(runs: pd.DataFrame, plateaus: Mapping[float, float]) -> pd.Series:
    """Whether each run is of one of the budgets that `find_plateaus` found."""
    if not plateaus:
        return pd.Series(False, index=runs.index)
    return runs.flops_budget.isin([*plateaus])


def _by_budget(finished: pd.DataFrame) -> pd.DataFrame:
    """Columns std (of ln L between seeds) and freedom, indexed by budget (FLOPs)."""
    keys = [name for name in (*SAME, "params") if name in finished]
    if not {"seed", "flops_budget"} <= {*finished.columns} or not keys:
        return pd.DataFrame({"std": [], "freedom": []}, dtype=float)
    table = finished.assign(log_L=np.log(finished.loss.to_numpy(float)))
    found = table.groupby(["flops_budget", *keys]).log_L.agg(["count", "var"]).reset_index()
    found = found[found["var"] > 0].assign(freedom=lambda t: t["count"] - 1)
    squares = (found["var"] * found.freedom).groupby(found.flops_budget).sum()
    freedom = found.groupby("flops_budget").freedom.sum()
    return pd.DataFrame({"std": np.sqrt(squares / freedom), "freedom": freedom})


def _compare_budgets(finished: pd.DataFrame) -> dict[float, float]:
    """Each budget's own noise if Bartlett's test (1937) tells them apart, else nothing."""
    from scipy.special import chdtrc  # here, so that `import scaling` stays fast

    spread = _by_budget(finished)
    spread = spread.loc[spread.freedom >= MIN_FREEDOM]
    if len(spread) < 2:
        return {}
    variance, freedom = spread["std"] ** 2, spread.freedom
    whole, groups = float(freedom.sum()), len(spread) - 1
    pooled = float((freedom * variance).sum()) / whole
    scale = 1 + (float((1 / freedom).sum()) - 1 / whole) / (3 * groups)
    statistic = float((freedom * np.log(pooled / variance)).sum()) / scale
    alike = chdtrc(groups, statistic) >= UNEQUAL
    return {} if alike else dict(zip(spread.index, spread["std"], strict=True))
