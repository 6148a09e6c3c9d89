import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.data.synthetic import entropy_rate, key_probabilities, record_table, synthetic_tokens


def code_lengths(windows, table, probabilities):
    """-log p of the targets of aligned windows under the true source, nats, (windows, T)."""
    length = table.shape[1]
    prefix = [{} for _ in range(length + 1)]  # probability of every beginning of a record
    for record, p in zip(table.tolist(), probabilities, strict=True):
        for n in range(length + 1):
            key = tuple(record[:n])
            prefix[n][key] = prefix[n].get(key, 0.0) + p
    out = np.empty(windows[:, 1:].shape)
    for row, window in enumerate(windows.tolist()):
        for t in range(1, len(window)):
            start = t - t % length
            seen, longer = tuple(window[start:t]), tuple(window[start : t + 1])
            out[row, t - 1] = -np.log(prefix[len(longer)][longer] / prefix[len(seen)][seen])
    return out


@pytest.mark.parametrize("length, key_length", [(2, 1), (4, 2), (4, 3), (8, 2)])
def test_the_true_source_reaches_the_entropy_rate(length, key_length):
    seq_len = 32
    rng = np.random.default_rng(0)
    n_keys = min(500, (128 // length) ** key_length)
    table = record_table(128, n_keys, length, key_length, rng)
    probabilities = key_probabilities(n_keys, 1.1)
    tokens = synthetic_tokens(100_001, table, probabilities, rng)
    n = (len(tokens) - 1) // seq_len
    windows = np.lib.stride_tricks.sliding_window_view(tokens, seq_len + 1)[: n * seq_len : seq_len]
    losses = code_lengths(windows, table, probabilities).mean(1)
    error = losses.std() / np.sqrt(n)
    assert error < 0.02
    assert losses.mean() == pytest.approx(entropy_rate(probabilities, length), abs=4 * error)


def test_entropy_of_equally_likely_keys():
    assert entropy_rate(key_probabilities(1024, 0.0), 4) == pytest.approx(
        np.log(1024) / 4, rel=1e-12
    )
    assert entropy_rate(np.array([1.0, 0.0]), 4) == 0


@given(st.integers(2, 6), st.integers(2, 5), st.data())
def test_keys_differ_and_every_place_has_its_alphabet(alphabet, length, data):
    key_length = data.draw(st.integers(1, min(3, length)))
    n_keys = data.draw(st.integers(1, alphabet**key_length))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    table = record_table(alphabet * length + 1, n_keys, length, key_length, rng)
    assert len(np.unique(table[:, :key_length], axis=0)) == n_keys
    assert (table // alphabet == np.arange(length)).all()
    tokens = synthetic_tokens(101, table, key_probabilities(n_keys, 1.0), rng)
    assert len(tokens) == -(-101 // length) * length
    assert {tuple(r) for r in tokens.reshape(-1, length)} <= {tuple(r) for r in table}


def test_frequencies_follow_zipf():
    probabilities = key_probabilities(5, 1.0)
    table = record_table(20, 5, 2, 1, np.random.default_rng(1))
    tokens = synthetic_tokens(200_000, table, probabilities, np.random.default_rng(2))
    keys = tokens.reshape(-1, 2)[:, 0]
    shares = [np.mean(keys == key) for key in table[:, 0]]
    np.testing.assert_allclose(shares, np.array([60, 30, 20, 15, 12]) / 137, atol=0.006)


@pytest.mark.parametrize(
    "sizes, message",
    [
        ((16, 17, 4, 2), r"synthetic_keys=17 must lie in \[1, .*\*\*key_length = 16\]"),
        ((16, 1, 1, 1), "a record has at least 2 tokens"),
        ((16, 1, 4, 5), r"synthetic_key_length=5 must lie in \[1, synthetic_record_length = 4\]"),
        ((7, 1, 4, 2), r"vocab_size=7 must be at least 2 \* synthetic_record_length = 8"),
    ],
)
def test_impossible_sources_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        record_table(*sizes, np.random.default_rng(0))


def test_an_impossible_exponent_is_refused():
    with pytest.raises(ValueError, match="synthetic_exponent=nan"):
        key_probabilities(4, float("nan"))
