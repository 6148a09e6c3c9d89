"""Ticks are round, and their labels apart whatever the length of the axis."""

import numpy as np
import pytest
from legible import drawn

from scaling.figures.paper import log_scale, paper_figure
from scaling.figures.ticks import readable_ticks, suffixed


@pytest.mark.parametrize(
    "low, high, length, ticks",
    [
        (1.8e11, 1.9e12, 100, [2e11, 5e11, 1e12]),
        (4.1, 5.6, 300, [4.2, 4.4, 4.6, 4.8, 5.0, 5.2, 5.4, 5.6]),
        (1e17, 1e25, 160, [1e17, 1e19, 1e21, 1e23, 1e25]),
        (2e11, 9e11, 60, [2e11, 5e11]),
        (1.1e6, 4.4e6, 60, [2e6, 4e6]),
    ],
)
def test_ticks_are_round_and_apart(low, high, length, ticks):
    assert readable_ticks(low, high, length, lambda _: 20) == pytest.approx(ticks)


@pytest.mark.parametrize("width", [1.2, 1.7, 2.6, 5.0])
@pytest.mark.parametrize(
    "symbol, ends", [("N", (9e7, 4e8)), ("N", (1e6, 1e12)), ("C", (2e11, 3e12))]
)
def test_labels_never_collide(width, symbol, ends):
    fig = paper_figure(width, 1.5)
    ax = fig.add_subplot()
    log_scale(ax, "x", symbol, *ends)
    log_scale(ax, "y", symbol, *ends)
    ax.set(xlabel="", ylabel="")
    drawn(fig)
    assert len(ax.get_xticks()) >= 1


def test_large_numbers_have_suffixes():
    values = np.array([500, 2e4, 1.5e6, 7e10, 1.4e12])
    assert [suffixed(x) for x in values] == ["500", "20k", "1.5M", "70B", "1.4T"]
