"""How a model is trained: number formats, what is sharded, what is offloaded or computed again."""

from dataclasses import dataclass
from typing import NamedTuple

from scaling.hardware.activations import COUNTINGS, RECOMPUTE


class Precision(NamedTuple):
    """Bytes per parameter, and per activation.

    Attributes
    ----------
    weights, gradients, moments, master : float
        What training keeps; `moments` are Adam's two.
    casts : float
        Copies of the weights in the format of the matrix products, kept between forward and
        backward.
    gathered : float
        Of a layer that ZeRO-3 or FSDP gathers.
    element, stream : float
        Of an activation that a matrix product reads, and of the residual stream.
    """

    weights: float
    gradients: float
    moments: float
    master: float
    casts: float
    gathered: float
    element: float
    stream: float

    @property
    def state(self) -> float:
        """Bytes per parameter between two steps and gradients: what ZeRO shards."""
        return self.weights + self.gradients + self.moments + self.master


PRECISION_BYTES = {
    "fp32": Precision(4, 4, 8, 0, 0, 4, 4, 4),
    "bf16_autocast": Precision(4, 4, 8, 0, 2, 4, 2, 4),  # fp32, cast for matrix products
    "bf16_mixed": Precision(2, 2, 8, 4, 0, 2, 2, 2),  # with an fp32 master copy
    "fp16_mixed": Precision(2, 2, 8, 4, 0, 2, 2, 2),
    "bf16_mixed_fp32_gradients": Precision(2, 4, 8, 4, 0, 2, 2, 2),
}
SHARDED = {  # components that a strategy shards
    "ddp": (),
    "zero1": ("moments", "master"),
    "zero2": ("moments", "master", "gradients"),
    "zero3": ("moments", "master", "gradients", "weights"),
    "fsdp": ("moments", "master", "gradients", "weights"),
}
OFFLOADED = {  # components that live in the memory of the host
    "none": (),
    "optimizer": ("moments", "master"),
    "params": ("moments", "master", "gradients", "weights"),
}


@dataclass(frozen=True)
class Setup:
    """How a model is trained on a number of devices.

    Parameters
    ----------
    precision : key of `PRECISION_BYTES`
    strategy : {"ddp", "zero1", "zero2", "zero3", "fsdp"}
        Rajbhandari et al. 2020, arXiv:1910.02054, and Zhao et al. 2023, arXiv:2304.11277.
    n_devices : int
    sharding_factor : int or None
        Of "fsdp": 1 replicates (DDP), n_devices shards fully, a divisor between is hybrid. None:
        n_devices.
    offload : {"none", "optimizer", "params"}
        What lives in the host's memory: Adam's moments and the master copy; or, as FSDP's CPU
        offload does, sharded weights and gradients too.
    recompute : {"none", "selective", "full"}
    counting : key of `scaling.hardware.activations.COUNTINGS`
        How activations are counted.

    Raises
    ------
    ValueError
        A name that nobody knows, a sharding factor that does not divide the devices or belongs to
        no FSDP, or offloaded weights that are not sharded.
    """

    precision: str = "bf16_mixed"
    strategy: str = "ddp"
    n_devices: int = 1
    sharding_factor: int | None = None
    offload: str = "none"
    recompute: str = "none"
    counting: str = "gpt"

    def __post_init__(self):
        """Refuse what cannot be run; see Raises of the class."""
        known = {
            "precision": PRECISION_BYTES,
            "strategy": SHARDED,
            "offload": OFFLOADED,
            "recompute": RECOMPUTE,
            "counting": COUNTINGS,
        }
        for name, table in known.items():
            if getattr(self, name) not in table:
                raise ValueError(
                    f"{name} {getattr(self, name)!r} is unknown; use one of {[*table]}"
                )
        if self.n_devices < 1:
            raise ValueError(f"n_devices must be at least 1, got {self.n_devices}")
        if self.sharding_factor is not None:
            self._check_factor(self.sharding_factor)
        if self.offload == "params" and "weights" not in SHARDED[self.strategy]:
            raise ValueError(
                f"offload 'params' needs sharded weights; {self.strategy} keeps them whole: "
                "use zero3 or fsdp, or offload 'optimizer'"
            )

    def _check_factor(self, factor: int) -> None:
        if self.strategy != "fsdp":
            raise ValueError(
                f"sharding_factor {factor} belongs to fsdp; {self.strategy} has none: leave it out"
            )
        if factor < 1 or self.n_devices % factor:
            raise ValueError(
                f"sharding_factor {factor} must divide n_devices {self.n_devices}; "
                "1 replicates, n_devices shards fully"
            )

    @property
    def shards(self) -> int:
        """Devices that share one copy of what the strategy shards."""
        if self.strategy == "ddp":
            return 1
        return self.n_devices if self.sharding_factor is None else self.sharding_factor

    @property
    def bytes_per_param(self) -> Precision:
        """The row of `PRECISION_BYTES`."""
        return PRECISION_BYTES[self.precision]
