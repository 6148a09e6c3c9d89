from dataclasses import replace

import pytest

from scaling.replication.checks import (
    APART,
    HELD,
    MISSED,
    OVERLAP,
    Check,
    agrees,
    checks_table,
    compare_intervals,
    half_unit,
    keep_stable_digits,
    rounding,
)


@pytest.mark.parametrize(
    "printed, half", [(0.073, 0.0005), (482.01, 0.005), (5.0, 0.5), (1e9, 5e8), (2.5e-4, 5e-6)]
)
def test_half_a_unit_of_the_last_digit(printed, half):
    assert half_unit(printed) == pytest.approx(half)
    assert agrees(printed + 0.999 * half, printed) and not agrees(printed + 1.01 * half, printed)


def test_rounding_reaches_as_far_as_the_ingredients_allow():
    low, high = rounding(lambda alpha, beta: beta / (alpha + beta), 0.34, 0.28)
    assert (low, high) == pytest.approx((0.275 / 0.62, 0.285 / 0.62))


def test_intervals_overlap_or_exclude_each_other():
    check = Check("", "", "", published=0.5, published_low=0.4, published_high=0.6)
    assert compare_intervals(replace(check, low=0.6, high=0.7)) == OVERLAP
    assert compare_intervals(replace(check, low=0.61, high=0.7)) == APART
    point = Check("", "", "", published=0.5)
    assert compare_intervals(replace(point, low=0.4, high=0.5)) == HELD
    assert compare_intervals(replace(point, low=0.1, high=0.4)) == MISSED


def test_our_numbers_keep_the_digits_that_every_processor_agrees_on():
    fit = Check("e", "m", "q", published=1 / 3, ours=1 / 7, low=1 / 9, high=2 / 9)
    fit = replace(fit, objective_name="sum of Huber(r)", objective_ours=0.5)
    edged = replace(fit, objective_name="sum of abs(r)")
    formula = replace(fit, objective_name="", objective_ours=float("nan"))
    kept = keep_stable_digits(checks_table([fit, edged, formula]))
    assert kept.ours.tolist() == [0.142857, 0.142857, 1 / 7]
    assert kept.low.tolist() == [0.1111, 0.111, 1 / 9]
    assert kept.high.tolist() == [0.2222, 0.222, 2 / 9]
    assert kept.published.tolist() == [1 / 3] * 3
