"""A model judged by a law: trained too little or too long, and the loss that cost."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scaling.fitting.result import Estimate
from scaling.planning.departures import compute_for, compute_of_size, loss_gap
from scaling.planning.sources import LawLike, get_source
from scaling.quantities import (
    PARAMETERS,
    TOKENS,
    format_quantity,
    positive_quantity,
)

RULE = 20.0  # tokens per parameter: Hoffmann et al. 2022, table 3
ABOUT = 1.25  # a training this factor from the optimal tokens still counts as about optimal


@dataclass(frozen=True)
class Verdict:
    """Where a model stands against a law at its own compute.

    Attributes
    ----------
    name, law : str
    N, D : float, parameters and tokens
    C : float, FLOPs
        6ND, or as the law's own runs count it.
    tokens_per_param, over_rule : float
        D/N, and over 20.
    D_for_N : float, tokens
        For which this N is compute-optimal under the law.
    trained : float
        D / D_for_N.
    verdict : {"under-trained", "about optimal", "over-trained"}
        Beyond a factor 1.25 of D_for_N.
    N_opt, D_opt : Estimate
        At the same C.
    loss, loss_gap : Estimate, nats/token
        Of the model, and above L_opt at the same C; NaN where the law has no loss for every N, D.
    C_over : float
        C over what the optimum needs for the same loss.
    """

    name: str
    law: str
    N: float
    D: float
    C: float
    tokens_per_param: float
    over_rule: float
    D_for_N: float
    trained: float
    verdict: str
    N_opt: Estimate
    D_opt: Estimate
    loss: Estimate
    loss_gap: Estimate
    C_over: float

    def to_dict(self) -> dict[str, Any]:
        """Everything by name, estimates as value, low, high and status."""
        return asdict(self)

    def __repr__(self) -> str:
        line = (
            f"{self.name}, {format_quantity(self.N)} on {format_quantity(self.D)} tokens: "
            f"{self.tokens_per_param:.3g} tokens/param, {self.over_rule:.2g} times the 20x rule; "
            f"{self.verdict} by {self.law}, x{self.trained:.2g} of its "
            f"{format_quantity(self.D_for_N)} for this size"
        )
        if not np.isfinite(self.C_over):
            return line
        return (
            f"{line}; {self.loss_gap!r} nats/token left on the table, "
            f"{self.C_over:.4g} times the compute that the optimum needs for this loss"
        )


def judge(
    N: str | float, D: str | float, law: LawLike = "besiroglu2024", name: str = "the model"
) -> Verdict:
    """Tell whether a model was trained too little or too long, and what that cost.

    Parameters
    ----------
    N : float or str, parameters
    D : float or str, tokens
    law : LawLike
    name : str

    Raises
    ------
    ValueError
        N or D is not positive.
    """
    N = positive_quantity(N, f"{name}: N", PARAMETERS)
    D = positive_quantity(D, f"{name}: D", TOKENS)
    law = get_source(law)
    C = D * law.flops_per_token(N)
    D_for_N = law.point(compute_of_size(law, N))["D_opt"]
    trained = D / D_for_N
    unknown = Estimate(float("nan"), float("nan"), float("nan"), law.status)
    loss = law.loss(N, D) if law.has_surface else unknown
    gap = loss_gap(law, N, D, C) if law.has_surface else unknown
    return Verdict(
        name=name,
        law=law.name,
        N=N,
        D=D,
        C=C,
        tokens_per_param=D / N,
        over_rule=D / N / RULE,
        D_for_N=D_for_N,
        trained=trained,
        verdict=_words(trained),
        N_opt=law.N_opt(C),
        D_opt=law.D_opt(C),
        loss=loss,
        loss_gap=gap,
        C_over=C / compute_for(law, float(loss)) if law.has_surface else float("nan"),
    )


def _words(trained: float) -> str:
    if trained < 1 / ABOUT:
        return "under-trained"
    return "over-trained" if trained > ABOUT else "about optimal"
