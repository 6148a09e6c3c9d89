"""Bytes on a device: weights, gradients, optimizer and activations, by precision and strategy.

GB are decimal (1e9 bytes), as datasheets print them.
"""

from bisect import bisect_left
from dataclasses import dataclass, fields, replace

from scaling.hardware.activations import (
    COUNTINGS,
    LOGIT_BYTES,
    Activations,
    Network,
    activation_bytes,
)
from scaling.hardware.devices import Device
from scaling.hardware.setup import OFFLOADED, SHARDED, Setup

USABLE = 0.9  # share of a device's memory; the rest is context, fragments and communication buffers
SEARCH_LIMIT = 2**20
PREFETCHED_LAYERS = 2  # the layer at work and the one that is gathered next


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the peak of a step; the components as in `Precision`.

    Examples
    --------
    >>> memory = training_memory(7e9)  # 16-bit weights, Adam in fp32
    >>> [size / 1e9 for size in (memory.weights, memory.gradients, memory.moments, memory.master)]
    [14.0, 14.0, 56.0, 28.0]
    >>> memory.total / 1e9
    112.0
    """

    weights: float = 0.0
    gradients: float = 0.0
    moments: float = 0.0
    master: float = 0.0
    activations: float = 0.0  # this and the next two as in `Activations`
    logits: float = 0.0
    temporaries: float = 0.0  # autocast's copies included
    gathered: float = 0.0  # whole layers that ZeRO-3 or FSDP assembles for the moment
    buckets: float = 0.0  # copies of the gradients that DDP sums
    host: float = 0.0  # in the host's memory, for each device; not in `total`

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
    params : float; all
    setup : Setup or None
        None: `Setup()`, one device with 16-bit weights and a master copy.
    network : Network or None
        None leaves activations, logits and gathered layers out.
    n_sequences : float; that pass at once on this device

    Raises
    ------
    ValueError
        `params` or `n_sequences` is not positive.

    Notes
    -----
    All gradients are counted beside all activations: so it is where they are summed over several
    passes; `step_peak` counts one pass a step. ZeRO-2 is counted as releasing a gradient when it is
    computed; torch has FSDP without resharding in its place, which gathers all weights.

    Examples
    --------
    Figure 1 of Rajbhandari et al. 2020 has 120, 31.4, 16.6 and 1.9 GB for 7.5B on 64 devices:

    >>> setups = (Setup(strategy=name, n_devices=64) for name in ("ddp", "zero1", "zero2", "zero3"))
    >>> [round(training_memory(7.5e9, setup).total / 1e9, 1) for setup in setups]
    [120.0, 31.4, 16.6, 1.9]
    """
    setup = Setup() if setup is None else setup
    if not params > 0:
        raise ValueError(f"params must be positive, got {params}")
    precision, sharded = setup.bytes_per_param, SHARDED[setup.strategy]
    state = {
        name: params * getattr(precision, name) / (setup.shards if name in sharded else 1)
        for name in ("weights", "gradients", "moments", "master")
    }
    used, gathered, largest = Activations(0.0, 0.0, 0.0), 0.0, 0.0
    if network is not None:
        used = activation_bytes(
            network,
            n_sequences,
            recompute=setup.recompute,
            counting=setup.counting,
            element_bytes=precision.element,
            stream_bytes=precision.stream,
        )
        tables, layer = network.table_params, network.layer_params  # tables for the whole pass
        layers = PREFETCHED_LAYERS * layer if setup.reshard else params
        gathered = min(params, tables + layers)
        largest = min(params, max(tables, layer))  # its gradient is whole until it is scattered
    offloaded, gathers = OFFLOADED[setup.offload], setup.gathers
    return Memory(
        **{name: 0.0 if name in offloaded else size for name, size in state.items()},
        activations=used.kept,
        logits=used.logits,
        temporaries=(gathered if gathers else params) * precision.casts + used.temporaries,
        gathered=gathers * (precision.gathered * gathered + precision.reduced * largest),
        buckets=setup.copies_buckets * precision.gradients * params,
        host=float(sum(state[name] for name in offloaded)),
    )


def step_peak(params: float, setup: Setup, network: Network, n_sequences: float = 1) -> float:
    """Bytes on one device at the peak of a step of one pass, whose gradients are freed after it.

    The largest of the end of the forward pass (all activations and the logits twice), the backward
    pass of the last layer, of the one before it (while its neighbour's gradients are on their way)
    and of the first, and that of the token table. Parameters and errors as in `training_memory`.

    Examples
    --------
    GB of GPT-2 with 8 sequences; beside the gradients of several passes it takes more:

    >>> gpt2 = Network(n_layers=12, width=768, n_heads=12, vocab_size=50_257, seq_len=1024)
    >>> setup = Setup("bf16_autocast")
    >>> one, several = (f(gpt2.params, setup, gpt2, 8) for f in (step_peak, training_memory))
    >>> print(f"{one / 1e9:.1f} {several.total / 1e9:.1f}")
    7.0 8.6
    """
    memory = training_memory(params, setup, network, n_sequences)
    deeper = replace(network, n_layers=network.n_layers + 1)
    layer = training_memory(params, setup, deeper, n_sequences).activations - memory.activations
    p, tables, one = setup.bytes_per_param, network.table_params, network.layer_params
    resident = memory.state + memory.buckets
    if setup.gathers or setup.n_devices == 1:  # elsewhere gradients have their place in buckets
        resident -= memory.gradients
    gathered, rooted, scattered, root = 0.0, 0.0, 0.0, p.reduced * tables  # gradients of the root
    if setup.gathers:
        gathered = memory.gathered - p.reduced * min(params, max(tables, one))
        rooted = p.gathered * (tables + one) if setup.reshard else gathered + p.gathered * one
        scattered = p.reduced * one  # a layer's gradients, and once more on their way
    tokens = n_sequences * max(network.seq_len, network.encoder_len or 0)
    passing = tokens * p.element * (network.width + network.hidden)
    again = memory.temporaries - memory.logits  # a layer computed again, autocast's copies
    copied = COUNTINGS[setup.counting].unfused_norm and p.element < LOGIT_BYTES  # to fp32
    logits = memory.logits * (1 + p.element / LOGIT_BYTES + copied)
    top = gathered + network.n_layers * layer + passing + again
    moments = (
        rooted + memory.activations + logits,
        top + root,
        top - layer + root + scattered,
        memory.gradients + rooted + root + 2 * scattered + layer + passing + again,
        memory.gradients + rooted + 2 * root + 2 * scattered,  # the table's two uses are added up
    )
    between = 0.0  # the decoder's gradients are there, the encoder's activations still are
    if network.encoder_len:
        encoder = replace(network, seq_len=network.encoder_len, encoder_len=None)
        kept = training_memory(params, setup, encoder, n_sequences).activations
        done = memory.gradients * network.n_layers * one / network.params
        between = done + kept + gathered + scattered + passing + again + root
    return resident + max(*moments, between)


def fits(device: Device, memory: Memory, usable: float = USABLE) -> bool:
    """Whether a device holds it, of whose memory a share `usable` is free for tensors.

    Raises
    ------
    ValueError
        `usable` is not in (0, 1].

    Examples
    --------
    Sixteen bytes a parameter, and 72 of the A100's 80 GB are free for them:

    >>> from scaling.hardware.devices import get_device
    >>> [fits(get_device("A100"), training_memory(params)) for params in (4.4e9, 4.6e9)]
    [True, False]
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

    Examples
    --------
    For GPT-3 without its activations, 2.8 TB, and with weights that every device keeps whole:

    >>> from scaling.hardware.devices import get_device
    >>> a100, setups = get_device("A100"), (Setup(strategy="zero3"), Setup(strategy="zero2"))
    >>> [devices_needed(a100, 175e9, setup) for setup in setups]
    [39, None]
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
    needed = bisect_left(range(SEARCH_LIMIT + 1), True, lo=1, key=enough)
    return needed if needed <= SEARCH_LIMIT else None


def sequences_that_fit(
    device: Device,
    params: float,
    setup: Setup,
    network: Network,
    usable: float = USABLE,
) -> int:
    """Most whole sequences that can pass at once on each device; 0 where none can.

    Examples
    --------
    For 8B parameters sharded among 64 devices, without and with recomputation:

    >>> from scaling.hardware.devices import get_device
    >>> sizes = dict(kv_heads=8, ffn_width=14_336, gated=True, tied=False)
    >>> llama = Network(32, 4096, 32, vocab_size=128_256, seq_len=8192, **sizes)
    >>> setups = [Setup(strategy="fsdp", n_devices=64, recompute=r) for r in ("none", "full")]
    >>> [sequences_that_fit(get_device("A100"), llama.params, setup, llama) for setup in setups]
    [1, 5]
    """

    def too_many(n_sequences: int) -> bool:
        memory = training_memory(params, setup, network, n_sequences)
        return not fits(device, memory, usable)

    return bisect_left(range(SEARCH_LIMIT + 1), True, lo=1, key=too_many) - 1
