"""What papers print of their own constants, checked by formula: no data, no fit."""

from collections.abc import Callable, Iterator

import numpy as np

from scaling.laws import papers
from scaling.laws.papers import PUBLISHED_LAWS
from scaling.laws.table import LAWS
from scaling.replication.checks import (
    NAN,
    SAME_DIGITS,
    Check,
    judge,
    judge_digits,
    quote_paper,
    rounding,
)
from scaling.replication.hoffmann import hoffmann_checks
from scaling.replication.kaplan import kaplan_checks
from scaling.replication.methods import BESIROGLU_EXPONENT

PRINTED = 1e-8  # nats/token: the digits of the two losses that Muennighoff et al. print
LAW_NEAR = 0.05  # relative error up to which a law describes the models that it was fitted to
RATIO_NEAR = 0.025  # relative difference of the rule that Cerebras-GPT follows and its models


def besiroglu_checks() -> Iterator[Check]:
    """The exponent a that the printed alpha and beta give."""
    check = quote_paper("besiroglu2024", papers.BESIROGLU)
    printed = [PUBLISHED_LAWS["besiroglu2024"].params[name] for name in ("alpha", "beta")]

    def exponent(alpha: float, beta: float) -> float:
        return beta / (alpha + beta)

    low, high = rounding(exponent, *printed)
    known = (BESIROGLU_EXPONENT, "", exponent(*printed))
    yield judge_digits(check("beta / (alpha + beta)", "N_exponent", *known, low=low, high=high))


def muennighoff_checks() -> Iterator[Check]:
    """The two losses that the authors compute from their law of repeated data."""
    check = quote_paper("muennighoff2023", papers.MUENNIGHOFF)
    law, params, *_ = PUBLISHED_LAWS["muennighoff2023"]
    for N, D, U, expected in papers.MUENNIGHOFF_CHECKS:
        quantity = f"L({N:.3g}, {D:.3g}; U = {U:.3g})"
        ours = LAWS[law].loss(params, N=N, D=D, U=U)
        found = check("law of repeated data", quantity, expected, "", ours)
        off = found.ours - expected
        yield judge(found, abs(off) <= PRINTED, SAME_DIGITS, f"{off:+.1e} nats/token")


def cerebras_checks() -> Iterator[Check]:
    """The law at the seven models, their tokens per parameter, and their FLOPs over 6ND."""
    check = quote_paper("cerebras2023", papers.CEREBRAS)
    models, published = papers.cerebras_models(), PUBLISHED_LAWS["cerebras2023"]
    predicted = LAWS[published.law].loss(published.params, C=models.flops)
    for model, loss, ours in zip(models.run_id, models.loss, predicted, strict=True):
        off = ours / loss - 1
        found = check("their law", f"L of {model}", loss, "", ours)
        yield judge(found, abs(off) <= LAW_NEAR, f"{off:+.1%}", f"{off:+.1%}")
    ratio, rule = models.tokens / models.params, papers.TOKENS_PER_PARAM_RULE
    known = {"low": ratio.min(), "high": ratio.max()}
    found = check("D / N", "tokens_per_param, mean and range", rule, "", ratio.mean(), **known)
    is_near = bool(np.all(abs(ratio / rule - 1) <= RATIO_NEAR))
    yield judge(found, is_near, "as stated", "not as stated")
    share = 6 * models.params * models.tokens / models.flops
    known = {"low": share.min(), "high": share.max()}
    known["note"] = "the authors count attention and the vocabulary too"
    found = check("6ND", "6ND over printed FLOPs, mean and range", NAN, "", share.mean(), **known)
    is_rising = bool(np.all(np.diff(share) > 0)) and share.max() < 1
    yield judge(found, is_rising, "6ND is less than was counted, most so for the smallest", "odd")


FORMULAS: dict[str, Callable[[], Iterator[Check]]] = {
    "hoffmann2022": hoffmann_checks,
    "besiroglu2024": besiroglu_checks,
    "kaplan2020": kaplan_checks,
    "muennighoff2023": muennighoff_checks,
    "cerebras2023": cerebras_checks,
}
