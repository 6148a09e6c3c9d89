"""Small trained models to try out: loaded from a folder, trained and saved there if it is empty.

Also what tells whether a model has learned its objective: loss and accuracy on held-out text beside
those of the unigram guess, which knows how frequent every token is and nothing else.

Shape suffixes: B windows, M predicted tokens, V vocabulary.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from scaling.data.archives import Report
from scaling.data.objectives import OBJECTIVES, count_windows, cut_windows, make_objective
from scaling.data.shards import count_ids
from scaling.data.tokens import TokenData
from scaling.models.bert import BERT
from scaling.models.build import Model
from scaling.models.gpt import GPT
from scaling.shapes.shape import Shape
from scaling.training.cells import Cell, Trunk
from scaling.training.optim import Recipe
from scaling.training.records import CONFIG
from scaling.training.saved import load_model
from scaling.training.trunk import Outcome, Point
from scaling.training.worker import make_training, save_trained


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


def trained_model(
    folder: Path,
    shape: Shape,
    recipe: Recipe,
    data: TokenData,
    *,
    seed: int = 0,
    report: Report = lambda line: None,
) -> tuple[Model, Tokenizer | None]:
    """Load the model of a folder; where there is none, train it on the CPU and save it first.

    It learns the family's own objective.

    Raises
    ------
    ValueError
        The folder holds a model of another shape, or training diverged.
    """
    if not (folder / CONFIG).exists():
        cell = Cell(shape, recipe, math.nan, seed, "fp32", 2048, data.name, data.fingerprint)
        cell = replace(cell, objective=OBJECTIVES[shape.family][0])
        _train_and_save(folder, cell, data, report)
    model, tokenizer = load_model(folder)
    if model.shape != shape:
        raise ValueError(
            f"{folder} holds a model of {model.shape}, not of {shape}; delete it to train anew"
        )
    return model, tokenizer


def _train_and_save(folder: Path, cell: Cell, data: TokenData, report: Report) -> None:
    ids, steps = (data.load("train"), data.load("valid")), cell.recipe.steps
    training = make_training(Trunk((cell,)), *ids, "cpu")
    for news in training.run():
        if isinstance(news, Point) and news.step >= steps / 10:
            report(f"step {news.step:,} of {steps:,}: training loss {news.loss:.2f}")
        if isinstance(news, Outcome):
            if news.status != "ok":
                raise ValueError(f"{folder} gets no model: {news.reason}")
            save_trained(folder, training.model, cell, data, news.loss)


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
