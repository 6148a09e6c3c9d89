"""One rank of many beside the calculators; no other process, no memory."""

import pytest

from scaling.hardware.communication import communication
from scaling.hardware.memory import step_peak, training_memory
from scaling.hardware.setup import Setup
from scaling.planning.placement import network_of
from scaling.shapes.flops import total_params
from scaling.shapes.shape import Shape
from scaling.training.simulated import simulate_step
from scaling.training.strategy import ParallelConfig

SHAPES = {
    "gpt": Shape(vocab_size=1024, seq_len=160, n_layers=4, width=128, n_heads=4),
    "t5": Shape(vocab_size=1024, seq_len=160, n_layers=3, width=128, n_heads=4, family="t5"),
}


def compare(name, plan, **changes):
    shape = SHAPES[name]
    params, network = total_params(shape), network_of(shape)
    setup = Setup("fp32", "fsdp", plan.ranks, counting="gpt_cpu", **changes)
    found = simulate_step(shape, plan, 3)
    state = training_memory(params, setup, network, 3).state
    assert found["state"] == pytest.approx(state, rel=0.01)
    peak = step_peak(params, setup, network, 3)
    held = found["total"] - found["other"]
    if plan.recompute:  # computed: the largest parts of a layer together, which never are
        assert 0.9 * peak < held < 1.05 * peak
    else:
        assert held == pytest.approx(peak, rel=0.05)
    sent = communication(params, setup, network).total
    assert found["sent"] == pytest.approx(sent, rel=0.01)


def test_8_ranks_hold_and_send_what_is_computed():
    compare("gpt", ParallelConfig("fsdp", 8))


@pytest.mark.long
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    "plan, changes",
    [
        (ParallelConfig("fsdp", 8, recompute=True), {"recompute": "full"}),
        (ParallelConfig("zero2", 8), {"reshard": False}),
        (ParallelConfig("hsdp", 16, 4), {"sharding_factor": 4}),
    ],
    ids=["recompute", "zero2", "hsdp"],
)
def test_strategies_hold_and_send_what_is_computed(name, plan, changes):
    compare(name, plan, **changes)
