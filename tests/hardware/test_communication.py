import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.hardware.activations import Network
from scaling.hardware.communication import communication, communication_table
from scaling.hardware.setup import Setup

devices = st.integers(2, 4096)


def ring_all_reduce(tensors):
    """Run a ring of reduce-scatter and all-gather, and count what one device sends."""
    n, sent = len(tensors), 0
    chunks = [np.array_split(t.astype(float), n) for t in tensors]
    for phase in ("reduce", "gather"):
        for step in range(n - 1):
            shift = step if phase == "reduce" else step - 1
            moving = [chunks[i][(i - shift) % n].copy() for i in range(n)]
            sent += moving[0].size
            for i in range(n):
                j, target = (i - 1 - shift) % n, i
                got = moving[(i - 1) % n]
                chunks[target][j] = chunks[target][j] + got if phase == "reduce" else got
    return [np.concatenate(c) for c in chunks], sent


@pytest.mark.parametrize("n", [2, 3, 8])
def test_ddp_sends_what_a_ring_sends(n):
    tensors = [np.random.default_rng(i).integers(0, 9, 24) for i in range(n)]
    reduced, sent = ring_all_reduce(tensors)
    for tensor in reduced:
        np.testing.assert_array_equal(tensor, sum(tensors))
    assert communication(24, Setup("fp32", n_devices=n)).total == 4 * sent


@given(n=devices)
def test_zero_sends_2_2_and_3_times_the_parameters(n):
    """Rajbhandari et al. 2020, section 7, less the share that stays at home."""
    ratios = {"ddp": 2, "zero1": 2, "zero2": 2, "zero3": 3, "fsdp": 3}
    for strategy, ratio in ratios.items():
        sent = communication(1e6, Setup(strategy=strategy, n_devices=n))
        assert sent.total == pytest.approx(ratio * 2e6 * (n - 1) / n)
        assert sent.total == pytest.approx(sent.within + sent.between)


@pytest.mark.parametrize("strategy", ["ddp", "zero1", "zero2", "zero3", "fsdp"])
def test_one_device_sends_nothing(strategy):
    assert communication(1e6, Setup(strategy=strategy)).total == 0


@given(groups=st.integers(1, 64), factor=st.integers(1, 16))
def test_hybrid_sharding_sends_little_between_groups(groups, factor):
    setup = Setup(strategy="fsdp", n_devices=groups * factor, sharding_factor=factor)
    sent = communication(1e6, setup)
    W, M = groups * factor, 2e6
    assert sent.between == pytest.approx(2 * M * (W - factor) / (factor * W))
    assert sent.within == pytest.approx(3 * M * (factor - 1) / factor)


def test_sharding_factor_1_is_ddp():
    fsdp = Setup(strategy="fsdp", n_devices=8, sharding_factor=1)
    assert communication(1e9, fsdp) == communication(1e9, Setup(n_devices=8))


def test_autocast_sends_fp32():
    """Gradients of fp32 weights are fp32; half as many bytes go with 16-bit weights."""
    fp32, mixed = (communication(1e9, Setup(p, "fsdp", 4)) for p in ("bf16_autocast", "bf16_mixed"))
    assert fp32.total == 2 * mixed.total


def test_the_table_compares_strategies():
    table = communication_table(1e9, 64, per_machine=8)
    full = table[table.sharding_factor == 64].set_index("strategy")
    assert full.over_ddp["zero2"] == 1
    assert full.over_ddp["fsdp"] == full.over_ddp["zero3"] == 1.5
    hybrid = table[(table.strategy == "fsdp") & (table.sharding_factor == 8)].iloc[0]
    assert hybrid["between"] < full["within"]["fsdp"] / 10


def test_the_courses_numbers_in_gigabytes():
    """7.5B on 64 devices in 16 bits; 11.3B fully sharded on 8 and on 512."""
    sent = [communication(7.5e9, Setup(strategy=s, n_devices=64)).total for s in ("ddp", "fsdp")]
    assert [round(size / 1e9, 2) for size in sent] == [29.53, 44.30]
    sent = [communication(11.3e9, Setup(strategy="fsdp", n_devices=n)).total for n in (8, 512)]
    assert sent == pytest.approx([59.325e9, 67.668e9], rel=1e-4)


def test_fsdp_gathers_the_root_once_and_without_resharding_all():
    network = Network(4, 128, 4, 1024, 160)
    params, tables = network.params, network.table_params
    sent = communication(params, Setup("fp32", "fsdp", 2), network)
    assert sent.gather_weights == 2 * (2 * params - tables)
    kept = communication(params, Setup("fp32", "fsdp", 2, reshard=False), network)
    assert kept.gather_weights == 2 * params
    assert kept.scatter_gradients == sent.scatter_gradients == 2 * params
    half = communication(params, Setup("bf16_gathered", "fsdp", 2), network)
    assert half.gather_weights == sent.gather_weights / 2
    assert half.scatter_gradients == sent.scatter_gradients


def test_offload_loads_the_way_to_the_host():
    """Gradients down; weights up once for an optimizer there, as often as they are gathered."""
    assert communication(1e9, Setup(n_devices=4)).host == 0
    optimizer = communication(1e9, Setup(strategy="zero2", n_devices=4, offload="optimizer"))
    assert optimizer.host == (2e9 + 2e9) / 4
    alone = communication(1e9, Setup(strategy="fsdp", offload="params"))
    assert (alone.total, alone.host) == (0, 2e9 + 2 * 2e9)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="params must be positive, got 0"):
        communication(0, Setup())
    with pytest.raises(ValueError, match="sharding_factor 5 must divide n_devices 8"):
        communication_table(1e9, 8, per_machine=5)
