"""Bidirectional encoder with a masked-language-model head (Devlin et al. 2018, arXiv:1810.04805).

Blocks, norms and positions are GPT's, but that every position sees all others. Their segment
embedding, next-sentence objective and the dense layer of their head are left out.

Shape suffixes: B sequences, T positions, M masked positions, W width, V rows of the table.
"""

from torch import Tensor

from scaling.models.kernels import head_cross_entropy
from scaling.models.layers import Stack


class BERT(Stack):
    """A masked language model; `scaling.models.layers.Stack` has its parts.

    The head sees the masked positions only, of which every window has equally many, so that FLOPs
    are a constant of the shape.
    """

    causal = False

    def forward(self, tokens_BT: Tensor, positions_BM: Tensor) -> Tensor:
        """Logits of the tokens that belong at `positions_BM`, shape (B, M, V)."""
        return self.head(self.masked(tokens_BT, positions_BM))

    def masked(self, tokens_BT: Tensor, positions_BM: Tensor) -> Tensor:
        """What the head sees, shape (B, M, W)."""
        x_BTW = self.stream(tokens_BT)
        return self.norm(x_BTW.gather(1, positions_BM[..., None].expand(-1, -1, x_BTW.shape[-1])))

    def loss(self, tokens_BT: Tensor, positions_BM: Tensor, targets_BM: Tensor) -> Tensor:
        """Cross-entropy of every masked token in nats, shape (B, M).

        The arguments are what `scaling.data.objectives.MaskedLM` makes of a batch.
        """
        return head_cross_entropy(self.head, self.masked(tokens_BT, positions_BM), targets_BM)
