"""Bidirectional encoder with a masked-language-model head (Devlin et al. 2018, arXiv:1810.04805).

Blocks, norms and positions are GPT's, but that every position sees all others. Their segment
embedding, next-sentence objective and the dense layer of their head are left out.

Shape suffixes: B sequences, T positions, M masked positions, W width, V rows of the table.
"""

import torch
from torch import Tensor, nn

from scaling.models.gpt import TABLE_STD
from scaling.models.kernels import Linear, cross_entropy
from scaling.models.layers import Block, RMSNorm, Rotary, init_blocks
from scaling.models.shape import Shape


class BERT(nn.Module):
    """A masked language model of the given shape; table and weights start as GPT's.

    The head sees the masked positions only, of which every window has equally many, so that FLOPs
    are a constant of the shape.

    Parameters
    ----------
    shape : Shape
    seed : int
        Of the initial weights; the same on every device.
    """

    def __init__(self, shape: Shape, seed: int = 0):
        super().__init__()
        self.shape = shape
        self.table = nn.Embedding(shape.table_rows, shape.width)
        self.rotary = Rotary(shape.head_width, shape.seq_len)
        self.blocks = nn.ModuleList(Block(shape, causal=False) for _ in range(shape.n_layers))
        self.norm = RMSNorm(shape.width)
        self.head = Linear(shape.width, shape.table_rows)
        if shape.tied:
            self.head.weight = self.table.weight
        generator = torch.Generator().manual_seed(seed)
        init_blocks(self.blocks, generator)
        for table in [self.table.weight] if shape.tied else [self.table.weight, self.head.weight]:
            nn.init.normal_(table, std=TABLE_STD, generator=generator)

    def forward(self, tokens_BT: Tensor, positions_BM: Tensor) -> Tensor:
        """Logits of the tokens that belong at `positions_BM`, shape (B, M, V)."""
        x_BTW = self.table(tokens_BT) / TABLE_STD
        for block in self.blocks:
            x_BTW = block(x_BTW, self.rotary)
        rows_BMW = x_BTW.gather(1, positions_BM[..., None].expand(-1, -1, x_BTW.shape[-1]))
        return self.head(self.norm(rows_BMW))

    def loss(self, tokens_BT: Tensor, positions_BM: Tensor, targets_BM: Tensor) -> Tensor:
        """Cross-entropy of every masked token in nats, shape (B, M).

        The arguments are what `scaling.data.objectives.MaskedLM` makes of a batch.
        """
        logits_BMV = self(tokens_BT, positions_BM)
        losses = cross_entropy(logits_BMV.flatten(0, 1), targets_BM.flatten())
        return losses.view(targets_BM.shape)
