"""Approach 2: one parabola in ln N per compute budget, and power laws through the minima."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.fitting.bootstrap import Resamples, default_kind, resample
from scaling.fitting.lines import line, power_laws
from scaling.fitting.result import Bootstrap, Fit, FitError, interval, sampled_ranges
from scaling.frontier import fit_compute
from scaling.runs import Convention

MIN_POINTS = 4  # three determine a parabola; the fourth can contradict it
MAX_SPREAD = 1.5  # largest C over smallest C that still is one budget


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
    obs : DataFrame, as `scaling.runs.observations` returns it
    convention, seed, excluded
        As in `scaling.fitting.parametric.fit_parametric`.
    n_bootstrap : int, >= 0
        Refits of all parabolas and lines.
    kind : {"seed", "wild", "pairs"}, optional
        Kind of bootstrap; seed noise, or wild where runs share trunks, if omitted: never pairs,
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
    """
    groups = [_Group.of(rows) for _, rows in obs.groupby("budget")]
    log_L = np.log(obs.L.to_numpy(float))[None]
    weights = obs.weight.to_numpy(float)[None]
    bowls, slope = _two_passes(groups, log_L, weights)
    minima = pd.DataFrame([_verdict(g, b) for g, b in zip(groups, bowls, strict=True)])
    usable = (minima.status == "ok").to_numpy()
    if usable.sum() < 2:
        raise FitError(
            f"isoflop needs 2 budgets with an interior minimum, {usable.sum()} of {len(minima)} "
            f"have one: {_refusals(minima)}"
        )
    log_C = np.log(minima.budget.to_numpy(float)[usable])
    params = _power_laws(bowls, usable, log_C).iloc[0].to_dict()
    residuals, fitted = _residuals(obs, groups, bowls, slope)
    draws, drawn, bootstrap = pd.DataFrame(), None, Bootstrap()
    if n_bootstrap:
        rng = np.random.default_rng(seed)
        plan = _plan(obs, fitted, groups, n_bootstrap, rng, kind)
        drawn = _two_passes(groups, np.atleast_2d(plan.target), np.atleast_2d(plan.weights))[0]
        draws = _power_laws(drawn, usable, log_C).dropna(ignore_index=True)
        bootstrap = Bootstrap(plan.kind, n_bootstrap, len(draws), plan.noise)
    return Fit(
        method="isoflop",
        law="power_frontier",
        params=params,
        status="ok",
        reason=_refusals(minima),
        objective=float((weights[0] * residuals**2).sum()),
        objective_name="sum of (L_parabola - L)^2, (nats/token)^2, over budgets with a minimum",
        n_runs=int(minima.n_runs[usable].sum()),
        excluded=excluded,
        convention=convention or Convention("as_given", "as_given"),
        compute=fit_compute(obs),
        sampled=sampled_ranges(obs),
        draws=draws,
        bootstrap=bootstrap,
        minima=_with_intervals(minima, drawn),
    )


@dataclass(frozen=True)
class _Group:
    """The runs of one budget: their places in obs, and their sizes on a unit scale."""

    budget: float
    rows: np.ndarray
    log_N: np.ndarray
    log_C: np.ndarray
    log_per_token: np.ndarray
    refusal: str

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "_Group":
        log_N, log_C, log_D = (np.log(rows[s].to_numpy(float)) for s in ("N", "C", "D"))
        sizes, spread = len(np.unique(log_N)), float(np.exp(np.ptp(log_C)))
        refusal = ""
        if sizes < MIN_POINTS:
            refusal = f"{sizes} sizes, a parabola needs {MIN_POINTS}"
        elif spread > MAX_SPREAD:
            refusal = f"C varies x{spread:.3g} within the budget, more than x{MAX_SPREAD:g}"
        return cls(
            float(rows.budget.iloc[0]), rows.index.to_numpy(), log_N, log_C, log_C - log_D, refusal
        )


@dataclass(frozen=True)
class _Bowl:
    """Minima of one budget's parabola, one entry per data set; NaN without a minimum."""

    log_N: np.ndarray
    log_D: np.ndarray
    log_L: np.ndarray
    curvature: np.ndarray
    fitted: np.ndarray

    def optima(self) -> dict[str, np.ndarray]:
        return {
            "N_opt": np.exp(self.log_N),
            "D_opt": np.exp(self.log_D),
            "L_opt": np.exp(self.log_L),
            "tokens_per_param": np.exp(self.log_D - self.log_N),
        }


def _two_passes(groups: list[_Group], log_L: np.ndarray, weights: np.ndarray):
    slope = np.zeros(len(log_L))
    bowls = [_bowl(g, log_L, weights, slope) for g in groups]
    log_C = np.log([g.budget for g in groups])
    slope = np.nan_to_num(line(log_C, np.stack([b.log_L for b in bowls], axis=1))[1])
    return [_bowl(g, log_L, weights, slope) for g in groups], slope


def _bowl(group: _Group, log_L, weights, slope) -> _Bowl:
    nothing = np.full(len(log_L), np.nan)
    if group.refusal:
        return _Bowl(nothing, nothing, nothing, nothing, nothing[:, None])
    off_budget = group.log_C - np.log(group.budget)
    L = np.exp(log_L[:, group.rows] - slope[:, None] * off_budget)
    middle, half = group.log_N.mean(), np.ptp(group.log_N) / 2
    x = (group.log_N - middle) / half
    w = np.broadcast_to(weights, log_L.shape if len(weights) == 1 else weights.shape)
    coefficients = _parabola(x, L, w[:, group.rows])
    a, b, c = coefficients.T
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.where(c > 0, -b / (2 * c), np.nan)
        log_min = np.log(np.where(c > 0, a - b * b / (4 * c), np.nan))
    order = np.argsort(group.log_N)
    log_N = middle + half * at
    per_token = np.interp(log_N, group.log_N[order], group.log_per_token[order])
    fitted = coefficients @ np.stack([np.ones_like(x), x, x * x])
    return _Bowl(log_N, np.log(group.budget) - per_token, log_min, c / half**2, fitted)


def _parabola(x: np.ndarray, L: np.ndarray, weights: np.ndarray) -> np.ndarray:
    X = np.stack([np.ones_like(x), x, x * x], axis=1)
    normal = np.einsum("kn,ni,nj->kij", weights, X, X)
    right = np.einsum("kn,ni->ki", weights * L, X)
    solvable = np.linalg.det(normal) > 1e-9 * np.trace(normal, axis1=1, axis2=2) ** 3
    normal = np.where(solvable[:, None, None], normal, np.eye(3))
    found = np.linalg.solve(normal, np.broadcast_to(right, (len(normal), 3))[:, :, None])[:, :, 0]
    return np.where(solvable[:, None], found, np.nan)


def _power_laws(bowls: list[_Bowl], usable: np.ndarray, log_C: np.ndarray) -> pd.DataFrame:
    kept = [bowl for bowl, use in zip(bowls, usable, strict=True) if use]
    optima = {s: np.stack([getattr(b, f"log_{s}") for b in kept], axis=1) for s in "NDL"}
    return pd.DataFrame(power_laws(log_C, optima, float(log_C.mean())))


def _verdict(group: _Group, bowl: _Bowl) -> dict:
    row = {"budget": group.budget}
    row |= {name: float(values[0]) for name, values in bowl.optima().items()}
    row |= {"n_runs": len(group.rows), "curvature": float(bowl.curvature[0])}
    if group.refusal:
        return row | {"status": "no_minimum", "reason": group.refusal}
    if not np.isfinite(bowl.log_N[0]):
        return row | {"status": "no_minimum", "reason": "the parabola opens downward"}
    low, high = group.log_N.min(), group.log_N.max()
    if low < bowl.log_N[0] < high:
        return row | {"status": "ok", "reason": ""}
    side = "below" if bowl.log_N[0] <= low else "above"
    reason = f"the minimum lies {side} the sampled sizes; train such sizes"
    return row | {"status": "extrapolated", "reason": reason}


def _refusals(minima: pd.DataFrame) -> str:
    refused = minima[minima.status != "ok"]
    rows = zip(refused.budget, refused.reason, strict=True)
    return "; ".join(f"{budget:.3g} FLOPs: {reason}" for budget, reason in rows)


def _residuals(obs: pd.DataFrame, groups, bowls, slope) -> tuple[np.ndarray, np.ndarray]:
    """L - parabola (0 where refused), and ln of what the parabola says at each run's own C."""
    fitted = np.log(obs.L.to_numpy(float))
    for group, bowl in zip(groups, bowls, strict=True):
        if not group.refusal:
            moved = slope[0] * (group.log_C - np.log(group.budget))
            fitted[group.rows] = np.log(bowl.fitted[0]) + moved
    return obs.L.to_numpy(float) - np.exp(fitted), fitted


def _plan(obs: pd.DataFrame, fitted, groups, n, rng, kind) -> Resamples:
    used = sum(len(g.rows) if g.refusal else 3 for g in groups)
    kind = kind or ("seed" if default_kind(obs) == "pairs" else default_kind(obs))
    return resample(obs, fitted, used, n, rng, kind)


def _with_intervals(minima: pd.DataFrame, drawn: list[_Bowl] | None) -> pd.DataFrame:
    if drawn is None:
        return minima
    for i, bowl in enumerate(drawn):
        for name, sample in bowl.optima().items():
            low, high = interval(sample[np.isfinite(sample)])
            minima.loc[i, [f"{name}_low", f"{name}_high"]] = low, high
    return minima
