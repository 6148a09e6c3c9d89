import numpy as np
import pandas as pd
import pytest
from legible import drawn

from scaling.figures.domain import limit_figure, mixing_figure, repeats_figure

SIZES = (2e4, 4e4, 7e4)
pytestmark = pytest.mark.filterwarnings("error")


def labels(fig):
    return [text.get_text() for text in fig.legends[0].get_texts()]


def test_every_share_is_named_on_the_line_of_its_size():
    rows = [(N, share, 5 + share, 6 - share) for N in SIZES for share in (0.51, 0, 1)]
    mixed = pd.DataFrame(rows, columns=["N", "share", "general", "domain"])
    others = pd.DataFrame([(2e4, "then domain", 6, 5)], columns=["N", "name", "general", "domain"])
    fig = drawn(mixing_figure(mixed, others))
    assert [text.get_text() for text in fig.axes[0].texts] == ["0%", "51%", "100%"]
    np.testing.assert_array_equal(fig.axes[2].lines[0].get_xdata(), [5, 5.51, 6])
    assert labels(fig) == ["then domain", "mixed from the start"]


def test_repeats_are_drawn_beside_new_tokens_and_the_law():
    passes = np.array([1, 4, 32])
    rows = [(N, n * 1e5, kind, 5.0) for N in SIZES for kind in ("new", "repeated") for n in passes]
    runs = pd.DataFrame(rows, columns=["N", "D", "kind", "loss"])
    laws = pd.DataFrame({"N": 2e4, "D": 1e5 * passes, "name": "a law", "loss": 5.0})
    worth = pd.DataFrame({"N": 2e4, "passes": passes, "worth": [1, 3.5, 9]})
    fig = drawn(repeats_figure(runs, laws, worth, {"a law": 10.0}))
    assert {"a law, R_D 10", "new tokens", "repeated tokens", "N = 20k"} <= {*labels(fig)}
    line = fig.axes[3].lines[1].get_ydata()
    assert line[0] == 1 and line[-1] == pytest.approx(1 + 10 * (1 - np.exp(-3.1)))


def test_a_limit_is_drawn_beside_none():
    C = np.geomspace(1e10, 1e12, 5)
    plans = pd.concat(
        pd.DataFrame({"option": option, "C": C, "N": 1e4, "D": 1e5})
        for option in ("unlimited", "repeated", "one_pass", "optimal_for_data")
    )
    trained = pd.DataFrame({"C": [1e11], "N": [2e4], "D": [3e5]})
    fig = drawn(limit_figure(plans, 1e5, trained))
    assert labels(fig) == ["runs", "no limit", "repeated", "every token once"]
    assert "100k unique tokens" in fig._supxlabel.get_text()
