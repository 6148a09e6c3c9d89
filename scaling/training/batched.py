"""Several GPTs of one shape as one model: members with their own seed, learning rate and windows.

On a GPU a tiny model's kernels are too small to fill it; those of K members side by side are K
times as large, and as many as one member's. Weights are stacked, and every product is a batched
one. Members clip their own gradients and never see each other.

Shape suffixes: K members, B sequences, T positions, W width, M rows, N columns out, V vocabulary,
H heads, G of keys and values, D head width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from scaling.models.build import build_model
from scaling.models.kernels import cross_entropy
from scaling.models.layers import TABLE_STD, Rotary, attend
from scaling.shapes.shape import Shape
from scaling.training.casting import AUTOCAST
from scaling.training.optim import Recipe

EPS = 1e-8  # of AdamW, as `scaling.training.optimizers.make_optimizer` has it
CLIP_EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_ has it


class Members:
    """K models of one shape, trained in step.

    Parameters
    ----------
    shape : Shape
        Of the family gpt.
    seeds : sequence of int
        Of the weights, one per member.
    recipe : Recipe
        AdamW's numbers, which all members share; its learning rate is not read.
    precision : {"fp32", "tf32", "bf16"}
        tf32 is the process's setting (`scaling.training.casting.set_products`).

    Raises
    ------
    ValueError
        Another family, optimizer or precision.
    """

    def __init__(
        self,
        shape: Shape,
        seeds: Sequence[int],
        recipe: Recipe,
        device: str = "cpu",
        precision: str = "fp32",
    ):
        known = ("fp32", "tf32", "bf16")
        if shape.family != "gpt" or recipe.optimizer != "adamw" or precision not in known:
            raise ValueError(
                f"family={shape.family}, optimizer={recipe.optimizer}, precision={precision}: "
                f"members are GPTs trained by AdamW in one of {known}; train others one by one"
            )
        self.shape, self.recipe = shape, recipe
        models = [build_model(shape, seed) for seed in seeds]
        states = [dict(model.named_parameters()) for model in models]
        self.weights = {
            name: torch.stack([state[name].detach() for state in states]).to(device)
            for name in states[0]
        }
        for weight in self.weights.values():
            weight.requires_grad_()
        self.moments = {
            name: (torch.zeros_like(weight), torch.zeros_like(weight))
            for name, weight in self.weights.items()
        }
        self.steps = torch.zeros((), device=device)
        self.rotary = Rotary(shape.head_width, shape.seq_len).to(device)
        dtype = AUTOCAST.get(precision)
        kind = torch.device(device).type
        self.autocast = torch.autocast(kind, dtype or torch.bfloat16, enabled=dtype is not None)

    def step(self, windows_KBT: Tensor, lr_K: Tensor) -> Tensor:
        """Train every member on its windows of T + 1 tokens; return their losses, shape (K,)."""
        with self.autocast:
            loss_K = self.losses(windows_KBT)
        gradients = torch.autograd.grad(loss_K.sum(), [*self.weights.values()])
        self._update(dict(zip(self.weights, gradients, strict=True)), lr_K)
        return loss_K.detach()

    def losses(self, windows_KBT: Tensor) -> Tensor:
        """Mean cross-entropy of every member on its windows, nats/token: shape (K,)."""
        K, B, T = windows_KBT.shape[0], windows_KBT.shape[1], windows_KBT.shape[2] - 1
        rows = self.shape.table_rows
        table = self.weights["table.weight"]
        first_K1 = rows * torch.arange(K, device=table.device)[:, None]
        places_KM = windows_KBT[:, :, :-1].flatten(1) + first_K1
        x_KMW = F.embedding(places_KM, table.flatten(0, 1)) / TABLE_STD
        for number in range(self.shape.n_layers):
            block = f"blocks.{number}"
            x_KMW = x_KMW + self._attention(block, self._norm(f"{block}.attention_norm", x_KMW), B)
            x_KMW = x_KMW + self._ffn(block, self._norm(f"{block}.ffn_norm", x_KMW))
        head = "table" if self.shape.tied else "head"
        logits_KMV = self._product(head, self._norm("norm", x_KMW))
        targets_KM = windows_KBT[:, :, 1:].reshape(K, B * T)
        return cross_entropy(logits_KMV, targets_KM).mean(1)

    def _product(self, name: str, x_KMW: Tensor) -> Tensor:
        return torch.bmm(x_KMW, self.weights[f"{name}.weight"].mT)

    def _norm(self, name: str, x_KMW: Tensor) -> Tensor:
        normed_KMW = F.rms_norm(x_KMW, x_KMW.shape[-1:], eps=1e-6)
        return normed_KMW * self.weights[f"{name}.gain"][:, None].to(x_KMW.dtype)

    def _attention(self, block: str, x_KMW: Tensor, B: int) -> Tensor:
        K, M, _ = x_KMW.shape
        H, G = self.shape.n_heads, self.shape.kv_heads
        qkv = self._product(f"{block}.attention.qkv", x_KMW)
        heads = qkv.view(K * B, M // B, H + 2 * G, -1).transpose(1, 2)
        turned, v = self.rotary(heads[:, : H + G]), heads[:, H + G :]
        mixed = attend(turned[:, :H], turned[:, H:], v, causal=True)
        return self._product(f"{block}.attention.out", mixed.reshape(K, M, -1))

    def _ffn(self, block: str, x_KMW: Tensor) -> Tensor:
        hidden = self._product(f"{block}.ffn.up", x_KMW)
        if self.shape.ffn == "swiglu":
            gate, value = hidden.chunk(2, -1)
            return self._product(f"{block}.ffn.out", F.silu(gate) * value)
        return self._product(f"{block}.ffn.out", F.gelu(hidden, approximate="tanh"))

    @torch.no_grad()
    def _update(self, gradients: dict[str, Tensor], lr_K: Tensor) -> None:
        """Clip every member's gradients to their own norm, and take a step of AdamW."""
        norms_K = [g.flatten(1).square().sum(1) for g in gradients.values()]
        norm_K = torch.stack(norms_K).sum(0).sqrt()
        scale_K = (self.recipe.grad_clip / (norm_K + CLIP_EPS)).clamp(max=1)
        self.steps += 1
        beta1, beta2 = self.recipe.beta1, self.recipe.beta2
        first, second = 1 - beta1**self.steps, (1 - beta2**self.steps).sqrt()
        for name, weight in self.weights.items():
            wide = (-1, *[1] * (weight.ndim - 1))
            gradient, lr = gradients[name] * scale_K.view(wide), lr_K.view(wide)
            mean, square = self.moments[name]
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            if weight.ndim == 3:  # matrices and tables, not gains
                weight.mul_(1 - lr * self.recipe.weight_decay)
            weight.sub_(lr / first * mean / (square.sqrt() / second + EPS))
