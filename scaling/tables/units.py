"""Units that a table's numbers cannot have: compute beside 6ND, sizes, losses; which are likely."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from scaling.laws.papers import PF_DAY
from scaling.tables.runs import few

APART = (0.2, 5.0)  # of C / (6ND): no way of counting FLOPs lies outside for dense models
NEAR = np.log(1.5)  # a factor of `FACTORS` is meant within this
STEADY = 0.05  # relative spread from which on a ratio is no constant
WILD = 10.0  # the middle 80 % of C / (6ND) differ by more: C is no multiple of 6ND
FACTORS = {  # C / (6ND) -> what is in which unit, and what makes it right
    1e-6: ("C is in MFLOPs", "C*1e6: C"),
    1e-9: ("C is in GFLOPs", "C*1e9: C"),
    1e-12: ("C is in TFLOPs", "C*1e12: C"),
    1e-15: ("C is in PFLOPs", "C*1e15: C"),
    1e-18: ("C is in EFLOPs", "C*1e18: C"),
    1e-21: ("C is in ZFLOPs", "C*1e21: C"),
    1 / PF_DAY: ("C is in petaflop/s-days", "C*8.64e19: C"),
    24 / PF_DAY: ("C is in petaflop/s-hours", "C*3.6e18: C"),
    1e3: ("N or D is in thousands", "N*1e3: N"),
    1e6: ("N or D is in millions", "N*1e6: N"),
    1e9: ("N or D is in billions", "D*1e9: D"),
    1e12: ("N and D are in millions", "N*1e6: N, D*1e6: D"),
    1e15: ("N is in millions and D in billions", "N*1e6: N, D*1e9: D"),
    1e18: ("N and D are in billions", "N*1e9: N, D*1e9: D"),
}
STEADY_FACTORS = {  # the same, for ratios inside of `APART`: only if they hold in every run
    1 / 3: ("the forward pass only, 2ND", "C*3: C"),
    1 / 2: ("multiply-adds in place of FLOPs", "C*2: C"),
}
LARGEST_VOCABULARY = 262_144
SMALL_VOCABULARY = 1_000  # tokens, up to which they are as short as characters
LOW_LOSS = 1.5  # nats/token
LARGE_MODEL = 1e10  # parameters, from which on so low a loss is usual
LEAST = {  # of the largest N and D -> its unit, and what it may be instead
    "N": (1e4, "parameters", "millions or billions, say columns={N*1e6: N} or N*1e9"),
    "D": (
        1e5,
        "tokens",
        "millions, billions or steps, say columns={D*1e6: D}, D*1e9 or steps*batch",
    ),
}
RATIOS = (0.05, 1e5)  # of the median D/N: a table beyond has seldom tokens and parameters


class Oddity(NamedTuple):
    """What is odd and what to do about it; whether no answer should be quoted until then."""

    text: str
    is_grave: bool = False


def doubt_units(obs: pd.DataFrame, N: pd.Series | None = None) -> Iterator[Oddity]:
    """Say which of C, N, D and L seem to be in other units than FLOPs, parameters, tokens, nats.

    Parameters
    ----------
    obs : DataFrame, as `scaling.tables.observations.observations` returns it
    N : Series, optional
        All parameters (with those that attention is worth), where the table counts them itself;
        its sizes are then in no doubt, however small.

    Yields
    ------
    Oddity, each one line; grave unless it is a guess that may well be wrong
    """
    found = [*_doubt_compute(obs, obs.N if N is None else N)]
    found += _doubt_sizes(obs) if N is None and not found else []
    yield from found
    yield from _doubt_losses(obs)


def _doubt_sizes(obs: pd.DataFrame) -> Iterator[Oddity]:
    """N and D by their own size, where C does not tell."""
    found = False
    for symbol, (least, meaning, instead) in LEAST.items():
        if (largest := obs[symbol].to_numpy(float).max()) < least:
            found = True
            told = f"{symbol} is at most {largest:g} {meaning}; if these are {instead}"
            yield Oddity(told, is_grave=True)
    ratio = float(np.median(obs.D / obs.N))
    if not found and not RATIOS[0] <= ratio <= RATIOS[1]:
        yield Oddity(
            f"the median of D/N is {ratio:.3g} tokens per parameter; is D in steps (say "
            "columns={steps*batch_tokens: D}), or one of N and D in millions or billions?",
            ratio < RATIOS[0] / 50 or ratio > RATIOS[1] * 50,
        )


def name_factor(ratio: float) -> str:
    """What a ratio C / (6ND) speaks of, as "C is in GFLOPs? If so, columns={C*1e9: C}"."""
    factor = min(FACTORS, key=lambda known: abs(np.log(ratio / known)))
    if abs(np.log(ratio / factor)) < NEAR:
        return _advise(*FACTORS[factor])
    also = "; does N count parameters that no token passes, as experts?" if ratio < 1 else ""
    return f"is C in FLOPs, N in parameters and D in tokens?{also}"


def _advise(meaning: str, mapping: str) -> str:
    return f"{meaning}? If so, say columns={{{mapping}}}, with the names of your columns"


def is_apart(ratio: float) -> bool:
    """Whether C / (6ND) cannot be a ratio of FLOPs to FLOPs."""
    return ratio < APART[0] or ratio > APART[1]


def _doubt_compute(obs: pd.DataFrame, N: pd.Series) -> Iterator[Oddity]:
    log_C, log_N, log_D = (np.log(values.to_numpy(float)) for values in (obs.C, N, obs.D))
    ratio = np.exp(log_C - np.log(6.0) - log_N - log_D)
    low, middle, high = np.quantile(ratio, (0.1, 0.5, 0.9))
    told = f"the median of C / (6ND) is {middle:.3g}"
    if is_apart(middle) and high > WILD * low:
        kind = _name_kind(obs.C, N, obs.D)
        yield Oddity(f"{told}, from {low:.2g} to {high:.2g}: C is no multiple of 6ND; {kind}", True)
    elif is_apart(middle):
        yield Oddity(f"{told}: {name_factor(middle)}", True)
    elif (outside := ~((ratio >= APART[0]) & (ratio <= APART[1]))).any():
        runs = [*obs.run_id[outside]]
        worst = ratio[outside][np.argmax(np.abs(np.log(ratio[outside])))]
        yield Oddity(
            f"C / (6ND) is {worst:.3g} in run_id {few(runs)}, unlike the others: "
            f"{name_factor(worst)}",
            True,
        )
    else:
        for factor, known in STEADY_FACTORS.items():
            if np.all(np.abs(ratio / factor - 1) < STEADY):
                yield Oddity(f"C / (6ND) is {middle:.3g} in every run: {_advise(*known)}", True)


def _name_kind(C: pd.Series, N: pd.Series, D: pd.Series) -> str:
    """What C seems to be instead of training FLOPs: what it is a steady multiple of."""
    for meaning, values in (
        ("is it multiples of tokens per parameter", D / N),
        ("is it FLOPs per token", N),
        ("is it tokens", D),
    ):
        ratio = (C / values).to_numpy(float)
        if np.quantile(ratio, 0.9) < 1.25 * np.quantile(ratio, 0.1):
            return f"{meaning}? Remove the column, and C is 6ND"
    return "what is it? Remove the column, and C is 6ND"


def _doubt_losses(obs: pd.DataFrame) -> Iterator[Oddity]:
    vocab_size = np.asarray(obs["vocab_size"] if "vocab_size" in obs else [np.inf] * len(obs))
    most = np.log(np.minimum(vocab_size, LARGEST_VOCABULARY))
    high = (most < obs.L).to_numpy()
    if high.any():
        losses, runs = obs.L[high], [*obs.run_id[high]]
        told = few(float(f"{loss:.4g}") for loss in losses)
        known = bool(np.isfinite(vocab_size[high]).all())  # so that bits and perplexity differ
        in_bits = known and bool((losses * np.log(2) <= most[high]).all())
        chance = "ln(vocab_size)" if known else "ln(262144) = 12.48"
        unit = (
            "in bits? Multiply it by ln 2 = 0.6931"
            if in_bits
            else "a perplexity? Take its natural logarithm"
        )
        yield Oddity(
            f"loss {told} of run_id {few(runs)} is above {chance}, what "
            f"guessing costs: is it {unit}, or have these runs learnt nothing?",
            2 * len(runs) > len(obs),
        )
    small = float(obs.L.max()) < LOW_LOSS and float(obs.N.max()) < LARGE_MODEL
    if small and vocab_size.min() > SMALL_VOCABULARY:
        yield Oddity(
            f"every loss is below {LOW_LOSS} (from {obs.L.min():g} to {obs.L.max():g}), unusual in "
            "nats/token at this size; bits/byte times ln 2 = 0.6931 times the bytes per token are "
            "nats/token",
        )
