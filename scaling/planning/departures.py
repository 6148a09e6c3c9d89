"""What it costs to leave the optimum: another N at the same compute."""

from collections.abc import Iterable

import pandas as pd

from scaling.fitting.estimate import Estimate, interval
from scaling.laws.frontier import optimum
from scaling.laws.table import LAWS
from scaling.planning.search import find_crossing
from scaling.planning.sources import LawSource, spread

FACTORS = (0.5, 1.0, 2.0)  # of N_opt


def departures(law: LawSource, C: float, factors: Iterable[float] = FACTORS) -> pd.DataFrame:
    """Loss of a model of `factor` times N_opt trained with the same compute.

    Parameters
    ----------
    law : LawSource; with a loss for every N and D
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
    N_opt, rows = law.point(C)["N_opt"], []
    for factor in factors:
        N = factor * N_opt
        D = C / law.flops_per_token(N)
        loss, gap = float(law.loss(N, D)), loss_gap(law, N, D, C)
        row = {"factor": factor, "N": N, "D": D, "tokens_per_param": D / N, "loss": loss}
        rows.append(row | spread("loss_gap", gap) | {"C_over": C / compute_for(law, loss)})
    return pd.DataFrame(rows).assign(loss_gap=lambda table: table.loss_gap.clip(lower=0.0))


def loss_gap(law: LawSource, N: float, D: float, C: float) -> Estimate:
    """L(N, D) - L_opt(C), with every draw of the law against its own optimum."""
    estimate, fit, drawn = law.loss(N, D), law.fit, None
    if len(fit.draws):
        columns = {name: fit.draws[name].to_numpy(float) for name in fit.params}
        best = optimum(fit.law, columns, C, fit.compute)["L_opt"]
        drawn = LAWS[fit.law].loss(columns, N=N, D=D) - best
    return Estimate(float(estimate) - law.point(C)["L_opt"], *interval(drawn), estimate.status)


def compute_for(law: LawSource, loss: float) -> float:
    """FLOPs at which the law's optimum reaches a loss; NaN where it never does."""
    return find_crossing(lambda C: law.point(C)["L_opt"] - loss)


def compute_of_size(law: LawSource, N: float) -> float:
    """FLOPs at which N parameters are the law's optimum; NaN where they never are."""
    return find_crossing(lambda C: law.point(C)["N_opt"] - N)
