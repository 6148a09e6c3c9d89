import numpy as np
import pytest

from scaling.planning.search import find_crossing, find_least


@pytest.mark.parametrize(
    "excess, root",
    [
        (lambda x: np.log(x / 3.7e9), 3.7e9),
        (lambda x: 1 - 1e5 / x, 1e5),
        (lambda x: np.exp(-x) - 0.5, np.log(2)),  # flat almost everywhere
        (lambda x: (np.log(x) - 7) ** 3, np.exp(7)),
        (lambda x: 1.0 if x > 5 else -1.0, 5.0),  # a step
    ],
)
def test_a_crossing_is_found_whatever_the_shape(excess, root):
    calls = []

    def counted(x):
        calls.append(x)
        return excess(x)

    assert find_crossing(counted) == pytest.approx(root, rel=1e-10 if root != np.exp(7) else 1e-4)
    assert len(calls) < 120


def test_no_crossing_is_no_number():
    assert np.isnan(find_crossing(lambda x: 1.0 + x))


def test_a_valley_is_found_even_beside_what_is_not_defined():
    def cost(x):
        return np.nan if x > np.exp(25) else (np.log(x) - 20) ** 2

    assert find_least(cost, 10, 30) == pytest.approx(np.exp(20), rel=1e-7)
