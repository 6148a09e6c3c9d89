"""What to train when a model must also serve tokens, and what that saves."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.planning.allocation import Goals, search
from scaling.planning.sources import LawSource
from scaling.planning.surface import FORWARD_SHARE, WITHIN, Surface, limited, read_decays

FACTORS = (0.25, 0.5, 0.75, 1.0, 2.0)  # of the best size without a demand


@dataclass(frozen=True)
class Allocation:
    """A model and what it costs over its life."""

    N: float  # parameters
    D: float  # tokens
    loss: float  # nats/token
    training_flops: float  # 6ND
    inference_flops: float  # 2 N inference_tokens

    @property
    def total_flops(self) -> float:
        """Of training and serving."""
        return self.training_flops + self.inference_flops


@dataclass(frozen=True)
class InferencePlan:
    """Training for C FLOPs, at most so many unique tokens, and a demand to serve: all at once.

    A law whose runs count FLOPs takes its own per token in place of 6N, and a third of it.
    """

    inference_tokens: float  # read and written over the model's life
    data_limit: float | None  # unique tokens, where they bind
    C: float  # FLOPs of the budget
    optimum: Allocation  # without a demand: least loss that C and the data allow
    same_loss: Allocation  # least total that reaches the optimum's loss; may train for more than C
    planned: Allocation  # trains for C at most, and no other model of its loss costs less in all
    table: pd.DataFrame  # as `equal_loss` returns it

    @property
    def saving(self) -> float:
        """Of the total of the same loss, over that of the optimum."""
        return 1 - self.same_loss.total_flops / self.optimum.total_flops

    @property
    def overspent(self) -> float:
        """Training of the same loss over the budget."""
        return self.same_loss.training_flops / self.C


def plan_inference(
    law: LawSource,
    C: float,
    inference_tokens: float,
    *,
    data_limit: float | None = None,
    repeat: bool = True,
) -> InferencePlan:
    """Least 6ND + 2 N D_inf: at the loss that C buys without a demand, and within C.

    Parameters
    ----------
    law : LawSource; a sum of two powers
    C : float, FLOPs
    inference_tokens : float, tokens, >= 0
    data_limit, repeat
        As in `scaling.planning.data_limits.plan_data`.

    Raises
    ------
    ValueError
        The law has no loss for every N and D, or is no sum of two powers.

    References
    ----------
    Sardana et al. 2024, arXiv:2401.00448, equation 3; their approximations 6ND and 2ND. They hold
    the loss; `planned` holds the budget, at a higher loss.

    Notes
    -----
    Where data is used up (`Surface.is_saturated`) the loss is 0.001 nats above the least.
    """
    surface = Surface(law)
    best = law.point(C)
    unlimited = surface.cheapest(best["L_opt"], inference_tokens)
    optimum = best["N_opt"], best["D_opt"]
    binding = data_limit is not None and data_limit < max(unlimited[1], best["D_opt"])
    if binding and data_limit is not None:
        surface = limited(law, data_limit, read_decays(law)[0], repeat=repeat)
        optimum = surface.spend(C)
    loss = surface.loss(*optimum)
    saturated = binding and surface.is_saturated(C, loss)
    if saturated:
        loss += WITHIN
        optimum = surface.cheapest(loss)
    same = surface.cheapest(loss, inference_tokens)
    goals = Goals(C, None, data_limit, repeat, served=inference_tokens)
    planned = search(law, goals)[:2]

    def weigh(size: tuple[float, float]) -> Allocation:
        training = float(surface.total(*size))
        served = float(surface.total(*size, inference_tokens)) - training
        N, D = map(float, size)
        return Allocation(N, D, float(surface.loss(N, D)), training, served)

    return InferencePlan(
        inference_tokens=inference_tokens,
        data_limit=data_limit if binding else None,
        C=C,
        optimum=weigh(optimum),
        same_loss=weigh(same),
        planned=weigh(planned),
        table=equal_loss(surface, optimum, loss, inference_tokens),
    )


def equal_loss(
    surface: Surface,
    optimum: tuple[float, float],
    loss: float,
    inference_tokens: float,
    factors: Iterable[float] = FACTORS,
) -> pd.DataFrame:
    """Cost of smaller and larger models trained until they reach a loss.

    Returns
    -------
    DataFrame with columns factor (of N of the optimum), N, D (tokens needed; NaN where the model is
        too small for the loss), training_flops (6ND), inference_flops (2 N D_inf), total_flops,
        over (total over that of the optimum)
    """
    table = pd.DataFrame({"factor": [*factors]}, dtype=float)
    table["N"] = optimum[0] * table.factor
    table["D"] = surface.tokens_for_loss(table.N.to_numpy(), loss)
    per_token = np.array([surface.law.flops_per_token(N) for N in table.N])
    table["training_flops"] = per_token * table.D
    table["inference_flops"] = FORWARD_SHARE * per_token * inference_tokens
    table["total_flops"] = table.training_flops + table.inference_flops
    return table.assign(over=table.total_flops / surface.total(*optimum, inference_tokens))
