"""What the ticks and colours of every figure are."""

import numpy as np
import pytest

from scaling.figures.paper import SHADES, readable_ticks, suffixed


@pytest.mark.parametrize(
    "low, high, gap, ticks",
    [
        (1.8e11, 1.9e12, 0.27, [2e11, 5e11, 1e12]),
        (4.1, 5.6, 0.1, [4.2, 4.4, 4.6, 4.8, 5.0, 5.2, 5.4]),
        (1e17, 1e25, 0.2, [1e17, 1e19, 1e21, 1e23, 1e25]),
    ],
)
def test_ticks_are_round_and_apart(low, high, gap, ticks):
    found = readable_ticks(low, high, gap)
    assert np.all(np.diff(np.log(found)) >= gap * np.log(high / low))
    if gap > 0.1:
        assert found == pytest.approx(ticks)


def test_large_numbers_have_suffixes():
    assert [suffixed(x) for x in (500, 2e4, 1.5e6, 7e10, 1.4e12)] == [
        "500",
        "20k",
        "1.5M",
        "70B",
        "1.4T",
    ]


def test_colours_are_ordered_in_grey_print():
    lightness = SHADES(np.linspace(0, 1, 9))[:, :3] @ [0.299, 0.587, 0.114]
    assert np.all(np.diff(lightness) > 0.03)
    assert lightness[-1] < 0.75
