"""Which shards of a layer lie on which device, before, during and after its backward pass."""

import pandas as pd

from scaling.hardware.setup import SHARDED, Setup

MOMENTS = ("before", "during", "after")
PARTS = {"parameters": "weights", "gradients": "gradients", "optimizer states": "moments"}


def layout_table(setups: dict[str, Setup]) -> pd.DataFrame:
    """Shards of one layer by strategy, moment and device, all with as many shards as devices.

    A gradient is `own` while it is of the device's own part of the batch, and `summed` once it is
    of the whole. Before the layer there is none yet.

    Returns
    -------
    DataFrame with columns strategy, moment, device, part, shard, held ("", "own" or "summed"; of
        parameters and optimizer states "summed" where they lie)

    Examples
    --------
    Shards of gradients that one of four devices holds after the backward pass:

    >>> setups = {name: Setup(strategy=name, n_devices=4) for name in ("ddp", "zero1", "zero2")}
    >>> table = layout_table(setups).query("moment == 'after' and device == 0 and held != ''")
    >>> table[table.part == "gradients"].groupby("strategy").shard.count().to_dict()
    {'ddp': 4, 'zero1': 4, 'zero2': 1}
    """
    rows = []
    for name, setup in setups.items():
        for moment in MOMENTS:
            for device in range(setup.n_devices):
                for part, component in PARTS.items():
                    for shard in range(setup.n_devices):
                        held = _held(setup, moment, device, component, shard)
                        rows.append((name, moment, device, part, shard, held))
    return pd.DataFrame(rows, columns=["strategy", "moment", "device", "part", "shard", "held"])


def _held(setup: Setup, moment: str, device: int, component: str, shard: int) -> str:
    """How a device holds a shard of a component."""
    per_device = setup.n_devices // setup.shards  # neighbouring shards that a device owns
    owned = shard // per_device == device % setup.shards
    kept = "summed" if owned or component not in SHARDED[setup.strategy] else ""
    if component == "gradients":
        return {"before": "", "during": "own", "after": kept}[moment]
    if component == "weights" and setup.gathers and moment == "during":
        return "summed"
    return kept
