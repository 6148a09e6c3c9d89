"""Approach 1: the lowest training curve at every compute, and power laws along it."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scaling.errors import FitError
from scaling.fitting.lines import power_laws
from scaling.fitting.origin import Bootstrap
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import Fit
from scaling.fitting.settings import DEFAULTS, FitSettings
from scaling.tables.noise import SeedNoise
from scaling.tables.runs import curves_by_run

MIN_SPAN = 2.0  # of C along the envelope
BIAS_DRAWS = 200  # resamples that measure the bias of lowest losses
LOSSES = ("L_floor", "L_ref")
GRID = 200  # log-spaced values of C across the curves
CONDITIONAL = "training losses before a run's end are conditional on its schedule"
UNKNOWN = "no interval: the noise of a loss is not known; repeat runs with other seeds"
NO_CURVES = (
    "the envelope has no training curves: of final losses alone it is the frontier of the grid, "
    "not of the models; give the curves of the runs (run_id, tokens, loss), or use isoflop"
)


def fit_envelope(
    data: Prepared, settings: FitSettings = DEFAULTS, curves: pd.DataFrame | None = None
) -> Fit:
    """Lowest loss over all runs at every C, then N_opt, D_opt, L_opt as powers of C.

    Parameters
    ----------
    data : Prepared
        Its noise of seeds is what resamples shift each cluster of curves by; without it there are
        no intervals, as no law's misfit stands for it.
    settings : FitSettings
    curves : DataFrame with columns run_id, tokens, flops, loss
        Smoothed training losses.

    Returns
    -------
    Fit of law "power_frontier"; `minima` has one row per value of C (FLOPs): N, D, L, run_id.

    Raises
    ------
    FitError
        No curves, fewer than 3 values of C, a single size, or an envelope shorter than a factor 2
        in C.
    ValueError
        Curves of none of the runs.

    References
    ----------
    Hoffmann et al. 2022, arXiv:2203.15556, section 3.1.

    Notes
    -----
    Curves are interpolated in log-log on 200 values of C, from where the last one has begun, and
    the best run at each is kept. Where that is the smallest or the largest of the sizes that have
    a loss there it may win by default of the grid and is dropped, so that 3 sizes are compared.

    The lowest of noisy losses is too low. Resamples, which are the lowest of losses with noise
    twice, are lower again by about as much: L_opt is raised by that, its draws by twice that
    (Efron's bootstrap correction), and the note says so.

    A loss before the end of a run belongs to a higher learning rate than a finished run of that
    length has, and sizes on the envelope are those of the grid. Read this method beside the other
    two, not instead of them. The lower convex hull of the curves in log-log is no better where
    every loss is that of a finished run (with 7 sizes a of N_opt ~ C^a is off by -.012, here by
    -.003), and with cooldowns it touches hardly anything but the first losses and the last. Curves
    cut before their cooldown do worse too: their order follows the learning rates.
    """
    if curves is None:
        raise FitError(NO_CURVES)
    losses = _interpolate(data.obs, curves)
    at, runs = lowest = losses.lowest()
    _refuse_too_few(losses, lowest)
    reference = float(losses.log_C[at].mean())
    params = losses.frontier(lowest, reference)
    raised, draws, bootstrap = 1.0, pd.DataFrame(), Bootstrap()
    if data.noise is not None:
        fixed = _resample(losses, reference, data.noise, BIAS_DRAWS, seed=0)
        raised = _measure_bias(params, fixed)
        params = params | {name: params[name] * raised for name in LOSSES}
        if n := settings.bootstrap:
            draws = _resample(losses, reference, data.noise, n, settings.seed)
            draws = draws.assign(**{name: draws[name] * raised**2 for name in LOSSES})
            bootstrap = Bootstrap("seed", n, len(draws), data.noise.std)
    minima = pd.DataFrame({"C": np.exp(losses.log_C[at]), "N": np.exp(losses.log_N[runs])})
    minima["D"], minima["L"] = np.exp(losses.log_D[runs, at]), np.exp(losses.log_L[runs, at])
    log_C = np.log(minima.C) - np.log(params["C_ref"])
    log_N = np.log(params["N_ref"]) + params["N_exponent"] * log_C
    note = f"{CONDITIONAL}; {UNKNOWN}" if data.noise is None else CONDITIONAL
    if raised != 1.0:
        note = f"{CONDITIONAL}; L_opt is raised by {raised - 1:.2%}, the bias of lowest losses"
    return data.fit(
        method="envelope",
        law="power_frontier",
        params=params,
        status="ok",
        objective=float(((np.log(minima.N) - log_N) ** 2).sum()),
        objective_name="sum over values of C of (ln N_line - ln N)^2",
        n_runs=len(data.obs),
        draws=draws,
        bootstrap=bootstrap,
        minima=minima.assign(run_id=losses.run_id[runs]),
        note=note,
    )


@dataclass(frozen=True)
class _Losses:
    """Losses of all runs at common values of C; infinite where a run has none.

    log_C has shape (grid,), log_N, run_id and cluster (runs,), log_D and log_L (runs, grid);
    smallest and largest, shape (grid,), are the ln N that may win by default.
    """

    log_C: np.ndarray
    log_N: np.ndarray
    log_D: np.ndarray
    log_L: np.ndarray
    run_id: np.ndarray
    cluster: np.ndarray
    smallest: np.ndarray
    largest: np.ndarray

    def lowest(self) -> tuple[np.ndarray, np.ndarray]:
        """Places on the grid where a size in the middle wins, and the runs that do."""
        best = np.argmin(self.log_L, axis=0)
        finite = np.isfinite(self.log_L[best, np.arange(len(self.log_C))])
        inner = (self.log_N[best] > self.smallest) & (self.log_N[best] < self.largest)
        at = np.flatnonzero(finite & inner)
        return at, best[at]

    def frontier(self, lowest, reference: float) -> dict[str, float]:
        """Power laws through the lowest losses."""
        at, runs = lowest
        values = {"N": self.log_N[runs], "D": self.log_D[runs, at], "L": self.log_L[runs, at]}
        rows = {symbol: y[None] for symbol, y in values.items()}
        laws = power_laws(self.log_C[at], rows, reference)
        return {name: float(value[0]) for name, value in laws.items()}

    def shift(self, noise: np.ndarray) -> "_Losses":
        """All losses of a cluster moved by what its seed did, shape (clusters,)."""
        return replace(self, log_L=self.log_L + noise[pd.factorize(self.cluster)[0], None])


def _interpolate(obs: pd.DataFrame, curves: pd.DataFrame) -> _Losses:
    """Curves on a common grid; C along a run is tokens times its FLOPs per token."""
    by_run = curves_by_run(curves)
    obs = obs.loc[obs.run_id.isin([*by_run])]
    if not len(obs):
        raise ValueError(
            "no run_id of the curves is in the runs table; give the curves of its runs"
        )
    paths = [np.log(by_run[i][["tokens", "loss"]].to_numpy(float)).T for i in obs.run_id]
    per_token = np.log((obs.C / obs.D).to_numpy(float))
    log_C = [tokens + rate for (tokens, _), rate in zip(paths, per_token, strict=True)]
    grid = np.linspace(max(c[0] for c in log_C), max(c[-1] for c in log_C), GRID)
    log_L = np.stack(
        [np.interp(grid, c, p[1], np.inf, np.inf) for c, p in zip(log_C, paths, strict=True)]
    )
    log_N = np.log(obs.N.to_numpy(float))
    sizes = np.where(np.isfinite(log_L), log_N[:, None], np.nan)
    names = obs.run_id.to_numpy(), obs.cluster.to_numpy()
    ends = np.nanmin(sizes, axis=0), np.nanmax(sizes, axis=0)
    return _Losses(grid, log_N, grid - per_token[:, None], log_L, *names, *ends)


def _refuse_too_few(losses: _Losses, lowest) -> None:
    at, runs = lowest
    sizes = len(np.unique(losses.log_N[runs]))
    span = float(np.exp(np.ptp(losses.log_C[at]))) if len(at) else 1.0
    if len(at) < 3 or sizes < 2 or span < MIN_SPAN:
        raise FitError(
            f"the envelope has {len(at)} points on {sizes} sizes over x{span:.3g} in C; it needs "
            f"3 on 2 over x{MIN_SPAN:g}: train more budgets, or sizes whose curves cross"
        )


def _resample(
    losses: _Losses, reference: float, noise: SeedNoise, n: int, seed: int
) -> pd.DataFrame:
    kept = []
    rng, clusters = np.random.default_rng(seed), len(set(losses.cluster))
    for _ in range(n):
        std = noise.std * np.sqrt(noise.freedom / rng.chisquare(noise.freedom))
        drawn = losses.shift(std * rng.standard_normal(clusters))
        at, runs = drawn.lowest()
        if len(at) >= 2 and np.ptp(drawn.log_N[runs]) > 0:
            kept.append(drawn.frontier((at, runs), reference))
    return pd.DataFrame(kept)


def _measure_bias(params: dict, draws: pd.DataFrame) -> float:
    """The factor by which resampling lowers L_opt at C_ref; 1 from no draws."""
    value, drawn = (p["L_floor"] + p["L_ref"] for p in (params, draws)) if len(draws) else (1, 1)
    return float(value / np.exp(np.log(drawn).mean()))
