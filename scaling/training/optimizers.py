"""The optimizer of a trunk: AdamW for everything, or Muon for the matrices of the blocks."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from scaling.models.build import Model
from scaling.models.native import Parameter, kernels
from scaling.training.casting import FULL_RANGE
from scaling.training.optim import Recipe
from scaling.training.parallel import blocks_of, local_part, zero_optimizer
from scaling.training.strategy import ALONE, ParallelConfig

MOMENTUM = 0.95
ITERATIONS = 5  # of Newton-Schulz; `scaling.shapes.flops.muon_flops` counts them
QUINTIC = (3.4445, -4.7750, 2.0315)
ADAM_RMS = 0.2  # of an update of AdamW, in units of its learning rate


def make_optimizer(
    model: Model, recipe: Recipe, plan: ParallelConfig = ALONE
) -> torch.optim.Optimizer:
    """AdamW, one fused kernel per step; matrices and tables decay, gains do not.

    With `recipe.optimizer` "muon" the matrices of the blocks are Muon's; table, head and gains stay
    with AdamW, at the same learning rate.
    """
    matrices = []
    if recipe.optimizer == "muon":
        matrices = [p for block in blocks_of(model) for p in block.parameters() if p.ndim == 2]
    taken = {id(p) for p in matrices}
    parameters = [p for p in model.parameters() if id(p) not in taken]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (recipe.beta1, recipe.beta2)
    make = zero_optimizer if plan.mode == "zero1" else torch.optim.AdamW
    optimizer = make(groups, lr=recipe.lr, betas=betas, eps=1e-8, fused=True)
    local = local_part(optimizer)
    for parameter in (p for group in local.param_groups for p in group["params"]):
        # as Adam would in its first step; a state is whole before it
        moments = {m: torch.zeros_like(parameter) for m in ("exp_avg", "exp_avg_sq")}
        local.state[parameter] = {"step": torch.zeros((), device=parameter.device), **moments}
    return Muon(matrices, optimizer, recipe.weight_decay) if matrices else optimizer


def update(
    model: Model,
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    lr: float | Tensor,
    grad_clip: float,
    scaler: GradScaler = FULL_RANGE,
) -> None:
    """One optimizer step at learning rate `lr`, gradients clipped to a total norm, of all ranks.

    None where a scaled loss has overflowed, which halves the scale.
    """
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip, foreach=True)
    for group in optimizer.param_groups:
        group["lr"] = lr
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)


class NativeAdamW:
    """Clipping and AdamW's step by one call of our own kernel, on the states of torch's AdamW.

    w <- (1 - lr decay) w - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps), as torch's fused
    kernel up to rounding; gradients enter m and v scaled to a total norm of at most `clip`.

    Parameters
    ----------
    optimizer : AdamW
        From `make_optimizer`; its parameters and states stay where they are, fp32 on the CPU.
    """

    def __init__(self, optimizer: torch.optim.Optimizer):
        groups = optimizer.param_groups
        self.parameters = [p for group in groups for p in group["params"]]
        decays = [group["weight_decay"] for group in groups for _ in group["params"]]
        self.array = (Parameter * len(decays))()
        for entry, parameter, decay in zip(self.array, self.parameters, decays, strict=True):
            state = optimizer.state[parameter]
            entry.weight, entry.size, entry.decay = parameter.data_ptr(), parameter.numel(), decay
            entry.mean, entry.square = state["exp_avg"].data_ptr(), state["exp_avg_sq"].data_ptr()
            entry.step = state["step"].data_ptr()
        self.options = *groups[0]["betas"], groups[0]["eps"]

    def step(self, lr: float, clip: float) -> None:
        """Update all parameters from their gradients, and forget these."""
        gradients = []  # keeps copies until the call
        for entry, parameter in zip(self.array, self.parameters, strict=True):
            gradient, parameter.grad = parameter.grad, None
            gradients.append(None if gradient is None else gradient.contiguous())
            entry.grad = None if gradient is None else gradients[-1].data_ptr()
        kernels().adamw(len(gradients), self.array, lr, clip, *self.options)


class Muon(torch.optim.Optimizer):
    """Muon for some matrices, another optimizer for the rest; they share a learning rate.

    m <- 0.95 m + 0.05 g;  W <- W - lr (decay W + 0.2 sqrt(max(rows, columns)) O),
    O the orthogonal factor of 0.05 g + 0.95 m ahead (Nesterov), see `orthogonalise`
    (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon). The factor before O makes an
    update as large as AdamW's, so that one learning rate serves both (Liu et al. 2025,
    arXiv:2502.16982, section 2.2).

    Notes
    -----
    `torch.optim.Muon` with adjust_lr_fn="match_rms_adamw" up to rounding: that iterates in bf16,
    which takes 5 to 13 times as long on a processor without bf16 arithmetic (AMD EPYC), this in the
    format of the weights. What a layer stores as one matrix (query, key and value; both halves of a
    gated feed-forward) is orthogonalised as one, where Jordan recommends to split the first.
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], rest: torch.optim.Optimizer, weight_decay: float
    ):
        group = {"params": [*matrices], "weight_decay": weight_decay}
        super().__init__([group], {"lr": rest.param_groups[0]["lr"]})
        self.matrices, self.rest = self.param_groups[0], rest
        for parameter in self.matrices["params"]:
            self.state[parameter] = {"momentum": torch.zeros_like(parameter)}
        self.param_groups += rest.param_groups
        self.state.update(rest.state)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore
        """Update all parameters from their gradients."""
        lr, decay = self.matrices["lr"], self.matrices["weight_decay"]
        for parameter in self.matrices["params"]:
            momentum = self.state[parameter]["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
            update = orthogonalise(parameter.grad.lerp(momentum, MOMENTUM))
            scale = ADAM_RMS * math.sqrt(max(parameter.shape))
            parameter.mul_(1 - lr * decay).sub_(update, alpha=lr * scale)
        self.rest.step()


def orthogonalise(matrix: Tensor, eps: float = 1e-7) -> Tensor:
    """Bring all singular values near 1: U S V^T to U S' V^T, S' within about 0.7 and 1.2.

    Five steps X <- a X + b (X X^T) X + c (X X^T)^2 X from X / |X| (Newton-Schulz, a quintic whose
    slope at 0 is as steep as it can be; Jordan et al. 2024).
    """
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=eps)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
