from dataclasses import replace

import numpy as np
import pytest
from recipes import TINY

from scaling.shapes.shape import Shape
from scaling.training.graphed import why_plain
from scaling.training.strategy import ALONE, ParallelConfig
from scaling.training.trunk import TrunkTraining

SHAPE = Shape(vocab_size=16, seq_len=8, n_layers=1, width=16, n_heads=1)
CYCLE = np.tile(np.arange(16, dtype=np.uint16), 400)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("schedule", ["cooldown", "cosine"])
def test_steps_on_still_tensors_are_the_plain_ones_bit_for_bit(schedule):
    """Two horizons: the second goes on from the trunk, where the first has changed the rates."""
    lengths = (30,) if schedule == "cosine" else (20, 30)
    recipes = [replace(TINY, steps=n, cooldown_steps=n // 5, schedule=schedule) for n in lengths]

    def news(static):
        training = TrunkTraining(SHAPE, recipes, CYCLE, CYCLE, valid_windows=8, static=static)
        return list(training.run())

    assert news(static=True) == news(static=None)


def test_a_still_step_goes_on_from_a_state_bit_for_bit():
    whole = TrunkTraining(SHAPE, [TINY], CYCLE, CYCLE, static=True)
    list(whole.advance(TINY, 13))
    kept = whole.state()
    list(whole.advance(TINY, 25))
    resumed = TrunkTraining(SHAPE, [TINY], CYCLE, CYCLE, static=True, state=kept)
    list(resumed.advance(TINY, 25))
    for name, tensor in resumed.state().tensors.items():
        assert tensor.equal(whole.state().tensors[name]), name


@pytest.mark.parametrize(
    ("reason", "options"),
    [
        ("", {}),
        ("no GPU", {"device": "cpu"}),
        ("asked for", {"asked": False}),
        ("parallel=ddp", {"plan": ParallelConfig(mode="ddp", ranks=2)}),
        ("optimizer=muon", {"recipe": replace(TINY, optimizer="muon")}),
        ("fp16", {"precision": "fp16"}),
    ],
)
def test_what_is_not_recorded_says_why(reason, options):
    usual = {"recipe": TINY, "precision": "bf16", "plan": ALONE, "device": "cuda:0"}
    why = why_plain(**(usual | options))
    assert why.startswith(reason)
    assert bool(why) == bool(reason)
