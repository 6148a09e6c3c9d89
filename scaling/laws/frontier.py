"""Compute-optimal allocation: law parameters -> N_opt(C), D_opt(C), L_opt(C)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from scaling.laws.jets import Jet
from scaling.laws.table import LAWS, Law

QUANTITIES = {  # of a compute-optimal model, with their units
    "N_opt": "parameters",
    "D_opt": "tokens",
    "L_opt": "nats/token",
    "tokens_per_param": "tokens/parameter",
}
NEWTON_STEPS = 12  # to the optimum under a bent compute model
RATIOS = (1e-3, 1e16)  # tokens per parameter, about, between which an optimum is searched
GRID = 56  # sizes tried first
ROUNDS = 90  # at most, of which every third halves the bracket
SETTLED = 1e-12  # step in ln N
NUDGE = 1e-3  # in ln C, for a slope of the frontier


@dataclass(frozen=True)
class ComputeModel:
    """Training FLOPs per token as a curve in N: C/D = kappa * N**gamma where it does not bend.

    ln(C/D) = ln kappa + gamma ln N + bend u^2 / 2 with u = ln(N / centre), continued along its
    tangents outside of the sampled sizes, but from `crossing` on as 6N: head and attention make
    small models dearer than that and large ones never cheaper. 6ND is kappa = 6, gamma = 1,
    bend = 0.

    Attributes
    ----------
    kappa : float, FLOPs per token
    gamma : float
        Slope at `centre`; below 1 where small models pay more than 6 FLOPs per parameter.
    bend : float
    centre : float, parameters
    sizes : tuple of float, parameters
        Smallest and largest sampled size.
    rms : float
        Root mean square relative deviation of the runs from this curve.
    """

    kappa: float = 6.0
    gamma: float = 1.0
    bend: float = 0.0
    centre: float = 1.0
    sizes: tuple[float, float] = (1.0, 1.0)
    rms: float = 0.0

    @property
    def crossing(self) -> float:
        """Logarithm of the N above the sampled sizes where the tangent meets 6N; else infinite."""
        if self.sizes[0] == self.sizes[1]:
            return np.inf
        edge = np.log(self.sizes[1])
        height, slope = self._bent(edge)
        above = height - np.log(6.0) - edge
        return float(edge + above / (1 - slope)) if slope < 1 and above >= 0 else np.inf

    def tangent(self, log_N):
        """ln(C/D) at N, and its slope in ln N there."""
        height, slope = self._bent(log_N)
        large = log_N > self.crossing
        return np.where(large, np.log(6.0) + log_N, height), np.where(large, 1.0, slope)

    def _bent(self, log_N):
        u, (low, high) = log_N - np.log(self.centre), np.log(self.sizes) - np.log(self.centre)
        bent = np.clip(u, low, high)
        height = np.log(self.kappa) + self.gamma * log_N + self.bend * bent * (u - bent / 2)
        return height, self.gamma + self.bend * bent

    def bend_at(self, log_N):
        """Second derivative of ln(C/D) in ln N: `bend` inside of the sampled sizes, else 0."""
        low, high = np.log(self.sizes)
        return np.where((log_N > low) & (log_N < high), self.bend, 0.0)

    def tokens(self, C, N):
        """Tokens that spend C FLOPs on a model of N parameters."""
        return C / np.exp(self.tangent(np.log(N))[0])


def fit_compute(obs: pd.DataFrame) -> ComputeModel:
    """Least-squares parabola of ln(C/D) in ln N.

    Parameters
    ----------
    obs : DataFrame with columns N (parameters), D (tokens), C (FLOPs); one row per run

    Returns
    -------
    ComputeModel; exactly 6ND where C is 6ND. From fewer than 4 sizes no bend, from one gamma = 1.

    Notes
    -----
    Counted FLOPs per token are no multiple of N: head and attention weigh more in small models.
    On 6N + 190 sqrt(N) FLOPs per token a straight line (1 % off the runs) moves N_opt by
    2-3 %, more than its interval is wide; the parabola follows within 0.1 %.
    """
    per_token = np.log((obs.C / obs.D).to_numpy(float))
    x = np.log(obs.N.to_numpy(float))
    if np.allclose(per_token, x + np.log(6.0), rtol=0, atol=1e-9):
        return ComputeModel()
    sizes, middle = len(np.unique(x)), x.mean()
    u = x - middle
    degree = 2 if sizes >= 4 else min(sizes - 1, 1)
    curve = np.polynomial.Polynomial.fit(u, per_token, degree, domain=[-1, 1])
    height, gamma, half_bend = [*curve.coef, *(0.0, 1.0, 0.0)[degree + 1 :]]
    return ComputeModel(
        kappa=float(np.exp(height - gamma * middle)),
        gamma=float(gamma),
        bend=float(2 * half_bend),
        centre=float(np.exp(middle)),
        sizes=(float(np.exp(x.min())), float(np.exp(x.max()))),
        rms=float(np.sqrt(np.mean(np.expm1(per_token - curve(u)) ** 2))),
    )


def chinchilla_optimum(params: Mapping, C, compute: ComputeModel) -> dict:
    """N, D and loss that minimise E + A/N^alpha + B/D^beta at given compute.

    N_opt = [alpha A / (gamma beta B) * (C/kappa)^beta]^(1/(alpha + gamma beta))

    Parameters as in `optimum`; alpha stands for a beta that is absent.

    References
    ----------
    Hoffmann et al. 2022, arXiv:2203.15556, equation 4, where kappa = 6 and gamma = 1.

    Notes
    -----
    Where the compute model bends, this is the first of the Newton steps in ln N that set the
    logarithms of alpha A / N^alpha and gamma beta B / D^beta equal. Above its crossing with 6N
    the optimum is that of 6ND, or the crossing itself where neither side has one.
    """
    A, B, alpha = params["A"], params["B"], params["alpha"]
    beta, log_C = params.get("beta", alpha), np.log(C)
    balance = np.log(alpha) + np.log(A) - np.log(beta) - np.log(B)
    log_N = np.log(compute.centre)
    for _ in range(NEWTON_STEPS if compute.bend else 1):
        height, gamma = compute._bent(log_N)
        excess = balance - np.log(gamma) - alpha * log_N + beta * (log_C - height)
        log_N = log_N + excess / (alpha + beta * gamma + compute.bend_at(log_N) / gamma)
    if np.isfinite(crossing := compute.crossing):
        by_6ND = (balance + beta * (log_C - np.log(6.0))) / (alpha + beta)
        log_N = np.where(log_N > crossing, np.maximum(by_6ND, crossing), log_N)
    log_D = log_C - compute.tangent(log_N)[0]
    L = params["E"] + A * np.exp(-alpha * log_N) + B * np.exp(-beta * log_D)
    return {"N": np.exp(log_N), "D": np.exp(log_D), "L": L}


def search_optimum(name: str, params: Mapping, C, compute: ComputeModel) -> dict:
    """N, D and loss that minimise any law of N and D at given compute; arguments as in `optimum`.

    NaN where the loss has no minimum between the `RATIOS`. The lowest of `GRID` sizes brackets the
    minimum, Newton's method on the slope of ln L in ln N finds it.
    """
    law, params = LAWS[name], {key: np.asarray(value, float) for key, value in params.items()}
    log_C = np.broadcast_arrays(np.log(np.asarray(C, float)), *params.values())[0]
    low, high = -np.log(RATIOS) / 2
    offsets = np.linspace(high, low, GRID).reshape(-1, *np.ones(log_C.ndim, int))
    grid = (log_C - np.log(6.0)) / 2 + offsets
    tried = law.evaluate(
        params, {"N": np.exp(grid), "D": compute.tokens(np.exp(log_C), np.exp(grid))}
    )
    least = np.where(np.isfinite(tried), tried, np.inf).argmin(0)
    is_inside = (least > 0) & (least < GRID - 1)
    low, log_N, high = (
        np.take_along_axis(grid, np.clip(least + k, 0, GRID - 1)[None], 0)[0] for k in (-1, 0, 1)
    )
    for turn in range(ROUNDS):
        loss = _along(law, params, log_N, log_C, compute)
        falls = loss.slopes[0] < 0
        low, high = np.where(falls, log_N, low), np.where(falls, high, log_N)
        step = log_N - loss.slopes[0] / loss.bends[0, 0]
        halve = ~((step > low) & (step < high)) | (turn % 3 == 2)
        moved = np.where(halve & (high - low > SETTLED), (low + high) / 2, step)
        moved = np.clip(moved, low, high)
        settled = np.abs(moved - log_N) < SETTLED
        log_N = moved
        if np.all(settled | ~is_inside):
            break
    log_N = np.where(is_inside, log_N, np.nan)
    N, D = np.exp(log_N), compute.tokens(np.exp(log_C), np.exp(log_N))
    return {"N": N, "D": D, "L": law.evaluate(params, {"N": N, "D": D})}


def _along(law: Law, params: Mapping, log_N, log_C, compute: ComputeModel) -> Any:
    """Ln L with its derivatives in ln N at constant compute."""
    height, slope = compute.tangent(log_N)
    bend = np.where(log_N > compute.crossing, 0.0, compute.bend_at(log_N))
    N = Jet(log_N, {0: 1.0}, {})
    D = Jet(log_C - height, {0: -slope}, {(0, 0): -bend})
    return np.log(law.evaluate(params, {"N": np.exp(N), "D": np.exp(D)}))


def power_optimum(params: Mapping, C, compute: ComputeModel) -> dict:
    """N, D and loss as X_opt = X_ref * (C / C_ref)^X_exponent, the loss above L_floor.

    With x = ln(C / C_ref), N_curvature x^2 is added to ln N_opt where it is given, and likewise of
    D and of the loss above its floor; beyond C_edge, and as far below C_ref, their tangents go on.
    The exponents are those at C_ref.
    """
    log_C = np.log(C) - np.log(params["C_ref"])
    logs = {symbol: params[f"{symbol}_exponent"] * log_C for symbol in "NDL"}
    if "C_edge" in params:
        edge = np.log(params["C_edge"]) - np.log(params["C_ref"])
        bent = np.clip(log_C, -edge, edge)
        for symbol in logs:
            curvature = params.get(f"{symbol}_curvature", 0.0)
            logs[symbol] = logs[symbol] + curvature * bent * (2 * log_C - bent)
    powers = {symbol: params[f"{symbol}_ref"] * np.exp(x) for symbol, x in logs.items()}
    return powers | {"L": params["L_floor"] + powers["L"]}


FRONTIERS: dict[str, Callable[..., dict]] = {
    "chinchilla": chinchilla_optimum,
    "chinchilla_tied": chinchilla_optimum,
    "power_frontier": power_optimum,
}
FRONTIERS |= {
    name: partial(search_optimum, name)
    for name, law in LAWS.items()
    if {*law.variables} == {"N", "D"} and name not in FRONTIERS
}


def optimum(law: str, params: Mapping, C, compute: ComputeModel | None = None) -> dict:
    """The compute-optimal model at compute C under a law.

    Parameters
    ----------
    law : str
        Key of `FRONTIERS`.
    params : mapping, name -> float or array
    C : float or array, FLOPs
    compute : ComputeModel, 6ND if omitted

    Returns
    -------
    dict with the keys of `QUANTITIES`; NaN where the law has no minimum at C

    Raises
    ------
    ValueError
        The law has no compute-optimal frontier, or C is not positive.
    """
    _refuse_other(law)
    if not np.all(np.asarray(C, float) > 0):
        raise ValueError(f"C must be positive FLOPs, got {C}")
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # unidentified is infinite
        N, D, L = FRONTIERS[law](params, C, compute or ComputeModel()).values()
        return dict(zip(QUANTITIES, (N, D, L, D / N), strict=True))


def exponents(
    law: str, params: Mapping, compute: ComputeModel | None = None, C: float | None = None
) -> dict:
    """N_exponent a and D_exponent b of N_opt ~ C^a, D_opt ~ C^b; arguments as in `optimum`.

    Of a bent compute model those at its centre; of a law whose frontier is no power of C, its
    slopes at C.
    """
    _refuse_other(law)
    if law == "power_frontier":
        return {name: params[name] for name in ("N_exponent", "D_exponent")}
    if FRONTIERS[law] is not chinchilla_optimum:
        if C is None:
            raise ValueError(f"the frontier of {law} is no power of C: say at which C")
        low, high = (optimum(law, params, C * np.exp(h), compute) for h in (-NUDGE, NUDGE))
        return {
            f"{symbol}_exponent": np.log(high[f"{symbol}_opt"] / low[f"{symbol}_opt"]) / (2 * NUDGE)
            for symbol in "ND"
        }
    alpha, beta = params["alpha"], params.get("beta", params["alpha"])
    gamma = (compute or ComputeModel()).gamma
    whole = alpha + gamma * beta
    return {"N_exponent": beta / whole, "D_exponent": alpha / whole}


def _refuse_other(law: str) -> None:
    if law not in FRONTIERS:
        raise ValueError(f"law {law!r} has no compute-optimal frontier; {[*FRONTIERS]} have one")
