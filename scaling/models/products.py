"""Products of fp32 matrices on a CPU, by the library that is faster here.

Shape suffixes: M rows, K columns in, N columns out.
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import register_flop_formula

# torch multiplies fp32 matrices with MKL, which leaves half of AVX-512 idle on AMD processors;
# oneDNN, which torch brings along, does not, and is the slower one without AVX-512.
ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")

# An operator of our own around it, since torch.compile cannot lower theirs outside inference.
torch.library.define("scaling::product", "(Tensor x_MK, Tensor w_NK) -> Tensor")


@torch.library.impl("scaling::product", "CPU")
def _product(x_MK: Tensor, w_NK: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x_MK, w_NK, None, "none", [], "")


@torch.library.register_fake("scaling::product")
def _product_shape(x_MK: Tensor, w_NK: Tensor) -> Tensor:
    return x_MK.new_empty(x_MK.shape[0], w_NK.shape[0])


@register_flop_formula(torch.ops.scaling.product)
def _product_flops(x_shape, w_shape, *_args, out_shape=None, **_options) -> int:
    return 2 * math.prod(x_shape) * w_shape[0]  # 2 M K N


# x w^T by oneDNN, shape (M, N), for fp32 matrices on the CPU in any layout.
onednn = torch.ops.scaling.product


def multiply(x_MK: Tensor, w_NK: Tensor, by: str, residual_MN: Tensor | None = None) -> Tensor:
    """Return x w^T by "torch" or "onednn", a residual added."""
    if by == "onednn":
        y_MN = onednn(x_MK, w_NK)
        return y_MN if residual_MN is None else y_MN.add_(residual_MN)
    if residual_MN is None:
        return torch.mm(x_MK, w_NK.T)
    return torch.addmm(residual_MN, x_MK, w_NK.T)


def multiply_back(
    grad_MN: Tensor, x_MK: Tensor, w_NK: Tensor, by: str
) -> tuple[Tensor, Tensor]:
    """Gradients of x and w: g w and g^T x."""
    if by != "onednn":
        return torch.mm(grad_MN, w_NK), torch.mm(grad_MN.T, x_MK)
    N, K = w_NK.shape
    grad_x_MK = onednn(grad_MN, w_NK.T)
    if N > K:  # oneDNN is up to twice as fast with the longer side in the columns
        return grad_x_MK, onednn(x_MK.T, grad_MN.T).T
    return grad_x_MK, onednn(grad_MN.T, x_MK.T)


class _Product(torch.autograd.Function):
    """x w^T by oneDNN, with both gradients."""

    @staticmethod
    def forward(ctx, x_MK: Tensor, w_NK: Tensor) -> Tensor:
        ctx.save_for_backward(x_MK, w_NK)
        return onednn(x_MK, w_NK)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore
        return multiply_back(*grad_outputs, *ctx.saved_tensors, "onednn")


product = _Product.apply
