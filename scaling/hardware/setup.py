"""How a model is trained: number formats, what is sharded, what is offloaded or computed again."""

from dataclasses import dataclass
from typing import NamedTuple

from scaling.hardware.activations import COUNTINGS, RECOMPUTE


class Precision(NamedTuple):
    """Bytes per parameter, and per activation.

    Examples
    --------
    Sixteen bytes a parameter, with fp32 gradients eighteen:

    >>> PRECISION_BYTES["bf16_mixed"].state, PRECISION_BYTES["bf16_mixed_fp32_gradients"].state
    (16, 18)
    """

    weights: float
    gradients: float
    moments: float  # Adam's two
    master: float  # the fp32 copy of 16-bit weights
    casts: float  # weights in the format of the matrix products, from forward to backward
    element: float  # of an activation that a matrix product reads
    stream: float  # of the residual stream
    gathered: float  # a weight, when ZeRO-3 or FSDP assembles layers
    reduced: float  # a gradient, when it is summed over devices

    @property
    def state(self) -> float:
        """Bytes per parameter between two steps and gradients: what ZeRO shards."""
        return self.weights + self.gradients + self.moments + self.master


PRECISION_BYTES = {
    "fp32": Precision(4, 4, 8, 0, 0, 4, 4, 4, 4),
    "bf16_autocast": Precision(4, 4, 8, 0, 2, 2, 4, 4, 4),  # fp32, cast for matrix products
    "bf16_mixed": Precision(2, 2, 8, 4, 0, 2, 2, 2, 2),  # with an fp32 master copy
    "fp16_mixed": Precision(2, 2, 8, 4, 0, 2, 2, 2, 2),
    "bf16_mixed_fp32_gradients": Precision(2, 4, 8, 4, 0, 2, 2, 2, 4),
    "bf16_gathered": Precision(4, 4, 8, 0, 0, 2, 2, 2, 4),  # FSDP2's policy: fp32 shards
}
# Components that a strategy shards: Rajbhandari et al. 2020, arXiv:1910.02054, and for FSDP
# Zhao et al. 2023, arXiv:2304.11277.
SHARDED = {
    "ddp": (),
    "zero1": ("moments", "master"),
    "zero2": ("moments", "master", "gradients"),
    "zero3": ("moments", "master", "gradients", "weights"),
    "fsdp": ("moments", "master", "gradients", "weights"),
}
OFFLOADED = {  # components that live in the memory of the host
    "none": (),
    "optimizer": ("moments", "master"),
    "params": ("moments", "master", "gradients", "weights"),  # as FSDP's CPU offload does
}
KNOWN = {  # what a setup may name
    "precision": PRECISION_BYTES,
    "strategy": SHARDED,
    "offload": OFFLOADED,
    "recompute": RECOMPUTE,
    "counting": COUNTINGS,
}


@dataclass(frozen=True)
class Setup:
    """How a model is trained on a number of devices.

    `sharding_factor` belongs to "fsdp": 1 replicates (DDP), n_devices or None shards fully, a
    divisor between is hybrid. Without `reshard` FSDP keeps the layers that the forward pass
    gathered for the backward pass: what torch offers in the place of ZeRO-2.

    Raises
    ------
    ValueError
        A name that nobody knows, a sharding factor that does not divide the devices or belongs to
        no FSDP, or what only sharded weights can do: be offloaded, gathered in another format, or
        kept gathered.

    Examples
    --------
    >>> hybrid = Setup(strategy="fsdp", n_devices=64, sharding_factor=8)
    >>> hybrid.shards, Setup(strategy="ddp", n_devices=64).shards
    (8, 1)
    >>> Setup(strategy="fsdp", n_devices=64, sharding_factor=7)
    Traceback (most recent call last):
        ...
    ValueError: sharding_factor 7 must divide n_devices 64; 1 replicates, ...
    """

    precision: str = "bf16_mixed"
    strategy: str = "ddp"
    n_devices: int = 1
    sharding_factor: int | None = None
    offload: str = "none"
    recompute: str = "none"
    counting: str = "gpt"  # of activations
    reshard: bool = True  # free a gathered layer until the backward pass needs it again
    bucket_view: bool = True  # DDP's gradients lie in its buckets; False: torch's default, copies

    def __post_init__(self):
        """Refuse what cannot be run; see Raises of the class."""
        for name, table in KNOWN.items():
            if (value := getattr(self, name)) not in table:
                raise ValueError(f"{name} {value!r} is unknown; use one of {[*table]}")
        if self.n_devices < 1:
            raise ValueError(f"n_devices must be at least 1, got {self.n_devices}")
        factor = self.sharding_factor
        if factor is not None and self.strategy != "fsdp":
            raise ValueError(
                f"sharding_factor {factor} belongs to fsdp; {self.strategy} has none: leave it out"
            )
        if "weights" not in SHARDED[self.strategy]:
            self._refuse_for_whole_weights()
        if factor is not None and (factor < 1 or self.n_devices % factor):
            raise ValueError(
                f"sharding_factor {factor} must divide n_devices {self.n_devices}; "
                "1 replicates, n_devices shards fully"
            )

    def _refuse_for_whole_weights(self) -> None:
        needs = f"needs sharded weights; {self.strategy} keeps them whole: use zero3 or fsdp"
        if self.offload == "params":
            raise ValueError(f"offload 'params' {needs}, or offload 'optimizer'")
        if self.precision == "bf16_gathered":
            raise ValueError(f"precision 'bf16_gathered' {needs}, or 'bf16_mixed'")
        if not self.reshard:
            raise ValueError(f"reshard False {needs}")

    @property
    def shards(self) -> int:
        """Devices that share one copy of what the strategy shards."""
        if self.strategy == "ddp":
            return 1
        return self.n_devices if self.sharding_factor is None else self.sharding_factor

    @property
    def gathers(self) -> bool:
        """Whether weights lie elsewhere, and layers are assembled for the moment."""
        whole = self.shards == 1 and self.offload != "params"
        return "weights" in SHARDED[self.strategy] and not whole

    @property
    def copies_buckets(self) -> bool:
        """Whether gradients are summed in copies of them."""
        summed = self.strategy in ("ddp", "zero1") and self.n_devices > 1
        return summed and not self.bucket_view

    @property
    def recomputed(self) -> float:
        """FLOPs of a step over those without recomputation: a second forward pass is a third."""
        return 4 / 3 if self.recompute == "full" else 1.0

    @property
    def bytes_per_param(self) -> Precision:
        """The row of `PRECISION_BYTES`."""
        return PRECISION_BYTES[self.precision]
