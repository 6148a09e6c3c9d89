"""The halves of a block, a norm and a head's loss by kernels of our own (`native.c`).

All change results in the last bits only, and none has a second derivative. Backward takes what it
needs from what forward kept: inputs, one number a row, and what enters a product.

Shape suffixes: B sequences, T positions, W width, M rows (B T), K head width, F feed-forward width,
Q numbers of a position's queries, keys and values, V vocabulary.
"""

import ctypes

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from scaling.models.native import Sizes, call
from scaling.models.products import multiply, multiply_back


def _normed(x_MW: Tensor, gain_W: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """RMSNorm's output, and what every row was multiplied by."""
    normed_MW, inverse_M = torch.empty_like(x_MW), x_MW.new_empty(len(x_MW))
    call("rms_norm", *x_MW.shape, eps, x_MW, gain_W, normed_MW, inverse_M)
    return normed_MW, inverse_M


def _norm_back(
    grad_MW: Tensor, x_MW: Tensor, gain_W: Tensor, inverse_M: Tensor, residual_MW: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Gradients of x, the residual's added, and of the gain; `grad_MW` is overwritten."""
    grad_W = torch.empty_like(gain_W)
    call(
        "rms_norm_back", *x_MW.shape, x_MW, gain_W, inverse_M, grad_MW, residual_MW, grad_MW, grad_W
    )
    return grad_MW, grad_W


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, gain_W: Tensor, eps: float) -> Tensor:
        x_MW = x.reshape(-1, x.shape[-1]).contiguous()
        normed_MW, inverse_M = _normed(x_MW, gain_W, eps)
        ctx.save_for_backward(x_MW, gain_W, inverse_M)
        return normed_MW.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore
        [grad] = grad_outputs
        x_MW, gain_W, inverse_M = ctx.saved_tensors
        grad_MW = grad.reshape(x_MW.shape).clone(memory_format=torch.contiguous_format)
        grad_MW, grad_W = _norm_back(grad_MW, x_MW, gain_W, inverse_M, None)
        return grad_MW.view(grad.shape), grad_W, None


class _AddAttention(torch.autograd.Function):
    """x + W_out attention(W_qkv norm(x)), heads turned by their positions."""

    @staticmethod
    def forward(ctx, x_BTW, gain_W, qkv_QW, out, cos, sin, heads, eps, product) -> Tensor:
        B, T, W = x_BTW.shape
        x_MW = x_BTW.reshape(B * T, W).contiguous()
        normed_MW, inverse_M = _normed(x_MW, gain_W, eps)
        qkv_MQ = multiply(normed_MW, qkv_QW, product)
        H, G, causal = heads
        K = out.shape[1] // H
        sizes = ctypes.byref(Sizes(B, T, H, G, K, causal))
        mixed, sums = x_MW.new_empty(B * T, H * K), x_MW.new_empty(B, H, T)
        call("attention", sizes, qkv_MQ, cos, sin, mixed, sums)
        ctx.save_for_backward(
            x_MW, gain_W, inverse_M, normed_MW, qkv_QW, qkv_MQ, cos, sin, sums, mixed, out
        )
        ctx.sizes, ctx.product = sizes, product
        return multiply(mixed, out, product, x_MW).view(x_BTW.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs: Tensor):  # pyright: ignore
        x_MW, gain_W, inverse_M, normed_MW, qkv_QW, qkv_MQ, cos, sin, sums, mixed, out = (
            ctx.saved_tensors
        )
        grad_MW = grad_outputs[0].reshape(x_MW.shape).contiguous()
        grad_mixed, grad_out = multiply_back(grad_MW, mixed, out, ctx.product)
        grad_MQ = torch.empty_like(qkv_MQ)
        call("attention_back", ctx.sizes, qkv_MQ, cos, sin, sums, grad_mixed, grad_MQ)
        grad_normed, grad_QW = multiply_back(grad_MQ, normed_MW, qkv_QW, ctx.product)
        grad_x, grad_W = _norm_back(grad_normed, x_MW, gain_W, inverse_M, grad_MW)
        return grad_x.view(grad_outputs[0].shape), grad_W, grad_QW, grad_out, *[None] * 5


class _AddFeedForward(torch.autograd.Function):
    """x + W_out act(W_up norm(x)); act is GELU in the tanh form, or silu(first half) second."""

    @staticmethod
    def forward(ctx, x, gain_W, up, out, gated, eps, product) -> Tensor:
        x_MW = x.reshape(-1, x.shape[-1]).contiguous()
        normed_MW, inverse_M = _normed(x_MW, gain_W, eps)
        hidden = multiply(normed_MW, up, product)
        ctx.sizes = (len(x_MW), out.shape[1]) if gated else (hidden.numel(),)
        active_MF = x_MW.new_empty(len(x_MW), out.shape[1])
        call("swiglu" if gated else "gelus", *ctx.sizes, hidden, active_MF)
        ctx.save_for_backward(x_MW, gain_W, inverse_M, normed_MW, up, hidden, active_MF, out)
        ctx.gated, ctx.product = gated, product
        return multiply(active_MF, out, product, x_MW).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs: Tensor):  # pyright: ignore
        x_MW, gain_W, inverse_M, normed_MW, up, hidden, active_MF, out = ctx.saved_tensors
        grad_MW = grad_outputs[0].reshape(x_MW.shape).contiguous()
        grad_active, grad_out = multiply_back(grad_MW, active_MF, out, ctx.product)
        grad_hidden = torch.empty_like(hidden)
        name = "swiglu_back" if ctx.gated else "gelus_back"
        call(name, *ctx.sizes, hidden, grad_active, grad_hidden)
        grad_normed, grad_up = multiply_back(grad_hidden, normed_MW, up, ctx.product)
        grad_x, grad_W = _norm_back(grad_normed, x_MW, gain_W, inverse_M, grad_MW)
        return grad_x.view(grad_outputs[0].shape), grad_W, grad_up, grad_out, *[None] * 3


rms_norm, add_attention, add_feed_forward = _Norm.apply, _AddAttention.apply, _AddFeedForward.apply
