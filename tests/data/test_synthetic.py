import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.data.synthetic import entropy_rate, stationary, synthetic_tokens, transition_matrix


@pytest.mark.parametrize("vocab_size, strength, exponent", [(16, 1.0, 1.0), (64, 2.0, 0.7)])
def test_the_true_source_reaches_the_entropy_rate(vocab_size, strength, exponent):
    rng = np.random.default_rng(0)
    P = transition_matrix(vocab_size, strength, exponent, rng)
    tokens = synthetic_tokens(200_000, P, rng)
    losses = -np.log(P[tokens[:-1], tokens[1:]])
    error = losses.std() / np.sqrt(len(losses) / 10)  # neighbours are correlated
    assert error < 0.02
    assert losses.mean() == pytest.approx(entropy_rate(P), abs=4 * error)


@given(st.integers(2, 30), st.floats(0.1, 5), st.floats(0.5, 3), st.integers(0, 99))
def test_rows_are_distributions_and_shares_stay(vocab_size, strength, exponent, seed):
    P = transition_matrix(vocab_size, strength, exponent, np.random.default_rng(seed))
    np.testing.assert_allclose(P.sum(1), 1)
    assert (P >= 0).all()
    p = stationary(P)
    np.testing.assert_allclose(p @ P, p, atol=1e-9)
    assert p.sum() == pytest.approx(1)
    assert 0 <= entropy_rate(P) <= np.log(vocab_size) + 1e-9


def test_entropy_of_sources_known_by_heart():
    assert entropy_rate(np.full((8, 8), 1 / 8)) == pytest.approx(np.log(8), rel=1e-12)
    assert entropy_rate(np.roll(np.eye(5), 1, axis=1)) == pytest.approx(0, abs=1e-12)
    P = np.array([[0.5, 0.5], [1.0, 0.0]])  # visits the first state twice as often
    assert stationary(P) == pytest.approx([2 / 3, 1 / 3])
    assert entropy_rate(P) == pytest.approx(2 / 3 * np.log(2))


def test_frequencies_follow_the_matrix():
    P = transition_matrix(4, 1.0, 1.0, np.random.default_rng(3))
    tokens = synthetic_tokens(100_000, P, np.random.default_rng(4))
    pairs = np.zeros((4, 4))
    np.add.at(pairs, (tokens[:-1], tokens[1:]), 1)
    np.testing.assert_allclose(pairs / pairs.sum(1, keepdims=True), P, atol=0.01)


def test_singular_values_fall_as_asked():
    P = transition_matrix(200, 1.0, 1.0, np.random.default_rng(0))
    logits = np.log(P) - np.log(P).mean(1, keepdims=True)
    singular = np.linalg.svd(logits, compute_uv=False)
    slope = np.polyfit(np.log(np.arange(2, 40)), np.log(singular[1:39]), 1)[0]
    assert slope == pytest.approx(-1, abs=0.15)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(vocab_size=1), "vocab_size=1 must be a number of at least 2"),
        (dict(strength=0.0), "synthetic_strength=0.0 must be a number of at least"),
        (dict(exponent=float("nan")), "synthetic_exponent=nan must be a number"),
    ],
)
def test_impossible_sources_are_refused(changes, message):
    values = dict(vocab_size=8, strength=1.0, exponent=1.0, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        transition_matrix(**(values | changes))
