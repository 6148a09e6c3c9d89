"""What a forward pass keeps for the backward pass, by layer and in the head.

Examples
--------
GPT-3 175B, `gpt3` of the other examples:

>>> sizes = dict(n_layers=96, width=12_288, n_heads=96, vocab_size=51_200, seq_len=2048)
>>> gpt3 = Network(**sizes)
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

LOGIT_BYTES = 4  # the loss is computed in fp32 in every precision
STATISTIC_BYTES = 4  # of norms and of flash attention, fp32 too
TOKEN_BYTES = 8  # int64
RECOMPUTE = ("none", "selective", "full")


@dataclass(frozen=True)
class Experts:
    """What makes a network a mixture of experts.

    Examples
    --------
    Mixtral 8x7B, of whose 46.7B parameters 45.1B are experts:

    >>> sizes = dict(number=8, per_token=2, params=3 * 4096 * 14_336)
    >>> experts = Experts(**sizes, layers=32, dense_layer=218_103_808)
    >>> print(f"{experts.layers * experts.number * experts.params:.3g}")
    4.51e+10
    """

    number: int  # in a layer
    per_token: int
    params: int  # of one
    layers: int  # that have them
    dense_layer: int  # parameters of a layer without


@dataclass(frozen=True)
class Network:
    """The sizes of a transformer that memory depends on.

    A decoder alone, or with an encoder of as many layers, to which each of its layers attends.

    Raises
    ------
    ValueError
        A size that is not positive.

    Examples
    --------
    >>> f"{gpt3.params:,}", f"{gpt3.layer_params / gpt3.params:.2%} a layer"
    ('174,575,321,088', '1.04% a layer')
    """

    n_layers: int
    width: int
    n_heads: int
    vocab_size: int
    seq_len: int  # tokens
    head_width: int | None = None  # None: width / n_heads
    kv_heads: int | None = None  # None: n_heads
    ffn_width: int | None = None  # None: 4 * width
    gated: bool = False  # three feed-forward matrices (SwiGLU) instead of two
    tied: bool = True  # the head shares the token table
    encoder_len: int | None = None  # tokens that an encoder reads; None: there is none
    largest_layer: int | None = None  # parameters of a layer beyond these sizes: experts, biases
    value_width: int | None = None  # of a head; None: its width
    multiplied: int | None = None  # parameters of all layers in a token's products; None: all
    experts: Experts | None = None

    def __post_init__(self):
        """Refuse sizes that cannot be; see Raises of the class."""
        for name in ("n_layers", "width", "n_heads", "vocab_size", "seq_len"):
            if getattr(self, name) < 1:
                raise ValueError(f"network: {name} must be at least 1, got {getattr(self, name)}")
        for name in ("head_width", "kv_heads", "ffn_width", "encoder_len", "largest_layer"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"network: {name} must be None or at least 1, got {value}")

    @property
    def attention(self) -> int:
        """Width of all heads together."""
        return self.n_heads * self.head_width if self.head_width else self.width

    @property
    def kv(self) -> int:
        """Width of all key heads together."""
        return self.attention * (self.kv_heads or self.n_heads) // self.n_heads

    @property
    def hidden(self) -> int:
        """Feed-forward width, resolved."""
        return self.ffn_width or 4 * self.width

    @property
    def layer_params(self) -> int:
        """Parameters of one layer's matrices: 2*d*(a + kv) + g*d*f with g = 2, or 3 gated.

        With an encoder those of a decoder's layer, which has 2*d*(a + kv) more; `largest_layer`
        where it is given.
        """
        if self.largest_layer is not None:
            return self.largest_layer
        attentions = 2 if self.encoder_len else 1
        ffn = (3 if self.gated else 2) * self.hidden
        return self.width * (attentions * 2 * (self.attention + self.kv) + ffn)

    @property
    def params(self) -> int:
        """Parameters of all matrices."""
        layers = self.n_layers * self.layer_params
        if self.experts:
            dense = self.n_layers - self.experts.layers
            layers += dense * (self.experts.dense_layer - self.layer_params)
        if self.encoder_len:
            cross = 2 * self.width * (self.attention + self.kv)
            layers += self.n_layers * (self.layer_params - cross)
        return layers + self.table_params

    @property
    def table_params(self) -> int:
        """Parameters of the token table and, untied, of the head."""
        return self.vocab_size * self.width * (1 if self.tied else 2)


class Counting(NamedTuple):
    """What an implementation of a layer keeps beside the inputs of its matrix products.

    Examples
    --------
    >>> COUNTINGS["korthikanti"]
    Counting(dropout=True, materialised=True, rotary=False, statistics=False, unfused_norm=False)
    """

    dropout: bool = False  # masks of one byte, three a layer, and attention weights after dropout
    materialised: bool = False  # attention weights, which flash attention computes again
    rotary: bool = False  # queries and keys once more, turned
    statistics: bool = False  # of norms and of flash attention, fp32
    unfused_norm: bool = False  # fp32 stream before and after its norm, as torch's CPU kernels do


COUNTINGS = {
    "gpt": Counting(rotary=True, statistics=True),  # this laboratory's GPT with fused kernels
    "gpt_cpu": Counting(rotary=True, statistics=True, unfused_norm=True),  # as the CPU runs it
    "plain": Counting(),  # pre-norm, flash attention, no dropout: 16 s*b*h
    # Korthikanti et al. 2022, arXiv:2205.05198, section 4.1
    "korthikanti": Counting(dropout=True, materialised=True),
}


class Activations(NamedTuple):
    """Bytes on one device.

    Examples
    --------
    >>> found = activation_bytes(gpt3, recompute="full")
    >>> round(found.kept / 1e9, 2), round(found.logits / 1e9, 2)  # GB of one sequence
    (4.93, 0.42)
    """

    kept: float  # by the layers, the embedding and the last norm, until the backward pass
    logits: float  # log-probabilities in fp32
    temporaries: float  # the gradient of the logits, and what one layer computes again


def layer_bytes_per_token(
    network: Network,
    counting: str = "gpt",
    element_bytes: float = 2,
    stream_bytes: float | None = None,
    attention_weights: bool = True,
) -> float:
    """Bytes that one layer keeps for the backward pass, for each token.

    e*(2d + 2a + 2kv + 2f) + 2d*r [+ e*H*T attention weights], gated 4f for 2f; with dropout
    2d + (e + 1)*H*T more; of a mixture e*2*k*d more, what its k experts read and give.

    Parameters
    ----------
    network : Network
    counting : key of `COUNTINGS`
    element_bytes : float, e; of what matrix products read
    stream_bytes : float or None, r
        Of the residual stream; None: `element_bytes`. Under autocast it stays fp32.
    attention_weights : bool
        False leaves the attention weights out, as selective recompute does.

    Raises
    ------
    ValueError
        A counting that nobody knows.

    References
    ----------
    Korthikanti et al. 2022, arXiv:2205.05198, equation 1: s*b*h*(34 + 5*a*s/h) bytes for e = 2.

    Examples
    --------
    For GPT-3 the paper's 34 + 5*a*s/h bytes a number of the stream, 80 of them attention weights:

    >>> layer_bytes_per_token(gpt3, "korthikanti") / gpt3.width
    114.0
    >>> layer_bytes_per_token(gpt3, "korthikanti", attention_weights=False) / gpt3.width
    34.0
    """
    if counting not in COUNTINGS:
        raise ValueError(f"counting {counting!r} is unknown; use one of {[*COUNTINGS]}")
    kept, e = COUNTINGS[counting], element_bytes
    r = _norm_bytes(e if stream_bytes is None else stream_bytes, kept)
    d, a, kv, f = network.width, network.attention, network.kv, network.hidden
    weights = network.n_heads * network.seq_len * (kept.materialised and attention_weights)
    routed = network.experts.per_token if network.experts else 0
    return (
        e * (2 * d + 2 * a + 2 * kv + (4 if network.gated else 2) * f + 2 * routed * d)
        + r * 2 * d
        + e * (a + kv) * kept.rotary
        + STATISTIC_BYTES * (2 + network.n_heads * (not kept.materialised)) * kept.statistics
        + 2 * d * kept.dropout
        + weights * (e + (e + 1) * kept.dropout)
    )


def _norm_bytes(r: float, kept: Counting) -> float:
    """Bytes that a norm keeps of one number of a stream of r bytes."""
    return 2 * STATISTIC_BYTES if kept.unfused_norm else r


def _cross_bytes_per_token(
    network: Network,
    counting: str = "gpt",
    element_bytes: float = 2,
    stream_bytes: float | None = None,
) -> tuple[float, float]:
    """Bytes that attention to an encoder keeps, for each token of the decoder and of the encoder.

    e*(d + 2a) + d*r and e*2kv; parameters as in `layer_bytes_per_token`, attention weights as there
    but with the encoder's length.
    """
    kept, e = COUNTINGS[counting], element_bytes
    r = _norm_bytes(e if stream_bytes is None else stream_bytes, kept)
    weights = network.n_heads * (network.encoder_len or 0) * kept.materialised
    queries = (
        e * (network.width + 2 * network.attention)
        + r * network.width
        + STATISTIC_BYTES * (1 + network.n_heads * (not kept.materialised)) * kept.statistics
        + network.width * kept.dropout
        + weights * (e + (e + 1) * kept.dropout)
    )
    return queries, e * 2 * network.kv


def activation_bytes(
    network: Network,
    n_sequences: float = 1,
    *,
    recompute: str = "none",
    counting: str = "gpt",
    element_bytes: float = 2,
    stream_bytes: float | None = None,
) -> Activations:
    """Bytes of activations of one forward and backward pass on one device.

    Parameters
    ----------
    network : Network
    n_sequences : float
        Sequences that pass at once on this device (the micro-batch).
    recompute : {"none", "selective", "full"}
        "selective" computes the attention weights again (no gain over flash attention); "full"
        keeps the input of every layer and computes one layer at a time again.
    counting, element_bytes, stream_bytes
        See `layer_bytes_per_token`.

    Raises
    ------
    ValueError
        An unknown recompute or counting, or a number of sequences that is not positive.

    Notes
    -----
    The gradients that travel through one layer, and the workspace of kernels, are left out.

    Examples
    --------
    GB of one sequence of GPT-3 as in the paper: selective recomputation keeps 30 %, full 2 %.

    >>> for recompute in RECOMPUTE:
    ...     found = activation_bytes(gpt3, recompute=recompute, counting="korthikanti")
    ...     print(f"{recompute} {found.kept / 1e9:.0f}")
    none 276
    selective 82
    full 5
    """
    if recompute not in RECOMPUTE:
        raise ValueError(f"recompute {recompute!r} is unknown; use one of {RECOMPUTE}")
    if not n_sequences > 0:
        raise ValueError(f"n_sequences must be positive, got {n_sequences}")
    r = element_bytes if stream_bytes is None else stream_bytes
    counts, options = COUNTINGS[counting], (counting, element_bytes, r)
    tokens = n_sequences * network.seq_len
    norm = (_norm_bytes(r, counts) + element_bytes) * network.width  # and what reads it
    ends = norm + counts.dropout * network.width  # tokens and targets; the embedding's dropout
    ends += (STATISTIC_BYTES + 2 * TOKEN_BYTES) * counts.statistics
    kept, again = (tokens * size for size in _layer_bytes(network, recompute, options))
    read = 0.0
    if network.encoder_len:
        encoder = replace(network, seq_len=network.encoder_len, encoder_len=None)
        n_read = n_sequences * encoder.seq_len
        read = n_read * (norm + (STATISTIC_BYTES + TOKEN_BYTES) * counts.statistics)
        queries, keys = _cross_bytes_per_token(network, *options)
        cross = tokens * queries + n_read * keys
        own, own_again = (n_read * size for size in _layer_bytes(encoder, recompute, options))
        kept += own + (0.0 if recompute == "full" else cross)
        again = max(again + (cross if recompute == "full" else 0.0), own_again)
    logits = LOGIT_BYTES * network.vocab_size * tokens
    kept = network.n_layers * kept + tokens * ends + read
    return Activations(kept, logits, temporaries=logits + again)


def _layer_bytes(network: Network, recompute: str, options: tuple) -> tuple[float, float]:
    """Bytes for each token that a layer keeps, and that it computes again; attention to itself."""
    stream_bytes = options[-1]
    layer = layer_bytes_per_token(network, *options)
    lean = layer_bytes_per_token(network, *options, attention_weights=False)
    return {
        "none": (layer, 0.0),
        "selective": (lean, layer - lean),
        "full": (stream_bytes * network.width, layer),
    }[recompute]
