"""The figure of predictions, read back from its artists."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from legible import drawn

from scaling.figures.predicted import predicted_figure, space_apart

LAWS = {"rising": 0.2, "flat": 0.0, "falling": -0.2, "close_to_flat": 0.01, "without": np.nan}


def tables():
    """Five laws that part beyond 1e13 FLOPs, and bowls at four budgets."""
    budgets = (2e13, 4e13, 8e13)
    foretold = [
        {"method": method, "N": N, "C": C, "tokens_per_param": 15 * (C / 1e13) ** slope}
        | {"fit_status": "rejected" if method == "rising" else "ok"}
        for N in ("total", "non_embedding")
        for method, slope in LAWS.items()
        for C in budgets
    ]
    found = [
        {"N": N, "budget": C, "status": "ok" if C < 8e13 else "no_minimum"}
        | dict(
            zip(
                ("tokens_per_param", "tokens_per_param_low", "tokens_per_param_high"),
                ends,
                strict=True,
            )
        )
        for N in ("total", "non_embedding")
        for C, ends in zip((5e12, 1e13, *budgets), [(12, 10, 14)] * 5, strict=True)
    ]
    return pd.DataFrame(foretold), pd.DataFrame(found)


def test_every_law_is_named_once_and_found_minima_are_told_from_foretold():
    fig = drawn(predicted_figure(*tables()))
    for ax in fig.axes:
        assert [text.get_text() for text in ax.texts] == [
            "falling",
            "flat",
            "close to flat",
            "rising",
        ]
        labels = ax.get_legend_handles_labels()[1]
        assert labels.count("found before") == 2 and labels.count("found later") == 2
        assert labels.count("predicted, by a fit that is not ok") == 1
        assert labels.count("predicted") == 3


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.floats(0.01, 2.0))
def test_places_are_apart_and_as_near_as_can_be(values, least):
    values = np.sort(values)
    places = space_apart(values, least)
    assert (np.diff(places) > least - 1e-9).all()
    assert abs(places.mean() - values.mean()) < 1e-9
    if (np.diff(values) >= least).all():
        np.testing.assert_allclose(places, values, atol=1e-12)
