from dataclasses import replace

import pandas as pd
import pytest

from scaling.hardware.activations import Experts, Network, layer_bytes_per_token
from scaling.hardware.communication import communication
from scaling.hardware.devices import get_device
from scaling.hardware.job import Job, Split
from scaling.hardware.memory import training_memory
from scaling.hardware.parallelism import weigh_memory, weigh_seconds
from scaling.hardware.setup import Setup

GPT3 = Network(n_layers=96, width=12_288, n_heads=96, vocab_size=51_200, seq_len=2048)
A100 = get_device("A100")
WHOLE = Split(1, 1, 1, 1, 0, 1, 1, 1, "none")


def splits(*changes):
    return pd.DataFrame([WHOLE._replace(**change)._asdict() for change in changes])


def job(n_devices=1, sequences=64, device=A100, **options):
    return Job(GPT3, device, n_devices, sequences, **options)


def test_one_device_holds_what_the_memory_of_a_setup_says():
    ours = weigh_memory(job(), splits({})).iloc[0]
    theirs = training_memory(GPT3.params, Setup(counting="gpt"), GPT3)
    assert ours.state == pytest.approx(theirs.state)
    assert ours.activations == pytest.approx(theirs.activations, rel=0.01)  # without the ends
    assert ours.logits == pytest.approx(2 * theirs.logits)
    assert ours.total == pytest.approx(theirs.total, rel=0.01)


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_stages_of_zero_shard_what_a_setup_shards(zero):
    strategy = ["ddp", "zero1", "zero2", "zero3"][zero]
    setup = Setup(strategy=strategy, n_devices=8)
    table = splits({"data": 8, "zero": zero, "shards": 8 if zero else 1})
    assert weigh_memory(job(8), table).state[0] == pytest.approx(
        training_memory(GPT3.params, setup).state
    )
    fast = replace(A100, peak_flops={"bf16": 1e30}, memory_bandwidth=1e30)  # hides nothing
    seconds = weigh_seconds(job(8, sequences=8, device=fast), table).data_s[0]
    sent = communication(GPT3.params, setup)
    assert seconds == pytest.approx(sent.total / A100.node_bandwidth)


def test_tensor_parallelism_divides_24_of_34_and_sequence_parallelism_all():
    """Korthikanti et al. 2022, equations 2 and 4: s*b*h*(10 + 24/t + 5*a*s/(h*t))."""
    table = splits({"tensor": 8})
    layer = GPT3.seq_len * GPT3.width
    weights = 5 * GPT3.n_heads * GPT3.seq_len / GPT3.width
    for together, expected in ((False, 10 + 24 / 8 + weights / 8), (True, (34 + weights) / 8)):
        asked = job(8, counting="korthikanti", sequence_parallel=together)
        kept = weigh_memory(asked, table).activations[0] / GPT3.n_layers
        assert kept == pytest.approx(layer * expected)


def test_a_pipeline_holds_as_many_micro_batches_as_it_has_stages():
    table = splits({"pipeline": 8}, {"pipeline": 8, "interleave": 4}, {})
    straight, virtual, alone = weigh_memory(job(8), table).activations
    assert straight == pytest.approx(alone)  # an eighth of the layers, eight times
    assert virtual == pytest.approx(alone * (1 + 7 / (8 * 4)))
    few = weigh_memory(job(8, sequences=2), table).activations[0]
    assert few == pytest.approx(alone / 4)


def test_recomputation_keeps_inputs_and_costs_a_forward_pass():
    table = splits({}, {"recompute": "full"})
    kept, again = weigh_memory(job(), table).activations
    layer = layer_bytes_per_token(GPT3, "gpt", 2, 2) * GPT3.seq_len
    inputs = 2 * GPT3.width * GPT3.seq_len
    assert kept == pytest.approx(96 * layer)
    assert again == pytest.approx(96 * inputs + layer)
    free = replace(A100, memory_bandwidth=1e30)
    seconds = weigh_seconds(job(device=free), table)
    assert seconds.recompute_s[1] / seconds.compute_s[1] == pytest.approx(1 / 3, rel=0.01)
    assert seconds.mfu[0] == pytest.approx(1.0) and seconds.mfu[1] == pytest.approx(0.75, rel=0.01)


def test_the_bubble_is_that_of_narayanan():
    """(p - 1) / (v * m) of the time of all micro-batches: arXiv:2104.04473, section 2.2."""
    free = replace(A100, node_bandwidth=1e30, network_bandwidth=1e30)
    table = splits({"pipeline": 8}, {"pipeline": 8, "interleave": 3})
    seconds = weigh_seconds(job(8, sequences=32, device=free), table)
    shares = seconds.pipeline_s / seconds.compute_s
    assert [*shares] == pytest.approx([7 / 32, 7 / (3 * 32)])


def test_tensor_parallelism_sends_four_all_reduces_a_layer():
    seconds = weigh_seconds(job(8, sequences=1), splits({"tensor": 8}))
    one = 2 * 7 / 8 * GPT3.seq_len * GPT3.width * 2
    assert seconds.tensor_s[0] == pytest.approx(96 * 4 * one / 300e9)


def test_all_of_a_step_is_slower_by_the_share_that_is_reached():
    table = splits({"tensor": 8, "data": 2})
    full, half = (weigh_seconds(job(16), table, reached).iloc[0] for reached in (1.0, 0.5))
    assert half.total_s == pytest.approx(2 * full.total_s)
    assert half.mfu == pytest.approx(full.mfu / 2)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"precision": "int4"}, "precision 'int4' is unknown"),
        ({"counting": "guess"}, "counting 'guess' is unknown"),
        ({"n_devices": 0}, "n_devices must be at least 1"),
        ({"device": get_device("L40S"), "n_devices": 8}, "'L40S' has no links for 8"),
        ({"device": get_device("H20"), "n_devices": 16}, "'H20' has no links for 16"),
        ({"device": replace(A100, memory_bandwidth=None)}, "has no memory_bandwidth"),
        ({"network": replace(GPT3, encoder_len=512)}, "network with an encoder"),
    ],
)
def test_what_cannot_be_weighed_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(job(), **changes)


def test_one_machine_needs_no_network():
    assert job(8, device=get_device("H20")).links.node == 450e9


FFN = 2 * GPT3.width * GPT3.hidden
EIGHT = Experts(number=8, per_token=2, params=FFN, layers=96, dense_layer=GPT3.layer_params)
MIXTURE = replace(
    GPT3,
    ffn_width=2 * GPT3.hidden,
    largest_layer=GPT3.layer_params + 7 * FFN,
    multiplied=96 * (GPT3.layer_params + FFN),
    experts=EIGHT,
)


def test_memory_holds_all_experts_and_compute_those_of_a_token():
    asked = replace(job(8), network=MIXTURE)
    table = splits(*({"data": 8, "expert": e} for e in (1, 2, 4, 8)))
    held = weigh_memory(asked, table).state / asked.bytes_of.state
    rest = GPT3.params - 96 * FFN
    assert held.to_numpy() == pytest.approx([rest + 96 * 8 * FFN / e for e in (1, 2, 4, 8)])
    assert MIXTURE.params == rest + 96 * 8 * FFN
    dense = replace(GPT3, ffn_width=2 * GPT3.hidden)
    assert asked.flops == pytest.approx(replace(asked, network=dense).flops)


def test_the_tokens_of_experts_are_exchanged_four_times_a_layer():
    asked = replace(job(64, sequences=64), network=MIXTURE)
    table = splits(*({"data": 64, "expert": e} for e in (1, 8, 64)))
    alone, machine, beyond = weigh_seconds(asked, table).expert_s
    sent = 96 * 4 * GPT3.seq_len * GPT3.width * 2
    assert alone == 0 and machine == pytest.approx(sent * 2 * 7 / 8 / A100.node_bandwidth)
    machines = 7 * (1 - (7 / 8) ** 2)  # of 7 others, with one of two experts or more
    assert beyond == pytest.approx(sent * machines / A100.network_bandwidth)
    again = table.assign(recompute="full")
    assert weigh_seconds(asked, again).expert_s[1] == pytest.approx(1.5 * machine)


def test_gradients_of_experts_are_summed_among_those_that_have_the_same():
    fast = replace(A100, peak_flops={"bf16": 1e30}, memory_bandwidth=1e30)
    asked = replace(job(8, sequences=8, device=fast), network=MIXTURE)
    table = splits(*({"data": 8, "expert": e} for e in (1, 2, 8)))
    rest, routed = GPT3.params - 96 * FFN, 96 * 8 * FFN
    exposed = weigh_seconds(asked, table)
    hidden = exposed.expert_s + exposed.compute_s + exposed.tensor_s
    size = asked.bytes_of.reduced / A100.node_bandwidth
    sent = [2 * size * (7 / 8 * rest + (8 / e - 1) / (8 / e) * routed / e) for e in (1, 2, 8)]
    assert (exposed.data_s + hidden).to_numpy() == pytest.approx(sent)
