"""Two sweeps resampled together: what cells have in common does not blur their difference."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.fitting.bootstrap import WIDEST, measure_residuals, shared_variance
from scaling.fitting.bowl import BudgetRuns
from scaling.fitting.bowls import fit_once
from scaling.fitting.isoflop_power import POWERS, fit_isoflop_power, power_bowls
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import SLACK, Fit
from scaling.fitting.settings import FitSettings

FEW_PAIRS = 4  # below which their correlation is not estimated, but 0


@dataclass(frozen=True, eq=False)
class Sweep:
    """The power bowls of one sweep, and how its runs scatter around them.

    Attributes
    ----------
    data : Prepared
    fit : Fit
        Of method isoflop_power, without draws.
    log_fitted : array, shape (runs,), ln(nats/token)
    spare : int
        Degrees of freedom of the residuals.
    noise : float
        Standard deviation of ln L of a run of unit weight: of the residuals, or of seeds where that
        is larger.
    common : float
        Share of its variance that all horizons of a trunk have in common.
    """

    data: Prepared
    fit: Fit
    log_fitted: np.ndarray
    spare: int
    noise: float
    common: float

    @classmethod
    def of(cls, data: Prepared) -> "Sweep":
        """Fit the bowls; errors as in `scaling.fitting.bowls.fit_bowls`."""
        fit = fit_isoflop_power(data, FitSettings(bootstrap=0))
        obs = data.obs
        log_L, weights = np.log(obs.L.to_numpy(float)), obs.weight.to_numpy(float)
        _, _, said, spare = fit_once(obs, POWERS)
        fitted = np.where(np.isfinite(said), said, log_L)
        residuals = log_L - fitted
        noise = measure_residuals(residuals, weights, spare)
        clusters = pd.factorize(obs.cluster)[0]
        common = shared_variance(residuals * np.sqrt(weights), clusters)
        if data.noise is not None:
            noise = max(noise, data.noise.std)
        return cls(data, fit, fitted, spare, noise, common)

    @property
    def residuals(self) -> np.ndarray:
        """Of ln L, measured less fitted, times the root of the weight."""
        obs = self.data.obs
        return (np.log(obs.L.to_numpy(float)) - self.log_fitted) * np.sqrt(obs.weight)

    @property
    def seed_noise(self) -> float:
        """Standard deviation of ln L between seeds; that of the residuals where it is unknown."""
        return self.noise if self.data.noise is None else self.data.noise.std

    @property
    def usable(self) -> np.ndarray:
        """Whether each budget has a minimum that is ok."""
        return (self.fit.minima.status == "ok").to_numpy()

    @property
    def budgets(self) -> np.ndarray:
        """All budgets, FLOPs, ascending."""
        return self.fit.minima.budget.to_numpy(float)

    @property
    def costs(self) -> np.ndarray:
        """FLOPs of one seed of every cell of a budget, for all budgets."""
        of_cells = self.data.obs.groupby(["budget", "N"]).C.mean()
        return of_cells.groupby("budget").sum().to_numpy(float)

    @property
    def seeds(self) -> float:
        """Runs of a size and budget, in the mean."""
        return float(np.mean(self.data.obs.groupby(["budget", "N"]).size().to_numpy()))

    @property
    def log_budgets(self) -> np.ndarray:
        """Logarithms of all budgets."""
        return np.log(self.budgets)

    def minima(self, shocks: np.ndarray | None = None) -> np.ndarray:
        """Give ln L_opt of every budget, shape (sets, budgets); of the runs, or of shocked fits."""
        obs, budgets = self.data.obs, BudgetRuns.split(self.data.obs)
        log_L = np.log(obs.L.to_numpy(float))[None]
        if shocks is not None:
            log_L = self.log_fitted + shocks
        weights = np.broadcast_to(obs.weight.to_numpy(float), log_L.shape)
        bowls = power_bowls(budgets, log_L, weights).each
        return np.stack([np.broadcast_to(bowl.log_L, len(log_L)) for bowl in bowls], axis=1)


def match_budgets(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the budgets that both have, to 2 %; ValueError lists both where there are none."""
    near = np.abs(np.log(a)[:, None] - np.log(b)[None]) <= np.log(SLACK)
    of_a, of_b = np.nonzero(near)
    if not len(of_a):
        lists = [", ".join(f"{C:.3g}" for C in budgets) for budgets in (a, b)]
        raise ValueError(
            f"a and b have no common budget: {lists[0]} and {lists[1]} FLOPs; train both at two or "
            "more of the same budgets"
        )
    return of_a, of_b


def correlate(a: Sweep, b: Sweep, pairs: pd.DataFrame) -> float:
    """Correlation of the residuals of pairs of cells; 0 of fewer than `FEW_PAIRS`."""
    one, other = (
        pd.Series(np.asarray(sweep.residuals), index=sweep.data.obs.run_id)
        .reindex(pairs[label])
        .to_numpy(float)
        for label, sweep in (("a", a), ("b", b))
    )
    known = np.isfinite(one) & np.isfinite(other)
    squares = (one[known] ** 2).sum() * (other[known] ** 2).sum()
    if known.sum() < FEW_PAIRS or not squares > 0:
        return 0.0
    return float(np.clip((one[known] * other[known]).sum() / np.sqrt(squares), -1.0, 1.0))


def count_pairs(a: Sweep, b: Sweep, pairs: pd.DataFrame) -> int:
    """How many pairs of cells both fits use."""
    kept = pairs.a.isin(a.data.obs.run_id) & pairs.b.isin(b.data.obs.run_id)
    return int(kept.sum())


def draw_shocks(
    a: Sweep,
    b: Sweep,
    pairs: pd.DataFrame,
    correlation: float,
    n: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw noise of ln L for all runs of two sweeps, shapes (n, runs of a) and (n, runs of b).

    Gaussian, with the share that horizons of a trunk have in common, correlated between paired
    cells; its size is drawn anew for every set, as the fewer degrees of freedom of both leave it
    open, so that intervals are Student's.
    """
    place = _places(a.data.obs.run_id, b.data.obs.run_id, pairs)
    clusters = [pd.factorize(sweep.data.obs.cluster)[0] for sweep in (a, b)]
    trunks = np.full(clusters[1].max() + 1, -1)
    trunks[clusters[1][place >= 0]] = clusters[0][place[place >= 0]]
    size = np.minimum(np.sqrt(_freedom(a, b) / rng.chisquare(_freedom(a, b), (n, 1))), WIDEST)
    own = _correlated(len(place), len(a.data.obs), place, correlation, n, rng)
    common = _correlated(len(trunks), clusters[0].max() + 1, trunks, correlation, n, rng)
    return tuple(
        (np.sqrt(sweep.common) * z[:, cluster] + np.sqrt(1 - sweep.common) * e)
        * (sweep.noise * size / np.sqrt(sweep.data.obs.weight.to_numpy(float)))
        for sweep, z, e, cluster in zip((a, b), common, own, clusters, strict=True)
    )  # pyright: ignore


def draw_noise(sweep: Sweep, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw noise of seeds for the runs of one sweep, of exactly its size, shape (n, runs)."""
    obs = sweep.data.obs
    cluster, names = pd.factorize(obs.cluster)
    common = rng.standard_normal((n, len(names)))[:, cluster]
    own = rng.standard_normal((n, len(obs)))
    mixed = np.sqrt(sweep.common) * common + np.sqrt(1 - sweep.common) * own
    return mixed * sweep.seed_noise / np.sqrt(obs.weight.to_numpy(float))


def _freedom(a: Sweep, b: Sweep) -> int:
    return max(1, min(a.spare, b.spare))


def _places(one: pd.Series, other: pd.Series, pairs: pd.DataFrame) -> np.ndarray:
    """Row of a that each row of b is paired with, -1 for none."""
    row = pd.Series(np.arange(len(one)), index=one.to_numpy())
    partner = pd.Series(pairs.a.to_numpy(), index=pairs.b.to_numpy())
    found = row.reindex(partner.reindex(other).to_numpy())
    return found.fillna(-1).to_numpy(int)


def _correlated(
    n_b: int, n_a: int, place: np.ndarray, correlation: float, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Standard normals for the rows of a and of b, correlated where b's row has its place in a."""
    of_a, of_b = rng.standard_normal((n, n_a)), rng.standard_normal((n, n_b))
    paired = place >= 0
    rest = np.sqrt(max(0.0, 1 - correlation**2))
    of_b[:, paired] = correlation * of_a[:, place[paired]] + rest * of_b[:, paired]
    return of_a, of_b
