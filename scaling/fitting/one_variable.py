"""Kaplan's single-variable laws L(C), L(N), L(D), read off the other fits.

An IsoFLOP grid trains no model to convergence, so the raw lowest loss per N or per D is
conditional on the grid. L(N) and L(D) here are limits of the joint law, and labelled so.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from scaling.fitting.lines import line
from scaling.fitting.result import Fit
from scaling.laws.frontier import optimum

LIMIT_N = "limit of the joint law for D -> infinity, no fit of its own"
LIMIT_D = "limit of the joint law for N -> infinity, no fit of its own"
FRONTIER = "power law through the isoflop frontier at its budgets, without an irreducible term"


def fit_LC(frontier: Fit) -> Fit:
    """L(C) = A / C^alpha along the compute-optimal frontier.

    Parameters
    ----------
    frontier : Fit of method "isoflop"

    Returns
    -------
    Fit of law "power_C", C in FLOPs; Kaplan's C_c is A^(1/alpha)

    References
    ----------
    Kaplan et al. 2020, arXiv:2001.08361, equation 1.3.
    """
    if frontier.method != "isoflop":
        raise ValueError(f"L(C) is read off an isoflop fit, got {frontier.method}")
    C = frontier.minima.budget[frontier.minima.status == "ok"].to_numpy(float)
    draws = frontier.draws
    if len(draws):
        draws = _pure_power({name: draws[name].to_numpy()[:, None] for name in draws}, C)
    return replace(
        frontier,
        method="kaplan_LC",
        law="power_C",
        params=_pure_power(frontier.params, C).iloc[0].to_dict(),
        draws=draws,
        minima=pd.DataFrame(),
        note=FRONTIER,
    )


def fit_LN(joint: Fit) -> Fit:
    """L(N) = E + A / N^alpha, the limit of the parametric fit for D -> infinity."""
    return _limit(joint, "kaplan_LN", "power_N_E", {"E": "E", "A": "A", "alpha": "alpha"}, LIMIT_N)


def fit_LD(joint: Fit) -> Fit:
    """L(D) = E + B / D^beta, the limit of the parametric fit for N -> infinity."""
    exponent = "beta" if "beta" in joint.params else "alpha"
    return _limit(joint, "kaplan_LD", "power_D_E", {"E": "E", "A": "B", "alpha": exponent}, LIMIT_D)


def _pure_power(params, C: np.ndarray) -> pd.DataFrame:
    log_L = np.log(np.atleast_2d(optimum("power_frontier", params, C)["L_opt"]))
    log_A, slope = line(np.log(C), log_L)
    return pd.DataFrame({"A": np.exp(log_A), "alpha": -slope})


def _limit(joint: Fit, method: str, law: str, names: dict[str, str], note: str) -> Fit:
    if lacking := sorted(set(names.values()) - set(joint.params)):
        raise ValueError(f"{method} needs a chinchilla fit; {joint.law} lacks {lacking}")
    draws = joint.draws
    if len(draws):
        draws = pd.DataFrame({ours: draws[theirs] for ours, theirs in names.items()})
    params = {ours: joint.params[theirs] for ours, theirs in names.items()}
    return replace(joint, method=method, law=law, params=params, draws=draws, note=note)
