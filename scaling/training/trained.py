"""Whether a model has learned its objective: loss and accuracy on held-out text beside a guess.

The guess is that of the unigram, which knows how frequent every token is and nothing else.

Shape suffixes: B windows, M predicted tokens, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scaling.data.objectives import count_windows, cut_windows, make_objective
from scaling.data.shards import count_ids
from scaling.data.tokens import TokenData
from scaling.models.bert import BERT
from scaling.models.build import Model
from scaling.models.gpt import GPT


@dataclass(frozen=True)
class Learned:
    """How well held-out tokens are predicted, sentinels left out; losses in nats/token."""

    loss: float
    accuracy: float
    unigram_loss: float  # of the frequencies in the training split, or in 2**24 of its tokens
    unigram_accuracy: float
    tokens: int  # how many were predicted

    def __str__(self) -> str:
        return (
            f"{self.tokens:,} held-out tokens: loss {self.loss:.2f} nats, {self.accuracy:.1%} "
            f"right; unigram guess {self.unigram_loss:.2f} nats, {self.unigram_accuracy:.1%} right"
        )


@torch.no_grad()
def learned(model: Model, data: TokenData, n_windows: int = 256) -> Learned:
    """Compare a model with the unigram guess on the first windows of the validation split."""
    shape = model.shape
    objective = make_objective(shape)
    train, valid = data.load_alone("train"), data.load_alone("valid")
    index = np.arange(min(n_windows, count_windows(len(valid), objective)))
    arrays = objective(cut_windows(valid, index, objective), index, None)
    device = model.table.weight.device
    tensors = (torch.from_numpy(array).to(device) for array in arrays)
    logits_BMV, target_BM = logits_and_targets(model, *tensors)
    real_BM = target_BM < shape.vocab_size
    logits_MV, target_M = logits_BMV[real_BM].float().cpu(), target_BM[real_BM].cpu()
    counts_V = count_ids(train, shape.vocab_size) + 1  # none impossible
    unigram_V = torch.from_numpy(np.log(counts_V / counts_V.sum()))
    return Learned(
        loss=torch.nn.functional.cross_entropy(logits_MV, target_M).item(),
        accuracy=(logits_MV.argmax(-1) == target_M).double().mean().item(),
        unigram_loss=-unigram_V[target_M].mean().item(),
        unigram_accuracy=(target_M == unigram_V.argmax()).double().mean().item(),
        tokens=len(target_M),
    )


def logits_and_targets(model: Model, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and what they should predict, of the tensors that the model's `loss` takes."""
    if isinstance(model, GPT):
        return model(tensors[0][:, :-1]), tensors[0][:, 1:]
    if isinstance(model, BERT):
        return model(*tensors[:2]), tensors[2]
    return model(tensors[0], tensors[1].roll(1, 1)), tensors[1]
