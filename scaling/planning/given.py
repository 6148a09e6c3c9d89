"""A given architecture under a budget: what it costs, what it takes, where it stands on a law."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from scaling.fitting.result import Estimate
from scaling.hardware.formats import FORMATS
from scaling.planning.sources import LawSource
from scaling.planning.verdicts import Verdict, judge
from scaling.shapes.architecture import (
    Architecture,
    attention_flops,
    count_groups,
    count_params,
    forward_flops,
    training_flops_per_token,
)
from scaling.shapes.buildable import refuse_context
from scaling.shapes.hugging_face import describe_uncounted, read_architecture, read_config

UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"), "ok")
SERVED = ("fp32", "bf16", "fp8_e4m3", "int8")  # formats of weights and cache


@dataclass(frozen=True)
class Given:
    """An architecture as somebody wrote it down, and what a reader must know of that."""

    architecture: Architecture
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class GivenPlan:
    """What a given architecture is under a budget.

    Attributes
    ----------
    architecture : Architecture
    total_params, active_params : int
        All, and those that a token passes; the same but for a mixture of experts.
    groups : DataFrame
        As `scaling.shapes.architecture.count_groups`.
    flops_per_token : float
        Of training, counted exactly, full attention.
    attention_share : float
        Of them in attention's products.
    D : float, tokens
        What the budget buys, or what was named.
    flops : float
        Of training on D tokens.
    spent : float
        Over the budget.
    serving : DataFrame
        One row per number format: format; weights, cache_per_token and cache_per_sequence, bytes.
    verdict : Verdict
        By the law, of the parameters that a token passes.
    dense_loss : Estimate, nats/token
        By the law, of a dense model of all parameters on D tokens; NaN where it has no loss.
    notes : tuple of str
    """

    architecture: Architecture
    total_params: int
    active_params: int
    groups: pd.DataFrame
    flops_per_token: float
    attention_share: float
    D: float
    flops: float
    spent: float
    serving: pd.DataFrame
    verdict: Verdict
    dense_loss: Estimate
    notes: tuple[str, ...]


def read_given(path: str | Path) -> Given:
    """Read a config.json in Hugging Face's form; ValueError names the file and what is wrong."""
    config = read_config(path)
    try:
        architecture = read_architecture(config)
    except ValueError as error:
        raise ValueError(f"model={path}: {error}") from error
    text = config.get("text_config", config)
    window = text.get("sliding_window")
    notes = describe_uncounted(config) + describe_uncounted(text) * (text is not config)
    if isinstance(window, int) and window < architecture.seq_len:
        notes.append(
            f"attention within {window:,} tokens (sliding_window): counted in full, and its cache "
            "too"
        )
    return Given(architecture, tuple(notes))


def plan_given(
    given: Given,
    law: LawSource,
    budget: float,
    *,
    tokens: float | None = None,
    seq_len: int | None = None,
) -> GivenPlan:
    """Put an architecture under a budget of so many counted training FLOPs.

    Parameters
    ----------
    tokens : float, optional
        What it is trained on; what the budget buys if omitted.
    seq_len : int, optional
        Context of the training; the longest that the configuration names if omitted.

    Raises
    ------
    ValueError
        A context longer than the data, or than a learned position table.
    """
    a, notes = given.architecture, [*given.notes]
    if seq_len is None:
        notes.append(
            f"context {a.seq_len:,} tokens: the longest that the configuration names; say seq_len= "
            "where it is trained on shorter ones"
        )
    elif a.position_rows and seq_len > a.position_rows:
        raise ValueError(
            f"seq_len={seq_len:,} is longer than the position table of the given {a.name}, "
            f"{a.position_rows:,} rows; shorten it"
        )
    a = replace(a, seq_len=seq_len or a.seq_len)
    per_token = training_flops_per_token(a)
    D = budget / per_token if tokens is None else tokens
    refuse_context(a.seq_len, D)
    notes += _note_mixture(a)
    convention = law.fit.convention.N
    return GivenPlan(
        architecture=a,
        total_params=count_params(a),
        active_params=count_params(a, active=True),
        groups=count_groups(a),
        flops_per_token=per_token,
        attention_share=attention_flops(a) / forward_flops(a),
        D=D,
        flops=D * per_token,
        spent=D * per_token / budget,
        serving=_weigh_formats(a),
        verdict=judge(count_params(a, convention, active=True), D, law, f"the given {a.name}"),
        dense_loss=law.loss(count_params(a, convention), D) if law.has_surface else UNKNOWN,
        notes=tuple(notes),
    )


def _note_mixture(a: Architecture) -> Iterator[str]:
    if a.mixture:
        yield (
            "a mixture of experts: C counts the parameters that a token passes, and so does the N "
            "that the law was asked for. Laws of dense models do not speak of mixtures: a dense "
            "model of all parameters bounds the loss from below, and where between the two the "
            "truth lies nothing here measures. Memory by strategy is told without expert "
            "parallelism, that of layouts with it: without, a device gathers all experts of a layer"
        )


def _weigh_formats(a: Architecture) -> pd.DataFrame:
    rows = []
    for name in SERVED:
        size = FORMATS[name].bytes
        cache = a.cached_numbers * size
        weights = count_params(a) * size
        rows.append((name, weights, cache, cache * a.seq_len))
    columns = ["format", "weights", "cache_per_token", "cache_per_sequence"]
    return pd.DataFrame(rows, columns=columns)
