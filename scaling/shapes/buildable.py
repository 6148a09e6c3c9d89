"""A shape one can build near the size that a law asks for, and what it costs exactly."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scaling.quantities import format_quantity
from scaling.shapes.flops import param_groups, total_params, training_flops_per_token
from scaling.shapes.shape import ModelConfig, Shape, heads_for_width, layers_for_width

LARGE = 1e8  # parameters: from here on heads of 128
HEAD_WIDTH = 128
STEPS = ((1e11, 1024), (1e10, 512), (LARGE, HEAD_WIDTH), (0.0, 4))  # of widths, from N on
DEPTHS = (0.8, 1.25)  # layers over those of the ladder
PROPORTION = 0.05  # a depth off the ladder by x2 weighs as much as N off by 3.5 %
VOCABULARIES = ((LARGE, 32_000), (1e6, 4_096), (0.0, 256))  # from N parameters on
CONTEXTS = ((LARGE, 2_048), (0.0, ModelConfig().seq_len))


@dataclass(frozen=True)
class BuildableShape:
    """A shape near a wanted N, with its exact counts.

    Attributes
    ----------
    shape : Shape
    params : float, parameters
        In the convention of the law that asked for it.
    params_off : float
        params / wanted N - 1.
    total_params : int
    flops_per_token : float, FLOPs/token
        Of training, counted exactly, full attention (`training_flops_per_token`).
    tokens : float, tokens
        What the budget buys: C / flops_per_token.
    flops_of_plan : float, FLOPs
        Counted, of training this shape on the wanted D tokens.
    flops_off : float
        flops_of_plan / C - 1.
    assumptions : tuple of str
    """

    shape: Shape
    params: float
    params_off: float
    total_params: int
    flops_per_token: float
    tokens: float
    flops_of_plan: float
    flops_off: float
    assumptions: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything by name, the shape resolved."""
        resolved = {"head_width": self.shape.head_width, "ffn_width": self.shape.hidden}
        return asdict(self) | {"shape": asdict(self.shape) | resolved}

    def __repr__(self) -> str:
        s = self.shape
        return (
            f"{s.n_layers} layers x {s.width}, {s.n_heads} heads of {s.head_width}, vocabulary "
            f"{s.vocab_size:,}, context {s.seq_len:,}: {format_quantity(self.total_params)} "
            f"parameters ({self.params_off:+.1%} off N), "
            f"{self.flops_per_token:.3g} FLOPs/token, {self.flops_off:+.1%} of C at D, "
            f"{format_quantity(self.tokens)} tokens for C"
        )


def build(
    N: float,
    C: float,
    D: float,
    *,
    convention: str = "total",
    seq_len: int | None = None,
    vocab_size: int | None = None,
    ffn: str = "gelu",
    tied: bool = True,
) -> BuildableShape:
    """Find a buildable shape near N parameters, and count it.

    Parameters
    ----------
    N : float, parameters
    C : float, FLOPs
    D : float, tokens
        What is to be trained.
    convention : {"total", "non_embedding", "blocks", "as_given"}
        What N counts.
    seq_len, vocab_size : int, tokens, optional
        Derived from N if omitted (`CONTEXTS`, `VOCABULARIES`), and named as assumptions.
    ffn, tied
        As in `scaling.shapes.shape.Shape`.

    Raises
    ------
    ValueError
        A context longer than D, or N too small for the vocabulary.
    """
    assumptions = []
    if vocab_size is None:
        vocab_size = _from(VOCABULARIES, N)
        assumptions.append(f"vocabulary {vocab_size:,}: derived from N, none was named")
    if seq_len is None:
        seq_len = _from(CONTEXTS, N)
        assumptions.append(f"context {seq_len:,} tokens: derived from N, none was named")
    refuse_context(seq_len, D)
    shape = nearest_shape(N, vocab_size, seq_len, convention=convention, ffn=ffn, tied=tied)
    per_token = training_flops_per_token(shape)
    params = count(shape, convention)
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
    """Raise ValueError if a context is longer than the data."""
    if seq_len > D:
        raise ValueError(
            f"a context of {seq_len:,} tokens is longer than the data, D={D:.3g} tokens; shorten "
            "seq_len or raise the budget"
        )


def count(shape: Shape, convention: str) -> int:
    """Parameters of a shape as a law counts them; "as_given" is taken as all of them."""
    groups = param_groups(shape)
    blocks = groups["block_params"] + groups["norm_params"]
    counts = {"blocks": blocks, "non_embedding": blocks + groups["head_params"]}
    return counts.get(convention, sum(groups.values()))


def nearest_shape(
    N: float,
    vocab_size: int,
    seq_len: int,
    *,
    convention: str = "total",
    ffn: str = "gelu",
    tied: bool = True,
) -> Shape:
    """Of shapes about as deep as the ladder's, the one whose size is nearest to N.

    Minimises |ln(size / N)| + 0.05 |ln(layers / ladder)| over widths in multiples of 128 (of
    512 from 1e10 parameters and 1,024 from 1e11, so that 4 and 8 devices can share the heads; of 4
    below 1e8) and depths from 0.8 to 1.25 of
    `scaling.shapes.shape.layers_for_width`.

    Raises
    ------
    ValueError
        The vocabulary alone takes more than N.

    Notes
    -----
    The ladder runs through the shapes of Hoffmann et al. 2022, table A9: 1024/20 to 8192/80; heads
    of 128 as their largest.
    """
    step = _from(STEPS, N)
    options = []
    for width in _widths(N, step):
        ladder = layers_for_width(width)
        low = max(1, int(np.floor(DEPTHS[0] * ladder)))
        for n_layers in range(low, int(np.ceil(DEPTHS[1] * ladder)) + 1):
            n_heads = width // HEAD_WIDTH if step >= HEAD_WIDTH else heads_for_width(width)
            shape = Shape(vocab_size, seq_len, n_layers, width, n_heads, ffn=ffn, tied=tied)
            size = abs(np.log(count(shape, convention) / N))
            options.append((size + PROPORTION * abs(np.log(n_layers / ladder)), width, shape))
    best = min(options, key=lambda option: option[:2])[2]
    if count(best, convention) > 2 * N:
        raise ValueError(
            f"N={N:.3g} is too small for a vocabulary of {vocab_size:,}: the smallest shape has "
            f"{count(best, convention):,} parameters; take a smaller vocab_size"
        )
    return best


def _widths(N: float, step: int) -> list[int]:
    """Multiples of `step` around the width whose ladder shape has about N parameters.

    12 d^2 layers(d) = N with layers = 2 (d/32)^(2/3), and a wide margin for the vocabulary.
    """
    middle = (N * 32 ** (2 / 3) / 24) ** (3 / 8)
    low, high = max(1, int(middle / 4 / step)), int(1.5 * middle / step) + 1
    return [step * n for n in range(low, high + 1)]


def _from(table: tuple[tuple[float, int], ...], N: float) -> int:
    return next(value for least, value in table if least <= N)
