"""Decoder-only transformer: pre-norm, RMSNorm, rotary positions, no biases.

Shape suffixes: B sequences, T positions, V vocabulary.
"""

from torch import Tensor

from scaling.models.kernels import cross_entropy
from scaling.models.layers import Stack
from scaling.shapes.shape import Shape


class GPT(Stack):
    """A causal language model of the given shape; `scaling.models.layers.Stack` has its parts.

    Parameters
    ----------
    shape : Shape
    seed : int
        Of the initial weights; the same on every device.
    """

    def __init__(self, shape: Shape, seed: int = 0):
        super().__init__(shape, causal=True, seed=seed)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits of the next token, shape (B, T, V)."""
        return self.head(self.norm(self.stream(tokens_BT)))

    def loss(self, windows_BT: Tensor) -> Tensor:
        """Cross-entropy of every target in nats, shape (B, T), for windows of T + 1 tokens."""
        logits_BTV = self(windows_BT[:, :-1])
        losses = cross_entropy(logits_BTV.flatten(0, 1), windows_BT[:, 1:].flatten())
        return losses.view(windows_BT.shape[0], -1)
