"""Layers that the model families share.

Shape suffixes: B sequences, T positions, W width, H heads, K head width, F feed-forward width.
"""

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scaling.models import fused
from scaling.models.attention import turn
from scaling.models.kernels import PLAIN, Linear, Table, native_serves, stored_weight
from scaling.shapes.shape import Shape

TABLE_STD = 0.02  # of the token table at the start; its rows enter the stream divided by it


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * gain (Zhang and Sennrich 2019, arXiv:1910.07467)."""

    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.eps = eps
        self.kernels = PLAIN

    def forward(self, x_BTW: Tensor) -> Tensor:
        """Return the normalised tensor, same shape and dtype."""
        if self.kernels.native and native_serves(x_BTW):
            return fused.rms_norm(x_BTW, self.gain, self.eps)
        return F.rms_norm(x_BTW, self.gain.shape, self.gain.to(x_BTW.dtype), self.eps)


class Rotary(nn.Module):
    """Rotary positions (Su et al. 2021, arXiv:2104.09864), halves instead of neighbours paired."""

    cos: Tensor
    sin: Tensor

    def __init__(self, head_width: int, seq_len: int, base: float = 10_000.0):
        super().__init__()
        frequency = base ** -(torch.arange(0, head_width, 2).double() / head_width)
        angle_TK = torch.outer(torch.arange(seq_len).double(), frequency).repeat(1, 2)
        sign_K = torch.ones(head_width).double()
        sign_K[: head_width // 2] = -1
        self.register_buffer("cos", angle_TK.cos().float(), persistent=False)
        self.register_buffer("sin", (angle_TK.sin() * sign_K).float(), persistent=False)

    def forward(self, x_BHTK: Tensor) -> Tensor:
        """Turn every pair (k, k + K/2) by its position's angle."""
        T = x_BHTK.shape[-2]
        return turn(x_BHTK, self.cos[:T], self.sin[:T])


def attend(q_BHTK: Tensor, k_BGMK: Tensor, v_BGMK: Tensor, causal: bool = False) -> Tensor:
    """Mix values for every query, heads side by side: shape (B, T, H * K); G divides H."""
    gqa = q_BHTK.shape[1] != k_BGMK.shape[1]
    mixed_BHTK = F.scaled_dot_product_attention(
        q_BHTK, k_BGMK, v_BGMK, is_causal=causal, enable_gqa=gqa
    )
    return mixed_BHTK.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions and grouped key/value heads."""

    def __init__(self, shape: Shape, causal: bool):
        super().__init__()
        self.n_heads, self.kv_heads, self.causal = shape.n_heads, shape.kv_heads, causal
        attention = shape.n_heads * shape.head_width
        kv = shape.kv_heads * shape.head_width
        self.qkv = Linear(shape.width, attention + 2 * kv)
        self.out = Linear(attention, shape.width)

    def forward(self, x_BTW: Tensor, rotary: Rotary) -> Tensor:
        """Attend within each sequence."""
        B, T, _ = x_BTW.shape
        H, G = self.n_heads, self.kv_heads
        heads_BTHK = self.qkv(x_BTW).view(B, T, H + 2 * G, -1)
        q_and_k_BTHK, v_BTHK = heads_BTHK.split((H + G, G), 2)
        turned_BHTK = rotary(q_and_k_BTHK.transpose(1, 2))
        q_BHTK, k_BHTK = turned_BHTK.split((H, G), 1)
        return self.out(attend(q_BHTK, k_BHTK, v_BTHK.transpose(1, 2), self.causal))


class CrossAttention(nn.Module):
    """Multi-head attention to another sequence, without positions (grouped key/value heads).

    Shape suffix: M positions of the other sequence, the memory.
    """

    def __init__(self, shape: Shape):
        super().__init__()
        self.n_heads, self.kv_heads = shape.n_heads, shape.kv_heads
        attention = shape.n_heads * shape.head_width
        self.q = Linear(shape.width, attention)
        self.kv = Linear(shape.width, 2 * shape.kv_heads * shape.head_width)
        self.out = Linear(attention, shape.width)

    def forward(self, x_BTW: Tensor, memory_BMW: Tensor) -> Tensor:
        """Let every position of x attend to the whole memory."""
        q_BHTK = self.q(x_BTW).unflatten(2, (self.n_heads, -1)).transpose(1, 2)
        kv_BGMK = self.kv(memory_BMW).unflatten(2, (2 * self.kv_heads, -1)).transpose(1, 2)
        return self.out(attend(q_BHTK, *kv_BGMK.chunk(2, 1)))


class FeedForward(nn.Module):
    """GELU (tanh form) with two matrices, or SwiGLU with three (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.gated = shape.ffn == "swiglu"
        self.up = Linear(shape.width, shape.hidden * (1 + self.gated))
        self.out = Linear(shape.hidden, shape.width)

    def forward(self, x_BTW: Tensor) -> Tensor:
        """Return the layer's contribution to the residual stream."""
        h_BTF = self.up(x_BTW)
        if not self.gated:
            return self.out(F.gelu(h_BTF, approximate="tanh"))
        gate_BTF, value_BTF = h_BTF.chunk(2, -1)
        return self.out(F.silu(gate_BTF) * value_BTF)


class Block(nn.Module):
    """Pre-norm residual block: x + attention(norm(x)), then x + feed_forward(norm(x)).

    With `cross`, the decoder's block: between the two it attends to a memory, which comes
    normalised from the encoder and is not normalised again.
    """

    def __init__(self, shape: Shape, causal: bool, cross: bool = False):
        super().__init__()
        self.attention_norm, self.ffn_norm = RMSNorm(shape.width), RMSNorm(shape.width)
        self.cross_norm = RMSNorm(shape.width) if cross else None
        self.attention = Attention(shape, causal)
        self.cross = CrossAttention(shape) if cross else None
        self.ffn = FeedForward(shape)
        self.kernels = PLAIN

    def forward(self, x_BTW: Tensor, rotary: Rotary, memory_BMW: Tensor | None = None) -> Tensor:
        """Add every contribution to the residual stream; compiled, if so, where it learns."""
        if self.kernels.compiled and torch.is_grad_enabled():
            return compiled_block()(self, x_BTW, rotary, memory_BMW)
        return self.add(x_BTW, rotary, memory_BMW)

    def add(self, x_BTW: Tensor, rotary: Rotary, memory_BMW: Tensor | None = None) -> Tensor:
        """Do what forward does, eagerly."""
        if self.kernels.native and native_serves(x_BTW, self.attention.qkv, self.attention.out):
            x_BTW = self.add_attention(x_BTW, rotary)
        else:
            x_BTW = x_BTW + self.attention(self.attention_norm(x_BTW), rotary)
        if self.cross is not None and self.cross_norm is not None:
            x_BTW = x_BTW + self.cross(self.cross_norm(x_BTW), memory_BMW)
        if self.kernels.native and native_serves(x_BTW, self.ffn.up, self.ffn.out):
            return self.add_ffn(x_BTW)
        return x_BTW + self.ffn(self.ffn_norm(x_BTW))

    def add_attention(self, x_BTW: Tensor, rotary: Rotary) -> Tensor:
        """Add self-attention's contribution by our own kernels."""
        norm, own = self.attention_norm, self.attention
        weights = stored_weight(own.qkv), stored_weight(own.out)
        heads = own.n_heads, own.kv_heads, own.causal
        angles = rotary.cos, rotary.sin
        return fused.add_attention(x_BTW, norm.gain, *weights, *angles, heads, norm.eps)

    def add_ffn(self, x_BTW: Tensor) -> Tensor:
        """Add the feed-forward layer's contribution by our own kernels."""
        norm, own = self.ffn_norm, self.ffn
        weights = stored_weight(own.up), stored_weight(own.out)
        return fused.add_feed_forward(x_BTW, norm.gain, *weights, own.gated, norm.eps)


@functools.cache
def compiled_block() -> Callable[..., Tensor]:
    """Return `Block.add` through torch.compile: once for all layers that are alike."""
    return torch.compile(Block.add)


def init_blocks(blocks: nn.ModuleList, generator: torch.Generator, additions: int = 2) -> None:
    """Draw matrices from N(0, 1/fan_in), outputs into the residual smaller by sqrt(2 * n_layers).

    2 is the number of `additions` to the residual stream in a block. The residual factor is that
    of Radford et al. 2019 (GPT-2), section 2.3.
    """
    residual = 1 / math.sqrt(additions * len(blocks))
    for name, parameter in blocks.named_parameters():
        if parameter.ndim == 2:
            std = parameter.shape[1] ** -0.5 * (residual if name.endswith("out.weight") else 1)
            nn.init.normal_(parameter, std=std, generator=generator)


def make_head(shape: Shape, table: Table) -> Linear:
    """Output head over the rows of the token table; tied, its weight is the table's."""
    head = Linear(shape.width, shape.table_rows)
    if shape.tied:
        head.weight = table.weight
    return head


def init_tables(table: Table, head: Linear, generator: torch.Generator) -> None:
    """Draw token table and head, one after the other or tied, from N(0, TABLE_STD^2)."""
    weights = [table.weight] if head.weight is table.weight else [table.weight, head.weight]
    for weight in weights:
        nn.init.normal_(weight, std=TABLE_STD, generator=generator)


class Stack(nn.Module):
    """Token table, blocks that see back or both ways, norm and head: GPT and BERT.

    The table has standard deviation `TABLE_STD` as the head wants it, and its rows are divided by
    it on the way in, so that the residual stream starts with unit variance and one learning rate
    fits both uses of a tied table. The seed decides the initial weights, on every device the same.
    """

    causal: bool  # a position sees those before it only

    def __init__(self, shape: Shape, seed: int = 0):
        super().__init__()
        self.shape = shape
        self.table = Table(shape.table_rows, shape.width)
        self.rotary = Rotary(shape.head_width, shape.seq_len)
        self.blocks = nn.ModuleList(Block(shape, self.causal) for _ in range(shape.n_layers))
        self.norm = RMSNorm(shape.width)
        self.head = make_head(shape, self.table)
        generator = torch.Generator().manual_seed(seed)
        init_blocks(self.blocks, generator)
        init_tables(self.table, self.head, generator)

    def stream(self, tokens_BT: Tensor) -> Tensor:
        """Residual stream after the last block, shape (B, T, W)."""
        x_BTW = self.table(tokens_BT) / TABLE_STD
        for block in self.blocks:
            x_BTW = block(x_BTW, self.rotary)
        return x_BTW
