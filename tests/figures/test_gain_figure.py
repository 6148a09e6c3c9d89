"""What the figure of a gain says, read back from its artists."""

import numpy as np
import pytest
from legible import drawn
from sweep_pairs import BUDGETS, compared, sweep

from scaling.figures.gain import gain_figure
from scaling.figures.paper import LABELS


@pytest.fixture(scope="module")
def found():
    return compared(sweep(noise=0.003), sweep(gain=1.2, noise=0.003), bootstrap=50)


def test_both_lines_and_the_gain_are_drawn_with_what_they_mean(found):
    fig = gain_figure(found, ("plain", "better"), reach=1e13)
    drawn(fig)
    left, right = fig.axes
    assert left.get_ylabel() == LABELS["L"] and right.get_ylabel() == "Compute-equivalent gain"
    assert left.get_xlabel() == right.get_xlabel() == LABELS["C"]
    told = [text.get_text() for text in left.get_legend().get_texts()]
    assert told == ["plain: minima of bowls", "better: minima of bowls"]
    below = " ".join(fig.get_supxlabel().split())
    assert "how many times the compute plain needs to reach the loss of better" in below
    assert right.get_xlim()[1] > 1e13
    dots = [line for line in right.get_lines() if line.get_marker() == "o"]
    x, y = (np.asarray(data, float) for data in dots[0].get_data())
    np.testing.assert_allclose(x, BUDGETS)
    np.testing.assert_allclose(y, found.points.gain)
