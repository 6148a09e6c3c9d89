"""The cheapest model of a given loss when it must also serve tokens."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scaling.planning.search import find_least
from scaling.planning.sources import LawSource

FORWARD_SHARE = 1 / 3  # a forward pass is a third of a training step: 2N of 6N
UPWARDS = np.log(1e3)  # of ln N above the optimum: serving only makes the best model smaller
FACTORS = (0.25, 0.5, 0.75, 1.0, 2.0)  # of N_opt


@dataclass(frozen=True)
class InferencePlan:
    """The cheapest model of a given loss when it must also serve tokens.

    A law whose runs count FLOPs takes its own per token in place of 6N, and a third of it.
    """

    inference_tokens: float  # read and written over the model's life
    loss: float  # nats/token
    N: float  # parameters
    D: float  # tokens
    training_flops: float  # 6ND
    inference_flops: float  # 2 N inference_tokens
    total_flops: float
    optimal_total_flops: float  # of the compute-optimal model of this loss
    saving: float  # 1 - total_flops / optimal_total_flops
    table: pd.DataFrame  # as `equal_loss` returns it


def plan_inference(law: LawSource, C: float, inference_tokens: float) -> InferencePlan:
    """Least 6ND + 2 N D_inf at the loss that is compute-optimal at C.

    Parameters
    ----------
    law : LawSource; with a loss for every N and D
    C : float, FLOPs
        Its optimum sets the loss.
    inference_tokens : float, tokens, >= 0

    Raises
    ------
    ValueError
        The law knows the optimum only.

    References
    ----------
    Sardana et al. 2024, arXiv:2401.00448, equation 3; their approximations 6ND and 2ND.
    """
    best = law.point(C)
    N_opt, D_opt, loss = best["N_opt"], best["D_opt"], best["L_opt"]
    law.loss(N_opt, D_opt)  # refuses a law that knows the optimum only

    def log_total(N: float) -> float:
        return float(np.log(_total(law, N, tokens_for_loss(law, N, loss), inference_tokens)))

    N = find_least(log_total, np.log(_smallest(law, loss)), np.log(N_opt) + UPWARDS)
    D = float(tokens_for_loss(law, N, loss))
    training, total = law.flops_per_token(N) * D, _total(law, N, D, inference_tokens)
    optimal = _total(law, N_opt, D_opt, inference_tokens)
    return InferencePlan(
        inference_tokens=inference_tokens,
        loss=loss,
        N=N,
        D=D,
        training_flops=training,
        inference_flops=total - training,
        total_flops=total,
        optimal_total_flops=optimal,
        saving=1 - total / optimal,
        table=equal_loss(law, C, inference_tokens),
    )


def equal_loss(
    law: LawSource, C: float, inference_tokens: float, factors: Iterable[float] = FACTORS
) -> pd.DataFrame:
    """Cost of smaller and larger models trained until they reach the optimum's loss.

    Returns
    -------
    DataFrame with columns factor (of N_opt), N, D (tokens needed; NaN where the model is too small
        for the loss), training_flops (6ND), inference_flops (2 N D_inf), total_flops, over (total
        over that of the optimum)
    """
    best = law.point(C)
    table = pd.DataFrame({"factor": [*factors]}, dtype=float)
    table["N"] = best["N_opt"] * table.factor
    table["D"] = tokens_for_loss(law, table.N.to_numpy(), best["L_opt"])
    per_token = np.array([law.flops_per_token(N) for N in table.N])
    table["training_flops"] = per_token * table.D
    table["inference_flops"] = FORWARD_SHARE * per_token * inference_tokens
    table["total_flops"] = table.training_flops + table.inference_flops
    optimal = _total(law, best["N_opt"], best["D_opt"], inference_tokens)
    return table.assign(over=table.total_flops / optimal)


def tokens_for_loss(law: LawSource, N, loss: float):
    """Tokens on which N parameters reach a loss: (B / (loss - E - A/N^alpha))^(1/beta), or NaN."""
    p = law.fit.params
    left = loss - p["E"] - p["A"] / np.asarray(N, float) ** p["alpha"]
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        D = (p["B"] / left) ** (1 / p.get("beta", p["alpha"]))
    return np.where(left > 0, D, np.nan)[()]


def _smallest(law: LawSource, loss: float) -> float:
    """Parameters below which no amount of data reaches the loss, and a hair more."""
    p = law.fit.params
    return (p["A"] / (loss - p["E"])) ** (1 / p["alpha"]) * (1 + 1e-9)


def _total(law: LawSource, N: float, D: Any, inference_tokens: float) -> float:
    """FLOPs of training on D tokens and of serving."""
    return law.flops_per_token(N) * (D + FORWARD_SHARE * inference_tokens)
