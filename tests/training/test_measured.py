"""Two real ranks: the tensors, the trackers and the allocator agree, and so do the calculators."""

import pytest

from scaling.hardware.communication import communication
from scaling.hardware.memory import step_peak
from scaling.hardware.setup import Setup
from scaling.planning.placement import network_of
from scaling.shapes.flops import total_params
from scaling.shapes.shape import Shape
from scaling.training.measured import measure_step, on_ranks, time_steps
from scaling.training.strategy import ParallelConfig

SHAPE = Shape(vocab_size=256, seq_len=64, n_layers=3, width=64, n_heads=4)
PLANS = {mode: ParallelConfig(mode, 2) for mode in ("ddp", "zero1", "fsdp")}


@pytest.mark.long
def test_two_ranks_hold_and_send_what_is_computed():
    jobs = [(measure_step, (SHAPE, plan, 2)) for plan in PLANS.values()]
    ranks = on_ranks(2, [*jobs, (time_steps, (SHAPE, PLANS["ddp"], 2, 1))])
    ddp, zero1, fsdp, timed = ranks[0]
    params, network = total_params(SHAPE), network_of(SHAPE)
    size = 4 * params
    assert (ddp["held_weights"], ddp["held_gradients"]) == (size, size)
    assert ddp["sent_all-reduce"] == size
    assert zero1["sent_broadcast"] >= size / 2  # weights; and buffers
    assert sum(rank[1]["held_optimizer"] for rank in ranks) == pytest.approx(2 * size, rel=0.01)
    assert (fsdp["held_weights"], fsdp["held_gradients"]) == (size / 2, size / 2)
    setup = Setup("fp32", "fsdp", 2, counting="gpt_cpu")
    sent = communication(params, setup, network).total
    assert fsdp["sent"] == pytest.approx(sent, rel=0.01)
    between_steps = fsdp["held_weights"] + fsdp["held_optimizer"]
    real = between_steps + fsdp["allocated"]
    assert fsdp["peak_total"] - fsdp["peak_other"] == pytest.approx(real, rel=0.03)
    assert real == pytest.approx(step_peak(params, setup, network, 2), rel=0.05)
    assert len(timed["seconds"]) == 1
    assert timed["sent"] == pytest.approx(ddp["sent"], rel=1e-3)  # and the mean of the losses
