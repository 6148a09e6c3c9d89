"""A planned model on a device: memory by strategy, what fits, how many devices, what is sent."""

from dataclasses import dataclass, replace

import pandas as pd

from scaling.hardware.activations import Experts, Network
from scaling.hardware.communication import communication
from scaling.hardware.devices import Device
from scaling.hardware.memory import devices_needed, fits, training_memory
from scaling.hardware.setup import Setup
from scaling.hardware.speed import PER_MACHINE
from scaling.shapes.architecture import HEAD, Architecture, count_groups
from scaling.shapes.shape import Shape

DEFAULT_DEVICE, DEFAULT_COUNT = "H100", 64  # where nobody names one
STRATEGIES = {  # name -> changes to a Setup
    "DDP": {"strategy": "ddp"},
    "ZeRO-1": {"strategy": "zero1"},
    "ZeRO-2": {"strategy": "zero2"},
    "ZeRO-3, FSDP": {"strategy": "fsdp"},
    "FSDP, hybrid": {"strategy": "fsdp", "sharding_factor": PER_MACHINE},  # among fast links
    "FSDP, offload": {"strategy": "fsdp", "offload": "params"},
}


@dataclass(frozen=True)
class Placement:
    """How a planned model trains on devices.

    The table has one row per strategy: strategy; state, total and total_recomputed, bytes on a
    device with activations kept and computed again; fits, fits_recomputed; devices_needed, the
    fewest on which it fits computed again, NaN where none do; sent, bytes a step; host, bytes in
    the memory of all hosts together; host_each, for each device; host_sent, bytes a step between a
    device and its host; host_seconds, what that takes where the device's link is known, else NaN.
    """

    device: Device
    n_devices: int
    precision: str  # key of `scaling.hardware.setup.PRECISION_BYTES`
    n_sequences: float  # on each device at once
    table: pd.DataFrame


def network_of(shape: Shape | Architecture) -> Network:
    """The sizes of a shape that memory depends on; of BERT as if it predicted every token."""
    if isinstance(shape, Architecture):
        return _network_of_given(shape)
    window = shape.window
    return Network(
        n_layers=shape.n_layers,
        width=shape.width,
        n_heads=shape.n_heads,
        vocab_size=shape.table_rows,
        seq_len=window.targets if shape.family == "t5" else shape.seq_len,
        kv_heads=shape.kv_heads,
        ffn_width=shape.hidden,
        gated=shape.ffn == "swiglu",
        tied=shape.tied,
        encoder_len=window.inputs if shape.family == "t5" else None,
    )


def _network_of_given(a: Architecture) -> Network:
    """Of a mixture the feed-forward that a token passes; of latent attention expanded heads."""
    passed = a.experts_per_token * a.expert_width + a.shared_width
    groups = count_groups(a).set_index("group")
    of, sparse = groups.total, a.sparse_layers
    attention = int(of["attention"]) // a.n_layers
    dense = attention + int(of.get("feed-forward", 0)) // max(1, a.n_layers - sparse)
    routed = of.reindex(["router", "experts", "shared experts"]).fillna(0)
    layer, experts = dense, None
    if sparse:
        layer = attention + int(routed.sum()) // sparse
        one = int(of["experts"]) // (sparse * a.n_experts)
        experts = Experts(a.n_experts, a.experts_per_token, one, sparse, dense)
    return Network(
        n_layers=a.n_layers,
        width=a.width,
        n_heads=a.n_heads,
        vocab_size=a.vocab_size,
        seq_len=a.seq_len,
        head_width=a.head_width,
        kv_heads=a.kv_heads,
        ffn_width=passed if a.mixture else a.ffn_width,
        gated=a.gated,
        tied=a.tied,
        largest_layer=layer,
        value_width=a.values,
        multiplied=int(groups.multiplied.drop(HEAD).sum()),
        experts=experts,
    )


def place(
    shape: Shape | Architecture,
    params: float,
    device: Device,
    n_devices: int,
    *,
    precision: str = "bf16_mixed",
    n_sequences: float = 1,
) -> Placement:
    """Memory of a shape of so many parameters in all, by strategy; the rest as in `Placement`.

    Hybrid sharding is left out where its groups of 8 do not divide `n_devices`.

    Raises
    ------
    ValueError
        An unknown precision, or a count that is not positive.
    """
    base = Setup(precision=precision, n_devices=n_devices)
    rows = []
    for name, changes in STRATEGIES.items():
        factor = changes.get("sharding_factor")
        if factor is not None and (n_devices % factor or n_devices == factor):
            continue
        setup = replace(base, **changes)
        rows.append({"strategy": name} | _weigh_setup(shape, params, device, setup, n_sequences))
    return Placement(device, n_devices, precision, n_sequences, pd.DataFrame(rows))


def _weigh_setup(
    shape: Shape | Architecture, params: float, device: Device, setup: Setup, n_sequences: float
) -> dict:
    network, again = network_of(shape), replace(setup, recompute="full")
    sent, link = communication(params, setup, network), device.host_bandwidth
    kept = training_memory(params, setup, network, n_sequences)
    least = training_memory(params, again, network, n_sequences)
    needed = devices_needed(device, params, again, network, n_sequences)
    return {
        "state": kept.state,
        "total": kept.total,
        "total_recomputed": least.total,
        "fits": fits(device, kept),
        "fits_recomputed": fits(device, least),
        "devices_needed": float("nan") if needed is None else float(needed),
        "sent": sent.total,
        "host": kept.host * setup.n_devices,
        "host_each": kept.host,
        "host_sent": sent.host,
        "host_seconds": sent.host / link if link else float("nan"),
    }
