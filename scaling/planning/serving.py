"""Where a model is served: what its size costs there in time and memory, and the size allowed."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.hardware.devices import Device, get_device
from scaling.hardware.memory import USABLE
from scaling.planning.search import find_crossing
from scaling.quantities import PARAMETERS, positive_quantity

CACHE_BYTES = 2  # of a number in the key/value cache
DEFAULT_CONTEXT = 2048  # tokens
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@dataclass(frozen=True)
class Serving:
    """Devices that serve one model, and what is asked of them.

    A token at batch 1 reads all weights and one sequence's keys and values, here at the full
    bandwidth of the devices' memories: the seconds are the least there can be.
    """

    device: Device
    n_devices: int = 1  # that share one model
    bits: int = 16  # of a weight
    context: float = DEFAULT_CONTEXT  # tokens of a sequence
    kv_share: float = 1.0  # key/value heads over heads
    sequences: float | None = None  # held at once; None: no bound of memory
    latency: float | None = None  # seconds for a token, at most; None: no bound

    @property
    def usable(self) -> float:
        """Bytes of all devices for weights, keys and values."""
        return USABLE * self.n_devices * self.device.memory_bytes

    def weight_bytes(self, N: Any) -> Any:
        """Bytes of N parameters."""
        return N * self.bits / 8

    def cache_bytes(self, N: Any) -> Any:
        """Bytes of one sequence's keys and values: 2 x 2 bytes x layers x width x context.

        N = 12 layers width^2 and layers = 2 (width / 32)^(2/3), the shapes that plans build.
        """
        width = (N * 32 ** (2 / 3) / 24) ** (3 / 8)
        layers = 2 * (width / 32) ** (2 / 3)
        return 2 * CACHE_BYTES * layers * width * self.kv_share * self.context

    def seconds(self, N: Any) -> Any:
        """Least seconds that a token takes at batch 1: bytes read over bandwidth."""
        bandwidth = self.device.memory_bandwidth
        if bandwidth is None:
            raise ValueError(
                f"device {self.device.name!r} has no memory_bandwidth, which latency needs; name "
                "another with serve_on, or add it to devices"
            )
        read = self.weight_bytes(N) + self.cache_bytes(N)
        return read / (self.n_devices * bandwidth)

    def held(self, N: Any) -> Any:
        """Bytes of the weights and of the keys and values of all sequences."""
        return self.weight_bytes(N) + (self.sequences or 0.0) * self.cache_bytes(N)

    def compare(self, bound: str, N: Any) -> tuple[float, Any]:
        """What a bound allows, and what N parameters take of it: seconds or bytes."""
        if bound == "latency":
            return self.latency or np.inf, self.seconds(N)
        return self.usable, self.held(N)

    def largest(self) -> dict[str, float]:
        """Parameters allowed by each bound that was asked for: latency, memory."""
        bounds = {}
        if self.latency is not None:
            asked = np.log(self.latency)
            bounds["latency"] = float(find_crossing(lambda N: np.log(self.seconds(N)) - asked))
        if self.sequences is not None:
            usable = np.log(self.usable)
            bounds["memory"] = float(find_crossing(lambda N: np.log(self.held(N)) - usable))
        return bounds


def read_seconds(text: Any) -> float:
    """Read '20 ms' or '0.02 s'; ValueError without a unit."""
    found = re.fullmatch(r"\s*([\d.e+-]+)\s*(s|ms|us)\s*(?:/\s*token)?\s*", str(text))
    if found is None:
        raise ValueError(f"latency={text!r} is no time; write '20 ms' or '0.02 s'")
    return positive_quantity(found[1], "latency") * SECONDS[found[2]]


def read_size(text: Any) -> tuple[float, bool]:
    """Read a size to serve, '8B', or a bound, 'at most 8B': parameters, and whether it is fixed."""
    found = re.fullmatch(r"\s*(?:at most|<=)\s*(.+)", str(text))
    size = positive_quantity(found[1] if found else text, "serve_params", PARAMETERS)
    return size, found is None


def read_devices(text: str, devices: Any = None) -> tuple[Device, int]:
    """Read 'H100' or '8 H100': a device and how many."""
    found = re.fullmatch(r"\s*(?:(\d+)\s*(?:[x×*]\s*)?(?=[A-Za-z]))?(.+?)\s*", str(text))
    count = int(found[1]) if found and found[1] else 1
    if found is None or count < 1:
        raise ValueError(f"serve_on={text!r} is no device; write 'H100' or '8 H100'")
    return get_device(found[2], devices), count
