"""Sizes of models: what determines every tensor, and the ladder from which a grid picks."""

from dataclasses import dataclass

HEAD_WIDTH = 16  # the head width that `shape_for_width` aims at below width 1024, 64 above
WIDTH_STEP = 4  # of the ladder


@dataclass
class ModelConfig:
    """What all shapes of a grid share; the rest follows from a width (see `shape_for_width`)."""

    family: str = "gpt"
    seq_len: int = 128  # context length, tokens
    ffn: str = "gelu"  # gelu, swiglu
    tied: bool = True  # the output head shares the token table


@dataclass(frozen=True)
class Shape:
    """Everything that determines the tensors of one model.

    Parameters
    ----------
    family : {"gpt"}
    vocab_size : int, tokens
    seq_len : int, tokens
        Context length T.
    n_layers, width, n_heads : int
    n_kv_heads : int or None
        Key/value heads (grouped-query attention); None: as many as `n_heads`.
    ffn_width : int or None
        Hidden width f of the feed-forward layer; None: 4 * width, or for "swiglu", which has three
        matrices instead of two, 8/3 * width rounded to a multiple of 8.
    ffn : {"gelu", "swiglu"}
    tied : bool
        The output head shares the token table.

    Raises
    ------
    ValueError
        A size that is not positive, or heads that do not divide.
    """

    vocab_size: int
    seq_len: int
    n_layers: int
    width: int
    n_heads: int
    n_kv_heads: int | None = None
    ffn_width: int | None = None
    ffn: str = "gelu"
    tied: bool = True
    family: str = "gpt"

    def __post_init__(self):
        """Refuse shapes that cannot be built; see Raises of the class."""
        for name in ("vocab_size", "seq_len", "n_layers", "width", "n_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"shape: {name} must be at least 1, got {getattr(self, name)}")
        if self.family != "gpt":
            raise ValueError(f"model.family={self.family!r} is not built yet; choose 'gpt'")
        if self.ffn not in ("gelu", "swiglu"):
            raise ValueError(f"shape: ffn must be 'gelu' or 'swiglu', got {self.ffn!r}")
        if self.width % self.n_heads or self.head_width % 2:
            raise ValueError(
                f"shape: width {self.width} over n_heads {self.n_heads} must give an even integer "
                "head width (rotary positions turn pairs); change one of the two"
            )
        if self.n_heads % self.kv_heads:
            raise ValueError(
                f"shape: n_kv_heads {self.n_kv_heads} must divide n_heads {self.n_heads}"
            )

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.n_heads

    @property
    def kv_heads(self) -> int:
        """Key/value heads, resolved."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def hidden(self) -> int:
        """Feed-forward width, resolved."""
        if self.ffn_width is not None:
            return self.ffn_width
        return 4 * self.width if self.ffn == "gelu" else max(8, round(self.width / 3) * 8)

    @property
    def label(self) -> str:
        """Short name for plots and progress: width x layers."""
        return f"{self.width}x{self.n_layers}"


def layers_for_width(width: int) -> int:
    """Depth that goes with a width: round(2 * (width / 32)**(2/3)), at least 1.

    The two-thirds power runs through the tiny shapes that gave clean IsoFLOP bowls (16/1, 32/2,
    64/3, 128/5) and through the large ones of Hoffmann et al. 2022, table A9 (1024/20, 8192/80).
    """
    return max(1, round(2 * (width / 32) ** (2 / 3)))


def heads_for_width(width: int) -> int:
    """Heads whose width is even and, as a ratio, nearest to 16 (64 from width 1024 up)."""
    target = HEAD_WIDTH if width < 1024 else 4 * HEAD_WIDTH
    heads = [h for h in range(1, width + 1) if width % h == 0 and (width // h) % 2 == 0]
    if not heads:
        raise ValueError(f"width {width} has no even head width; take a multiple of 2")
    return min(heads, key=lambda h: max(width / h / target, target * h / width))


def shape_for_width(width: int, vocab_size: int, config: ModelConfig) -> Shape:
    """Build the shape of the ladder at `width`: its depth and heads follow from the width."""
    return Shape(
        vocab_size=vocab_size,
        seq_len=config.seq_len,
        n_layers=layers_for_width(width),
        width=width,
        n_heads=heads_for_width(width),
        ffn=config.ffn,
        tied=config.tied,
        family=config.family,
    )
