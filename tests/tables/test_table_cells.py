import numpy as np
import pandas as pd
import pytest

from scaling.quantities import parse_quantity
from scaling.tables.cells import as_whole, find_unread, read_numbers


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["70.7M", "1.4B", "2T tokens"], [70.7e6, 1.4e9, 2e12]),
        (["70,650,045", "650", "1,000"], [70650045, 650, 1000]),
        (["3,0283", "2,9", "3,028"], [3.0283, 2.9, 3.028]),  # no groups in one, in none
        (["3,028", "2,900"], [3028, 2900]),
        (["1,5e9", "7e7"], [1.5e9, 7e7]),
        (["0,512", "0,733"], [0.512, 0.733]),
        (["1,234.5", "7"], [1234.5, 7]),
        ([10**30, 2.5], [1e30, 2.5]),
        (["", None, "n/a", "-"], [np.nan] * 4),
    ],
)
def test_cells_are_read_as_people_write_them(cells, numbers):
    values = pd.Series(cells, dtype=object)
    read = read_numbers(values)
    np.testing.assert_array_equal(read, numbers)
    assert not find_unread(values, read).any()


def test_what_is_no_number_is_unread():
    values = pd.Series(["OOM", "1.2.3", "12,34,567", "3.5", ""])
    assert find_unread(values, read_numbers(values)).tolist() == [True] * 3 + [False] * 2


@pytest.mark.parametrize("number", [1, 999, 1000, 70_650_045, 10**12 + 1, 10**15])
def test_the_planner_and_a_table_read_alike(number):
    for text in (f"{number:,}", f"{number / 1e6:.9f}M", f"{number}.0"):
        [read] = read_numbers(pd.Series([text]))
        assert read == parse_quantity(text) == pytest.approx(number, rel=1e-9)


def test_wholes_beyond_int64_stay_as_they_are():
    assert as_whole(pd.Series([1.0, 2.0])).dtype == "int64"
    huge = pd.Series([1e30, 2.0])
    assert as_whole(huge).tolist() == [1e30, 2.0]
    assert as_whole(pd.Series([2.0**63])).tolist() == [2.0**63]
