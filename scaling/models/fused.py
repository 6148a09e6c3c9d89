"""The halves of a block, a norm and a head's loss by kernels of our own (`native.c`).

All change results in the last bits only, and none has a second derivative. What backward needs and
is cheap to have again (what a norm gives, attention weights, activations) is not kept.

Shape suffixes: B sequences, T positions, W width, M rows (B T), K head width, F feed-forward width,
Q numbers of a position's queries, keys and values, V vocabulary.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from scaling.models.native import Sizes, call


class _Norm(torch.autograd.Function):
    """RMSNorm over the last dimension."""

    @staticmethod
    def forward(ctx, x: Tensor, gain_W: Tensor, eps: float) -> Tensor:
        x = x.contiguous()
        y, inverse = torch.empty_like(x), x.new_empty(x.shape[:-1])
        call("rms_norm", inverse.numel(), x.shape[-1], eps, x, gain_W, y, inverse)
        ctx.save_for_backward(x, gain_W, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore
        grad = grad_outputs[0].contiguous()
        x, gain_W, inverse = ctx.saved_tensors
        grad_x, grad_W = torch.empty_like(x), torch.zeros_like(gain_W)
        sizes = inverse.numel(), x.shape[-1]
        call("rms_norm_back", *sizes, x, gain_W, inverse, grad, None, grad_x, grad_W)
        return grad_x, grad_W, None


class _AddAttention(torch.autograd.Function):
    """x + W_out attention(W_qkv norm(x)), heads turned by their positions."""

    @staticmethod
    def forward(ctx, x_BTW, gain_W, qkv_QW, out, cos, sin, heads, eps) -> Tensor:
        (B, T, W), (H, G, causal), Q = x_BTW.shape, heads, len(qkv_QW)
        K = out.shape[1] // H
        x_BTW, sizes = x_BTW.contiguous(), Sizes(B, T, W, H, G, K, 0, causal, 0, eps)
        y_BTW, inverse_BT = torch.empty_like(x_BTW), x_BTW.new_empty(B, T)
        qkv_BTQ, sums_BHT = x_BTW.new_empty(B, T, Q), x_BTW.new_empty(B, H, T)
        mixed = x_BTW.new_empty(B, T, H * K)
        given = x_BTW, gain_W, qkv_QW, out, cos, sin
        kept = inverse_BT, qkv_BTQ, sums_BHT, mixed
        call("add_attention", sizes, *given, y_BTW, *kept)
        ctx.save_for_backward(*given, *kept)
        ctx.sizes = sizes
        return y_BTW

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs: Tensor):  # pyright: ignore
        return *_gradients(ctx, "add_attention_back", *grad_outputs), *[None] * 4


class _AddFeedForward(torch.autograd.Function):
    """x + W_out act(W_up norm(x)); act is GELU in the tanh form, or silu(first half) second."""

    @staticmethod
    def forward(ctx, x_BTW, gain_W, up, out, gated: bool, eps: float) -> Tensor:
        (B, T, W), x_BTW = x_BTW.shape, x_BTW.contiguous()
        sizes = Sizes(B, T, W, F=out.shape[1], gated=gated, eps=eps)
        y_BTW, inverse_BT = torch.empty_like(x_BTW), x_BTW.new_empty(B, T)
        hidden = x_BTW.new_empty(B, T, len(up))
        given, kept = (x_BTW, gain_W, up, out), (inverse_BT, hidden)
        call("add_feed_forward", sizes, *given, y_BTW, *kept)
        ctx.save_for_backward(*given, *kept)
        ctx.sizes = sizes
        return y_BTW

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs: Tensor):  # pyright: ignore
        return *_gradients(ctx, "add_feed_forward_back", *grad_outputs), None, None


def _gradients(ctx, kernel: str, grad_BTW: Tensor) -> list[Tensor]:
    """Gradients of a half's stream, gain and two matrices, the first of what it has kept."""
    kept = ctx.saved_tensors  # once: a block that is computed again has them once
    grads = [torch.empty_like(tensor) for tensor in kept[:4]]
    call(kernel, ctx.sizes, *kept, grad_BTW.contiguous(), *grads)
    return grads


class _HeadLoss(torch.autograd.Function):
    """Cross-entropy of a head's logits x w^T, which are there for a few rows at a time only.

    Their gradient is known as soon as they are, but for the factor of its row. So forward makes
    the gradients of x and w as well, for the factor of a mean, which is the same in every row.
    """

    @staticmethod
    def forward(ctx, x_MW: Tensor, w_VW: Tensor, target_M: Tensor, learns: bool) -> Tensor:
        loss_M, grads = x_MW.new_empty(len(x_MW)), (torch.empty_like(x_MW), torch.empty_like(w_VW))
        sizes = (*x_MW.shape, len(w_VW), learns)
        call("head_loss", *sizes, x_MW, w_VW, target_M, None, loss_M, *grads)
        ctx.save_for_backward(x_MW, w_VW, target_M, *grads)
        return loss_M

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs: Tensor):  # pyright: ignore
        x_MW, w_VW, target_M, *grads = ctx.saved_tensors
        grad_M = grad_outputs[0].contiguous()
        if bool((grad_M == grad_M[0]).all()):
            return *(grad * grad_M[0] for grad in grads), None, None
        grads, sizes = [torch.empty_like(g) for g in grads], (*x_MW.shape, len(w_VW), True)
        loss_M = torch.empty_like(grad_M)
        call("head_loss", *sizes, x_MW, w_VW, target_M, grad_M, loss_M, *grads)
        return *grads, None, None


rms_norm, add_attention, add_feed_forward = _Norm.apply, _AddAttention.apply, _AddFeedForward.apply
head_loss = _HeadLoss.apply
