"""A shape one can build near the size that a law asks for, and what it costs exactly."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.shapes.flops import param_groups, total_params, training_flops_per_token
from scaling.shapes.shape import (
    WIDTH_STEP,
    ModelConfig,
    Shape,
    heads_for_width,
    layers_for_width,
)

LARGE = 1e8  # parameters: from here on heads of 128
LARGEST = 1e14  # parameters; the shapes to try grow as N^0.6
HEAD_WIDTH = 128
STEPS = ((1e11, 1024), (1e10, 512), (LARGE, HEAD_WIDTH), (0.0, WIDTH_STEP))  # of widths, from N on
DEPTHS = (0.8, 1.25)  # layers over those of the ladder
PROPORTION = 0.05  # a depth off the ladder by x2 weighs as much as N off by 3.5 %
VOCABULARIES = ((LARGE, 32_000), (1e6, 4_096), (0.0, 256))  # from N parameters on
CONTEXTS = ((LARGE, 2_048), (0.0, ModelConfig().seq_len))
LEFT_OUT = {  # of the parameters, by what a law counts as N
    "non_embedding": ("embedding_params",),
    "blocks": ("embedding_params", "head_params"),
}


@dataclass(frozen=True)
class BuildableShape:
    """A shape near a wanted N, with its exact counts.

    Examples
    --------
    >>> found = build(70e9, 5.76e23, 1.4e12)  # Chinchilla
    >>> found.shape.label, f"{found.total_params:.4g}", f"{found.flops_per_token:.4g}"
    ('8192x87', '7.033e+10', '4.395e+11')
    """

    shape: Shape
    params: float  # in the convention of the law that asked for it
    params_off: float  # params / wanted N - 1
    total_params: int
    flops_per_token: float  # of training, counted exactly, full attention
    tokens: float  # what the budget buys: C / flops_per_token
    flops_of_plan: float  # counted, of training this shape on the wanted D tokens
    flops_off: float  # flops_of_plan / C - 1
    assumptions: tuple[str, ...] = ()


def build(
    N: float,
    C: float,
    D: float,
    *,
    convention: str = "total",
    seq_len: int | None = None,
    vocab_size: int | None = None,
    setting: Mapping[str, int] | None = None,
    **options: Any,
) -> BuildableShape:
    """Find a buildable shape near N parameters, and count it.

    Parameters
    ----------
    N, C, D : float, parameters, FLOPs and tokens
        What is to be trained.
    convention : {"total", "non_embedding", "blocks", "as_given"}
        What N counts.
    seq_len, vocab_size : int, tokens, optional
        If omitted, of the `setting`, else derived from N (`CONTEXTS`, `VOCABULARIES`); named as
        assumptions.
    setting : mapping, optional
        vocab_size and seq_len of the runs behind the law, where they are known.
    **options
        ffn and tied of `scaling.shapes.shape.Shape`.

    Raises
    ------
    ValueError
        A context longer than D, N too small for the vocabulary or beyond `LARGEST`.

    Examples
    --------
    The 6ND of Chinchilla is 2 % over its budget, what its attention and head cost 7 %:

    >>> found = build(70e9, 5.76e23, 1.4e12)
    >>> print(f"{6 * 70e9 * 1.4e12 / 5.76e23 - 1:.0%} {found.flops_off:.0%}")
    2% 7%
    >>> found.assumptions[0]
    'vocabulary 32,000: derived from N, none was named'
    """
    assumptions, of_runs = [], setting or {}
    if vocab_size is None:
        vocab_size, whence = _choose("vocab_size", of_runs, VOCABULARIES, N)
        assumptions.append(f"vocabulary {vocab_size:,}: {whence}, none was named")
    if seq_len is None:
        seq_len, whence = _choose("seq_len", of_runs, CONTEXTS, N)
        assumptions.append(f"context {seq_len:,} tokens: {whence}, none was named")
    refuse_context(seq_len, D)
    shape = nearest_shape(N, vocab_size, seq_len, convention=convention, **options)
    per_token, params = training_flops_per_token(shape), count_params(shape, convention)
    return BuildableShape(
        shape=shape,
        params=params,
        params_off=params / N - 1,
        total_params=total_params(shape),
        flops_per_token=per_token,
        tokens=C / per_token,
        flops_of_plan=per_token * D,
        flops_off=per_token * D / C - 1,
        assumptions=tuple(assumptions),
    )


def refuse_context(seq_len: int, D: float) -> None:
    """Raise ValueError if a context is longer than the data.

    Examples
    --------
    >>> refuse_context(8192, D=5000)
    Traceback (most recent call last):
        ...
    ValueError: a context of 8,192 tokens is longer than the data, D=5e+03 ...
    """
    if seq_len > D:
        raise ValueError(
            f"a context of {seq_len:,} tokens is longer than the data, D={D:.3g} tokens; shorten "
            "seq_len or raise the budget"
        )


def count_params(shape: Shape, convention: str) -> int:
    """Parameters of a shape as a law counts them; "as_given" is taken as all of them.

    Examples
    --------
    >>> gpt2 = Shape(50_257, 1024, n_layers=12, width=768, n_heads=12)
    >>> [f"{count_params(gpt2, convention):,}" for convention in ("total", "blocks")]
    ['123,551,232', '84,953,856']
    """
    left_out = LEFT_OUT.get(convention, ())
    return sum(n for group, n in param_groups(shape).items() if group not in left_out)


def nearest_shape(
    N: float, vocab_size: int, seq_len: int, *, convention: str = "total", **options: Any
) -> Shape:
    """Of shapes about as deep as the ladder's, the one whose size is nearest to N.

    Minimises |ln(size / N)| + 0.05 |ln(layers / ladder)| over widths in multiples of 128 (of
    512 from 1e10 parameters and 1,024 from 1e11, so that 4 and 8 devices can share the heads; of 4
    below 1e8) and depths from 0.8 to 1.25 of `scaling.shapes.shape.layers_for_width`. Parameters
    as in `build`.

    Raises
    ------
    ValueError
        The vocabulary alone takes more than N, or N is beyond `LARGEST`.

    Notes
    -----
    Heads of 128 are those of the largest shapes of Hoffmann et al. 2022, table A9.

    Examples
    --------
    >>> shape = nearest_shape(70e9, vocab_size=32_000, seq_len=2048)
    >>> shape.label, shape.head_width, f"{total_params(shape):.3g}"
    ('8192x87', 128, '7.03e+10')
    """
    if N > LARGEST:
        raise ValueError(
            f"N={N:.3g} is beyond {LARGEST:g} parameters, the largest that is searched"
        )
    step = _look_up(STEPS, N)
    choices = []
    for width in _list_widths(N, step):
        ladder = layers_for_width(width)
        n_heads = width // HEAD_WIDTH if step >= HEAD_WIDTH else heads_for_width(width)
        low, high = max(1, int(DEPTHS[0] * ladder)), int(np.ceil(DEPTHS[1] * ladder))
        for n_layers in range(low, high + 1):
            shape = Shape(vocab_size, seq_len, n_layers, width, n_heads, **options)
            size = abs(np.log(count_params(shape, convention) / N))
            choices.append((size + PROPORTION * abs(np.log(n_layers / ladder)), width, shape))
    best = min(choices, key=lambda choice: choice[:2])[2]
    if (smallest := count_params(best, convention)) > 2 * N:
        raise ValueError(
            f"N={N:.3g} is too small for a vocabulary of {vocab_size:,}: the smallest shape has "
            f"{smallest:,} parameters; take a smaller vocab_size"
        )
    return best


def _list_widths(N: float, step: int) -> list[int]:
    """Multiples of `step` around the width whose ladder shape has about N parameters.

    12 d^2 layers(d) = N with layers = 2 (d/32)^(2/3), and a wide margin for the vocabulary.
    """
    middle = (N * 32 ** (2 / 3) / 24) ** (3 / 8)
    low, high = max(1, int(middle / 4 / step)), int(1.5 * middle / step) + 1
    return [step * n for n in range(low, high + 1)]


def _choose(
    name: str, of_runs: Mapping[str, int], table: tuple[tuple[float, int], ...], N: float
) -> tuple[int, str]:
    """A size that nobody named, and where it comes from."""
    if name in of_runs:
        return of_runs[name], "that of the law's runs"
    return _look_up(table, N), "derived from N"


def _look_up(table: tuple[tuple[float, int], ...], N: float) -> int:
    return next(value for least, value in table if least <= N)
