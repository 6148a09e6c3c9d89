"""What the ticks and colours of every figure are."""

from dataclasses import replace

import numpy as np
import pytest

from scaling.figures.paper import SHADES, interval_note, readable_ticks, suffixed
from scaling.fitting.report import fit_all
from scaling.fitting.result import Bootstrap


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


def test_kinds_of_bootstrap_stand_in_the_order_of_the_fits(report):
    kinds = ("seed", "pairs", "wild")
    fits = [replace(report.fits[0], bootstrap=Bootstrap(kind, 9, 9)) for kind in kinds]
    assert "seed/pairs/wild bootstrap" in interval_note(*fits)
    assert "wild/pairs/seed bootstrap" in interval_note(*fits[::-1])


@pytest.fixture(scope="module")
def report(grid):
    return fit_all(grid(noise=0.01, sizes=6), bootstrap=0, audit=False)
