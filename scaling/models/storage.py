"""How weights are stored: number format, what shares a scale, which parts of a model; no torch."""

from dataclasses import dataclass

INTEGERS = {f"int{bits}": bits for bits in (8, 6, 4, 3, 2)}
FLOATS = {"fp16": 16, "bf16": 16, "fp8_e4m3": 8, "fp8_e5m2": 8}
FORMATS = INTEGERS | FLOATS  # name -> bits of a stored weight
SHARES = ("tensor", "channel", "group")
PARTS = ("blocks", "all")
GROUP = 32  # weights of a row that share a scale, where groups do


@dataclass(frozen=True)
class Storage:
    """What a model's matrices are stored as.

    Attributes
    ----------
    format : str
        A key of `FORMATS`.
    per : {"tensor", "channel", "group"}
        What shares a scale: a matrix, one row of it, or `group` neighbours in a row. fp16 and bf16
        have none.
    group : int
    activations : int or None
        Bits to which the inputs of the products are rounded too, each with one scale.
    parts : {"blocks", "all"}
        The matrices of the blocks, or the token table and the head as well. Gains of norms, below a
        hundredth of the parameters, are left in fp32.

    Raises
    ------
    ValueError
        A value that is not known.
    """

    format: str
    per: str = "channel"
    group: int = GROUP
    parts: str = "blocks"
    activations: int | None = None

    def __post_init__(self):
        if self.format not in FORMATS:
            raise ValueError(
                f"format {self.format!r} is unknown: no integer has fewer than 2 bits, and only "
                f"these have a quantiser here: {', '.join(FORMATS)}"
            )
        for name, value, known in (("per", self.per, SHARES), ("parts", self.parts, PARTS)):
            if value not in known:
                raise ValueError(f"{name}={value!r}: choose one of {known}")
        if self.activations is not None and self.activations not in INTEGERS.values():
            raise ValueError(
                f"activations={self.activations}: they are rounded to {[*INTEGERS.values()]} bits"
            )
        if self.group < 2:
            raise ValueError(f"group={self.group}: at least 2 weights share a scale")

    @property
    def bits(self) -> int:
        """Bits of a stored weight, its share of a scale left out."""
        return FORMATS[self.format]

    @property
    def is_integer(self) -> bool:
        """Whether weights are stored as integers, which are packed."""
        return self.format in INTEGERS

    @property
    def has_scales(self) -> bool:
        """Whether the range of the format has to be brought to that of the weights."""
        return self.bits <= 8

    @property
    def levels(self) -> tuple[int, int, float]:
        """Lowest and highest code of an integer format, and what is added to it: (c + offset) s.

        Two bits have the levels -1.5, -.5, .5 and 1.5, without a zero: Liu et al. 2025 (ParetoQ,
        arXiv:2502.02631), section 3, find them better than -1, 0 and 1.
        """
        half = 2 ** (self.bits - 1)
        return -half, half - 1, 0.5 if self.bits == 2 else 0.0

    @property
    def label(self) -> str:
        """In words: "int4, one scale a channel, blocks"."""
        shared = f"{self.group} weights" if self.per == "group" else f"{self.per}"
        scales = f"one scale per {shared}, " if self.has_scales else ""
        inputs = f", activations in int{self.activations}" if self.activations else ""
        parts = "blocks only" if self.parts == "blocks" else "table and head too"
        return f"{self.format}, {scales}{parts}{inputs}"
