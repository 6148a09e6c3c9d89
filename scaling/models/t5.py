"""Encoder-decoder (Raffel et al. 2020, arXiv:1910.10683) of the layers that GPT is made of.

Rotary positions in both self-attentions stand for their relative biases; cross-attention has
none, nor has theirs.

Shape suffixes: B sequences, E encoder positions, D decoder positions, W width, V rows of the table.
"""

import torch
from torch import Tensor, nn

from scaling.models.kernels import Table, head_cross_entropy
from scaling.models.layers import (
    TABLE_STD,
    Block,
    RMSNorm,
    Rotary,
    init_blocks,
    init_tables,
    make_head,
)
from scaling.shapes.shape import Shape


class T5(nn.Module):
    """A span-corruption model of the given shape; table and weights start as GPT's.

    `shape.n_layers` layers encode and as many decode; one table serves encoder, decoder and,
    if tied, the head.
    """

    def __init__(self, shape: Shape, seed: int = 0):
        super().__init__()
        self.shape = shape
        self.table = Table(shape.table_rows, shape.width)
        self.rotary = Rotary(shape.head_width, max(shape.window.inputs, shape.window.targets))
        self.encoder = nn.ModuleList(Block(shape, causal=False) for _ in range(shape.n_layers))
        self.encoder_norm = RMSNorm(shape.width)
        self.decoder = nn.ModuleList(
            Block(shape, causal=True, cross=True) for _ in range(shape.n_layers)
        )
        self.norm = RMSNorm(shape.width)
        self.head = make_head(shape, self.table)
        generator = torch.Generator().manual_seed(seed)
        init_blocks(self.encoder, generator)
        init_blocks(self.decoder, generator, additions=3)
        init_tables(self.table, self.head, generator)

    def forward(self, inputs_BE: Tensor, previous_BD: Tensor) -> Tensor:
        """Logits of the tokens that follow `previous_BD`, shape (B, D, V)."""
        return self.head(self.decode(inputs_BE, previous_BD))

    def decode(self, inputs_BE: Tensor, previous_BD: Tensor) -> Tensor:
        """What the head sees, shape (B, D, W)."""
        memory_BEW = self.table(inputs_BE) / TABLE_STD
        for block in self.encoder:
            memory_BEW = block(memory_BEW, self.rotary)
        memory_BEW = self.encoder_norm(memory_BEW)
        x_BDW = self.table(previous_BD) / TABLE_STD
        for block in self.decoder:
            x_BDW = block(x_BDW, self.rotary, memory_BEW)
        return self.norm(x_BDW)

    def loss(self, inputs_BE: Tensor, targets_BD: Tensor) -> Tensor:
        """Cross-entropy of every target in nats, sentinels included, shape (B, D).

        The arguments are what `scaling.data.objectives.SpanCorruption` makes of a batch.
        """
        # every target ends with the same mark, which therefore tells nothing as the first input
        x_BDW = self.decode(inputs_BE, targets_BD.roll(1, 1))
        return head_cross_entropy(self.head, x_BDW, targets_BD)
