"""What a trained model says: a GPT continues, a BERT fills masks, a T5 fills hidden spans.

A token is drawn from softmax(logits / temperature), cut down to its `top_k` likeliest tokens and
of these to the nucleus `top_p`; temperature 0 is greedy: always the likeliest.

All three raise ValueError for a model of another family, ids outside of the vocabulary, and what
does not fit into the context.

Nothing is cached between tokens: n tokens cost n forward passes, which is fine for small models.

Shape suffixes: B rows, T positions, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from scaling.models.bert import BERT
from scaling.models.build import Model
from scaling.models.gpt import GPT
from scaling.models.spans import Span, hide, parse_spans
from scaling.models.t5 import T5
from scaling.shapes.shape import Shape

USES = {"gpt": "generate", "bert": "fill_masks", "t5": "infill"}


class Candidate(NamedTuple):
    """A token that may stand behind a mask."""

    token: int
    probability: float


@dataclass(frozen=True)
class Sampler:
    """How a token is chosen; called with logits of shape (B, V), it returns ids of shape (B,).

    The nucleus `top_p` is that of Holtzman et al. 2019 (arXiv:1904.09751), section 3.1. Of equal
    logits those of the lowest ids come first.

    Raises
    ------
    ValueError
        A value outside its range, or chance without a generator.
    """

    temperature: float = 0.0  # 0: the likeliest; 1: as the model says
    top_k: int | None = None  # keep so many
    top_p: float | None = None  # of these the fewest whose probabilities add up to this, in (0, 1]
    generator: torch.Generator | None = None  # unless greedy; drawing is the same on any device

    def __post_init__(self):
        """Refuse impossible choices; see Raises of the class."""
        if not 0 <= self.temperature < torch.inf:
            raise ValueError(f"temperature={self.temperature} must be 0 (greedy) or a number above")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k={self.top_k} keeps no token; take 1 or more, or None for all")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p} must be above 0 and at most 1; None keeps all")
        if self.temperature > 0 and self.generator is None:
            raise ValueError(
                f"temperature={self.temperature} draws at random: pass "
                "generator=torch.Generator().manual_seed(0), or temperature=0"
            )

    def __call__(self, logits_BV: Tensor) -> Tensor:
        """Choose a token per row."""
        logits_BV = logits_BV.double()  # no temperature makes equal what was not
        if self.temperature > 0:
            # shifted first: a tiny temperature overflows nothing
            logits_BV = (logits_BV - logits_BV.amax(-1, keepdim=True)) / self.temperature
        filtered_BV = self.filter(logits_BV)
        if self.generator is None or self.temperature == 0:
            return filtered_BV.sort(dim=-1, descending=True, stable=True).indices[..., 0]
        p_BV = filtered_BV.float().softmax(-1).to(self.generator.device)
        drawn_B = torch.multinomial(p_BV, 1, generator=self.generator)[:, 0]
        return drawn_B.to(logits_BV.device)

    def probabilities(self, logits_BV: Tensor) -> Tensor:
        """Probabilities with which tokens are drawn, shape (B, V): all of it on one if greedy."""
        if self.temperature == 0:
            chosen_B1 = self(logits_BV)[:, None]
            return torch.zeros_like(logits_BV).scatter_(-1, chosen_B1, 1.0)
        logits_BV = (logits_BV - logits_BV.amax(-1, keepdim=True)) / self.temperature
        return self.filter(logits_BV).softmax(-1)

    def filter(self, logits_BV: Tensor) -> Tensor:
        """Set the logits of unlikely tokens to -inf; the likeliest always stays."""
        sorted_BV, order_BV = logits_BV.sort(dim=-1, descending=True, stable=True)
        if self.top_k is not None:
            sorted_BV[..., self.top_k :] = -torch.inf
        if self.top_p is not None:
            p_BV = sorted_BV.softmax(-1)
            likelier_BV = p_BV.cumsum(-1) - p_BV  # probability of all that come before
            likelier_BV[..., 0] = 0  # exactly, so that the smallest top_p keeps one
            sorted_BV[likelier_BV >= self.top_p] = -torch.inf
        return torch.empty_like(logits_BV).scatter_(-1, order_BV, sorted_BV)


GREEDY = Sampler()


@torch.no_grad()
def generate(
    model: GPT,
    tokens: Sequence[int],
    n: int,
    choose: Sampler = GREEDY,
    end: int | None = None,
) -> list[int]:
    """Continue a prompt by n new tokens, each predicted from the last `seq_len` before it.

    The prompt has one token or more; 0 begins a document. A token `end` stops it and is left out.
    """
    _check(model, "gpt", tokens)
    if n < 0:
        raise ValueError(f"n={n} tokens cannot be generated; take 0 or more")
    text = list(tokens)
    for _ in range(n):
        logits_BV = model(_row(model, text[-model.shape.seq_len :]))[:, -1]
        token = int(choose(logits_BV))
        if token == end:
            break
        text.append(token)
    return text[len(tokens) :]


@torch.no_grad()
def fill_masks(
    model: BERT, tokens: Sequence[int], positions: Sequence[int], n_candidates: int = 5
) -> list[list[Candidate]]:
    """Hide the tokens at some positions, all at once, and say what may have been there.

    Returns
    -------
    list of list of Candidate: for every position the likeliest, the best first; probabilities are
        among the tokenizer's ids: the mask itself is no candidate
    """
    _check(model, "bert", tokens)
    shape = model.shape
    _check_length(len(tokens), shape)
    if not 1 <= n_candidates <= shape.vocab_size:
        raise ValueError(f"n_candidates={n_candidates} must be from 1 to {shape.vocab_size}")
    if outside := [p for p in positions if not 0 <= p < len(tokens)]:
        raise ValueError(
            f"positions {outside} lie outside of the text; count from 0 to {len(tokens) - 1}"
        )
    if len(positions) == 0:
        return []
    shown = [shape.vocab_size if i in positions else token for i, token in enumerate(tokens)]
    logits_MV = model(_row(model, shown), _row(model, positions))[0, :, : shape.vocab_size]
    best = logits_MV.float().softmax(-1).topk(n_candidates)
    rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [[Candidate(*pair) for pair in zip(*row, strict=True)] for row in rows]


@torch.no_grad()
def infill(
    model: T5, tokens: Sequence[int], spans: Sequence[Span], choose: Sampler = GREEDY
) -> list[list[int]]:
    """Hide spans of a text and let the model write what belongs there.

    The decoder writes until its end mark, or as many tokens as a training target has. In training
    a text always has the same number of spans, `window.added_ids` - 1, and is cut off by the last
    of them; a text like that gives the best answers.

    Parameters
    ----------
    tokens : sequence of int
        Nothing is hidden in it; with sentinels and the end mark it takes at most `seq_len` places.
    spans : sequence of (start, stop)
        Rising, apart from each other; at most `window.added_ids` - 1.

    Returns
    -------
    list of list of int: what was written for each span; empty where its sentinel never came
    """
    _check(model, "t5", tokens)
    shape = model.shape
    inputs_BE = _row(model, hide(tokens, spans, shape))
    _check_length(inputs_BE.shape[1], shape)
    end = shape.table_rows - 1
    written = [end]  # what the decoder reads first, see `T5.loss`
    while len(written) <= shape.window.targets:
        logits_BV = model(inputs_BE, _row(model, written))[:, -1]
        token = int(choose(logits_BV))
        if token == end:
            break
        written.append(token)
    return parse_spans(written[1:], len(spans), shape)


def _row(model: Model, tokens: Sequence[int]) -> Tensor:
    """Put token ids or positions on the model's device, shape (1, T)."""
    return torch.tensor([list(tokens)], dtype=torch.int64, device=model.table.weight.device)


def _check(model: Model, family: str, tokens: Sequence[int]) -> None:
    shape = model.shape
    if shape.family != family:
        raise ValueError(
            f"{USES[family]} needs a model of family {family!r}, not {shape.family!r}; "
            f"use {USES[shape.family]}"
        )
    if len(tokens) == 0:
        raise ValueError("the text has no token; give one or more (0 begins a document)")
    if outside := [t for t in tokens if not 0 <= t < shape.vocab_size]:
        raise ValueError(
            f"tokens {outside[:5]} are outside of the vocabulary of {shape.vocab_size}; encode "
            "the text with the model's own tokenizer"
        )


def _check_length(n: int, shape: Shape) -> None:
    if n > shape.seq_len:
        raise ValueError(
            f"the text takes {n} positions, more than seq_len {shape.seq_len} of the model; cut it"
        )
