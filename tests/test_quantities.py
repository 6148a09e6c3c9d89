import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.quantities import (
    PARAMETERS,
    count,
    format_quantity,
    parse_quantity,
    pass_tenth,
    positive_quantity,
    write_bare,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.4T tokens", 1.4e12),
        ("70B", 70e9),
        ("70b parameters", 70e9),
        ("5.76e23", 5.76e23),
        ("5.76E+23 FLOPs", 5.76e23),
        ("100k", 1e5),
        ("3,640", 3640.0),
        (".5M", 5e5),
        ("1,4B", 1.4e9),  # a comma groups thousands only before exactly three digits
        ("1,400B", 1.4e12),
        ("5,76e23", 5.76e23),
        ("70,650,045.5", 70650045.5),
        ("0,125", 0.125),
        (7, 7.0),
    ],
)
def test_people_write_quantities(text, value):
    assert parse_quantity(text) == pytest.approx(value, rel=1e-15)


@given(st.floats(1e-3, 1e30))
def test_a_written_quantity_reads_back_within_its_digits(value):
    assert parse_quantity(format_quantity(value)) == pytest.approx(value, rel=0.00501)


@given(st.floats(1e-3, 1e14), st.floats(1.02, 10))
def test_a_larger_number_never_reads_smaller(value, factor):
    small, large = (parse_quantity(format_quantity(v)) for v in (value, value * factor))
    assert small < large


@pytest.mark.parametrize(
    "text", ["70 bananas", "B70", "", "1.4TT", "--3", "1e", "nan", "1234,567", "1,23,456", True]
)
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(ValueError, match=r"is no quantity; write 70B, 1.4T tokens"):
        parse_quantity(text)


def test_tokens_are_no_parameters():
    with pytest.raises(ValueError, match=r"N '70B tokens' is no quantity.*parameters, params"):
        parse_quantity("70B tokens", "N", PARAMETERS)


@pytest.mark.parametrize("value", ["-70B", 0, float("nan"), float("inf")])
def test_a_size_is_positive_and_finite(value):
    with pytest.raises(ValueError, match="data_limit must be positive and finite"):
        positive_quantity(value, "data_limit")


def test_what_is_unknown_is_a_dash():
    assert [format_quantity(v) for v in (float("nan"), float("inf"), 999.9)] == ["-", "inf", "1k"]


def test_beyond_the_trillions_there_is_no_suffix():
    assert [format_quantity(v) for v in (9.98e14, 9.996e14, 1e15)] == [
        "998T",
        "1.00e+15",
        "1.00e+15",
    ]


@pytest.mark.parametrize(
    ("number", "told"), [(1, "1 cell"), (12, "12 cells"), (0, "0 cells"), (1200, "1,200 cells")]
)
def test_one_is_no_plural(number, told):
    assert count(number, "cell") == told


def test_a_plural_may_be_its_own():
    assert count(2, "entry", "entries") == "2 entries" and count(1, "entry", "entries") == "1 entry"


@pytest.mark.parametrize(
    ("before", "now", "percent"),
    [
        (-1.0, 0.0, 0),
        (-1.0, 0.34, 30),
        (0.0, 0.09, None),
        (0.09, 0.1, 10),
        (0.1, 0.19, None),
        (0.1, 0.35, 30),
        (0.95, 1.0, 100),
        (0.3, 0.1 + 0.2, None),
    ],
)
def test_a_tenth_is_passed_once(before, now, percent):
    assert pass_tenth(before, now) == percent


def test_a_number_is_written_as_it_is_typed():
    assert (write_bare(3.2e12), write_bare(0.05), write_bare(1.234e-9)) == (
        *("3.2e12", "0.05"),
        "1.23e-09",
    )
