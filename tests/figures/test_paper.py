"""What the colours and footers of every figure are."""

from dataclasses import replace

import numpy as np
import pytest

from scaling.figures.paper import SHADES, finish, interval_note, paper_figure
from scaling.fitting.origin import Bootstrap
from scaling.fitting.report import fit_all
from scaling.tables.observations import Convention


def test_colours_are_ordered_in_grey_print():
    lightness = SHADES(np.linspace(0, 1, 9))[:, :3] @ [0.299, 0.587, 0.114]
    assert np.all(np.diff(lightness) > 0.03)
    assert lightness[-1] < 0.75


def test_kinds_of_bootstrap_stand_in_the_order_of_the_fits(report):
    kinds = ("seed", "pairs", "wild")
    fits = [replace(report.fits[0], bootstrap=Bootstrap(kind, 9, 9)) for kind in kinds]
    assert "seed/pairs/wild bootstrap" in interval_note(*fits)
    assert "wild/pairs/seed bootstrap" in interval_note(*fits[::-1])


def test_a_footer_tells_of_what_the_figure_has():
    fig = paper_figure(3, 2)
    ax = fig.add_subplot()
    assert finish(fig, Convention(), "nothing of it").get_supxlabel() == "nothing of it"
    ax.set_xlabel("Parameters N")
    assert finish(fig, Convention()).get_supxlabel() == Convention().describe("N")
    ax.plot([1], label="C = 1")
    ax.legend()
    assert "; C: " in finish(fig, Convention()).get_supxlabel().replace("\n", " ")


@pytest.fixture(scope="module")
def report(grid):
    return fit_all(grid(noise=0.01, sizes=6), bootstrap=0, audit=False)
