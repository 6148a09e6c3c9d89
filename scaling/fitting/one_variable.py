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

LIMIT = "limit of the joint law for {} -> infinity, no fit of its own"
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
        draws = _fit_pure_power({name: draws[name].to_numpy()[:, None] for name in draws}, C)
    params = _fit_pure_power(frontier.params, C).iloc[0].to_dict()
    changed = {"method": "kaplan_LC", "law": "power_C", "params": params, "draws": draws}
    return replace(frontier, **changed, minima=pd.DataFrame(), note=FRONTIER)


def fit_LN(joint: Fit) -> Fit:
    """L(N) = E + A / N^alpha, the limit of the parametric fit for D -> infinity."""
    return _take_limit(joint, "N", {"E": "E", "A": "A", "alpha": "alpha"}, "D")


def fit_LD(joint: Fit) -> Fit:
    """L(D) = E + B / D^beta, the limit of the parametric fit for N -> infinity."""
    exponent = "beta" if "beta" in joint.params else "alpha"
    return _take_limit(joint, "D", {"E": "E", "A": "B", "alpha": exponent}, "N")


def _fit_pure_power(params, C: np.ndarray) -> pd.DataFrame:
    log_L = np.log(np.atleast_2d(optimum("power_frontier", params, C)["L_opt"]))
    log_A, slope = line(np.log(C), log_L)
    return pd.DataFrame({"A": np.exp(log_A), "alpha": -slope})


def _take_limit(joint: Fit, variable: str, names: dict[str, str], infinite: str) -> Fit:
    method = f"kaplan_L{variable}"
    if lacking := sorted(set(names.values()) - set(joint.params)):
        raise ValueError(f"{method} needs a chinchilla fit; {joint.law} lacks {lacking}")
    draws = joint.draws
    if len(draws):
        draws = pd.DataFrame({ours: draws[theirs] for ours, theirs in names.items()})
    params = {ours: joint.params[theirs] for ours, theirs in names.items()}
    changed = {"method": method, "law": f"power_{variable}_E", "params": params, "draws": draws}
    return replace(joint, **changed, note=LIMIT.format(infinite))
