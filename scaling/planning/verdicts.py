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

    What is of a loss is NaN where the law has none for every N and D.
    """

    name: str
    law: str
    N: float  # parameters
    D: float  # tokens
    C: float  # FLOPs, 6ND or as the law's own runs count them
    tokens_per_param: float
    over_rule: float  # D/N over 20
    D_for_N: float  # tokens for which this N is compute-optimal
    trained: float  # D / D_for_N
    verdict: str  # as `call_training` says
    N_opt: Estimate  # at the same C
    D_opt: Estimate
    loss: Estimate  # nats/token
    loss_gap: Estimate  # above L_opt at the same C
    C_over: float  # C over what the optimum needs for the same loss


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
    """Say "under-trained", "over-trained" or, within a factor 1.25, "about optimal"."""
    if trained < 1 / ABOUT:
        return "under-trained"
    return "over-trained" if trained > ABOUT else "about optimal"
