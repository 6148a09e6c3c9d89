from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaling.hardware.activations import Network
from scaling.hardware.devices import Device, get_device
from scaling.hardware.memory import (
    Memory,
    devices_needed,
    fits,
    sequences_that_fit,
    step_peak,
    training_memory,
)
from scaling.hardware.setup import PRECISION_BYTES, SHARDED, Setup
from scaling.models.gpt import GPT
from scaling.shapes.shape import Shape

SHAPES = [
    Shape(vocab_size=300, seq_len=32, n_layers=2, width=64, n_heads=4),
    Shape(vocab_size=128, seq_len=32, n_layers=1, width=48, n_heads=6, n_kv_heads=2, ffn="swiglu"),
    Shape(vocab_size=128, seq_len=16, n_layers=3, width=32, n_heads=2, tied=False),
]
NETWORK = Network(24, 2048, 16, 50_257, 2048)
N = NETWORK.n_layers * NETWORK.layer_params + NETWORK.table_params  # 1.3B
A100 = get_device("A100")
devices = st.integers(1, 4096)


def storage_bytes(tensors):
    return sum(
        {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values()
    )


def after_one_step(shape):
    model = GPT(shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.loss(torch.zeros(2, shape.seq_len + 1, dtype=torch.int64)).mean().backward()
    optimizer.step()
    return [*model.parameters()], optimizer


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.label)
def test_weights_gradients_and_adam_are_what_torch_allocates(shape):
    parameters, optimizer = after_one_step(shape)
    memory = training_memory(sum(p.numel() for p in parameters), Setup("fp32"))
    assert memory.weights == storage_bytes(parameters)
    assert memory.gradients == storage_bytes([p.grad for p in parameters])
    moments = [t for s in optimizer.state.values() for k, t in s.items() if k.startswith("exp_")]
    assert memory.moments == storage_bytes(moments)
    assert memory.total == memory.state == 16 * sum(p.numel() for p in parameters)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.label)
def test_half_precision_weights_are_what_torch_allocates(shape):
    parameters = [*GPT(shape).to(torch.bfloat16).parameters()]
    n_params = sum(p.numel() for p in parameters)
    assert training_memory(n_params).weights == storage_bytes(parameters)


@pytest.mark.parametrize(
    "precision, expected",
    [("fp32", 16), ("bf16_autocast", 16), ("bf16_mixed", 16), ("fp16_mixed", 16)],
)
def test_adam_takes_16_bytes_a_parameter_in_every_precision(precision, expected):
    assert PRECISION_BYTES[precision].state == expected
    assert training_memory(10, Setup(precision)).state == 10 * expected


def test_gradients_summed_in_fp32_take_18():
    assert PRECISION_BYTES["bf16_mixed_fp32_gradients"].state == 18
    assert PRECISION_BYTES["fp32"][:4] == (4, 4, 8, 0)  # weights, gradients, moments, master
    assert PRECISION_BYTES["bf16_mixed"][:4] == (2, 2, 8, 4)


def totals(params, n):
    """Bytes on one of n devices by strategy."""
    return {s: training_memory(params, Setup(strategy=s, n_devices=n)).total for s in SHARDED}


@given(n=devices)
def test_zero_stages(n):
    """Rajbhandari et al. 2020, figure 1: 4 + 12/n, 2 + 14/n and 16/n bytes per parameter."""
    total = totals(1.0, n)
    expected = {"ddp": 16, "zero1": 4 + 12 / n, "zero2": 2 + 14 / n, "zero3": 16 / n}
    for stage, size in (expected | {"fsdp": 16 / n}).items():
        assert total[stage] == pytest.approx(size)
    assert (16 / total["zero1"] < 4 and 16 / total["zero2"] < 8) or n == 1
    assert 16 / total["zero3"] == pytest.approx(n)


def test_zero_savings_as_published():
    """Up to 4 and 8 times; 64 devices, 64 times. Their figure 1: 7.5B on 64 devices in GB."""
    most = totals(1e9, 100_000)
    assert most["ddp"] / most["zero1"] == pytest.approx(4, rel=1e-3)
    assert most["ddp"] / most["zero2"] == pytest.approx(8, rel=1e-3)
    figure = totals(7.5e9, 64)
    assert figure["ddp"] / figure["zero3"] == pytest.approx(64)
    printed = {"ddp": 120, "zero1": 31.4, "zero2": 16.6, "zero3": 1.9}
    for stage, gigabytes in printed.items():
        assert figure[stage] / 1e9 == pytest.approx(gigabytes, abs=0.05)


@given(groups=st.integers(1, 64), factor=st.integers(1, 64))
def test_sharding_factor_runs_from_ddp_to_full(groups, factor):
    setup = Setup(strategy="fsdp", n_devices=groups * factor, sharding_factor=factor)
    assert training_memory(1e9, setup).total == pytest.approx(16e9 / factor)
    if factor == 1:
        ddp = Setup(strategy="ddp", n_devices=groups)
        assert training_memory(N, setup, NETWORK) == training_memory(N, ddp, NETWORK)
    if groups == 1:
        assert setup.shards == replace(setup, sharding_factor=None).shards


def test_offload_moves_bytes_to_the_host():
    setup = Setup(strategy="zero2", n_devices=4)
    here, there = (training_memory(1e9, replace(setup, offload=o)) for o in ("none", "optimizer"))
    assert there.moments == there.master == 0
    assert there.host == here.moments + here.master == 3e9
    assert there.total + there.host == here.total
    gone = training_memory(1e9, Setup(strategy="fsdp", n_devices=4, offload="params"))
    assert (gone.total, gone.host) == (0, 4e9)
    assert training_memory(N, Setup(strategy="fsdp", offload="params"), NETWORK).gathered > 0


def test_full_sharding_gathers_a_layer_at_a_time():
    setup = Setup(strategy="zero3", n_devices=64)
    gathered = training_memory(N, setup, NETWORK).gathered
    tables, layer = NETWORK.table_params, NETWORK.layer_params
    assert gathered == 2 * (tables + 2 * layer) + 2 * max(tables, layer)
    assert training_memory(N, replace(setup, strategy="zero2"), NETWORK).gathered == 0
    assert training_memory(N, replace(setup, n_devices=1), NETWORK).gathered == 0


def test_without_resharding_all_weights_are_gathered():
    setup = Setup("bf16_gathered", "fsdp", 64, reshard=False)
    memory = training_memory(N, setup, NETWORK)
    assert memory.state == pytest.approx(16 * N / 64)
    tables = NETWORK.table_params
    assert memory.gathered == 2 * N + 4 * max(tables, NETWORK.layer_params)


def test_torchs_default_buckets_are_a_copy_of_the_gradients():
    copied = Setup("fp32", n_devices=2, bucket_view=False)
    assert training_memory(1e9, copied).buckets == 4e9
    assert training_memory(1e9, copied).total == 20e9
    for setup in (replace(copied, bucket_view=True), replace(copied, n_devices=1)):
        assert training_memory(1e9, setup).buckets == 0


def test_offload_of_73b_hides_a_terabyte():
    memory = training_memory(73e9, Setup(strategy="fsdp", offload="params"))
    assert memory.state == 0
    assert memory.host == pytest.approx(1.168e12)


@given(n=devices, strategy=st.sampled_from([*SHARDED]))
def test_one_pass_needs_no_more_than_many(n, strategy):
    """A step of one pass frees its gradients, but holds the logits twice at its middle."""
    setup = Setup("fp32", strategy, n)
    memory = training_memory(N, setup, NETWORK, 4)
    peak = step_peak(N, setup, NETWORK, 4)
    assert memory.state - memory.gradients < peak <= memory.total + memory.logits
    assert step_peak(N, replace(setup, recompute="full"), NETWORK, 4) < peak


def test_autocast_keeps_a_copy_of_the_weights():
    assert training_memory(1e9, Setup("bf16_autocast")).temporaries == 2e9
    sharded = Setup("bf16_autocast", "fsdp", 8)
    assert training_memory(N, sharded, NETWORK).temporaries < 2 * N + 4 * 50_257 * 2048


@given(n_sequences=st.integers(1, 64), n=devices, strategy=st.sampled_from([*SHARDED]))
def test_the_total_is_the_sum_and_more_tokens_never_need_less(n_sequences, n, strategy):
    setup = Setup(strategy=strategy, n_devices=n)
    memory = training_memory(N, setup, NETWORK, n_sequences)
    assert memory.total == sum(asdict(memory).values()) - memory.host
    assert training_memory(N, setup, NETWORK, n_sequences + 1).total > memory.total


@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3", "fsdp"])
def test_devices_needed_is_the_first_number_that_fits(strategy):
    small = Device("small", {"bf16": 1e12}, 14e9)
    setup = Setup(strategy=strategy, recompute="full")
    needed = devices_needed(small, N, setup, NETWORK)
    assert needed is not None and needed > 1
    for n in range(1, needed + 2):
        memory = training_memory(N, replace(setup, n_devices=n), NETWORK)
        assert fits(small, memory) == (n >= needed)


def test_devices_needed_knows_when_there_is_no_number():
    setup = Setup(strategy="ddp")
    assert devices_needed(A100, 1e9, setup) == 1
    assert devices_needed(A100, 11.3e9, setup) is None
    assert devices_needed(A100, 1e12, Setup(strategy="zero2")) is None  # 2 TB of weights on each
    assert devices_needed(A100, 175e9, Setup(strategy="zero3")) == 39  # 2.8 TB / 72 GB
    hybrid = Setup(strategy="fsdp", n_devices=8, sharding_factor=8)
    assert devices_needed(A100, 30e9, hybrid) == 8
    assert devices_needed(A100, 175e9, hybrid) is None


def test_one_device_that_needs_no_gathering_is_enough():
    memory = training_memory(N, Setup(strategy="fsdp"), NETWORK, 1)
    device = Device("just", {"bf16": 1e12}, memory.total / 0.9 * 1.0001)
    assert devices_needed(device, N, Setup(strategy="fsdp"), NETWORK) == 1


def test_sequences_that_fit_is_the_last_number():
    setup = Setup(strategy="fsdp", n_devices=8)
    most = sequences_that_fit(A100, N, setup, NETWORK)
    assert most > 0
    assert fits(A100, training_memory(N, setup, NETWORK, most))
    assert not fits(A100, training_memory(N, setup, NETWORK, most + 1))
    assert sequences_that_fit(A100, 11.3e9, Setup(), NETWORK) == 0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"precision": "fp64"}, "precision 'fp64' is unknown; use one of .*'bf16_mixed'"),
        ({"strategy": "zero4"}, "strategy 'zero4' is unknown; use one of .*'zero3'"),
        ({"offload": "disk"}, "offload 'disk' is unknown; use one of .*'params'"),
        ({"recompute": "all"}, "recompute 'all' is unknown; use one of .*'selective'"),
        ({"counting": "gtp"}, "counting 'gtp' is unknown; use one of .*'plain'"),
        ({"n_devices": 0}, "n_devices must be at least 1, got 0"),
        ({"sharding_factor": 1}, "sharding_factor 1 belongs to fsdp; ddp has none"),
        (
            {"strategy": "fsdp", "n_devices": 8, "sharding_factor": 3},
            "sharding_factor 3 must divide n_devices 8",
        ),
        ({"reshard": False}, "reshard False needs sharded weights; ddp keeps them whole"),
        ({"precision": "bf16_gathered"}, "'bf16_gathered' needs sharded weights; ddp keeps"),
        ({"offload": "params"}, "offload 'params' needs sharded weights; ddp keeps them whole"),
    ],
)
def test_a_setup_that_cannot_be_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        Setup(**options)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="params must be positive, got 0"):
        training_memory(0)
    with pytest.raises(ValueError, match="n_sequences must be positive, got 0"):
        training_memory(1e9, Setup(), NETWORK, 0)
    with pytest.raises(ValueError, match=r"usable must be a share in \(0, 1\], got 90"):
        fits(A100, Memory(), usable=90)
