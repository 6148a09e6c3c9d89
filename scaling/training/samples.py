"""What a saved model says, as tables: texts written on, candidates, gaps filled, few-shot tasks.

All take the model and the tokenizer that `scaling.training.saved.load_model` returns.

Shape suffixes: T positions, W width, V vocabulary, H heads, G key and value heads, K head width.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer
from torch.nn import functional as F

from scaling.data.objectives import cut_windows, make_objective
from scaling.data.shards import Ids
from scaling.data.tokenizer import SEPARATORS
from scaling.models.bert import BERT
from scaling.models.build import Model
from scaling.models.gpt import GPT
from scaling.models.layers import TABLE_STD, Block, Stack
from scaling.models.sampling import Sampler, fill_masks, generate, infill
from scaling.models.spans import spans_of
from scaling.models.t5 import T5
from scaling.quantities import ENDS

GAP = "[?]"  # stands in a prompt for what a BERT or a T5 fills: one token, or a span
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "temperature 1": {"temperature": 1.0},
    "temperature 0.7": {"temperature": 0.7},
    "top-k 20": {"temperature": 1.0, "top_k": 20},
    "top-p 0.8": {"temperature": 1.0, "top_p": 0.8},
}
THINGS = ("film", "book", "song", "meal", "game", "play", "show", "story")
WORDS = {  # label -> words from which a review with this label is made
    " good": ("great", "lovely", "superb", "perfect", "brilliant", "wonderful"),
    " bad": ("awful", "boring", "terrible", "poor", "dreadful", "horrible"),
}
INSTRUCTION = "Is the review good or bad?\n"


# ---------------------------------------------------------------- writing on


def encode_prompt(tokenizer: Tokenizer | None, prompt: str) -> list[int]:
    """Ids of a prompt, which must have some; ValueError where there is no tokenizer."""
    if tokenizer is None:
        raise ValueError("the model was saved without a tokenizer: it knows ids, no text")
    if not (ids := tokenizer.encode(prompt, add_special_tokens=False).ids):
        raise ValueError(f"prompt={prompt!r} has no token; write something")
    return ids


def find_end(tokenizer: Tokenizer | None) -> int | None:
    """Id at which a text ends: the first separator of documents that the tokenizer knows."""
    known = {} if tokenizer is None else tokenizer.get_vocab()
    return next((known[name] for name in SEPARATORS if name in known), None)


def continue_text(
    model: GPT,
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    n: int,
    ways: Mapping[str, Mapping[str, Any]] = WAYS,
    seed: int = 0,
) -> pd.DataFrame:
    """Write on in several ways: at most n tokens, fewer where the text ends.

    Returns
    -------
    DataFrame with columns way, text, tokens (how many), distinct (share of distinct triples of
        tokens, low where a text repeats itself; NaN below three tokens)
    """
    rows = []
    for name, way in ways.items():
        sampler = Sampler(**way, generator=torch.Generator().manual_seed(seed))
        new = generate(model, tokens, n, sampler, end=find_end(tokenizer))
        triples = [*zip(new, new[1:], new[2:], strict=False)]
        distinct = len({*triples}) / len(triples) if triples else math.nan
        rows.append((name, tokenizer.decode(new), len(new), distinct))
    return pd.DataFrame(rows, columns=["way", "text", "tokens", "distinct"])


@torch.no_grad()
def list_candidates(
    model: GPT, tokenizer: Tokenizer, tokens: Sequence[int], n: int, sampler: Sampler
) -> pd.DataFrame:
    """Tokens that may come next and how probable each is.

    Returns
    -------
    DataFrame with columns token, id, probability (softmax of the logits), drawn (probability with
        which the sampler takes it), the n likeliest first
    """
    logits_1V = model(torch.tensor([[*tokens][-model.shape.seq_len :]]))[:, -1].double()
    p_V, drawn_V = logits_1V.softmax(-1)[0], sampler.probabilities(logits_1V)[0]
    ids = p_V.argsort(descending=True, stable=True)[:n].tolist()
    rows = [(show_token(tokenizer, i), i, float(p_V[i]), float(drawn_V[i])) for i in ids]
    return pd.DataFrame(rows, columns=["token", "id", "probability", "drawn"])


def show_token(tokenizer: Tokenizer, token: int) -> str:
    """Write a token so that its blanks are seen."""
    return repr(tokenizer.decode([token], skip_special_tokens=False))


# ---------------------------------------------------------------- gaps


def fill_gaps(
    model: BERT | T5, tokenizer: Tokenizer, prompt: str, sampler: Sampler, n: int = 5
) -> pd.DataFrame:
    """Fill every gap "[?]" of a prompt: one token each by a BERT, spans by a T5.

    Returns
    -------
    DataFrame with columns gap (from 1), filled (with the candidates of a BERT after it)
    """
    pieces = prompt.split(GAP)
    if len(pieces) == 1:
        family = model.shape.family
        raise ValueError(f"prompt={prompt!r} has no gap {GAP}: a {family} fills gaps")
    tokens, places = [], []
    for piece in pieces[:-1]:
        tokens += tokenizer.encode(piece, add_special_tokens=False).ids
        places.append(len(tokens))
        tokens.append(0)  # hidden: any id will do
    tokens += tokenizer.encode(pieces[-1], add_special_tokens=False).ids
    if isinstance(model, BERT):
        found = fill_masks(model, tokens, places, n)
        told = [
            ", ".join(f"{show_token(tokenizer, c.token)} {c.probability:.0%}" for c in row)
            for row in found
        ]
    else:
        spans = infill(model, tokens, [(place, place + 1) for place in places], sampler)
        told = [repr(tokenizer.decode(span)) for span in spans]
    return pd.DataFrame({"gap": range(1, len(places) + 1), "filled": told})


def fill_windows(model: BERT | T5, tokenizer: Tokenizer, ids: Ids, index) -> pd.DataFrame:
    """Hide parts of held-out windows as in training and fill them greedily.

    Returns
    -------
    DataFrame with columns window, before (the text in front), truth, filled, right
    """
    shape, index = model.shape, np.asarray(index)
    objective = make_objective(shape, "mlm_mask" if isinstance(model, BERT) else None)
    windows = cut_windows(ids, index, objective)
    arrays = objective(windows, index, None)
    rows = []
    for i, text in enumerate(windows.tolist()):
        if isinstance(model, BERT):
            spans = [(place, place + 1) for place in arrays[1][i].tolist()]
            filled = [[c[0].token] for c in fill_masks(model, text, [s for s, _ in spans], 1)]
        else:
            spans = spans_of(arrays[0][i].tolist(), arrays[1][i].tolist(), shape)
            filled = infill(model, text, spans)
        for (start, stop), ours in zip(spans, filled, strict=True):
            before, truth = tokenizer.decode(text[max(start - 8, 0) : start]), text[start:stop]
            told = [repr(tokenizer.decode(one)) for one in (truth, ours)]
            rows.append((index[i], repr(before), *told, ours == truth))
    return pd.DataFrame(rows, columns=["window", "before", "truth", "filled", "right"])


# ---------------------------------------------------------------- solved examples in the prompt


def write_task(shots: int, rng: np.random.Generator) -> tuple[str, str]:
    """Write a review to be labelled, behind so many solved ones: the prompt and the right label."""
    labels = [*WORDS]
    text, label = INSTRUCTION, ""
    for i in range(shots + 1):
        label = labels[rng.integers(len(labels))]
        text += f"The {rng.choice(THINGS)} was {rng.choice(WORDS[label])}:"
        text += f"{label}\n" if i < shots else ""
    return text, label


@torch.no_grad()
def score_shots(
    model: GPT, tokenizer: Tokenizer, shots: Sequence[int], tasks: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Accuracy on a synthetic task by the number of solved examples in the prompt.

    Of the two labels the one that the model finds likelier is its answer; chance is a half.

    Returns
    -------
    DataFrame with columns shots, tasks, accuracy, accuracy_low and accuracy_high (90 %, Wilson),
        tokens (of the longest prompt)

    Raises
    ------
    ValueError
        A prompt that does not fit into the context.
    """
    rows, z = [], ENDS
    for k in shots:
        rng, right, longest = np.random.default_rng(seed), 0, 0
        for _ in range(tasks):
            prompt, label = write_task(k, rng)
            scores = {}
            for one in WORDS:
                ids = encode_prompt(tokenizer, prompt + one)
                start = len(encode_prompt(tokenizer, prompt))
                scores[one], longest = _log_probability(model, ids, start), max(longest, len(ids))
            right += max(scores, key=scores.__getitem__) == label
        p, n = right / tasks, tasks
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        rows.append((k, n, p, middle - half, middle + half, longest))
    names = ["shots", "tasks", "accuracy", "accuracy_low", "accuracy_high", "tokens"]
    return pd.DataFrame(rows, columns=names)


def _log_probability(model: GPT, ids: list[int], start: int) -> float:
    """Sum of ln p of the tokens from `start` on."""
    if len(ids) > model.shape.seq_len:
        raise ValueError(
            f"shots make a prompt of {len(ids)} tokens, more than the {model.shape.seq_len} of the "
            "context; give fewer"
        )
    log_p_TV = model(torch.tensor([ids[:-1]]))[0].float().log_softmax(-1)
    return float(sum(log_p_TV[i - 1, ids[i]] for i in range(start, len(ids))))


# ---------------------------------------------------------------- inside


def list_vectors(
    model: Model, tokenizer: Tokenizer, tokens: Sequence[int], n: int = 3
) -> pd.DataFrame:
    """Tokens of a text, their ids, the first numbers of their learned vectors and the norm.

    Returns
    -------
    DataFrame with columns token, id, vector (text), norm
    """
    rows = []
    for token in tokens:
        vector = model.table.weight[token].detach().float()
        first = ", ".join(f"{x:+.4f}" for x in vector[:n].tolist())
        rows.append((show_token(tokenizer, token), token, f"{first}, ...", float(vector.norm())))
    return pd.DataFrame(rows, columns=["token", "id", "vector", "norm"])


@torch.no_grad()
def attention_maps(model: Stack, tokens: Sequence[int]) -> np.ndarray:
    """How much each position attends to each other, shape (layers, heads, T, T); rows sum to 1."""
    x_1TW, maps = model.table(torch.tensor([[*tokens]])) / TABLE_STD, []
    for block in model.blocks:
        assert isinstance(block, Block)
        maps.append(_attention_map(block, model, block.attention_norm(x_1TW)))
        x_1TW = block(x_1TW, model.rotary)
    return torch.stack(maps).numpy()


def _attention_map(block: Block, model: Stack, x_1TW: torch.Tensor) -> torch.Tensor:
    attention, T = block.attention, x_1TW.shape[1]
    H, G = attention.n_heads, attention.kv_heads
    heads_1HTK = attention.qkv(x_1TW).view(1, T, H + 2 * G, -1).transpose(1, 2)
    turned_HTK = model.rotary(heads_1HTK[:, : H + G])[0]
    q_HTK, k_HTK = turned_HTK[:H], turned_HTK[H:].repeat_interleave(H // G, 0)
    scores_HTT = q_HTK @ k_HTK.transpose(1, 2) / math.sqrt(q_HTK.shape[-1])
    if attention.causal:
        hidden_TT = torch.ones(T, T, dtype=torch.bool).triu(1)
        scores_HTT = scores_HTT.masked_fill(hidden_TT, -torch.inf)
    return F.softmax(scores_HTT.float(), -1)
