"""Seconds of a training step on many devices: compute, collectives, what of them overlaps.

Examples
--------
Machines of 8 A100, `links` of the other examples:

>>> from scaling.hardware.devices import get_device
>>> links = Links.of(get_device("A100"))
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.hardware.communication import Communication
from scaling.hardware.devices import Device
from scaling.hardware.setup import Setup

PER_MACHINE = 8  # devices on fast links


@dataclass(frozen=True)
class Links:
    """How fast one device sends, one way.

    Raises
    ------
    ValueError
        A bandwidth that is not positive, or a latency that is negative.

    Examples
    --------
    >>> print(f"{links.node:.3g} {links.network:.3g} {links.host:.3g}")  # bytes/s
    3e+11 2.5e+10 3.2e+10
    """

    node: float  # bytes/s, to devices of its machine
    network: float  # bytes/s, its share of the machine's way out
    host: float  # bytes/s, to the host's memory
    latency: float = 0.0  # s, of one hop around a ring
    per_machine: int = PER_MACHINE

    def __post_init__(self):
        """Refuse links that carry nothing; see Raises of the class."""
        for name in ("node", "network", "host", "per_machine"):
            if not getattr(self, name) > 0:
                raise ValueError(f"links: {name} must be positive, got {getattr(self, name)}")
        if not self.latency >= 0:
            raise ValueError(f"links: latency must be zero or more, got {self.latency}")

    @classmethod
    def of(cls, device: Device, latency: float = 0.0) -> "Links":
        """Links of a device of the table.

        Raises
        ------
        ValueError
            The table does not know them.

        Examples
        --------
        >>> Links.of(get_device("A100"), latency=5e-6).latency
        5e-06
        """
        speeds = device.node_bandwidth, device.network_bandwidth, device.host_bandwidth
        if None in speeds:
            raise ValueError(
                f"device {device.name!r} has no links; set node_bandwidth, network_bandwidth and "
                "host_bandwidth, bytes/s one way, in devices"
            )
        node, network, host = (speed or 0.0 for speed in speeds)
        return cls(node, network, host, latency)

    def ring(self, n_devices: Any, stride: Any = 1) -> Any:
        """Bytes/s at which every device of a ring sends; of one ring or of an array of them.

        Within a machine, the speed of its links. Across machines all adapters of a machine carry
        the rings that pass it, min(node, m * network) for m members of a ring in each machine:
        neighbours, or every `stride`-th device.

        Examples
        --------
        Within a machine, across two of them, and of one device in each of eight machines:

        >>> rings = links.ring(8), links.ring(16), links.ring(8, stride=8)
        >>> [float(speed / 1e9) for speed in rings]  # GB/s
        [300.0, 200.0, 25.0]
        """
        members = np.maximum(1, self.per_machine // np.asarray(stride))
        out = np.minimum(self.node, members * self.network)
        return np.where(n_devices <= members, self.node, out)[()]

    def exchange(self, n_devices: Any, copies: int = 1) -> Any:
        """Seconds for each byte of which a device sends `copies` to a group, to all alike.

        A byte goes once to each of the M machines that want it, (M-1) * (1 - (1 - 1/M)^copies) by
        the sender's share of the adapters, and there over fast links to all that do; both at once
        (DeepSeek-AI 2024, arXiv:2412.19437, section 3.2.2).

        Examples
        --------
        Milliseconds for 1 MB of tokens, each sent to 8 experts, in one machine and among eight:

        >>> [round(float(1e9 * links.exchange(n, copies=8)), 3) for n in (8, 64)]
        [0.023, 0.184]
        """
        within = np.minimum(n_devices, self.per_machine)
        machines = n_devices / within
        out = (machines - 1) * (1 - (1 - 1 / machines) ** copies)
        return np.maximum(copies * (within - 1) / within / self.node, out / self.network)


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step.

    Examples
    --------
    >>> StepTime(compute=4.5, collectives=1.5, host=0.0, hidden=1.2).total
    4.8
    """

    compute: float
    collectives: float
    host: float  # transfers to and from the host's memory
    hidden: float  # of the last two, behind the compute

    @property
    def total(self) -> float:
        """Seconds from one step to the next."""
        return self.compute + self.collectives + self.host - self.hidden


def step_time(
    flops: float,
    flops_per_s: float,
    sent: Communication,
    setup: Setup,
    links: Links,
    *,
    overlap: float = 1.0,
    calls: float = 0.0,
) -> StepTime:
    """Seconds of a step: compute + sent - overlap * min(compute, sent).

    Parameters
    ----------
    flops : float; of one device and step, without what is computed again
    flops_per_s : float; that a device reaches while it waits for nobody
    sent : Communication
    setup : Setup
        Its groups say which links a ring takes; `recompute` adds a third to the FLOPs.
    links : Links
    overlap : float, in [0, 1]
        Share of the shorter of the two that runs behind the longer.
    calls : float
        Collectives in a step; each takes n - 1 hops of `links.latency` around its n devices.

    Raises
    ------
    ValueError
        FLOPs or a rate that are not positive, an overlap that is no share.

    Examples
    --------
    7.5B parameters on 64 A100, a million tokens a step at half of the peak, sharded:

    >>> from scaling.hardware.communication import communication
    >>> setup = Setup(strategy="zero3", n_devices=64)
    >>> sent, flops = communication(7.5e9, setup), 6 * 7.5e9 * 1e6 / 64
    >>> time = step_time(flops, 0.5 * 312e12, sent, setup, links, overlap=0.5)
    >>> print(f"{time.compute:.2f} s + {time.collectives:.2f} s - {time.hidden:.2f} s")
    4.51 s + 0.22 s - 0.11 s
    """
    for name, value in (("flops", flops), ("flops_per_s", flops_per_s)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap must be a share in [0, 1], got {overlap}")
    shards, replicas = setup.shards, setup.n_devices // setup.shards
    compute = flops * setup.recomputed / flops_per_s
    collectives = calls * (max(shards, replicas) - 1) * links.latency
    collectives += sent.within / links.ring(shards) + sent.between / links.ring(replicas, shards)
    host = sent.host / links.host
    hidden = overlap * min(compute, collectives + host)
    return StepTime(compute, float(collectives), host, float(hidden))
