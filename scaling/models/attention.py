"""Rotary positions and attention of short windows, each as one function with its own gradient.

Shape suffixes: B sequences, T positions, H heads (3 H of queries, keys and values), K head width.
"""

import math

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


class _SelfAttention(torch.autograd.Function):
    """Rotary positions and attention of whole heads by batched products, from and to one tensor.

    The softmax is kept: B H T^2 numbers.
    """

    @staticmethod
    def forward(ctx, heads_BTHK: Tensor, cos_TK: Tensor, sin_TK: Tensor, causal: bool) -> Tensor:
        _, T, H3, K = heads_BTHK.shape
        H = H3 // 3
        cos_T1K, sin_T1K = cos_TK[:, None], sin_TK[:, None]
        turned_BTHK = _turned(heads_BTHK[:, :, : 2 * H], cos_T1K, sin_T1K)
        hidden_TT = heads_BTHK.new_zeros(T, T)
        if causal:
            hidden_TT = hidden_TT.fill_(-math.inf).triu_(1)
        weights, mixed = [], []
        for h in range(H):
            q_BTK, k_BTK = turned_BTHK[:, :, h], turned_BTHK[:, :, H + h]
            scores_BTT = torch.baddbmm(hidden_TT, q_BTK, k_BTK.mT, alpha=K**-0.5)
            weights.append(scores_BTT.softmax(-1))
            mixed.append(weights[h].bmm(heads_BTHK[:, :, 2 * H + h]))
        ctx.save_for_backward(heads_BTHK, turned_BTHK, cos_T1K, sin_T1K, *weights)
        return torch.cat(mixed, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs: Tensor):  # pyright: ignore
        [grad] = grad_outputs
        heads_BTHK, turned_BTHK, cos_T1K, sin_T1K, *weights = ctx.saved_tensors
        H, K = len(weights), heads_BTHK.shape[-1]
        grads_q, grads_k, grads_v = [], [], []
        for h, weights_BTT in enumerate(weights):
            grad_BTK, v_BTK = grad[..., h * K : (h + 1) * K], heads_BTHK[:, :, 2 * H + h]
            grads_v.append(weights_BTT.mT.bmm(grad_BTK))
            grad_scores_BTT = torch.ops.aten._softmax_backward_data(
                grad_BTK.bmm(v_BTK.mT), weights_BTT, -1, torch.float32
            )
            grads_q.append(grad_scores_BTT.bmm(turned_BTHK[:, :, H + h]))
            grads_k.append(grad_scores_BTT.mT.bmm(turned_BTHK[:, :, h]))
        turned = torch.stack(grads_q + grads_k, 2)
        scale = K**-0.5
        back = _turned(turned, cos_T1K * scale, sin_T1K * scale, -1)
        return torch.cat((back, torch.stack(grads_v, 2)), 2), None, None, None


self_attention = _SelfAttention.apply
