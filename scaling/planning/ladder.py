"""Shapes that can be built across sizes, and their bytes on a device for any number of devices."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from scaling.hardware.memory import training_memory
from scaling.hardware.setup import Setup
from scaling.planning.placement import STRATEGIES, network_of
from scaling.shapes.buildable import build
from scaling.shapes.shape import Shape

MANY = 16, 32  # numbers of devices from which bytes at every other number follow
RECOMPUTE = ("none", "full")


@dataclass(frozen=True)
class Rung:
    """The shape that is built for a wanted N, and what its training holds on each device.

    `bytes_on` is strategy -> for "none" and "full" recomputing (a, b): on n > 1 devices a step
    holds a + b / n bytes on each, exactly: what a strategy shards is divided by n, nothing else is.
    On one device it holds `alone`, (a, b) likewise by recomputing.
    """

    wanted: float  # N, as the law counts it
    shape: Shape
    params: float  # as the law counts them
    total_params: int
    bytes_on: dict[str, tuple[tuple[float, float], ...]]
    alone: tuple[float, ...]


def build_ladder(
    sizes: Iterable[float],
    *,
    convention: str = "total",
    precision: str = "bf16_mixed",
    n_sequences: float = 1,
    **options,
) -> list[Rung]:
    """The shape of each wanted N, as `scaling.shapes.buildable.build` chooses it for a plan.

    Sizes for which nothing can be built are left out. `options` as in `scaling.shapes.buildable`:
    seq_len, vocab_size, ffn, tied.
    """
    rungs = []
    for N in sorted({*map(float, sizes)}):
        try:
            built = build(N, 1.0, np.inf, convention=convention, **options)
        except ValueError:  # smaller than its vocabulary, or beyond what is searched
            continue
        size = built.total_params
        bytes_on = _weigh(built.shape, size, precision, n_sequences)
        alone = tuple(
            _total(built.shape, size, Setup(precision=precision, recompute=r), n_sequences)
            for r in RECOMPUTE
        )
        rungs.append(Rung(N, built.shape, built.params, size, bytes_on, alone))
    return rungs


def _weigh(shape: Shape, params: int, precision: str, n_sequences: float) -> dict:
    weighed = {}
    for name, changes in STRATEGIES.items():
        few, many = (replace(Setup(precision=precision, n_devices=n), **changes) for n in MANY)
        lines = []
        for recompute in RECOMPUTE:
            at_few, at_many = (
                _total(shape, params, replace(setup, recompute=recompute), n_sequences)
                for setup in (few, many)
            )
            b = (at_few - at_many) / (1 / MANY[0] - 1 / MANY[1])
            lines.append((at_many - b / MANY[1], b))
        weighed[name] = tuple(lines)
    return weighed


def _total(shape: Shape, params: int, setup: Setup, n_sequences: float) -> float:
    return training_memory(params, setup, network_of(shape), n_sequences).total
