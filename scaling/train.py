"""Train one model: a generator of measurements that opens no file and prints nothing.

Shape suffixes: B sequences, T positions.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scaling.models.gpt import GPT
from scaling.models.shape import Shape
from scaling.optim import Recipe, lr_at

CHUNK_TOKENS = 2**20  # moved to the device at a time
EVAL_TOKENS = 2**13  # in one validation batch
DIVERGED_ABOVE = 0.5  # nats over the loss of a uniform guess, once warm-up is over


@dataclass(frozen=True)
class Point:
    """The training curve between two looks at the device."""

    step: int  # steps done
    middle: float  # the step that `loss` stands for
    loss: float  # nats/token, mean over the steps since the last point
    lr: float


@dataclass(frozen=True)
class Outcome:
    """How a run ended; loss is on held-out windows, NaN unless status is "ok"."""

    status: str  # ok, diverged
    reason: str
    steps: int
    loss: float  # nats/token
    loss_std: float  # standard error of `loss` over the held-out windows


def windows_of(tokens: np.ndarray, seq_len: int, index: np.ndarray) -> np.ndarray:
    """Return windows number `index` of T + 1 tokens, stride T: shape (len(index), T + 1), int64."""
    starts = np.asarray(index)[:, None] * seq_len
    return tokens[starts + np.arange(seq_len + 1)].astype(np.int64)


def n_windows(n_tokens: int, seq_len: int) -> int:
    """Windows of T + 1 tokens, stride T, in a stream: (n_tokens - 1) // T."""
    return max(0, (n_tokens - 1) // seq_len)


def window_order(n_available: int, n_needed: int, seed: int) -> np.ndarray:
    """Order in which windows are seen: a new permutation each epoch, the same for every model."""
    epochs = math.ceil(n_needed / n_available)
    orders = [np.random.default_rng([seed, e]).permutation(n_available) for e in range(epochs)]
    return np.concatenate(orders)[:n_needed]


def train_model(
    shape: Shape,
    recipe: Recipe,
    tokens: np.ndarray,
    valid_tokens: np.ndarray,
    *,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "fp32",
    valid_windows: int = 2048,
    n_points: int = 64,
) -> Iterator[Point | Outcome]:
    """Train a model from scratch and evaluate it on fixed windows.

    Parameters
    ----------
    tokens, valid_tokens : int arrays, shape (n,)
        Token ids of the two splits; windows are cut with stride T.
    seed : int
        Of the weights and of the order of the windows.
    precision : {"fp32", "bf16"}
        bf16: autocast, weights and optimizer in fp32.
    valid_windows : int
        Windows from the start of the validation split (all, if it has fewer).
    n_points : int
        Points on the training curve, at geometrically spaced steps. Only there does the host
        wait for the device.

    Yields
    ------
    Point, several times, and at the end one Outcome
    """
    model = GPT(shape, seed).to(device)
    optimizer = make_optimizer(model, recipe)
    autocast = torch.autocast(
        torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"
    )
    n_needed = recipe.steps * recipe.batch_size
    order = window_order(n_windows(len(tokens), shape.seq_len), n_needed, seed)
    looks, looked = point_steps(recipe.steps, n_points), 0
    loss_sum = torch.zeros((), device=device)
    for step, windows_BT in enumerate(batches(tokens, order, shape.seq_len, recipe, device)):
        lr = lr_at(step, recipe)
        with autocast:
            loss = model.loss(windows_BT).mean()
        update(model, optimizer, loss, lr, recipe.grad_clip)
        loss_sum += loss.detach()
        if step + 1 in looks:
            mean_loss = loss_sum.item() / (step + 1 - looked)
            yield Point(step + 1, (looked + 1 + step + 1) / 2, mean_loss, lr)
            if reason := divergence(mean_loss, step, recipe, shape.vocab_size):
                yield Outcome("diverged", reason, step + 1, math.nan, math.nan)
                return
            looked, loss_sum = step + 1, torch.zeros((), device=device)
    with autocast:
        losses = window_losses(model, valid_tokens, valid_windows)
    yield outcome(losses, recipe.steps)


def make_optimizer(model: GPT, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW, one fused kernel per step; matrices and tables decay, gains do not."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=betas, eps=1e-8, fused=True)


def update(
    model: GPT, optimizer: torch.optim.AdamW, loss: Tensor, lr: float, grad_clip: float
) -> None:
    """One optimizer step at learning rate `lr`, gradients clipped to a total norm."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip, foreach=True)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def batches(
    tokens: np.ndarray, order: np.ndarray, seq_len: int, recipe: Recipe, device: str
) -> Iterator[Tensor]:
    """Yield windows of T + 1 tokens, shape (B, T + 1), moved to the device in large chunks."""
    steps_per_chunk = max(1, CHUNK_TOKENS // (recipe.batch_size * seq_len))
    for first in range(0, recipe.steps, steps_per_chunk):
        last = min(first + steps_per_chunk, recipe.steps)
        index = order[first * recipe.batch_size : last * recipe.batch_size]
        chunk = torch.from_numpy(windows_of(tokens, seq_len, index))
        yield from chunk.to(device, non_blocking=True).split(recipe.batch_size)


def point_steps(steps: int, n_points: int) -> set[int]:
    """Geometrically spaced steps from 1 % of the run to its end."""
    return set(np.geomspace(max(1.0, steps / 100), steps, n_points).round().astype(int).tolist())


def divergence(mean_loss: float, step: int, recipe: Recipe, vocab_size: int) -> str:
    """Why training should stop here, or an empty string."""
    if not math.isfinite(mean_loss):
        return f"training loss became {mean_loss} by step {step + 1}; lower the learning rate"
    limit = math.log(vocab_size) + DIVERGED_ABOVE
    if step >= recipe.warmup_steps and mean_loss > limit:
        return f"training loss {mean_loss:.2f} above {limit:.2f} at step {step + 1}; lower the lr"
    return ""


@torch.no_grad()
def window_losses(model: GPT, tokens: np.ndarray, most: int) -> np.ndarray:
    """Mean loss of each of the first `most` windows of a stream, nats/token."""
    device = next(model.parameters()).device
    seq_len = model.shape.seq_len
    index = np.arange(min(most, n_windows(len(tokens), seq_len)))
    chunks = np.array_split(index, max(1, len(index) * seq_len // EVAL_TOKENS))
    losses = [
        model.loss(torch.from_numpy(windows_of(tokens, seq_len, chunk)).to(device)).mean(1)
        for chunk in chunks
    ]
    return torch.cat(losses).double().cpu().numpy()


def outcome(losses: np.ndarray, steps: int) -> Outcome:
    """Sum up the held-out windows of a finished run."""
    mean = float(losses.mean())
    if not math.isfinite(mean):
        return Outcome("diverged", f"held-out loss is {mean}", steps, math.nan, math.nan)
    return Outcome("ok", "", steps, mean, float(losses.std(ddof=1) / math.sqrt(len(losses))))
