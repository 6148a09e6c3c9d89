"""Weights and activations rounded to few bits: scales, codes, and what rounds while training.

Shape suffixes: N rows, K columns of a matrix; G groups of a row, J weights of a group.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scaling.models.kernels import Linear, Table
from scaling.models.storage import Storage

TINY = 1e-12  # least scale, of a group of zeros
PACE = 0.1  # of the logarithm of a learned scale, against weights
SHARES_TRIED = [1 - 0.04 * i for i in range(18)]  # of the scale of the largest weight
DTYPES = {
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8_e4m3": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


def split(w_NK: Tensor, storage: Storage) -> Tensor:
    """Weights by what shares a scale, shape (N, G, J); a last group is filled with zeros."""
    if storage.per == "tensor":
        return w_NK.reshape(1, 1, -1)
    if storage.per == "channel":
        return w_NK[:, None]
    return F.pad(w_NK, (0, -w_NK.shape[1] % storage.group)).unflatten(1, (-1, storage.group))


def join(w_NGJ: Tensor, shape: torch.Size) -> Tensor:
    """Return what `split` has split, in its own shape (N, K)."""
    return w_NGJ.reshape(shape[0], -1)[:, : shape[1]]


def absmax_scale(w_NGJ: Tensor, storage: Storage) -> Tensor:
    """Scale by which the largest weight of a group becomes the largest level, shape (N, G, 1)."""
    if storage.is_integer:
        _, high, offset = storage.levels
        largest = high + offset
    else:
        largest = torch.finfo(DTYPES[storage.format]).max
    return (w_NGJ.abs().amax(-1, keepdim=True) / largest).clamp_min(TINY)


def encode(
    w_NK: Tensor, storage: Storage, scale: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Codes, shape (N, K), and scales, shape (N, G, 1); none for floats of 16 bits.

    Codes are int8 or the dtype of a float format; scales those given, or by the largest weight.
    """
    if not storage.has_scales:
        return w_NK.to(DTYPES[storage.format]), None
    w_NGJ = split(w_NK.float(), storage)
    scale = absmax_scale(w_NGJ, storage) if scale is None else scale
    if not storage.is_integer:
        return join(w_NGJ / scale, w_NK.shape).to(DTYPES[storage.format]), scale
    low, high, offset = storage.levels
    codes = (w_NGJ / scale - offset).round().clamp(low, high)
    return join(codes, w_NK.shape).to(torch.int8), scale


def decode(codes_NK: Tensor, scale: Tensor | None, storage: Storage) -> Tensor:
    """Return the weights that codes and scales stand for, fp32, shape (N, K)."""
    w_NK = codes_NK.float()
    if scale is None:
        return w_NK
    offset = storage.levels[2] if storage.is_integer else 0.0
    return join((split(w_NK, storage) + offset) * scale, w_NK.shape)


def numbers_of(storage: Storage, largest: float) -> Tensor:
    """Every number of a format, scaled so that its largest is this where it has scales."""
    if storage.is_integer:
        low, high, offset = storage.levels
        return (torch.arange(low, high + 1) + offset) * largest / (high + offset)
    dtype = DTYPES[storage.format]
    patterns = torch.arange(2**storage.bits) - 2 ** (storage.bits - 1)
    values = patterns.to(torch.int8 if storage.bits == 8 else torch.int16).view(dtype).double()
    values = values[values.isfinite()].unique()
    return values * largest / torch.finfo(dtype).max if storage.has_scales else values


@torch.no_grad()
def quantise(model: nn.Module, storage: Storage) -> None:
    """Replace the weights of a model by what is left of them in a format."""
    for weight in {part.weight for _, part in quantised_parts(model, storage.parts)}:
        weight.copy_(decode(*encode(weight, storage), storage))


# ---------------------------------------------------------------- while training


class FakeQuantiser(nn.Module):
    """Weights as their integers say, and a gradient as if nothing had been rounded.

    Forward (c + offset) s, c = round(w/s - offset) within the levels; backward the gradient passes
    (straight-through), beyond the levels too. s is that of the largest weight (absmax), or learned
    as a share of it, s = absmax e^(PACE clip), from the share of least squared error on and by the
    gradient of Esser et al. 2019 (LSQ, arXiv:1902.08153), equation 3.

    Notes
    -----
    LSQ learns s itself, from 2 mean(|w|) / sqrt(largest level) on. A step of Adam has the size of
    the learning rate whatever the gradient, here as large as s in 8 bits, and cancels LSQ's factor
    of equation 5; ln s falls behind weights that grow by their own size a step. A share follows
    them by itself, and moves a tenth as fast as a weight.
    """

    def __init__(self, weight: Tensor, storage: Storage, learned: bool):
        super().__init__()
        self.storage = storage
        start = math.log(best_share(weight.detach(), storage)) / PACE if learned else 0.0
        shares = torch.full_like(split(weight.detach(), storage)[..., 0], start)
        self.clip = nn.Parameter(shares.flatten()) if learned else None

    def forward(self, w_NK: Tensor) -> Tensor:
        """Return the rounded weights, same shape."""
        low, high, offset = self.storage.levels
        w_NGJ = split(w_NK, self.storage)
        s = trained_scale(w_NK.detach(), self.storage, self.clip)
        x = w_NGJ / s - offset
        inside = x.clamp(low, high)
        rounded = (inside.detach().round() + (inside - inside.detach()) + offset) * s
        if self.clip is not None:  # what clamp holds back; absmax leaves nothing beyond
            beyond = (x.detach() < low) | (x.detach() > high)
            rounded = rounded + (w_NGJ - w_NGJ.detach()) * beyond
        return join(rounded, w_NK.shape)


def trained_scale(w_NK: Tensor, storage: Storage, clip: Tensor | None) -> Tensor:
    """Scales of weights in training, as `encode` takes them; without a `clip` those of absmax."""
    s = absmax_scale(split(w_NK, storage), storage)
    return s if clip is None else s * (PACE * clip).exp().view_as(s)


def best_share(w_NK: Tensor, storage: Storage) -> float:
    """Share of the absmax scales that rounds a matrix with the least squared error."""
    s = absmax_scale(split(w_NK, storage), storage)

    def error(share: float) -> float:
        return float((decode(*encode(w_NK, storage, share * s), storage) - w_NK).square().sum())

    return min(SHARES_TRIED, key=error)


class _Float8(torch.autograd.Function):
    """Values as fp8 stores them with one scale: forward in one format, backward in another."""

    @staticmethod
    def forward(ctx, x: Tensor, forth: torch.dtype | None, back: torch.dtype | None) -> Tensor:
        ctx.back = back
        return _through(x, forth)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _through(grad_outputs[0], ctx.back), None, None


def _through(x: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None:
        return x.view_as(x)
    scale = (x.abs().amax() / torch.finfo(dtype).max).clamp_min(TINY)
    return (x / scale).to(dtype).to(x.dtype) * scale


class Float8(nn.Module):
    """Weights in e4m3, one scale a matrix; `train_in_float8` rounds the rest of a product."""

    def forward(self, w_NK: Tensor) -> Tensor:
        """Return the rounded weights, same shape."""
        return cast(Tensor, _Float8.apply(w_NK, torch.float8_e4m3fn, None))


def train_in_float8(model: nn.Module) -> None:
    """Round what enters the products of the blocks to fp8: e4m3 forward, gradients to e5m2.

    One scale a tensor, from its largest value at each step. The products are those of the rounded
    values in fp32, on every device: the numbers of fp8 hardware that accumulates in fp32, not its
    speed (Micikevicius et al. 2022, arXiv:2209.05433).
    """
    for _, linear in quantised_parts(model, "blocks"):
        linear.quantiser = Float8()
        linear.register_forward_pre_hook(
            lambda _, x: (_Float8.apply(x[0], torch.float8_e4m3fn, None),)
        )
        linear.register_forward_hook(
            lambda _module, _x, y: _Float8.apply(y, None, torch.float8_e5m2)
        )


def train_quantised(model: nn.Module, storage: Storage, learned: bool) -> None:
    """Let a model see its weights rounded; tied table and head share what rounds them."""
    made: dict[Tensor, FakeQuantiser] = {}
    for _, part in quantised_parts(model, storage.parts):
        if part.weight not in made:
            made[part.weight] = FakeQuantiser(part.weight, storage, learned)
        part.quantiser = made[part.weight]


def quantised_parts(model: nn.Module, parts: str) -> Iterator[tuple[str, Linear | Table]]:
    """Names and modules of the matrices that `Storage.parts` means, a tied head after its table."""
    whole = parts == "all"
    for name, module in model.named_modules():
        if isinstance(module, Table | Linear) and (whole or name not in ("table", "head")):
            yield name, module


def trained_storage(model: nn.Module) -> Storage | None:
    """What the weights of a model were rounded to while it was trained."""
    found = (part.quantiser for _, part in quantised_parts(model, "all"))
    return next((q.storage for q in found if isinstance(q, FakeQuantiser)), None)


# ---------------------------------------------------------------- activations


def calibrate(model: nn.Module, storage: Storage, run: Callable[[], Any]) -> dict[str, Tensor]:
    """Scale of what enters each product, by the largest value that it meets while `run` runs."""
    scales: dict[str, Tensor] = {}
    largest = 2.0 ** (storage.activations - 1) - 1 if storage.activations else math.inf

    def meet(name: str, x: Tensor) -> None:
        met = (x.detach().abs().amax() / largest).clamp_min(TINY)
        scales[name] = torch.maximum(scales[name], met) if name in scales else met

    linears = [(n, m) for n, m in quantised_parts(model, storage.parts) if isinstance(m, Linear)]
    hooks = [
        linear.register_forward_pre_hook(partial(lambda name, _, x: meet(name, x[0]), name))
        for name, linear in linears
    ]
    run()
    for hook in hooks:
        hook.remove()
    return scales


def round_inputs(model: nn.Module, scales: Mapping[str, Tensor], bits: int) -> None:
    """Round what enters the named products to integers of so many bits, the rest cut off."""
    top = 2 ** (bits - 1) - 1
    for name, scale in scales.items():
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, x, s=scale: ((x[0] / s).round().clamp(-top, top) * s,)
        )
