import numpy as np
import pytest

from scaling.course.choices import LOGITS, choices_table, choose_probabilities


@pytest.mark.parametrize(
    "how, expected",
    [
        ({"temperature": 0}, (1, 0, 0)),
        ({"temperature": 0.5}, (0.8668, 0.1173, 0.0159)),
        ({}, (0.6652, 0.2447, 0.0900)),
        ({"temperature": 2}, (0.5065, 0.3072, 0.1863)),
        ({"top_k": 2}, (0.7311, 0.2689, 0)),
        ({"top_p": 0.7}, (0.7311, 0.2689, 0)),
        ({"top_p": 0.5}, (1, 0, 0)),
        ({"temperature": 1e-300}, (1, 0, 0)),
    ],
)
def test_probabilities_are_those_computed_by_hand(how, expected):
    np.testing.assert_allclose(choose_probabilities(LOGITS, **how), expected, atol=5e-5)


def test_the_table_holds_distributions():
    p = choices_table().set_index("way")
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (p["first"] >= p.second).all() and (p.second >= p.third).all()
