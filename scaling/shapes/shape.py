"""Sizes of models: what determines every tensor, and the ladder from which a grid picks."""

from dataclasses import dataclass
from functools import cache

FAMILIES = ("gpt", "bert", "t5")
CORRUPTED = 0.15  # share of a window's text that masking and span corruption hide
MEAN_SPAN = 3  # tokens in a hidden span, on average
HEAD_WIDTH = 16  # the head width that `shape_for_width` aims at below width 1024, 64 above
WIDTH_STEP = 4  # of the ladder


@dataclass
class ModelConfig:
    """What all shapes of a grid share; the rest follows from a width (see `shape_for_width`).

    Examples
    --------
    Three matrices of SwiGLU cost what two of GELU do, nearly:

    >>> shapes = [shape_for_width(64, 1024, ModelConfig(ffn=ffn)) for ffn in ("swiglu", "gelu")]
    >>> 3 * shapes[0].hidden, 2 * shapes[1].hidden
    (504, 512)
    """

    family: str = "gpt"  # gpt, bert, t5
    objective: str | None = None  # clm; mlm, mlm_mask; span; None: the family's first
    seq_len: int = 128  # context length, tokens; of t5 the encoder's
    ffn: str = "gelu"  # gelu, swiglu
    tied: bool = True  # the output head shares the token table


@dataclass(frozen=True)
class Window:
    """Lengths of one training window, in tokens: fixed by the family and the context length.

    `text` is what D counts, for every family: tokens of the corpus that the window uses up. So
    equal D is equal text, and "no token seen twice" means the same for all; the positions that a
    model reads (`inputs`, `targets`) are recorded beside it.

    | family | objective       | text | inputs | targets        | added_ids      |
    | gpt    | causal LM       | T    | T      | T              | 0              |
    | bert   | masked LM       | T    | T      | round(.15 * T) | 1, the mask    |
    | t5     | span corruption | n    | Te = T | Td             | its sentinels  |

    Examples
    --------
    BERT predicts 77 of 512 tokens; T5 reads 568 tokens of text as an input of 512:

    >>> Shape(30_522, 512, n_layers=12, width=768, n_heads=12, family="bert").window
    Window(text=512, inputs=512, targets=77, added_ids=1)
    >>> Shape(32_000, 512, n_layers=12, width=768, n_heads=12, family="t5").window.text
    568
    """

    text: int  # tokens of the corpus
    inputs: int  # positions of the encoder, or of the only stack
    targets: int  # predicted tokens, rows of the head; of t5 all positions of the decoder
    added_ids: int  # from vocab_size on, which no tokenizer gives


@dataclass(frozen=True)
class Shape:
    """Everything that determines the tensors of one model.

    Width, heads, feed-forward and depth mean the same for every family, so that one width is one
    entry of the ladder. A t5 has `n_layers` in the encoder and as many in the decoder, as Raffel et
    al. 2020 (arXiv:1910.10683), section 3.2.2, name their sizes: such a model costs about what a
    decoder of n_layers costs on input and target in a row, and has about twice its parameters.

    Raises
    ------
    ValueError
        A size that is not positive, or heads that do not divide.

    Examples
    --------
    >>> llama = Shape(32_000, 4096, n_layers=32, width=4096, n_heads=32, ffn="swiglu", tied=False)
    >>> llama.head_width, llama.hidden, llama.label
    (128, 10920, '4096x32')
    """

    vocab_size: int  # ids of the tokenizer; the table has `table_rows`
    seq_len: int  # context length T, tokens; of t5 the length Te of the encoder's input
    n_layers: int
    width: int
    n_heads: int
    n_kv_heads: int | None = None  # grouped-query attention; None: as many as `n_heads`
    ffn_width: int | None = (
        None  # None: 4 * width; swiglu, of three matrices: 8/3 in multiples of 8
    )
    ffn: str = "gelu"  # gelu, swiglu
    tied: bool = True  # the output head shares the token table
    family: str = "gpt"  # gpt, bert, t5

    def __post_init__(self):
        """Refuse shapes that cannot be built; see Raises of the class."""
        for name in ("vocab_size", "seq_len", "n_layers", "width", "n_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"shape: {name} must be at least 1, got {getattr(self, name)}")
        if self.family not in FAMILIES:
            raise ValueError(
                f"model.family={self.family!r} is not built yet; choose one of {FAMILIES}"
            )
        if self.family == "t5" and self.seq_len < 3:
            raise ValueError(
                f"shape: seq_len {self.seq_len} is too short for family 't5', whose input is at "
                "least a token, a sentinel and the end mark; take 3 or more"
            )
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
    def window(self) -> Window:
        """Lengths of a training window; its `text` is what D counts."""
        if self.family == "gpt":
            return Window(self.seq_len, self.seq_len, self.seq_len, 0)
        if self.family == "bert":
            return Window(self.seq_len, self.seq_len, max(1, round(CORRUPTED * self.seq_len)), 1)
        n_text = span_text(self.seq_len)
        n_hidden, n_spans = span_counts(n_text)
        return Window(n_text, self.seq_len, n_hidden + n_spans + 1, n_spans + 1)

    @property
    def table_rows(self) -> int:
        """Rows of the token table and logits of the head: the tokenizer's ids and the added."""
        return self.vocab_size + self.window.added_ids

    @property
    def label(self) -> str:
        """Short name for plots and progress: width x layers."""
        return f"{self.width}x{self.n_layers}"


def span_counts(n_text: int) -> tuple[int, int]:
    """Hidden tokens, round(.15 * n), and the spans that they form, round(hidden / 3).

    Raffel et al. 2020, section 3.3.4 and their released code, which keeps both at least 1.

    Examples
    --------
    >>> span_counts(568)  # of an input of 512 tokens
    (85, 28)
    """
    n_hidden = max(1, round(CORRUPTED * n_text))
    return n_hidden, max(1, round(n_hidden / MEAN_SPAN))


@cache
def span_text(n_inputs: int) -> int:
    """Longest text n whose corrupted form has `n_inputs` tokens: shown, sentinels, an end mark.

    n - hidden + spans + 1 = n_inputs.

    Examples
    --------
    >>> span_text(512), span_text(128)
    (568, 141)
    """

    def shortened(n_text: int) -> int:
        n_hidden, n_spans = span_counts(n_text)
        return n_text - n_hidden + n_spans + 1

    n_text = n_inputs - 1  # corruption lengthens a text by one token at most
    while shortened(n_text + 1) <= n_inputs:
        n_text += 1
    return n_text


def layers_for_width(width: int) -> int:
    """Depth that goes with a width: round(2 * (width / 32)**(2/3)), at least 1.

    The two-thirds power runs through the tiny shapes that gave clean IsoFLOP bowls (16/1, 32/2,
    64/3, 128/5) and through the large ones of Hoffmann et al. 2022, table A9 (1024/20, 8192/80).

    Examples
    --------
    >>> [layers_for_width(width) for width in (16, 128, 1024, 8192)]
    [1, 5, 20, 81]
    """
    return max(1, round(2 * (width / 32) ** (2 / 3)))


def heads_for_width(width: int) -> int:
    """Heads of even width, that as a ratio is nearest to 16 (64 from width 1024 up).

    Raises
    ------
    ValueError
        An odd width.

    Examples
    --------
    >>> heads_for_width(128), heads_for_width(1024)
    (8, 16)
    """
    target = HEAD_WIDTH if width < 1024 else 4 * HEAD_WIDTH
    heads = [h for h in range(1, width + 1) if width % h == 0 and (width // h) % 2 == 0]
    if not heads:
        raise ValueError(f"width {width} has no even head width; take a multiple of 2")
    return min(heads, key=lambda h: max(width / h / target, target * h / width))


def shape_for_width(width: int, vocab_size: int, config: ModelConfig) -> Shape:
    """Build the shape of the ladder at `width`: its depth and heads follow from the width.

    Examples
    --------
    >>> shape = shape_for_width(128, vocab_size=1024, config=ModelConfig())
    >>> shape.label, shape.n_heads, shape.hidden
    ('128x5', 8, 512)
    """
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
