"""What it costs to leave the optimum: another N at the same compute."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from scaling.fitting.result import Estimate, interval
from scaling.laws.frontier import optimum
from scaling.laws.table import LAWS
from scaling.planning.sources import LawLike, LawSource, get_source

LOG_RANGE = (-30.0, 140.0)  # logarithms of what is searched, FLOPs or parameters


def departures(law: LawLike, C: float, factors: Iterable[float] = (0.5, 1.0, 2.0)) -> pd.DataFrame:
    """Loss of a model of `factor` times N_opt trained with the same compute.

    Parameters
    ----------
    law : LawLike; with a loss for every N and D
    C : float, FLOPs
    factors : iterable of float

    Returns
    -------
    DataFrame with columns factor, N, D, tokens_per_param, loss, loss_gap with loss_gap_low and
        loss_gap_high (nats/token above L_opt; over the draws, each against its own optimum), C_over
        (C over what the optimum needs for the same loss)

    Raises
    ------
    ValueError
        The law knows the optimum only.
    """
    law = get_source(law)
    best = law.point(C)
    N_opt, L_opt = best["N_opt"], best["L_opt"]
    rows = []
    for factor in factors:
        N = factor * N_opt
        D = C / law.flops_per_token(N)
        gap = loss_gap(law, N, D, C)
        loss = float(law.loss(N, D))
        row = {"factor": factor, "N": N, "D": D, "tokens_per_param": D / N, "loss": loss}
        row |= {"loss_gap": max(loss - L_opt, 0.0), "loss_gap_low": gap.low}
        row |= {"loss_gap_high": gap.high, "C_over": C / compute_for(law, loss)}
        rows.append(row)
    return pd.DataFrame(rows)


def loss_gap(law: LawSource, N: float, D: float, C: float) -> Estimate:
    """L(N, D) - L_opt(C), with every draw of the law against its own optimum."""
    estimate = law.loss(N, D)
    value = float(estimate) - law.point(C)["L_opt"]
    drawn = None
    if law.has_draws:
        columns = {name: law.fit.draws[name].to_numpy(float) for name in law.fit.params}
        best = optimum(law.fit.law, columns, C, law.fit.compute)["L_opt"]
        drawn = LAWS[law.fit.law].loss(columns, N=N, D=D) - best
    return Estimate(value, *interval(drawn), estimate.status)


def compute_for(law: LawSource, loss: float) -> float:
    """FLOPs at which the law's optimum reaches a loss; NaN where it never does."""
    return crossing(lambda C: law.point(C)["L_opt"] - loss)


def compute_of_size(law: LawSource, N: float) -> float:
    """FLOPs at which N parameters are the law's optimum; NaN where they never are."""
    return crossing(lambda C: law.point(C)["N_opt"] - N)


def crossing(excess: Callable[[float], float]) -> float:
    """The positive number at which a monotone function crosses zero; NaN if it never does."""
    ends = [excess(float(np.exp(end))) for end in LOG_RANGE]
    if not min(ends) < 0 < max(ends):
        return float("nan")
    found: Any = brentq(lambda log: excess(float(np.exp(log))), *LOG_RANGE, xtol=1e-13)
    return float(np.exp(found))
