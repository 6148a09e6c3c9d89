"""Collectives of a group without partners: what is asked for is counted, nothing travels."""

import pytest
import torch
import torch.distributed as dist
from torch.distributed._functional_collectives import all_gather_single, all_reduce

from scaling.training.simulated import simulated_ranks
from scaling.training.traffic import Traffic


def counted(n_ranks, *collectives):
    with simulated_ranks(n_ranks), Traffic() as traffic:
        for collective in collectives:
            collective()
    return {kind: (s.calls, s.tensor_bytes, s.ring_bytes) for kind, s in traffic.sent.items()}


def test_bytes_are_those_of_whole_tensors_and_of_a_ring():
    whole, part = torch.zeros(80), torch.zeros(20)  # 320 and 80 bytes
    sent = counted(
        4,
        lambda: dist.all_reduce(whole),
        lambda: dist.broadcast(whole, 0),
        lambda: dist.all_gather_single(whole, part),
        lambda: dist.reduce_scatter_single(part, whole),
        dist.barrier,
    )
    assert sent == {
        "all-reduce": (1, 320, 480.0),
        "broadcast": (1, 320, 240.0),
        "all-gather": (1, 320, 240.0),
        "reduce-scatter": (1, 320, 240.0),
    }


def test_functional_collectives_and_groups_count_too():
    def in_pairs():
        pair = dist.new_group([0, 1])
        dist.all_reduce(torch.zeros(10), group=pair)

    part = torch.zeros(5)
    sent = counted(
        4,
        in_pairs,
        lambda: all_reduce(part, "sum", dist.group.WORLD).wait(),
        lambda: all_gather_single(part, 0, dist.group.WORLD).wait(),
    )
    assert sent["all-reduce"] == (2, 60, pytest.approx(40 + 2 * 3 / 4 * 20))
    assert sent["all-gather"] == (1, 80, 60.0)
