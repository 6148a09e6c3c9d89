"""Rotary positions and attention of short windows, each as one function with its own gradient.

Shape suffixes: B sequences, T positions, H heads (3 H of queries, keys and values), K head width.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Turn(torch.autograd.Function):
    """A rotation, and backward the opposite one."""

    @staticmethod
    def forward(ctx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        return _turned(*grad_outputs, *ctx.saved_tensors, sign=-1), None, None


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs of the last dimension, halves paired, by angles; `sin` is negated in the first."""
    return _Turn.apply(x, cos.to(x.dtype), sin.to(x.dtype))


def _turned(x: Tensor, cos: Tensor, sin: Tensor, sign: int = 1) -> Tensor:
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin, value=sign)
