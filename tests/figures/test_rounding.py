import numpy as np
import pandas as pd
import pytest
from legible import drawn

from scaling.figures.rounding import rounding_figure, trained_bits_figure, weights_figure


def test_every_number_of_a_small_format_has_its_tick():
    weights = np.random.default_rng(0).normal(size=(8, 64))
    top = np.abs(weights).max()
    grids = {"int2": np.array([-1, -1 / 3, 1 / 3, 1]) * top, "fp16": np.linspace(-top, top, 9999)}
    above, below = drawn(weights_figure(weights, grids, "up")).axes
    assert sum(bar.get_height() for bar in above.patches) == weights.size
    ticks, bar = below.collections
    assert len(ticks.get_segments()) == 4
    assert len(bar.get_paths()) == 1
    assert [text.get_text() for text in below.get_yticklabels()] == ["int2", "fp16"]


def test_fp32_stands_beside_the_bits_and_sizes_are_told():
    rows = [(N, 6 * N, 6, b, 5 - 0.1 * b / 32) for N in (2e4, 4e4) for b in (2, 4, 32)]
    runs = pd.DataFrame(rows, columns=["N", "D", "ratio", "bits", "L"])
    [ax] = drawn(trained_bits_figure(runs, None)).axes
    assert [text.get_text() for text in ax.get_xticklabels()] == ["2", "4", "fp32"]
    assert {line.get_label() for line in ax.lines} == {"N = 20k", "N = 40k"}


@pytest.mark.filterwarnings("error")
def test_a_cost_below_zero_is_left_out_and_said():
    rows = [(2e4, D, b, c, 1e-3) for b in (4, 8) for D, c in ((1e5, 0.01), (4e5, -1e-4))]
    costs = pd.DataFrame(rows, columns=["N", "D", "bits", "cost", "cost_std"])
    fig = drawn(rounding_figure(costs, None))
    assert [ax.get_title("left") for ax in fig.axes] == ["4 bits", "8 bits"]
    assert "costs below zero" in fig._supxlabel.get_text().replace("\n", " ")
