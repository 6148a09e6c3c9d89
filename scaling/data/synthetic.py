"""A source of tokens whose entropy rate is known exactly, and which is learned gradually.

Records of a fixed length follow one another: some tokens spell a key, the rest are values, a fixed
random function of that key. Keys follow Zipf's law, so a model that knows the first k keys by heart
has learned a part of the rate that grows slowly with k (Hutter 2021, "Learning curve theory",
arXiv:2102.04074). Records are independent: nothing before its first token tells which key comes.
Every place of the record has an alphabet of its own, so that a model sees where in a record it is.
"""

import numpy as np


def record_table(
    vocab_size: int, n_keys: int, record_length: int, key_length: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw the records: row k holds the tokens of key k and the values that follow.

    Parameters
    ----------
    vocab_size : int, tokens
        The place j of a record takes ids from j * V // r up to (j + 1) * V // r, where r is
        record_length; there is no separator.
    n_keys : int, in [1, (vocab_size // record_length)**key_length]
        Keys are different.
    record_length : int, >= 2, tokens
    key_length : int, in [1, record_length], tokens
    rng : numpy Generator
        The same state gives the same table: it is the source's identity.

    Returns
    -------
    array of int64, shape (n_keys, record_length)
    """
    if not 1 <= key_length <= record_length or record_length < 2:
        raise ValueError(
            f"data.synthetic_key_length={key_length} must lie in [1, synthetic_record_length = "
            f"{record_length}], and a record has at least 2 tokens"
        )
    alphabet = vocab_size // record_length
    if alphabet < 2:
        raise ValueError(
            f"data.vocab_size={vocab_size} must be at least 2 * synthetic_record_length = "
            f"{2 * record_length} for data=synthetic"
        )
    if not 1 <= n_keys <= alphabet**key_length:
        raise ValueError(
            f"data.synthetic_keys={n_keys} must lie in [1, (vocab_size // record_length)"
            f"**key_length = {alphabet**key_length}]; lower it, or raise data.vocab_size"
        )
    codes = rng.choice(alphabet**key_length, size=n_keys, replace=False)
    digits = codes[:, None] // alphabet ** np.arange(key_length) % alphabet
    values = rng.integers(alphabet, size=(n_keys, record_length - key_length))
    first_id = np.arange(record_length) * alphabet
    return np.column_stack([digits, values]) + first_id


def key_probabilities(n_keys: int, exponent: float) -> np.ndarray:
    """Zipf's law over a finite number of keys: p_k proportional to (k + 1)**-exponent.

    Parameters
    ----------
    n_keys : int, >= 1
    exponent : float, >= 0
        0 makes all keys equally likely.

    Returns
    -------
    array of float64, shape (n_keys,), sums to 1
    """
    if not (np.isfinite(exponent) and exponent >= 0):
        raise ValueError(f"data.synthetic_exponent={exponent} must be a number >= 0")
    weights = np.arange(1, n_keys + 1, dtype=np.float64) ** -exponent
    return weights / weights.sum()


def entropy_rate(probabilities: np.ndarray, record_length: int) -> float:
    """Lowest possible loss: H(key) / record_length, in nats/token.

    It is reached on targets that hold every place of the record equally often, as in windows of
    T inputs whose targets are the next T tokens, where record_length divides T.

    Parameters
    ----------
    probabilities : array, shape (n_keys,), sums to 1
    record_length : int, tokens
    """
    p = probabilities[probabilities > 0]
    return float(-np.sum(p * np.log(p)) / record_length)


def synthetic_tokens(
    n_tokens: int, table: np.ndarray, probabilities: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw a sequence of whole records.

    Parameters
    ----------
    n_tokens : int
        At least this many tokens; rounded up to whole records.
    table : array of int, shape (n_keys, record_length)
        From `record_table`.
    probabilities : array, shape (n_keys,), sums to 1
    rng : numpy Generator

    Returns
    -------
    array of the table's dtype, shape (n_records * record_length,); a record starts at every
    multiple of record_length
    """
    n_records = -(-n_tokens // table.shape[1])
    cumulative = np.cumsum(probabilities)
    keys = np.searchsorted(cumulative, rng.random(n_records) * cumulative[-1], side="right")
    return table[np.minimum(keys, len(table) - 1)].reshape(-1)
