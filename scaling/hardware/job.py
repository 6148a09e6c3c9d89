"""One step of training on devices of one kind, and the ways to split it over them.

Examples
--------
For the other examples:

>>> from scaling.hardware.devices import get_device
>>> gpt3 = Network(n_layers=96, width=12_288, n_heads=96, vocab_size=51_200, seq_len=2048)
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from scaling.hardware.activations import COUNTINGS, Network
from scaling.hardware.devices import Device
from scaling.hardware.setup import PRECISION_BYTES, Precision
from scaling.hardware.speed import Links

BACKWARD = 2  # forward passes that a backward pass costs


class Split(NamedTuple):
    """How devices share a training, one number or an array for each way.

    Examples
    --------
    Pipelines of 8 stages on machines of 8 devices, one sequence at a time:

    >>> split = Split(1, tensor=8, pipeline=8, context=1, zero=0, shards=1, micro_batch=1,
    ...               interleave=1, recompute="full")
    >>> split.data * split.tensor * split.pipeline * split.context  # devices
    64
    """

    data: Any  # times that the batch is divided
    tensor: Any  # matrices
    pipeline: Any  # layers
    context: Any  # sequences
    zero: Any  # stage of ZeRO, 0 to 3
    shards: Any  # devices that ZeRO shards among: data * context, or fewer (hybrid)
    micro_batch: Any  # sequences that pass at once
    interleave: Any  # virtual stages of the pipeline on a device
    recompute: Any  # none, selective, full
    expert: Any = 1  # experts; 1: each is divided like any matrix

    @classmethod
    def of(cls, table: pd.DataFrame) -> "Split":
        """All splits of a table.

        Examples
        --------
        >>> table = pd.DataFrame([split._asdict(), split._replace(data=2)._asdict()])
        >>> Split.of(table).data.tolist()
        [1, 2]
        """
        return cls(*(table[name].to_numpy() for name in cls._fields))


@dataclass(frozen=True)
class Job:
    """One step of training: a batch of sequences through a network on devices of one kind.

    Raises
    ------
    ValueError
        An unknown precision or counting, a batch below one sequence, a network with an encoder, or
        a device whose memory bandwidth or links nobody knows.

    Examples
    --------
    >>> job = Job(gpt3, get_device("A100"), n_devices=64, sequences=64)
    >>> print(f"{job.flops:.3g} FLOPs a step, {job.flops / 64 / job.peak_flops:.1f} s at the peak")
    1.41e+17 FLOPs a step, 7.1 s at the peak
    """

    network: Network
    device: Device
    n_devices: int
    sequences: int  # in the global batch
    precision: str = "bf16_mixed"
    counting: str = "gpt"  # of activations, see `COUNTINGS`
    sequence_parallel: bool = True  # tensor parallelism divides norms and dropout too
    peak: str | None = None  # number format of the peak; None: the device's for training

    def __post_init__(self):
        """Refuse what cannot be weighed; see Raises of the class."""
        for name, table in (("precision", PRECISION_BYTES), ("counting", COUNTINGS)):
            if (value := getattr(self, name)) not in table:
                raise ValueError(f"{name} {value!r} is unknown; use one of {[*table]}")
        for name in ("n_devices", "sequences"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.network.encoder_len:
            raise ValueError("a network with an encoder cannot be split here; take a decoder")
        if self.device.memory_bandwidth is None:
            raise ValueError(
                f"device {self.device.name!r} has no memory_bandwidth; set it in devices, bytes/s"
            )
        _ = self.links

    @cached_property
    def links(self) -> Links:
        """Of the device; the network is missed beyond one machine, nothing by a device alone."""
        node, network = self.device.node_bandwidth, self.device.network_bandwidth
        if self.n_devices <= Links.per_machine:
            network = network or node
        if self.n_devices > 1 and (node is None or network is None):
            raise ValueError(
                f"device {self.device.name!r} has no links for {self.n_devices} of them; set "
                "node_bandwidth and network_bandwidth, bytes/s one way, in devices"
            )
        return Links(node or 1.0, network or 1.0, self.device.host_bandwidth or 1.0)

    @property
    def bytes_of(self) -> Precision:
        """The row of `PRECISION_BYTES`."""
        return PRECISION_BYTES[self.precision]

    @property
    def peak_flops(self) -> float:
        """FLOP/s that a device has at most."""
        return self.device.training_flops(self.peak)

    @property
    def attention_flops(self) -> float:
        """Of a forward pass over one sequence: 2*L*T^2*(a + a_v), the full square.

        Flash attention skips half of a causal square and reaches about half of the rate.
        """
        n = self.network
        values = n.n_heads * n.value_width if n.value_width else n.attention
        return 2.0 * n.n_layers * n.seq_len**2 * (n.attention + values)

    @property
    def layer_flops(self) -> float:
        """Of a forward pass of all layers over one sequence: 2*T*L*P and the attention.

        P is what a token passes of a layer: of a mixture not all experts.
        """
        n = self.network
        multiplied = n.n_layers * n.layer_params if n.multiplied is None else n.multiplied
        return 2.0 * n.seq_len * multiplied + self.attention_flops

    @property
    def forward_flops(self) -> float:
        """Of a forward pass over one sequence, as `scaling.shapes.flops` counts them."""
        n = self.network
        return self.layer_flops + 2.0 * n.seq_len * n.vocab_size * n.width

    @property
    def flops(self) -> float:
        """Of a step over the batch: what MFU counts, nothing computed again."""
        return (1 + BACKWARD) * self.forward_flops * self.sequences
