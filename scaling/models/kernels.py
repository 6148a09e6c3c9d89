"""Faster kernels than torch's own for what training on a CPU spends most of its time on.

All change results in the last bits only, and none has a second derivative. `Kernels` says which are
measured against each other (`scaling.training.calibration`), as no processor likes the same.

Shape suffixes: M rows, K columns in, N columns out, V vocabulary.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from scaling.models import fused

# torch multiplies fp32 matrices with MKL, which leaves half of AVX-512 idle on AMD processors whose
# units have 512 bits; oneDNN, which torch brings along, does not, and is slower without AVX-512.
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
product = torch.ops.scaling.product


class _Product(torch.autograd.Function):
    """x w^T, and backward the products g w and g^T x."""

    @staticmethod
    def forward(ctx, x_MK: Tensor, w_NK: Tensor) -> Tensor:
        ctx.save_for_backward(x_MK, w_NK)
        return product(x_MK, w_NK)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore
        [grad_MN] = grad_outputs
        x_MK, w_NK = ctx.saved_tensors
        N, K = w_NK.shape
        grad_x_MK = product(grad_MN, w_NK.T)
        if N > K:  # oneDNN is up to twice as fast with the longer side in the columns
            return grad_x_MK, product(x_MK.T, grad_MN.T).T
        return grad_x_MK, product(grad_MN.T, x_MK.T)


PRODUCTS = ("torch", "onednn")


@dataclass(frozen=True)
class Kernels:
    """How a model computes what several kernels can; its numbers differ by rounding.

    Attributes
    ----------
    product : {"torch", "onednn"}
        Matrix products in fp32 on a CPU, of a `Linear` by itself.
    native : bool
        Blocks, norms, the head's loss and AdamW there by our own kernels (`scaling.models.fused`),
        else by torch's.
    compiled : bool
        Forward and backward through torch.compile.
    """

    product: str = PRODUCTS[0]
    native: bool = False
    compiled: bool = False

    @property
    def label(self) -> str:
        """In a word: "torch", "torch-native", "onednn-compiled"."""
        return self.product + "-native" * self.native + "-compiled" * self.compiled


# With AVX-512 oneDNN multiplies faster than torch (up to twice, by processor), without slower.
PLAIN = Kernels(PRODUCTS[ONEDNN and torch.backends.cpu.get_cpu_capability() == "AVX512"])
STOCK = replace(PLAIN, native=True)  # of a training where nobody measures


def use_kernels(model: nn.Module, kernels: Kernels) -> None:
    """Let every layer of a model compute by these."""
    for module in model.modules():
        if "kernels" in vars(module):
            vars(module)["kernels"] = kernels


def own_kernels_serve(*tensors: Tensor) -> bool:
    """Tell whether these are what our kernels are for: fp32 on a CPU, outside of autocast."""
    fit = all(x.dtype == torch.float32 and x.device.type == "cpu" for x in tensors)
    return fit and not torch.is_autocast_enabled("cpu")


def native_serves(x: Tensor, *linears: nn.Module) -> bool:
    """Tell whether our kernels do what these would: nothing is hooked into them or traces them."""
    hooked = any(m._forward_pre_hooks or m._forward_hooks for m in linears)
    return own_kernels_serve(x) and not hooked and not torch.compiler.is_compiling()


class Linear(nn.Linear):
    """x w^T without a bias: by oneDNN where `Kernels` says so, in fp32 on a CPU; else by torch.

    A `quantiser` is what its weight goes through first (`scaling.models.quantised`).
    """

    def __init__(self, n_in: int, n_out: int):
        super().__init__(n_in, n_out, bias=False)
        self.quantiser: nn.Module | None = None
        self.kernels = PLAIN

    def forward(self, input: Tensor) -> Tensor:
        """Return shape (..., n_out)."""
        x, w = input, stored_weight(self)
        if ONEDNN and self.kernels.product == "onednn" and own_kernels_serve(x, w):
            return _Product.apply(x.flatten(0, -2), w).view(*x.shape[:-1], -1)
        return F.linear(x, w)


class Table(nn.Embedding):
    """Rows of a matrix by their number; with a `quantiser`, of what it makes of the matrix."""

    def __init__(self, rows: int, width: int):
        super().__init__(rows, width)
        self.quantiser: nn.Module | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Return shape (..., width)."""
        return F.embedding(input, stored_weight(self))


def stored_weight(module: Linear | Table) -> Tensor:
    """Return the weight as the module uses it."""
    return module.weight if module.quantiser is None else module.quantiser(module.weight)


class _CrossEntropy(torch.autograd.Function):
    """Keeps the softmax, which backward turns into the gradient where it lies."""

    @staticmethod
    def forward(ctx, logits_MV: Tensor, target_M: Tensor) -> Tensor:
        p_MV = logits_MV.softmax(-1, dtype=torch.float32)
        # The largest probability never underflows; the target's may, in a run that diverges.
        log_sum_M = logits_MV.amax(-1).float() - p_MV.amax(-1).log()
        ctx.save_for_backward(p_MV, target_M)
        ctx.dtype = logits_MV.dtype
        return log_sum_M - logits_MV.gather(1, target_M[:, None])[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        [grad_M] = grad_outputs
        p_MV, target_M = ctx.saved_tensors
        grad_MV = p_MV.mul_(grad_M[:, None])
        grad_MV.scatter_add_(1, target_M[:, None], -grad_M[:, None])
        return grad_MV.to(ctx.dtype), None


def head_cross_entropy(head: Linear, x: Tensor, target: Tensor) -> Tensor:
    """Return `cross_entropy(head(x), target)`, by our own kernels without all logits at once."""
    w_VK = stored_weight(head)
    if not head.kernels.native or not native_serves(x, head) or not own_kernels_serve(w_VK):
        return cross_entropy(head(x), target)
    rows = x.flatten(0, -2).contiguous(), w_VK, target.flatten()
    return fused.head_loss(*rows, torch.is_grad_enabled()).view(target.shape)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return ln(sum(exp(logits))) - logits[target] in fp32, nats: (..., V) to (...).

    Backward once only: it overwrites what forward kept.
    """
    return _CrossEntropy.apply(logits.flatten(0, -2), target.flatten()).view(target.shape)
