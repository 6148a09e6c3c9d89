"""Comparisons of sweeps whose gain is known."""

import warnings

import numpy as np
import pytest
from sweep_pairs import BUDGETS, CROSSED, compared, sweep

from scaling.errors import FitError
from scaling.fitting.detection import size_test
from scaling.fitting.gain import compare_runs, compare_tables
from scaling.fitting.paired import Sweep
from scaling.fitting.prepared import prepare

NOISE = 0.002


@pytest.fixture(scope="module")
def noisy():
    """A gain of 1.3 among seeds that share half of their noise."""
    options = {"noise": NOISE, "seeds": (0, 1), "shared": 0.7, "seed": 2}
    return sweep(**options), sweep(gain=1.3, **options)


@pytest.fixture(scope="module")
def found(noisy):
    return compared(*noisy, bootstrap=150)


def test_a_known_constant_is_found_exactly():
    exact = compared(sweep(), sweep(gain=1.3), bootstrap=10)
    assert float(exact.gain) == pytest.approx(1.3, rel=1e-3)
    assert float(exact.slope) == pytest.approx(0, abs=1e-3)
    np.testing.assert_allclose(exact.points.gain, 1.3, rtol=1e-3)
    assert exact.lines.floor[0] == 0


def test_a_known_exponent_and_crossing_are_found_exactly():
    exact = compared(sweep(), sweep(growth=0.2), bootstrap=10)
    assert float(exact.slope) == pytest.approx(0.2, rel=0.02)
    assert exact.exponents_differ
    assert float(exact.crossing.C) == pytest.approx(CROSSED, rel=0.02)
    assert exact.crossing.C.status == "ok"
    ahead = exact.gain_at(16 * CROSSED)
    assert float(ahead) == pytest.approx(16**0.2, rel=0.02)
    assert ahead.status == "extrapolated"


def test_intervals_hold_a_known_gain_and_pairs_make_them_narrower(found):
    assert found.status == "ok"
    assert found.gain.low < 1.3 < found.gain.high
    assert found.pairs == 40 and 0.3 < found.correlation < 0.95
    assert found.gain_std < 0.85 * found.unpaired_std
    assert 0 < found.p_line <= 1
    assert found.crossing.clear_low < BUDGETS[0] and found.crossing.clear_high > BUDGETS[-1]


def test_b_against_a_is_the_inverse_of_a_against_b(noisy, found):
    back = compared(*reversed(noisy), bootstrap=150)
    assert float(back.gain) == pytest.approx(1 / float(found.gain))
    C = np.array(BUDGETS)
    there = found.gain_at(C).value
    np.testing.assert_allclose(back.gain_at(there * C).value, 1 / there, rtol=1e-9)
    assert back.p_equal == pytest.approx(found.p_equal, abs=0.15)
    assert back.gain.low == pytest.approx(1 / found.gain.high, rel=0.02)


def test_neither_the_order_of_rows_nor_units_change_a_gain(noisy, found):
    a, b = noisy
    shuffled = b.sample(frac=1, random_state=1).reset_index(drop=True)
    again = compared(a, shuffled, bootstrap=10)
    assert float(again.gain) == pytest.approx(float(found.gain), rel=1e-6)
    units = {"flops": 2.0, "flops_budget": 2.0, "loss": 0.9}  # others, in which a gain has none
    other = compared(
        *(runs.assign(**{k: runs[k] * u for k, u in units.items()}) for runs in noisy), bootstrap=10
    )
    assert float(other.gain) == pytest.approx(float(found.gain), rel=1e-6)
    np.testing.assert_allclose(other.budgets, found.budgets * 2)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(data="pubmed"), "a has data=enwik8 and b data=pubmed: a loss in nats/token belongs"),
        (dict(vocab_size=256), "a has vocab_size=1024 and b vocab_size=256"),
        (dict(objective="mlm"), "a has objective=clm and b objective=mlm"),
        (dict(seq_len=64), "a has seq_len=128 and b seq_len=64"),
    ],
)
def test_losses_that_do_not_compare_are_refused(noisy, change, message):
    a, b = noisy
    with pytest.raises(ValueError, match=message):
        compare_runs(a, b.assign(**change))


def test_other_impossible_comparisons_are_refused(noisy):
    a, b = noisy
    with pytest.raises(
        ValueError, match=r"a holds runs of data \['enwik8', 'x'\].* .where=.data: enwik8"
    ):
        compare_runs(a.assign(data=["x"] + ["enwik8"] * (len(a) - 1)), b)
    other = sweep(budgets=(3e11, 3e12))
    with pytest.raises(ValueError, match=r"no common budget: 2e\+11, .* and 3e\+11, 3e\+12 FLOPs"):
        compared(a, other)
    with pytest.raises(FitError, match="needs 2 common budgets with an interior minimum in both"):
        compared(a, sweep(budgets=(2e11, 3e12)))
    edge = b[b.width > 16].reset_index(drop=True)  # minima at the edge of the sizes
    with pytest.raises(FitError, match="b: isoflop_power needs 2 budgets"):
        compare_runs(a, edge)
    foreign = b.rename(columns={"total_params": "N"})[["N", "tokens", "flops", "loss"]]
    with pytest.raises(ValueError, match="the same budget means two things"):
        compare_runs(a, foreign)
    with pytest.raises(ValueError, match="bootstrap=50: intervals of a gain need 100 or more"):
        compare_runs(a, b, bootstrap=50)


@pytest.mark.long
def test_a_rejected_law_is_not_quoted(noisy):
    """The additive law misses a bend that no noise explains."""
    a, b = (runs.assign(loss=runs.loss * bend(runs)) for runs in noisy)
    found = compare_tables(a, b, C=[1e13])
    assert {*found.laws.status} == {"rejected"}
    assert found.laws.gain.isna().all() and "a: " in found.laws.reason[0]
    sound = compare_tables(*noisy, C=[1e13])
    assert sound.laws.gain.between(1.1, 1.5).all() and sound.laws.status.iloc[-1] == "extrapolated"


def bend(runs):
    """Factor that grows with the distance of the budget from the middle."""
    x = np.log(runs.flops_budget / 5.7e11)
    return np.exp(0.02 * x**2)


def test_gains_on_no_line_are_rejected(noisy):
    a, b = noisy
    off = np.where(b.flops_budget == 8e11, 0.97, 1.0)
    found = compared(a, b.assign(loss=b.loss * off), bootstrap=50)
    assert found.status == "rejected"
    assert "the gains of the budgets lie on no line" in found.reason


def test_a_test_takes_less_for_a_larger_gain_and_as_much_for_its_inverse(noisy):
    one = Sweep.of(prepare(noisy[0]))
    small, large, inverse = (size_test(one, gain).designs for gain in (1.004, 1.01, 1 / 1.01))
    assert (small.seeds >= large.seeds).all() and (small.power < large.power).all()
    np.testing.assert_allclose(large.power, inverse.power)
    assert (large.flops == 2 * large.seeds * np.cumsum([5 * C for C in BUDGETS])).all()
    assert small["std"].is_monotonic_decreasing and np.isnan(small.seeds_exponent[0])
    told = size_test(one, 1.004, correlation=0.5).designs
    np.testing.assert_allclose(told["std"], small["std"] * np.sqrt(0.5))
    for gain in (0, 1, -1):
        with pytest.raises(ValueError, match="gain="):
            size_test(one, gain)


@pytest.mark.long
def test_intervals_hold_the_truth_and_tests_see_what_they_promise():
    """24 pairs of sweeps: most intervals hold the gain, and the promised share sees it.

    Of 80 pairs 91 % held it, 92 % the equal exponents, 44 % saw a gain that 47 % were to see.
    """
    options = {"noise": NOISE, "seeds": (0, 1), "shared": 0.5, "budgets": BUDGETS[:3]}
    held, slopes, seen = [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(24):
            a, b = sweep(seed=seed, **options), sweep(gain=1.01, seed=seed, **options)
            found = compared(a, b, bootstrap=100, seed=seed)
            held.append(found.gain.low <= 1.01 <= found.gain.high)
            slopes.append(found.slope.low <= 0 <= found.slope.high)
            seen.append(found.gain.low > 1)
    test = size_test(found.a, 1.01, correlation=0.5)
    assert np.mean(held) >= 0.75 and np.mean(slopes) >= 0.75
    assert np.mean(seen) == pytest.approx(test.designs.power.iloc[-1], abs=0.35)
