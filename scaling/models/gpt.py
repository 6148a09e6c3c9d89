"""Decoder-only transformer: pre-norm, RMSNorm, rotary positions, no biases.

Shape suffixes: B sequences, T positions, V vocabulary.
"""

from torch import Tensor

from scaling.models.layers import Stack
from scaling.models.losses import head_loss


class GPT(Stack):
    """A causal language model; `scaling.models.layers.Stack` has its parts."""

    causal = True

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits of the next token, shape (B, T, V)."""
        return self.head(self.norm(self.stream(tokens_BT)))

    def loss(self, windows_BT: Tensor) -> Tensor:
        """Cross-entropy of every target in nats, shape (B, T), for windows of T + 1 tokens."""
        x_BTW = self.norm(self.stream(windows_BT[:, :-1]))
        return head_loss(self.head, x_BTW, windows_BT[:, 1:], self.shape.table_rows)
