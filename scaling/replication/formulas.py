"""What papers print of their own constants, checked by formula: no data, no fit."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from scaling.laws import papers
from scaling.laws.papers import PUBLISHED_LAWS
from scaling.laws.table import LAWS
from scaling.replication.checks import SAME_DIGITS, Check, judge_digits, rounding
from scaling.replication.hoffmann import hoffmann_checks
from scaling.replication.kaplan import kaplan_checks
from scaling.replication.methods import BESIROGLU_EXPONENT

PRINTED = 1e-8  # nats/token: the digits of the two losses that Muennighoff et al. print
LAW_NEAR = 0.05  # relative error up to which a law describes the models that it was fitted to
RATIO_NEAR = 0.025  # relative difference of the rule that Cerebras-GPT follows and its models


def besiroglu_checks() -> Iterator[Check]:
    """The exponent a that the printed alpha and beta give."""
    printed = [PUBLISHED_LAWS["besiroglu2024"].params[name] for name in ("alpha", "beta")]

    def exponent(alpha: float, beta: float) -> float:
        return beta / (alpha + beta)

    low, high = rounding(exponent, *printed)
    check = Check(
        "besiroglu2024",
        "beta / (alpha + beta)",
        "N_exponent",
        published=BESIROGLU_EXPONENT,
        source=papers.BESIROGLU,
        ours=exponent(*printed),
        low=low,
        high=high,
    )
    yield judge_digits(check)


def muennighoff_checks() -> Iterator[Check]:
    """The two losses that the authors compute from their law of repeated data."""
    published = PUBLISHED_LAWS["muennighoff2023"]
    for N, D, U, expected in papers.MUENNIGHOFF_CHECKS:
        ours = float(LAWS[published.law].loss(published.params, N=N, D=D, U=U))
        ok = abs(ours - expected) <= PRINTED
        yield Check(
            "muennighoff2023",
            "law of repeated data",
            f"L({N:.3g}, {D:.3g}; U = {U:.3g})",
            published=expected,
            source=papers.MUENNIGHOFF,
            ours=ours,
            verdict=SAME_DIGITS if ok else f"{ours - expected:+.1e} nats/token",
            ok=ok,
        )


def cerebras_checks() -> Iterator[Check]:
    """The law at the seven models, their tokens per parameter, and their FLOPs over 6ND."""
    models, published = papers.cerebras_models(), PUBLISHED_LAWS["cerebras2023"]
    said = LAWS[published.law].loss(published.params, C=models.flops)
    for model, loss, ours in zip(models.run_id, models.loss, said, strict=True):
        off = float(ours / loss - 1)
        check = _of_cerebras("their law", f"L of {model}", float(ours), published=loss)
        yield replace(check, verdict=f"{off:+.1%}", ok=abs(off) <= LAW_NEAR)
    ratio = (models.tokens / models.params).to_numpy()
    ok = bool(np.all(abs(ratio / papers.TOKENS_PER_PARAM_RULE - 1) <= RATIO_NEAR))
    check = _of_cerebras(
        "D / N", "tokens_per_param, mean and range", ratio, published=papers.TOKENS_PER_PARAM_RULE
    )
    yield replace(check, verdict="as stated" if ok else "not as stated", ok=ok)
    share = (6 * models.params * models.tokens / models.flops).to_numpy()
    is_rising = bool(np.all(np.diff(share) > 0) and share.max() < 1)
    verdict = "6ND is less than was counted, most so for the smallest" if is_rising else "odd"
    note = "the authors count attention and the vocabulary too"
    check = _of_cerebras("6ND", "6ND over printed FLOPs, mean and range", share, note=note)
    yield replace(check, verdict=verdict, ok=is_rising)


def _of_cerebras(method: str, quantity: str, ours, **known) -> Check:
    """A number, or the mean and range of many."""
    ends = {"low": ours.min(), "high": ours.max()} if np.ndim(ours) else {}
    common = {"source": papers.CEREBRAS, "ours": float(np.mean(ours))}
    return Check("cerebras2023", method, quantity, **common, **ends, **known)


FORMULAS: dict[str, Callable[[], Iterator[Check]]] = {
    "hoffmann2022": hoffmann_checks,
    "besiroglu2024": besiroglu_checks,
    "kaplan2020": kaplan_checks,
    "muennighoff2023": muennighoff_checks,
    "cerebras2023": cerebras_checks,
}
