"""Bidirectional encoder with a masked-language-model head (Devlin et al. 2018, arXiv:1810.04805).

Blocks, norms and positions are GPT's, but that every position sees all others. Their segment
embedding, next-sentence objective and the dense layer of their head are left out.

Shape suffixes: B sequences, T positions, M masked positions, W width, V rows of the table.
"""

from torch import Tensor

from scaling.models.kernels import cross_entropy
from scaling.models.layers import Stack
from scaling.shapes.shape import Shape


class BERT(Stack):
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
        super().__init__(shape, causal=False, seed=seed)

    def forward(self, tokens_BT: Tensor, positions_BM: Tensor) -> Tensor:
        """Logits of the tokens that belong at `positions_BM`, shape (B, M, V)."""
        x_BTW = self.stream(tokens_BT)
        rows_BMW = x_BTW.gather(1, positions_BM[..., None].expand(-1, -1, x_BTW.shape[-1]))
        return self.head(self.norm(rows_BMW))

    def loss(self, tokens_BT: Tensor, positions_BM: Tensor, targets_BM: Tensor) -> Tensor:
        """Cross-entropy of every masked token in nats, shape (B, M).

        The arguments are what `scaling.data.objectives.MaskedLM` makes of a batch.
        """
        logits_BMV = self(tokens_BT, positions_BM)
        losses = cross_entropy(logits_BMV.flatten(0, 1), targets_BM.flatten())
        return losses.view(targets_BM.shape)
