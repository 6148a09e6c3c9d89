"""What casts doubt on a fit: a law that the data reject, parameters that they cannot tell apart."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from scaling.laws.compute import ComputeModel
from scaling.laws.frontier import optimum
from scaling.laws.law import Law

REJECTED = 0.01  # p-value below which a law is rejected
PERMUTATIONS = 999
RELATIVE_WEIGHTS = 0.1  # of chi2/df, below which weights are no 1/std**2
EXACT = 1e-9  # residuals of ln L this small are rounding: there is nothing to reject
CONDITION = 1e4  # of the Jacobian; tables that tell parameters apart have 20 to 200
ALIKE = 2.7  # drop of the squares, in their mean, that two sets of parameters may be apart
FOLLOWS = 0.9  # correlation of ln N and ln D, from which the terms may have changed places
APART = 1e-3  # relative difference of exponents that are two answers


class Noise(Protocol):
    """Anything that tells what single runs scatter: sd of ln L, and its degrees of freedom."""

    @property
    def std(self) -> float:
        """Standard deviation of ln L."""
        ...

    @property
    def freedom(self) -> int:
        """Degrees of freedom it was measured with."""
        ...


@dataclass(frozen=True)
class LackOfFit:
    """A test of whether a law misses the runs by more than noise.

    Attributes
    ----------
    kind : {"F", "chi2", "runs"}
        Against repeats, against given weights, or of the order of the residuals' signs.
    statistic : float
        F, chi2, or the share of neighbouring residuals that have one sign.
    df, df_noise : int
        Degrees of freedom of the misfit, and of the noise (0 where it is not measured).
    p_value : float
    noise : float
        Standard deviation of ln L that repeats or weights tell; NaN otherwise.
    misfit : float
        Root mean square of ln L_predicted - ln L less that of the noise.
    """

    kind: str
    statistic: float
    df: int
    df_noise: int
    p_value: float
    noise: float
    misfit: float

    @property
    def rejected(self) -> bool:
        """Whether the runs reject the law."""
        return self.p_value < REJECTED

    def describe(self) -> str:
        """The test as in "F(49, 14) = 63, misfit 1.2 % against noise 0.18 %"."""
        if self.kind == "runs":
            return (
                f"runs test p = {self.p_value:.2g}, {self.statistic:.0%} of neighbouring residuals "
                f"have one sign, misfit {self.misfit:.2%}"
            )
        of = f"{self.df}, {self.df_noise}" if self.kind == "F" else f"{self.df}"
        against = f"misfit {self.misfit:.2%} against noise {self.noise:.2%}"
        return f"{self.kind}({of}) = {self.statistic:.3g}, {against}"


@dataclass(frozen=True)
class Diagnosis:
    """How an optimum was reached, and what it leaves over; NaN and empty where solved directly.

    Attributes
    ----------
    start_agreement : float
        Share of starts that reached the optimum.
    gradient_norm : float
        Largest derivative of objective/delta per run at the optimum.
    bounds_hit : tuple of str
        Parameters that ended on a bound.
    residuals : tuple of float
        ln L_predicted - ln L of the runs, times the root of their weight over the mean weight.
    lack_of_fit : LackOfFit or None
        None where there is nothing to test: an exact fit, or no residual to spare.
    condition : float
        Of the Jacobian of ln L in the parameters at the optimum, its columns of length one.
    """

    start_agreement: float = float("nan")
    gradient_norm: float = float("nan")
    bounds_hit: tuple[str, ...] = ()
    residuals: tuple[float, ...] = ()
    lack_of_fit: LackOfFit | None = None
    condition: float = float("nan")


# ---------------------------------------------------------------- lack of fit


def lack_of_fit(
    residuals: np.ndarray,
    obs: pd.DataFrame,
    n_params: int,
    noise: Noise | None = None,
    *,
    least: np.ndarray | None = None,
) -> LackOfFit | None:
    """Test a fit against repeats, else against its weights, else by the signs of its residuals.

    Parameters
    ----------
    residuals : array, shape (rows,)
        ln L_predicted - ln L of the reported fit.
    obs : DataFrame with columns N, C, L, weight, and budget and repeat where known
        Rows of one `repeat` are alike but for their seed.
    n_params : int
    noise : Noise, optional
        Noise of single runs, where it was measured on other runs than `obs` repeats.
    least : array, shape (rows,), optional
        Residuals of least squares, which a robust fit exceeds though it misses no more.

    Returns
    -------
    LackOfFit, or None where the runs are fitted exactly or no residual is to spare.

    Notes
    -----
    F = (SS_residual - SS_pure) / df over SS_pure / df_noise, df = rows - n_params - df_noise.
    The runs test permutes the signs of the residuals over the table: with as many neighbours of one
    sign, along N within the budgets or along C, as in less than 1 % of 999 permutations, the law
    bends otherwise than the runs. The smaller p of both counts twice.
    """
    scale = obs.weight.to_numpy(float) / obs.weight.mean()
    both = [r for r in (residuals, least) if r is not None]
    squares = min(float((scale * r**2).sum()) for r in both)
    rows = len(obs)
    if rows <= n_params or squares <= rows * EXACT**2:
        return None
    repeats, freedom = _sum_repeats(obs, scale)
    if noise is not None and not freedom:
        repeats, freedom = noise.freedom * noise.std**2, noise.freedom
    if freedom and repeats > 0 and (df := rows - n_params - freedom) > 0:
        return _against_repeats(squares, repeats, df, freedom, rows)
    if np.ptp(scale) > 0 and (found := _against_weights(squares, obs, rows - n_params)):
        return found
    return _by_signs(residuals, obs, rows - n_params)


def _sum_repeats(obs: pd.DataFrame, scale: np.ndarray) -> tuple[float, int]:
    """Sum of squares of ln L within repeats, and its degrees of freedom; copies count once."""
    if "repeat" not in obs:
        return 0.0, 0
    rows = pd.DataFrame({"of": obs["repeat"], "y": np.log(obs.L), "scale": scale})
    rows = rows.drop_duplicates(["of", "y"])
    within = rows.y - rows.groupby("of").y.transform("mean")
    return float((rows.scale * within**2).sum()), len(rows) - rows.of.nunique()


def _against_repeats(squares, repeats, df: int, freedom: int, rows: int) -> LackOfFit:
    from scipy.special import fdtrc  # here, so that `import scaling` stays fast

    left = max(squares - repeats, 0.0)
    noise = repeats / freedom
    F = left / df / noise
    p = float(fdtrc(df, freedom, F))
    misfit = float(np.sqrt(left / rows))
    return LackOfFit("F", float(F), df, freedom, p, float(np.sqrt(noise)), misfit)


def _against_weights(squares: float, obs: pd.DataFrame, df: int) -> LackOfFit | None:
    from scipy.special import chdtrc  # here, so that `import scaling` stays fast

    mean = obs.weight.mean()
    chi2 = squares * mean
    if chi2 < RELATIVE_WEIGHTS * df:
        return None
    misfit = float(np.sqrt(max(chi2 - df, 0.0) / mean / len(obs)))
    p, noise = float(chdtrc(df, chi2)), float(1 / np.sqrt(mean))
    return LackOfFit("chi2", float(chi2), df, 0, p, noise, misfit)


@functools.lru_cache(maxsize=8)  # an audit fits the same rows by every law
def _permute(rows: int) -> np.ndarray:
    """Permutations of the rows, shape (`PERMUTATIONS`, rows): the same in every test."""
    order = np.arange(rows, dtype=np.int32)
    return np.random.default_rng(0).permuted(np.tile(order, (PERMUTATIONS, 1)), axis=1)


def _by_signs(residuals: np.ndarray, obs: pd.DataFrame, df: int) -> LackOfFit:
    signs = np.where(residuals > 0, 1, -1).astype(np.int8)
    every = np.vstack([signs, signs[_permute(len(signs))]])
    log_N, log_C = (np.log(obs[symbol].to_numpy(float)) for symbol in "NC")
    orders = [(np.lexsort((log_N, log_C)), np.zeros(len(obs)))]
    if "budget" in obs:
        budget = obs.budget.to_numpy(float)
        orders.append((np.lexsort((log_N, budget)), budget))
    p, share = 1.0, float("nan")
    for order, group in orders:
        near = np.diff(group[order]) == 0  # not across budgets, nor where there is none
        if not near.any():
            continue
        alike = ((every[:, order[1:]] == every[:, order[:-1]]) & near).sum(1)
        found = float((alike >= alike[0]).mean())
        if found <= p:
            p, share = found, float(alike[0] / near.sum())
    misfit = float(np.sqrt(np.mean(residuals**2)))
    return LackOfFit("runs", share, df, 0, min(2 * p, 1.0), float("nan"), misfit)


# ---------------------------------------------------------------- parameters told apart


def condition_number(hessian: np.ndarray) -> float:
    """Condition number of J from J'J, the columns of J scaled to length one."""
    length = np.sqrt(np.diag(hessian))
    if not (length > 0).all() or not np.isfinite(hessian).all():
        return float("inf")
    values = np.linalg.eigvalsh(hessian / np.outer(length, length))
    return float(np.sqrt(values[-1] / max(values[0], np.finfo(float).tiny)))


def explain_unidentified(
    obs: pd.DataFrame,
    law: Law,
    params: Mapping[str, float],
    constraints: Mapping[str, Any],
    compute: ComputeModel,
    condition: float,
) -> str:
    """Why the runs cannot tell the parameters apart, and what to train; empty if they can."""
    twin = None if constraints else _swap_terms(obs, law, params)
    advice = "train other D/N, as several sizes at one budget"
    if twin is not None and _is_as_close(obs, law, params, twin):
        C = float((obs.C if "C" in obs else 6 * obs.N * obs.D).max())
        ratios = [optimum("chinchilla", p, C, compute)["tokens_per_param"] for p in (params, twin)]
        return (
            f"D follows N in all {len(obs)} runs, so that (A, alpha) and (B, beta) can change "
            f"places: {ratios[0]:.3g} or {ratios[1]:.3g} tokens/param at {C:.3g} FLOPs cost the "
            f"same losses; {advice}"
        )
    if condition > CONDITION:
        told = f"the runs cannot tell the parameters apart (condition number {condition:.2g})"
        return f"{told}: {advice}"
    return ""


def _swap_terms(obs: pd.DataFrame, law: Law, params: Mapping[str, float]) -> dict | None:
    """Parameters with the terms of N and D exchanged, as if D = c N^k in every run."""
    if law.outer or {*params} != {"E", "A", "B", "alpha", "beta"} or not law.terms:
        return None
    log_N, log_D = (np.log(obs[symbol].to_numpy(float)) for symbol in "ND")
    if min(np.ptp(log_N), np.ptp(log_D)) == 0:
        return None
    k, log_c = np.polyfit(log_N, log_D, 1)
    if k <= 0 or np.corrcoef(log_N, log_D)[0, 1] < FOLLOWS:
        return None
    with np.errstate(over="ignore"):
        swapped = {
            "A": params["B"] * np.exp(-params["beta"] * log_c),
            "alpha": params["beta"] * k,
            "B": params["A"] * np.exp(params["alpha"] / k * log_c),
            "beta": params["alpha"] / k,
        }
    return {**params, **{name: float(value) for name, value in swapped.items()}}


def _is_as_close(obs: pd.DataFrame, law: Law, params, twin) -> bool:
    """Whether other parameters than these fit the runs as well, within the noise."""
    if abs(np.log(twin["alpha"] / params["alpha"])) < APART:
        return False
    weight, observed = obs.weight.to_numpy(float), np.log(obs.L.to_numpy(float))
    given = {v: obs[v].to_numpy(float) for v in law.variables}
    ours, theirs = (
        float((weight * (np.log(law.loss(p, **given)) - observed) ** 2).sum()) / weight.mean()
        for p in (params, twin)
    )
    mean = ours / max(len(obs) - len(params), 1)
    return theirs <= ours + max(ALIKE * mean, len(obs) * EXACT**2)
