import pytest

from scaling.hardware.communication import Communication, communication
from scaling.hardware.devices import DEVICES, get_device
from scaling.hardware.setup import Setup
from scaling.hardware.speed import Links, step_time

LINKS = Links(node=300.0, network=25.0, host=32.0)
SENT = Communication(600.0, 0.0, 0.0, within=600.0, between=0.0, host=64.0)


def test_a_ring_is_as_fast_as_its_way_out():
    """Eight adapters carry one ring of all, or one each of eight rings of every eighth device."""
    assert LINKS.ring(8) == 300
    assert LINKS.ring(16) == 200
    assert LINKS.ring(2, stride=8) == 25
    assert LINKS.ring(4, stride=2) == 300
    assert LINKS.ring(8, stride=2) == 100


def test_a_step_is_compute_and_what_does_not_hide_behind_it():
    setup = Setup(strategy="fsdp", n_devices=8)
    step = step_time(100.0, 10.0, SENT, setup, LINKS, overlap=0.0)
    assert (step.compute, step.collectives, step.host) == (10.0, 2.0, 2.0)
    assert step.total == 14
    assert step_time(100.0, 10.0, SENT, setup, LINKS, overlap=1.0).total == 10
    assert step_time(10.0, 10.0, SENT, setup, LINKS, overlap=1.0).total == 4
    again = Setup(strategy="fsdp", n_devices=8, recompute="full")
    assert step_time(90.0, 10.0, SENT, again, LINKS).compute == pytest.approx(12.0)


def test_every_collective_takes_a_ring_of_hops():
    slow = Links(300.0, 25.0, 32.0, latency=0.5)
    setup = Setup(strategy="fsdp", n_devices=8)
    step = step_time(100.0, 10.0, SENT, setup, slow, calls=3)
    assert step.collectives == 2 + 3 * 7 * 0.5


def test_hybrid_sharding_keeps_off_the_network():
    full = Setup(strategy="fsdp", n_devices=64)
    hybrid = Setup(strategy="fsdp", n_devices=64, sharding_factor=8)
    links = Links.of(get_device("A100"))
    seconds = [
        step_time(1e15, 1e14, communication(11.3e9, setup), setup, links).collectives
        for setup in (full, hybrid)
    ]
    assert seconds[0] == pytest.approx(3 * 22.6e9 * 63 / 64 / 200e9)
    within, between = 3 * 22.6e9 * 7 / 8 / 300e9, 2 * 22.6e9 / 8 * 7 / 8 / 25e9
    assert seconds[1] == pytest.approx(within + between)


def test_links_of_the_table_are_half_of_what_is_printed_both_ways():
    printed = {"V100": 300, "A100": 600, "H100": 900, "H200": 900, "B200": 1800}  # NVLink, GB/s
    printed |= {"H800": 400, "H20": 900, "GB200": 1800}
    for name, both in printed.items():
        assert DEVICES[name].node_bandwidth == both / 2 * 1e9
    assert DEVICES["A100"].network_bandwidth == 200e9 / 8  # a 200 Gb/s adapter for each
    assert DEVICES["H100"].host_bandwidth == 64e9  # PCIe 5.0 x16: 128 GB/s both ways
    known = [d for d in DEVICES.values() if d.node_bandwidth]
    assert len(known) == 15 and all(d.links_source for d in known)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="device 'TPUv4' has no links; set node_bandwidth"):
        Links.of(get_device("TPUv4"))
    with pytest.raises(ValueError, match="links: network must be positive, got 0"):
        Links(1.0, 0, 1.0)
    with pytest.raises(ValueError, match="links: latency must be zero or more, got -1"):
        Links(1.0, 1.0, 1.0, latency=-1)
    with pytest.raises(ValueError, match=r"overlap must be a share in \[0, 1\], got 2"):
        step_time(1.0, 1.0, SENT, Setup(), LINKS, overlap=2)
    with pytest.raises(ValueError, match="flops_per_s must be positive, got 0"):
        step_time(1.0, 0, SENT, Setup(), LINKS)
