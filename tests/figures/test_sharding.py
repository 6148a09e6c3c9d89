import pandas as pd
import pytest
from legible import drawn

from scaling.figures.sharding import factor_figure, layout_figure, speed_figure
from scaling.hardware.layout import layout_table
from scaling.hardware.setup import Setup

SETUPS = {"DDP": Setup(n_devices=4), "FSDP": Setup(strategy="fsdp", n_devices=4)}


def test_every_held_shard_is_a_filled_box():
    table = layout_table(SETUPS)
    figure = drawn(layout_figure(table))
    boxes = [patch for ax in figure.axes for patch in ax.patches]
    filled = [box for box in boxes if box.get_facecolor()[:3] != (1, 1, 1)]
    assert (len(boxes), len(filled)) == (len(table), (table.held != "").sum())
    assert [ax.get_title(loc="left") for ax in figure.axes[:3]][1] == "during the layer"


def test_points_stand_on_the_lines_of_their_model():
    lines = pd.DataFrame({"model": "T5", "factor": [1, 8, 64], "peak": [160e9, 20e9, 2.5e9]})
    ax = drawn(factor_figure(lines, lines.iloc[1:], 80e9)).axes[0]
    line, points = ax.get_lines()[:2]
    assert set(points.get_ydata()) < set(line.get_ydata())
    assert ax.get_lines()[2].get_ydata()[0] == 80


def test_bars_and_bands_of_speed():
    table = pd.DataFrame({"model": ["a", "a"], "ranks": [2, 2], "strategy": ["DDP", "FSDP"]})
    table = table.assign(flops_per_s=[2e9, 1e9], flops_per_s_low=1e9, flops_per_s_high=3e9)
    predicted = pd.DataFrame({"n_sequences": 8, "ranks": [8, 512]})
    predicted = predicted.assign(relative_low=[1, 0.8], relative_high=[1, 0.99])
    left, right = drawn(speed_figure(table, predicted, 0.93)).axes[:2]
    assert sorted(patch.get_height() for patch in left.patches) == [1, 2]
    assert right.get_lines()[0].get_ydata()[1] == pytest.approx(0.93)
