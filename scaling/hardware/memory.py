"""Bytes on a device: weights, gradients, optimizer and activations, by precision and strategy.

GB are decimal (1e9 bytes), as datasheets print them.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from scaling.hardware.activations import Network, activation_bytes
from scaling.hardware.devices import Device
from scaling.hardware.setup import OFFLOADED, SHARDED, Setup

USABLE = 0.9  # share of a device's memory; the rest is context, fragments and communication buffers
SEARCH_LIMIT = 2**20
PREFETCHED_LAYERS = 2  # the layer at work and the one that is gathered next


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the peak of a step, by component.

    Attributes
    ----------
    weights, gradients, moments, master : float
        Adam's two moments; the fp32 copy of 16-bit weights.
    activations, logits, temporaries : float
        See `scaling.hardware.activations.Activations`; temporaries contain autocast's copies.
    gathered : float
        Whole layers that ZeRO-3 or FSDP assembles for the moment.
    host : float
        What lies in the host's memory, for each device; not in `total`.
    """

    weights: float = 0.0
    gradients: float = 0.0
    moments: float = 0.0
    master: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    temporaries: float = 0.0
    gathered: float = 0.0
    host: float = 0.0

    @property
    def total(self) -> float:
        """Bytes on the device."""
        return sum(getattr(self, field.name) for field in fields(self) if field.name != "host")

    @property
    def state(self) -> float:
        """Bytes of weights, gradients, moments and master copy on the device."""
        return self.weights + self.gradients + self.moments + self.master


def training_memory(
    params: float,
    setup: Setup | None = None,
    network: Network | None = None,
    n_sequences: float = 1,
) -> Memory:
    """Bytes on one device while it trains with Adam.

    Parameters
    ----------
    params : float
        All parameters.
    setup : Setup or None
        None: `Setup()`, one device with 16-bit weights and a master copy.
    network : Network or None
        None leaves activations, logits and gathered layers out.
    n_sequences : float
        Sequences that pass at once on this device.

    Raises
    ------
    ValueError
        `params` or `n_sequences` is not positive.

    Notes
    -----
    Buckets are left out: ZeRO-2 is counted as releasing a gradient when it is computed, DDP as
    reducing gradients in place (torch's default keeps one more copy; `gradient_as_bucket_view`
    avoids it).
    """
    setup = Setup() if setup is None else setup
    if not params > 0:
        raise ValueError(f"params must be positive, got {params}")
    precision, sharded = setup.bytes_per_param, SHARDED[setup.strategy]
    state = {
        name: params * getattr(precision, name) / (setup.shards if name in sharded else 1)
        for name in ("weights", "gradients", "moments", "master")
    }
    offloaded = OFFLOADED[setup.offload]
    memory = Memory(
        **{name: 0.0 if name in offloaded else size for name, size in state.items()},
        host=float(sum(state[name] for name in offloaded)),
        temporaries=_count_cast_params(params, setup, network) * precision.casts,
    )
    if network is None:
        return memory
    used = activation_bytes(
        network,
        n_sequences,
        recompute=setup.recompute,
        counting=setup.counting,
        element_bytes=precision.element,
        stream_bytes=precision.stream,
    )
    return replace(
        memory,
        activations=used.kept,
        logits=used.logits,
        temporaries=memory.temporaries + used.temporaries,
        gathered=_count_gathered(params, setup, network),
    )


def _gathers(setup: Setup) -> bool:
    whole = setup.shards == 1 and setup.offload != "params"
    return "weights" in SHARDED[setup.strategy] and not whole


def _count_cast_params(params: float, setup: Setup, network: Network | None) -> float:
    """Parameters whose 16-bit copy exists at once: all, or those of gathered layers."""
    if not _gathers(setup):
        return params
    return 0.0 if network is None else _count_gathered_params(params, network)


def _count_gathered_params(params: float, network: Network) -> float:
    return min(params, network.table_params + PREFETCHED_LAYERS * network.layer_params)


def _count_gathered(params: float, setup: Setup, network: Network) -> float:
    """Tables for the whole pass, two layers, and one whole gradient before it is scattered."""
    if not _gathers(setup):
        return 0.0
    precision = setup.bytes_per_param
    largest = min(params, max(network.table_params, network.layer_params))
    gradient = precision.gradients * largest
    return precision.gathered * _count_gathered_params(params, network) + gradient


def fits(device: Device, memory: Memory, usable: float = USABLE) -> bool:
    """Whether a device holds it, of whose memory a share `usable` is free for tensors.

    Raises
    ------
    ValueError
        `usable` is not in (0, 1].
    """
    if not 0 < usable <= 1:
        raise ValueError(f"usable must be a share in (0, 1], got {usable}")
    return memory.total <= usable * device.memory_bytes


def devices_needed(
    device: Device,
    params: float,
    setup: Setup | None = None,
    network: Network | None = None,
    n_sequences: float = 1,
    usable: float = USABLE,
) -> int | None:
    """Fewest devices on which a training fits, with `n_sequences` on each.

    Returns
    -------
    int, or None where no number of devices up to 2^20 is enough: what the strategy keeps whole,
        with activations and gathered layers, is too much for one device. Then shard more,
        recompute, offload or take fewer sequences.
    """
    setup = Setup() if setup is None else setup

    def enough(n_devices: int) -> bool:
        wanted = replace(setup, n_devices=n_devices)
        return fits(device, training_memory(params, wanted, network, n_sequences), usable)

    if setup.strategy == "ddp" or setup.sharding_factor is not None:
        least = setup.sharding_factor or 1
        return least if enough(least) else None
    if enough(1):  # where nothing is gathered; from two on more devices never need more memory
        return 1
    return _find_smallest(enough, SEARCH_LIMIT)


def sequences_that_fit(
    device: Device,
    params: float,
    setup: Setup,
    network: Network,
    usable: float = USABLE,
) -> int:
    """Most whole sequences that can pass at once on each device; 0 where none can."""

    def too_many(n_sequences: int) -> bool:
        memory = training_memory(params, setup, network, n_sequences)
        return not fits(device, memory, usable)

    first = _find_smallest(too_many, SEARCH_LIMIT)
    return SEARCH_LIMIT if first is None else first - 1


def _find_smallest(holds: Callable[[int], bool], most: int) -> int | None:
    """Smallest n in 1 .. most for which a property holds that, once true, stays true."""
    if not holds(most):
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
