"""Resampling plans: how runs might have come out, had the grid been trained again."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.tables.noise import SeedNoise

KINDS = ("seed", "wild", "pairs")
WIDEST = 100.0  # times the noise, of a drawn one: a single degree of freedom has no limit
FEW_CLUSTERS = 8  # fewer make pairs resampling leave a law undetermined


@dataclass(frozen=True)
class Resamples:
    """Data sets to refit.

    Attributes
    ----------
    target : array, shape (rows,) or (n, rows), ln(nats/token)
    weights : array, shape (rows,) or (n, rows)
    kind : str
    noise : float
        Estimated standard deviation of ln L for a run of unit weight.
    counts : array, shape (rows,) or (n, rows)
        How often each run was drawn; `weights` are this times those of the runs.
    """

    target: np.ndarray
    weights: np.ndarray
    kind: str
    noise: float
    counts: np.ndarray


def default_kind(obs: pd.DataFrame) -> str:
    """Kind for a law fitted to all runs at once: pairs from 8 clusters on, else seed.

    Notes
    -----
    Measured on simulated grids (`experiments/coverage.py`): 90 % intervals of pairs hold the truth
    in about nine cases of ten, with trunks and without; those of seed noise a little less often,
    those of wild far less, for residuals of a fit are smaller than the noise where it leans on few
    runs. Bowls are another matter: pairs leave out whole sizes of a budget, so that their default
    is seed noise.
    """
    return "pairs" if obs.cluster.nunique() >= FEW_CLUSTERS else "seed"


def resample(
    obs: pd.DataFrame,
    fitted: np.ndarray,
    n_params: int,
    n: int,
    rng: np.random.Generator,
    kind: str | None = None,
    known: SeedNoise | None = None,
) -> Resamples:
    """Draw `n` data sets of the size of `obs`.

    Parameters
    ----------
    obs : DataFrame with columns L (nats/token), weight, cluster
    fitted : array, shape (rows,), ln(nats/token)
        ln L of the point estimate.
    n_params : int
        Parameters of the point estimate: residuals are inflated by sqrt(rows/(rows - n_params)).
    n : int
    rng : numpy Generator
    kind : {"seed", "wild", "pairs"}, optional
        seed: Gaussian noise around the fit, its size and the share of it that the runs of a
        cluster have in common estimated from the residuals; the size is drawn anew for every data
        set, as its degrees of freedom leave it open (the intervals are Student's); wild: every
        cluster keeps its residuals or flips them; pairs: clusters drawn with replacement.
        `default_kind` if omitted.
    known : SeedNoise, optional
        Noise of repeated runs: that of "seed" where it is larger than the residuals, which hold it
        and how far the fit misses.

    Returns
    -------
    Resamples

    Raises
    ------
    ValueError
        Unknown kind, or no residual degrees of freedom for a residual kind.
    """
    kind = kind or default_kind(obs)
    if kind not in KINDS:
        raise ValueError(f"bootstrap kind {kind!r} is unknown; use one of {KINDS}")
    rows, weights = len(obs), obs.weight.to_numpy(float)
    target = np.log(obs.L.to_numpy(float))
    spare = rows - n_params
    if spare < 1 and kind != "pairs":
        raise ValueError(f"{rows} runs and {n_params} parameters leave no residual to resample")
    residuals = target - fitted
    noise = measure_residuals(residuals, weights, spare)
    cluster, names = pd.factorize(obs.cluster)
    if kind == "pairs":
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n)
        counts = drawn[:, cluster].astype(float)
        return Resamples(target, weights * counts, kind, noise, counts)
    once = np.ones(rows)
    if kind == "wild":
        signs = rng.choice([-1.0, 1.0], size=(n, len(names)))[:, cluster]
        target = fitted + signs * residuals * np.sqrt(rows / spare)
        return Resamples(target, weights, kind, noise, once)
    shared = shared_variance(residuals * np.sqrt(weights), cluster)
    common = rng.standard_normal((n, len(names)))[:, cluster] if shared else 0.0
    own = rng.standard_normal((n, rows))
    if known is not None and known.std > noise:
        noise, spare = known.std, known.freedom
    size = noise * np.minimum(np.sqrt(spare / rng.chisquare(spare, (n, 1))), WIDEST)
    shocks = (np.sqrt(shared) * common + np.sqrt(1 - shared) * own) * size / np.sqrt(weights)
    return Resamples(fitted + shocks, weights, kind, noise, once)


def measure_residuals(residuals: np.ndarray, weights: np.ndarray, spare: int) -> float:
    """Standard deviation of ln L for a run of unit weight, of `spare` degrees of freedom."""
    return float(np.sqrt((weights * residuals**2).sum() / max(spare, 1)))


def shared_variance(residuals: np.ndarray, cluster: np.ndarray) -> float:
    """Mean product of residuals of one cluster over their mean square, in [0, 1]."""
    sums, counts = np.bincount(cluster, residuals), np.bincount(cluster)
    pairs = (counts * (counts - 1)).sum()
    squares = (residuals**2).sum()
    if not pairs or not squares:
        return 0.0
    products = ((sums**2).sum() - squares) / pairs
    return float(np.clip(products / (squares / len(residuals)), 0.0, 1.0))
