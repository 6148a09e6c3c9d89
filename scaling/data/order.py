"""Which window is seen when: a function of seed and place that remembers nothing of the corpus.

Shape suffix: P places in the order of training.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling.data.objectives import GOLDEN, Objective, count_windows, cut_windows, mix64
from scaling.data.shards import Ids

LISTED_WINDOWS = 2**22  # up to so many, numpy's permutation of all: what all our records saw
ROUNDS = 8  # of the Feistel network; four already pass for random (Luby and Rackoff 1988)
BLOCK = 1000  # places within which the parts of a mixture keep their shares exactly


@dataclass(frozen=True)
class Mixture:
    """Token ids of several corpora, and the share of the windows that each gives."""

    parts: tuple[Ids, ...]
    shares: tuple[float, ...]  # in the order of the parts; sum to 1

    def __post_init__(self):
        """Refuse shares that `counts_in_block` does."""
        counts_in_block(self.shares)


def draw_windows(
    tokens: Ids | Mixture, places_P: np.ndarray, objective: Objective, seed: int
) -> np.ndarray:
    """Windows at these places of the order of training: shape (P, text + overlap).

    Every epoch sees every window of a corpus once, in an order of its own, the same for every
    model. A mixture takes its part from the place, and goes through each part in that part's order.
    """
    if not isinstance(tokens, Mixture):
        index_P = window_order(places_P, count_windows(len(tokens), objective), seed)
        return cut_windows(tokens, index_P, objective)
    part_P, within_P = mix_places(places_P, tokens.shares, seed)
    length = objective.window.text + objective.overlap
    windows_PN = np.empty((len(places_P), length), np.uint32)
    for number, part in enumerate(tokens.parts):
        own = part_P == number
        if own.any():
            windows_PN[own] = draw_windows(part, within_P[own], objective, seed)
    return windows_PN


def window_order(places_P: np.ndarray, n_available: int, seed: int) -> np.ndarray:
    """Numbers of the windows at these places: a new permutation of all each epoch."""
    epoch_P, place_P = np.divmod(np.asarray(places_P), n_available)
    index_P = np.empty(len(place_P), np.int64)
    for epoch in np.unique(epoch_P).tolist():
        now = epoch_P == epoch
        if n_available <= LISTED_WINDOWS:
            index_P[now] = _listed(n_available, seed, epoch)[place_P[now]]
        else:
            index_P[now] = permute(place_P[now], n_available, hash_numbers(seed, epoch))
    return index_P


@functools.lru_cache(maxsize=2)
def _listed(n: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(n)


def permute(places_P: np.ndarray, n: int, key: np.uint64) -> np.ndarray:
    """Where a permutation of 0 .. n - 1 takes these places; it is computed, never stored.

    A Feistel network over the bits of n - 1, of two halves that differ by one bit at most; what
    falls on n or above goes through it again until it does not, less than twice on average (cycle
    walking, Black and Rogaway 2002, doi:10.1007/3-540-45760-7_9). The round function is `mix64`.

    Parameters
    ----------
    places_P : int array, each in 0 .. n - 1
    n : int, up to 2**62
    key : uint64, of which every value gives another permutation
    """
    high = max(2, (n - 1).bit_length()) // 2
    low = max(2, (n - 1).bit_length()) - high
    keys = mix64(key + np.arange(1, ROUNDS + 1, dtype=np.uint64) * GOLDEN)
    masks = np.array([2**low - 1, 2**high - 1], np.uint64)
    x_P = np.array(places_P, np.uint64)
    walking = np.ones(len(x_P), bool)
    while walking.any():
        halves = [x_P[walking] & masks[0], x_P[walking] >> np.uint64(low)]
        for number, round_key in enumerate(keys):
            changed = number % 2
            halves[changed] ^= mix64(halves[1 - changed] * GOLDEN ^ round_key) & masks[changed]
        x_P[walking] = halves[1] << np.uint64(low) | halves[0]
        walking = x_P >= n
    return x_P.astype(np.int64)


def mix_places(
    places_P: np.ndarray, shares: Sequence[float], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Part of a mixture at these places, and the place within the order of that part.

    Every block of 1000 places has the same number of each part, in an order that follows from the
    seed and the block: shares hold exactly, and nobody need count what came before.
    """
    counts = np.array(counts_in_block(shares))
    ends = np.cumsum(counts)
    block_P, place_P = np.divmod(np.asarray(places_P), BLOCK)
    slot_P = np.empty(len(place_P), np.int64)
    for block in np.unique(block_P).tolist():
        now = block_P == block
        slot_P[now] = permute(place_P[now], BLOCK, hash_numbers(seed, block, BLOCK))
    part_P = np.searchsorted(ends, slot_P, side="right")
    return part_P, block_P * counts[part_P] + slot_P - (ends - counts)[part_P]


def counts_in_block(shares: Sequence[float]) -> list[int]:
    """Windows of each part in a block, by largest remainders; they add up to `BLOCK`.

    Raises
    ------
    ValueError
        Shares that are negative, do not sum to 1, or are too small to get a window in 1000.
    """
    total = sum(shares)
    if not shares or not all(share >= 0 for share in shares) or not abs(total - 1) < 1e-6:
        raise ValueError(f"data.parts={[*shares]} sum to {total:.6g}: shares are >= 0 and sum to 1")
    exact = [share * BLOCK for share in shares]
    counts = [int(e + 1e-9) for e in exact]
    most = sorted(range(len(counts)), key=lambda i: counts[i] - exact[i])
    for i in most[: BLOCK - sum(counts)]:
        counts[i] += 1
    for share, count in zip(shares, counts, strict=True):
        if share > 0 and not count:
            raise ValueError(f"data.parts: a share of {share:g} is none of {BLOCK} windows; leave "
                             f"the part at 0, or give it at least {1 / BLOCK:g}")  # fmt: skip
    return counts


def hash_numbers(*numbers: int) -> np.uint64:
    """Hash of whole numbers, 0 or above, in their order."""
    state = np.zeros(1, np.uint64)
    for number in numbers:
        state = mix64((state ^ np.uint64(number)) * GOLDEN + GOLDEN)
    return state[0]
