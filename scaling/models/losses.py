"""The loss of a head over a large vocabulary, without all of its logits at once.

Shape suffixes: B sequences, T positions, W width, M rows, V vocabulary.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from scaling.models.kernels import Linear, cross_entropy, head_cross_entropy

WHOLE_LOGITS = 2**28  # B * T * V up to which all are made at once: 1 GiB in fp32, and twice that
PIECES_OF = 2**26  # logits in a piece beyond


def head_loss(
    head: Linear,
    x_BTW: Tensor,
    target_BT: Tensor,
    rows: int,
    whole: int = WHOLE_LOGITS,
    piece: int = PIECES_OF,
) -> Tensor:
    """Cross-entropy of every target in nats, shape (B, T), of the logits `head(x_BTW)`.

    Where they are more than `whole`, they are made in pieces of at most `piece`, each of which is
    forgotten, and made again in the backward pass: that costs another 2 M W V FLOPs, a quarter to a
    third more of the head's, which no count of ours has in it.

    Parameters
    ----------
    head : Linear
        (M, W) or (B, T, W) to as many rows of V logits.
    rows : int
        V, rows of the head's weight.
    """
    if target_BT.numel() * rows <= whole:
        return head_cross_entropy(head, x_BTW, target_BT)

    def loss(x_MW: Tensor, target_M: Tensor) -> Tensor:
        return cross_entropy(head(x_MW), target_M)

    x_MW, target_M = x_BTW.flatten(0, -2), target_BT.flatten()
    size = max(1, piece // rows)
    parts = [
        checkpoint(loss, x, target, use_reentrant=False, preserve_rng_state=False)
        for x, target in zip(x_MW.split(size), target_M.split(size), strict=True)
    ]
    return torch.cat(parts).view(target_BT.shape)
