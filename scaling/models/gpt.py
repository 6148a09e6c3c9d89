"""Decoder-only transformer: pre-norm, RMSNorm, rotary positions, no biases.

Shape suffixes: B sequences, T positions, W width, V vocabulary.
"""

import torch
from torch import Tensor, nn

from scaling.models.kernels import Linear, cross_entropy
from scaling.models.layers import Block, RMSNorm, Rotary, init_blocks
from scaling.models.shape import Shape

TABLE_STD = 0.02  # of the token table at the start; its rows enter the stream divided by it


class GPT(nn.Module):
    """A causal language model of the given shape.

    The token table has standard deviation `TABLE_STD` as the head wants it, and its rows are
    divided by it on the way in, so that the residual stream starts with unit variance and one
    learning rate fits both uses of a tied table.

    Parameters
    ----------
    shape : Shape
    seed : int
        Of the initial weights; the same on every device.
    """

    def __init__(self, shape: Shape, seed: int = 0):
        super().__init__()
        self.shape = shape
        self.table = nn.Embedding(shape.vocab_size, shape.width)
        self.rotary = Rotary(shape.head_width, shape.seq_len)
        self.blocks = nn.ModuleList(Block(shape, causal=True) for _ in range(shape.n_layers))
        self.norm = RMSNorm(shape.width)
        self.head = Linear(shape.width, shape.vocab_size)
        if shape.tied:
            self.head.weight = self.table.weight
        generator = torch.Generator().manual_seed(seed)
        init_blocks(self.blocks, generator)
        for table in [self.table.weight] if shape.tied else [self.table.weight, self.head.weight]:
            nn.init.normal_(table, std=TABLE_STD, generator=generator)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits of the next token, shape (B, T, V)."""
        x_BTW = self.table(tokens_BT) / TABLE_STD
        for block in self.blocks:
            x_BTW = block(x_BTW, self.rotary)
        return self.head(self.norm(x_BTW))

    def loss(self, windows_BT: Tensor) -> Tensor:
        """Cross-entropy of every target in nats, shape (B, T), for windows of T + 1 tokens."""
        logits_BTV = self(windows_BT[:, :-1])
        losses = cross_entropy(logits_BTV.flatten(0, 1), windows_BT[:, 1:].flatten())
        return losses.view(windows_BT.shape[0], -1)
