"""A model judged by a law: trained too little or too long, and the loss that cost."""

from dataclasses import dataclass

from scaling.fitting.result import Estimate
from scaling.laws.papers import TOKENS_PER_PARAM_RULE
from scaling.planning.departures import compute_for, compute_of_size, loss_gap
from scaling.planning.sources import LawSource

ABOUT = 1.25  # a training this factor from the optimal tokens still counts as about optimal
UNKNOWN = float("nan")


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


def judge(N: float, D: float, law: LawSource, name: str = "the model") -> Verdict:
    """Tell whether a model of N parameters saw too few or too many tokens D, and what that cost."""
    C = D * law.flops_per_token(N)
    D_for_N = law.point(compute_of_size(law, N))["D_opt"]
    loss = gap = Estimate(UNKNOWN, UNKNOWN, UNKNOWN, law.fit.status)
    C_over = UNKNOWN
    if law.has_surface:
        loss, gap = law.loss(N, D), loss_gap(law, N, D, C)
        C_over = C / compute_for(law, float(loss))
    return Verdict(
        name=name,
        law=law.name,
        N=N,
        D=D,
        C=C,
        tokens_per_param=D / N,
        over_rule=D / N / TOKENS_PER_PARAM_RULE,
        D_for_N=D_for_N,
        trained=D / D_for_N,
        verdict=call_training(D / D_for_N),
        N_opt=law.N_opt(C),
        D_opt=law.D_opt(C),
        loss=loss,
        loss_gap=gap,
        C_over=C_over,
    )


def call_training(trained: float) -> str:
    """What a training is called whose tokens are so many times the optimal ones."""
    if trained < 1 / ABOUT:
        return "under-trained"
    return "over-trained" if trained > ABOUT else "about optimal"
