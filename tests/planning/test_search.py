import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.planning.search import find_crossing, find_least


@given(root=st.floats(1e-8, 1e40), power=st.sampled_from([-3.0, -0.3, 0.5, 2.0]))
@settings(max_examples=25)
def test_a_crossing_is_found_anywhere(root, power):
    assert find_crossing(lambda x: x**power - root**power) == pytest.approx(root, rel=1e-9)


def test_every_element_is_searched_by_itself():
    roots = np.geomspace(1e-3, 1e12, 7)
    roots[3] = np.inf
    found = find_crossing(lambda x: np.log(x) - np.log(roots))
    assert np.isnan(found[3])
    assert np.delete(found, 3) == pytest.approx(np.delete(roots, 3))
    least = find_least(lambda x: (np.log(x) - np.log(roots[:3])) ** 2, np.log(1e-6), np.log(1e9))
    assert least == pytest.approx(roots[:3], rel=1e-6)


def test_no_crossing_is_nan():
    assert np.isnan(find_crossing(lambda x: 1 + x))
