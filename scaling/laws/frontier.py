"""Compute-optimal allocation: law parameters -> N_opt(C), D_opt(C), L_opt(C).

Examples
--------
Parameters that people published, `params` of the other examples:

>>> from scaling.laws.papers import PUBLISHED_LAWS
>>> params = PUBLISHED_LAWS["besiroglu2024"].params
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from scaling.laws.compute import ComputeModel
from scaling.laws.jets import Jet
from scaling.laws.law import Law
from scaling.laws.table import LAWS

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

    Examples
    --------
    For the compute of Gopher, which Chinchilla was given (70B parameters, 1.4T tokens):

    >>> best = chinchilla_optimum(params, 5.76e23, ComputeModel())
    >>> print(f"{best['N']:.3g} parameters, {best['D']:.3g} tokens, {best['L']:.3f} nats/token")
    7.22e+10 parameters, 1.33e+12 tokens, 1.974 nats/token
    """
    A, B, alpha = params["A"], params["B"], params["alpha"]
    beta, log_C = params.get("beta", alpha), np.log(C)
    balance = np.log(alpha) + np.log(A) - np.log(beta) - np.log(B)
    log_N = np.log(compute.centre)
    for _ in range(NEWTON_STEPS if compute.bend else 1):
        height, gamma = compute.uncrossed(log_N)
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

    Examples
    --------
    It finds what `chinchilla_optimum` says:

    >>> best = search_optimum("chinchilla", params, 5.76e23, ComputeModel())
    >>> print(f"{best['N']:.3g} parameters, {best['D']:.3g} tokens, {best['L']:.3f} nats/token")
    7.22e+10 parameters, 1.33e+12 tokens, 1.974 nats/token
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

    Examples
    --------
    >>> frontier = dict(C_ref=1e21, N_ref=2.8e9, N_exponent=0.5, D_ref=6e10, D_exponent=0.5)
    >>> frontier |= dict(L_ref=0.45, L_exponent=-0.16, L_floor=1.8)
    >>> best = power_optimum(frontier, 4e21, ComputeModel())  # four times the compute
    >>> print(f"{best['N']:.3g} parameters, {best['D']:.3g} tokens, {best['L']:.3f} nats/token")
    5.6e+09 parameters, 1.2e+11 tokens, 2.160 nats/token
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

    Examples
    --------
    >>> for name in ("hoffmann2022", "besiroglu2024", "kaplan2020"):
    ...     law = PUBLISHED_LAWS[name]
    ...     best = optimum(law.law, law.params, 5.76e23)
    ...     print(f"{name}: {best['tokens_per_param']:.1f} tokens per parameter")
    hoffmann2022: 58.9 tokens per parameter
    besiroglu2024: 18.4 tokens per parameter
    kaplan2020: 1.6 tokens per parameter
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

    Examples
    --------
    Table 2 of Hoffmann et al. 2022 has 0.50, 0.49 and 0.46 for N:

    >>> print({name: round(value, 3) for name, value in exponents("chinchilla", params).items()})
    {'N_exponent': 0.513, 'D_exponent': 0.487}
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
