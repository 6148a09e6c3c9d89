"""Shapes of the ladder between two sizes, evenly spaced."""

import itertools
from collections.abc import Iterable

import numpy as np

from scaling.shapes.flops import total_params
from scaling.shapes.shape import WIDTH_STEP, ModelConfig, Shape, shape_for_width


def shapes_between(
    low: float,
    high: float,
    n: int,
    vocab_size: int,
    model: ModelConfig,
    widths: Iterable[int] | None = None,
) -> list[Shape]:
    """Pick n shapes of low to high parameters, closest to even steps in ln N.

    Of all widths of the ladder, or of those named.

    Raises
    ------
    ValueError
        There are fewer; the message names those that there are.

    Examples
    --------
    >>> shapes = shapes_between(1e5, 1e6, n=4, vocab_size=1024, model=ModelConfig())
    >>> [(shape.label, total_params(shape)) for shape in shapes]
    [('48x3', 132432), ('72x3', 260856), ('92x4', 501308), ('120x5', 988200)]
    """
    tried = itertools.count(WIDTH_STEP, WIDTH_STEP) if widths is None else sorted(widths)
    shapes = (shape_for_width(width, vocab_size, model) for width in tried)
    small = itertools.takewhile(lambda shape: total_params(shape) <= high, shapes)
    inside = [shape for shape in small if total_params(shape) >= low]
    if len(inside) < n:
        sizes = [f"{shape.label} ({total_params(shape):,})" for shape in inside]
        raise ValueError(
            f"only {len(inside)} shapes have between {low:,.0f} and {high:,.0f} parameters: {sizes}"
        )
    return _evenly_spaced(inside, n)


def _evenly_spaced(shapes: list[Shape], n: int) -> list[Shape]:
    """Choose n different shapes closest to even steps in ln N, both ends kept."""
    log_n = np.log([total_params(shape) for shape in shapes])
    chosen: list[int] = []
    for i, target in enumerate(np.linspace(log_n[0], log_n[-1], n)):
        first = chosen[-1] + 1 if chosen else 0
        last = len(shapes) - (n - i)  # leave enough for the targets that follow
        window = np.arange(first, last + 1)
        chosen.append(int(window[np.argmin(np.abs(log_n[window] - target))]))
    return [shapes[i] for i in chosen]
