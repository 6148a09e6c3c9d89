"""Resampling plans: how runs might have come out, had the grid been trained again."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

KINDS = ("seed", "wild", "pairs")
MANY_RUNS = (
    60  # fewer make pairs resampling drop whole sizes of a bowl; a choice, not a measurement
)


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
    """

    target: np.ndarray
    weights: np.ndarray
    kind: str
    noise: float


def default_kind(obs: pd.DataFrame) -> str:
    """The kind for a design: pairs from 60 clusters on, wild where runs share trunks, else seed.

    Notes
    -----
    Resampling the pairs of a seven-point bowl leaves out whole sizes, and with few trunks every
    pairs interval is too short; the residual kinds keep the design.
    """
    clusters = obs.cluster.nunique()
    if clusters >= MANY_RUNS:
        return "pairs"
    return "wild" if clusters < len(obs) else "seed"


def resample(
    obs: pd.DataFrame,
    fitted: np.ndarray,
    n_params: int,
    n: int,
    rng: np.random.Generator,
    kind: str | None = None,
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
        seed: Gaussian noise around the fit, its size estimated from the residuals; wild: every
        cluster keeps its residuals or flips them; pairs: clusters drawn with replacement.
        `default_kind` if omitted.

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
    noise = float(np.sqrt((weights * residuals**2).sum() / max(spare, 1)))
    cluster, names = pd.factorize(obs.cluster)
    if kind == "pairs":
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n)
        return Resamples(target, weights * drawn[:, cluster], kind, noise)
    if kind == "wild":
        signs = rng.choice([-1.0, 1.0], size=(n, len(names)))[:, cluster]
        return Resamples(fitted + signs * residuals * np.sqrt(rows / spare), weights, kind, noise)
    shocks = rng.standard_normal((n, rows)) * noise / np.sqrt(weights)
    return Resamples(fitted + shocks, weights, kind, noise)
