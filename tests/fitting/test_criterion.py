import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import huber

from scaling.fitting.criterion import LOSSES, Criterion

residuals = st.lists(st.floats(-10, 10), min_size=1, max_size=20).map(np.array)
deltas = st.floats(1e-6, 1e3)


@given(residuals, deltas)
def test_the_sum_is_scipys_huber_weighted(r, delta):
    weights = np.linspace(0.5, 2.0, len(r))
    by_hand = huber(delta, np.sqrt(weights / weights.mean()) * r).sum()
    assert Criterion(huber_delta=delta).sum(r, weights) == pytest.approx(by_hand, rel=1e-12)


@given(residuals)
def test_l1_and_mse_are_the_limits_of_huber(r):
    ones = np.ones(len(r))
    wide, narrow = Criterion(huber_delta=1e6), Criterion(huber_delta=1e-9)
    assert Criterion(loss="mse").sum(r, ones) == pytest.approx(wide.sum(r, ones), rel=1e-12)
    per_delta = narrow.sum(r, ones) / 1e-9
    assert Criterion(loss="l1").sum(r, ones) == pytest.approx(per_delta, abs=1e-9 * len(r))


@pytest.mark.parametrize("loss", LOSSES)
@given(st.floats(-1, 1).filter(lambda r: abs(r) > 1e-4))
def test_the_score_is_the_derivative(loss, r):
    objective, one = Criterion(loss=loss, huber_delta=1e-2), np.ones(1)
    step = 1e-7 * abs(r)
    ends = [objective.sum(np.array([r + s]), one) for s in (step, -step)]
    unit = objective.delta if loss == "l1" else 1.0  # l1 is minimised as Huber/delta
    score = objective.score(np.array([r]))[0] / unit
    assert score == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("warm", [True, False])
def test_ladders_descend_to_the_delta_in_the_unit_of_the_residual(loss, warm):
    objective = Criterion(loss=loss, huber_delta=1e-4)
    ladder = objective.deltas(unit=2.0, warm=warm)
    assert list(ladder) == sorted(ladder, reverse=True)
    assert ladder[-1] == pytest.approx(objective.delta / 2.0)


def test_it_says_what_it_minimises():
    assert Criterion().describe() == "sum of Huber(ln L_predicted - ln L; delta=0.001)"
    assert Criterion("linear", "l1").describe() == "sum of abs(L_predicted - L)"
    assert Criterion("linear", "mse").describe() == "sum of (L_predicted - L)^2 / 2"


def test_unknown_objectives_are_refused():
    with pytest.raises(ValueError, match="residual='sqrt' is unknown; use one of"):
        Criterion(residual="sqrt")
    with pytest.raises(ValueError, match="loss='cauchy' is unknown; use one of"):
        Criterion(loss="cauchy")
    for delta in (0, -1e-3, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"huber_delta must be positive, got {delta}"):
            Criterion(huber_delta=delta)
