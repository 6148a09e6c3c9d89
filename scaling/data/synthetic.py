"""A source of tokens whose entropy rate is known exactly, and which is learned gradually.

A Markov chain: the logits of the next token given the last one are a random matrix whose singular
values fall as a power of their rank. A model of width d can hold about the first d of them, and
takes longer to learn the smaller ones, so that its loss approaches the entropy rate as powers of
both its size and its tokens. Every target has its whole context in its window, as long as that is.
"""

from bisect import bisect

import numpy as np


def transition_matrix(
    vocab_size: int, strength: float, exponent: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw P[x, y], the probability that y follows x.

    P[x, :] = softmax(sum_i s_i * u_i[x] * v_i[:]), s_i = strength * i**-exponent, with standard
    normal u_i and v_i, i = 1 .. vocab_size. The same state of `rng` gives the same matrix.

    Parameters
    ----------
    vocab_size : int, >= 2, tokens
    strength : float, > 0, nats
        Of the first component: the larger, the more there is to learn.
    exponent : float, > 0.5
        The larger, the sooner a narrow model has learned most of it.

    Returns
    -------
    array of float64, shape (vocab_size, vocab_size); rows sum to 1

    Raises
    ------
    ValueError
        A value outside its range.
    """
    for name, value, least in (
        ("vocab_size", vocab_size, 2),
        ("synthetic_strength", strength, 1e-6),
        ("synthetic_exponent", exponent, 0.5),
    ):
        if not (np.isfinite(value) and value >= least):
            raise ValueError(f"data.{name}={value} must be a number of at least {least}")
    singular = strength * np.arange(1, vocab_size + 1, dtype=np.float64) ** -exponent
    u, v = rng.standard_normal((2, vocab_size, vocab_size))
    logits = (u * singular) @ v.T
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def stationary(transitions: np.ndarray) -> np.ndarray:
    """Share of every token in a long sequence: p with p @ P = p, shape (vocab_size,)."""
    size = len(transitions)
    balance = np.vstack([transitions.T - np.eye(size), np.ones(size)])
    return np.linalg.lstsq(balance, np.append(np.zeros(size), 1.0), rcond=None)[0]


def entropy_rate(transitions: np.ndarray) -> float:
    """Lowest possible loss, -sum_x p[x] sum_y P[x, y] ln P[x, y], in nats/token."""
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = np.where(transitions > 0, -transitions * np.log(transitions), 0.0)
    return float(stationary(transitions) @ surprise.sum(axis=1))


def synthetic_tokens(
    n_tokens: int, transitions: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw one unbroken sequence, started in the stationary state; int64, shape (n_tokens,)."""
    cumulative = np.cumsum(transitions, axis=1)
    cumulative[:, -1] = 1.0
    rows = cumulative.tolist()
    state = int(rng.choice(len(transitions), p=stationary(transitions).clip(0)))
    tokens = []
    for u in rng.random(n_tokens).tolist():
        tokens.append(state)
        state = bisect(rows[state], u)
    return np.array(tokens, dtype=np.int64)
