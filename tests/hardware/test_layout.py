import pytest

from scaling.hardware.layout import layout_table
from scaling.hardware.setup import Setup

SETUPS = {
    "DDP": Setup(n_devices=4),
    "ZeRO-1": Setup(strategy="zero1", n_devices=4),
    "ZeRO-2": Setup(strategy="zero2", n_devices=4),
    "FSDP": Setup(strategy="fsdp", n_devices=4),
    "hybrid": Setup(strategy="fsdp", n_devices=4, sharding_factor=2),
}
HELD = {  # shards of four on a device: parameters, gradients, optimizer states
    "DDP": {"before": (4, 0, 4), "during": (4, 4, 4), "after": (4, 4, 4)},
    "ZeRO-1": {"before": (4, 0, 1), "during": (4, 4, 1), "after": (4, 4, 1)},
    "ZeRO-2": {"before": (4, 0, 1), "during": (4, 4, 1), "after": (4, 1, 1)},
    "FSDP": {"before": (1, 0, 1), "during": (4, 4, 1), "after": (1, 1, 1)},
    "hybrid": {"before": (2, 0, 2), "during": (4, 4, 2), "after": (2, 2, 2)},
}


@pytest.mark.parametrize("name", SETUPS)
def test_stages_shard_what_the_papers_say(name):
    table = layout_table({name: SETUPS[name]})
    table["n"] = table.held != ""
    for (moment, _), rows in table.groupby(["moment", "device"]):
        counts = rows.groupby("part", sort=False).n.sum()
        assert tuple(counts) == HELD[name][moment]


@pytest.mark.parametrize("name", SETUPS)
def test_every_shard_lies_somewhere(name):
    table = layout_table({name: SETUPS[name]})
    owned = table[(table.moment == "after") & (table.held == "summed")]
    assert (owned.groupby("part").shard.nunique() == 4).all()
    during = table[(table.moment == "during") & (table.part == "gradients")]
    assert set(during.held) == {"own"}  # of a device's part of the batch
