"""What a model learns to predict: windows of token ids in, arrays for its `loss` out.

An objective is a frozen object. It is called with windows of text and, for every window, the
number of its `draw`, from which (with the seed) all chance follows: the same draw is corrupted the
same way whatever the model, the batch and the machine. In training a draw is the window's place in
the order of training; held out it is the window's index, and `seed=None`.

Ids beyond the V of the tokenizer: none for causal LM; V is the mask of masked LM; V + i is
sentinel i of span corruption, the last of them the mark that ends inputs and targets.

Shape suffixes: B windows, N tokens of text, T context, M masked, E and D encoder and decoder
positions, S spans, K random numbers.
"""

from dataclasses import dataclass

import numpy as np

from scaling.data.shards import Ids
from scaling.shapes.shape import Shape, Window, span_counts

Arrays = tuple[np.ndarray, ...]  # what a model's `loss` takes
OBJECTIVES = {"gpt": ("clm",), "bert": ("mlm", "mlm_mask"), "t5": ("span",)}  # first: default
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: the step of splitmix64


@dataclass(frozen=True)
class CausalLM:
    """Predict every token from those before it: windows of T + 1 tokens, which share one."""

    window: Window

    overlap = 1  # tokens that a window shares with the next

    def __call__(self, windows_BN: np.ndarray, draws_B: np.ndarray, seed: int | None) -> Arrays:
        """Return the windows as they are, shape (B, T + 1): nothing is left to chance."""
        return (windows_BN.astype(np.int64),)


@dataclass(frozen=True)
class MaskedLM:
    """Predict exactly round(.15 * T) tokens of a window of T from both sides.

    Each selected token is replaced by the mask (80 %) or by a random token (10 %, which may be
    itself) or stays (10 %): Devlin et al. 2018, arXiv:1810.04805, section 3.1. The number per
    window is fixed, where theirs is a rate, so that the head's FLOPs are a constant of the shape.

    Raises
    ------
    ValueError
        Shares that are negative or exceed 1 together.
    """

    window: Window
    vocab_size: int  # of the tokenizer: the id of the mask
    masked: float = 0.8  # share of the selected; with 1, and 0 random ones, always the mask
    random: float = 0.1  # share of the selected

    overlap = 0

    def __post_init__(self):
        """Refuse impossible shares; see Raises of the class."""
        if min(self.masked, self.random) < 0 or self.masked + self.random > 1:
            raise ValueError(
                f"masked={self.masked} and random={self.random} are shares of the selected tokens: "
                "not negative, at most 1 together"
            )

    def __call__(self, windows_BN: np.ndarray, draws_B: np.ndarray, seed: int | None) -> Arrays:
        """Corrupt windows of T tokens: tokens_BT, positions_BM, targets_BM, arrays of int64.

        Positions rise; targets are the tokens that were there.
        """
        T, n_masked = windows_BN.shape[1], self.window.targets
        order_BT, fate_BM, other_BM = np.split(
            random_numbers(draws_B, T + 2 * n_masked, seed), [T, T + n_masked], axis=1
        )
        positions_BM = np.sort(np.argsort(order_BT, 1)[:, :n_masked], 1)
        tokens_BT = windows_BN.astype(np.int64)
        targets_BM = np.take_along_axis(tokens_BT, positions_BM, 1)
        random_BM = (other_BM * self.vocab_size).astype(np.int64)
        shown_BM = np.where(fate_BM < self.masked + self.random, random_BM, targets_BM)
        shown_BM[fate_BM < self.masked] = self.vocab_size
        np.put_along_axis(tokens_BT, positions_BM, shown_BM, 1)
        return tokens_BT, positions_BM, targets_BM


@dataclass(frozen=True)
class SpanCorruption:
    """Replace spans of the text by sentinels; predict what each stands for.

    Of a text of n tokens round(.15 * n) are hidden, in spans of 3 on average whose lengths and
    gaps are uniform among all that are possible; the text starts shown and ends hidden, as in the
    code of Raffel et al. 2020, arXiv:1910.10683 (section 3.1.4, figure 2). Numbers of tokens and
    spans are fixed, so inputs and targets have one length each: n = 568 gives 512 and 114, our
    context of 128 takes n = 141 and 7 spans and predicts 29.

    Notes
    -----
    Inputs end with the final sentinel, as targets do, where their code has an id of its own.
    """

    window: Window
    vocab_size: int  # of the tokenizer: the first sentinel

    overlap = 0

    def __call__(self, windows_BN: np.ndarray, draws_B: np.ndarray, seed: int | None) -> Arrays:
        """Corrupt windows of n tokens: inputs_BE and targets_BD, arrays of int64."""
        n_text = windows_BN.shape[1]
        n_hidden, n_spans = span_counts(n_text)
        shown_BK, hidden_BK = np.split(
            random_numbers(draws_B, n_text - 2, seed), [n_text - n_hidden - 1], axis=1
        )
        lengths_B2S = np.stack(
            [_random_parts(shown_BK, n_spans), _random_parts(hidden_BK, n_spans)], 2
        ).reshape(len(windows_BN), 2 * n_spans)
        starts_BN = np.zeros(windows_BN.shape, np.int64)
        np.put_along_axis(starts_BN, lengths_B2S.cumsum(1)[:, :-1], 1, 1)
        return hide_spans(windows_BN, starts_BN.cumsum(1), self.vocab_size)


Objective = CausalLM | MaskedLM | SpanCorruption


def make_objective(shape: Shape, name: str | None = None) -> Objective:
    """Return an objective of a shape's family, by default the first of `OBJECTIVES`.

    It is the same for every size of the family. "mlm_mask" is masked LM that shows nothing but
    the mask.

    Raises
    ------
    ValueError
        An objective of another family.
    """
    known = OBJECTIVES[shape.family]
    name = known[0] if name is None else name
    if name not in known:
        raise ValueError(
            f"objective={name!r} is none of family {shape.family!r}; choose one of {known}"
        )
    if name == "clm":
        return CausalLM(shape.window)
    if name == "span":
        return SpanCorruption(shape.window, shape.vocab_size)
    shares = {"masked": 1.0, "random": 0.0} if name == "mlm_mask" else {}
    return MaskedLM(shape.window, shape.vocab_size, **shares)


def count_windows(n_tokens: int, objective: Objective) -> int:
    """Windows in a stream: (n_tokens - overlap) // text, text being what a window uses up."""
    return max(0, (n_tokens - objective.overlap) // objective.window.text)


def cut_windows(tokens: Ids, index_B: np.ndarray, objective: Objective) -> np.ndarray:
    """Windows number `index_B` of a stream: shape (B, text + overlap), dtype of the stream.

    Numbers are from 0 to `count_windows` - 1.
    """
    text = objective.window.text
    return tokens[np.asarray(index_B)[:, None] * text + np.arange(text + objective.overlap)]


def hide_spans(
    tokens_BN: np.ndarray, segment_BN: np.ndarray, vocab_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of texts whose segments 0, 2, 4.. are shown and 1, 3, 5.. hidden.

    The teacher | teaches | the | student: the inputs are "The teacher <X> the <Y> <Z>", the
    targets "<X> teaches <Y> student <Z>", with <X>, <Y>, <Z> = vocab_size + 0, 1, 2.

    Parameters
    ----------
    tokens_BN : int array, shape (B, N)
    segment_BN : int array, shape (B, N)
        Rises from 0 in steps of one to the same odd number in every row; the number of tokens
        in hidden segments is the same in every row too.

    Returns
    -------
    inputs_BE, targets_BD : arrays of int64
    """
    first_BN = np.diff(segment_BN, axis=1, prepend=-1) == 1
    hidden_BN = segment_BN % 2 == 1
    sentinel_BN = vocab_size + segment_BN // 2
    end = vocab_size + (segment_BN[0, -1] + 1) // 2

    def replace(gone_BN: np.ndarray) -> np.ndarray:
        """Put a sentinel for each segment that is gone, and the end mark behind all."""
        kept = np.where(gone_BN, sentinel_BN, tokens_BN)[~gone_BN | first_BN]
        return np.pad(kept.reshape(len(tokens_BN), -1), ((0, 0), (0, 1)), constant_values=end)

    return replace(hidden_BN), replace(~hidden_BN)


def random_numbers(draws_B: np.ndarray, n: int, seed: int | None) -> np.ndarray:
    """Uniform numbers in [0, 1), shape (B, n): row b depends on draws_B[b] and the seed only.

    One stream of splitmix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195) a draw;
    numpy's generators would have to be made one by one. Draws and seeds are 0 or above; None is
    that of the held-out windows, whose corruption no seed of a training run changes.
    """
    root = mix64(np.array([0 if seed is None else seed + 1], np.uint64) * GOLDEN)
    key_B1 = mix64((np.asarray(draws_B).astype(np.uint64) + np.uint64(1)) * GOLDEN ^ root)[:, None]
    bits_BK = mix64(key_B1 + np.arange(1, n + 1, dtype=np.uint64) * GOLDEN)
    return (bits_BK >> np.uint64(11)) * 2.0**-53


def mix64(x: np.ndarray) -> np.ndarray:
    """Spread every bit of 64 over all; the finaliser of splitmix64, a bijection."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _random_parts(random_BK: np.ndarray, n_parts: int) -> np.ndarray:
    """Cut K + 1 tokens into positive parts, shape (B, n_parts), all ways equally likely."""
    B, K = random_BK.shape
    cuts = np.sort(np.argsort(random_BK, 1)[:, : n_parts - 1], 1) + 1
    ends = np.concatenate([cuts, np.full((B, 1), K + 1)], 1)
    return np.diff(ends, axis=1, prepend=0)
