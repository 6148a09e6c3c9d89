from dataclasses import replace

import numpy as np
import pytest
import torch
from recipes import TINY

from scaling.data.objectives import make_objective
from scaling.data.order import draw_windows
from scaling.shapes.shape import Shape
from scaling.training.batched import Members
from scaling.training.optim import lr_at
from scaling.training.trunk import TrunkTraining

SHAPE = Shape(vocab_size=16, seq_len=8, n_layers=2, width=16, n_heads=2)
SHAPES = [SHAPE, replace(SHAPE, ffn="swiglu", n_kv_heads=1, tied=False)]
TOKENS = np.random.default_rng(0).integers(0, 16, 4000).astype(np.uint16)
SEEDS, RATES, STEPS = (0, 5, 6), (0.01, 0.003, 0.03), 8
pytestmark = pytest.mark.usefixtures("one_thread")


def alone(shape, seed, recipe):
    """Losses of every step of a training of its own."""
    training = TrunkTraining(shape, [recipe], TOKENS, TOKENS, seed=seed)
    for step in range(1, STEPS + 1):
        training.loss_sum.zero_()
        list(training.advance(recipe, step))
        yield training.loss_sum.item()


@pytest.mark.parametrize("shape", SHAPES, ids=["gelu", "swiglu, grouped, untied"])
def test_members_have_the_losses_of_trainings_of_their_own(shape, monkeypatch):
    monkeypatch.setattr("scaling.training.trunk.look_steps", lambda steps: set())
    recipes = [replace(TINY, lr=lr, steps=STEPS, grad_clip=0.5) for lr in RATES]
    pairs = zip(SEEDS, recipes, strict=True)
    expected = np.array([list(alone(shape, *pair)) for pair in pairs]).T
    members, clm = Members(shape, SEEDS, recipes[0]), make_objective(shape)
    for step in range(STEPS):
        places = np.arange(step * 8, step * 8 + 8)
        drawn = [draw_windows(TOKENS, places, clm, seed) for seed in SEEDS]
        rates = torch.tensor([lr_at(step, recipe) for recipe in recipes])
        losses = members.step(torch.from_numpy(np.stack(drawn).astype(np.int64)), rates)
        np.testing.assert_allclose(losses.numpy(), expected[step], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "recipe", "precision"),
    [
        (replace(SHAPE, family="bert"), TINY, "fp32"),
        (SHAPE, replace(TINY, optimizer="muon"), "fp32"),
        (SHAPE, TINY, "fp16"),
    ],
)
def test_what_members_cannot_be_is_refused(shape, recipe, precision):
    with pytest.raises(ValueError, match="train others one by one"):
        Members(shape, [0], recipe, precision=precision)
