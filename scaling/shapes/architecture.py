"""A decoder that somebody gives: its parameters by group, its FLOPs and its cache, exactly.

A multiply-add is 2 FLOPs and attention is the full square, as in `scaling.shapes.flops`; biases and
norms are parameters but no FLOPs.

Examples
--------
Llama 3 8B, `llama` of the other examples:

>>> from dataclasses import replace
>>> heads = dict(n_heads=32, kv_heads=8, head_width=128)
>>> sizes = dict(vocab_size=128_256, seq_len=8192, n_layers=32, width=4096, ffn_width=14_336)
>>> llama = Architecture("Llama 3 8B", **sizes, **heads)
"""

from dataclasses import dataclass

import pandas as pd

from scaling.shapes.flops import TRAINING_OVER_FORWARD
from scaling.shapes.shape import Shape

TABLES, HEAD = ("token table", "position table"), "head"
LEFT_OUT = {"non_embedding": TABLES, "blocks": (*TABLES, HEAD)}  # of N, by what a law counts
SIZES = ("vocab_size", "seq_len", "n_layers", "width", "n_heads", "kv_heads", "head_width")


@dataclass(frozen=True)
class Architecture:
    """A decoder-only transformer: everything that its parameters and FLOPs depend on.

    A layer is attention and a feed-forward; in all but `dense_layers` layers the feed-forward is a
    router and `n_experts` experts, of which a token passes `experts_per_token`, beside shared ones
    that every token passes. With `kv_rank` attention is multi-head latent (DeepSeek-AI 2024,
    arXiv:2405.04434, section 2.1): keys and values are `kv_rank` numbers a token, and
    `rope_width` of a head's `head_width` are shared by all heads.

    Raises
    ------
    ValueError
        A size that is not positive, key heads that do not divide, a mixture without experts or
        one whose token passes more than there are.

    Examples
    --------
    Bytes that a token of 16-bit numbers leaves in the cache, and without grouped heads:

    >>> 2 * llama.cached_numbers, 2 * replace(llama, kv_heads=32).cached_numbers
    (131072, 524288)
    """

    name: str
    vocab_size: int  # rows of the token table
    seq_len: int  # context, tokens
    n_layers: int
    width: int
    n_heads: int
    kv_heads: int
    head_width: int  # of a query and a key
    ffn_width: int = 0  # of a dense layer
    value_width: int | None = None  # of a head's values; None: head_width
    gated: bool = True  # three feed-forward matrices instead of two
    tied: bool = False  # the head shares the token table
    position_rows: int = 0  # of a learned table
    qkv_bias: bool = False
    out_bias: bool = False  # of attention's last matrix
    ffn_bias: bool = False
    norm_vectors: int = 1  # a gain; 2: a bias as well
    layer_norms: int = 2  # of the full width, in each layer
    qk_norm: str = ""  # gains for queries and keys: of one "head", of the whole "width"
    embedding_norm: bool = False
    q_rank: int = 0  # of latent attention; 0: queries straight from the stream
    kv_rank: int = 0  # 0: no latent attention
    rope_width: int = 0
    mixture: bool = False
    n_experts: int = 0
    experts_per_token: int = 0
    expert_width: int = 0
    shared_width: int = 0  # of all shared experts together
    shared_gate: bool = False  # one number a token weighs the shared experts
    router_bias: bool = False
    dense_layers: int = 0  # of a mixture

    def __post_init__(self):
        """Refuse what cannot be built; see Raises of the class."""
        for name in SIZES + (() if self.mixture else ("ffn_width",)):
            if getattr(self, name) < 1:
                raise ValueError(f"{self.name}: {name} must be 1 or more: {getattr(self, name)}")
        if self.n_heads % self.kv_heads:
            raise ValueError(
                f"{self.name}: kv_heads {self.kv_heads} must divide n_heads {self.n_heads}"
            )
        if self.mixture and not 1 <= self.experts_per_token <= self.n_experts:
            raise ValueError(
                f"{self.name}: a mixture of {self.n_experts} experts cannot send a token to "
                f"{self.experts_per_token} of them; both must be 1 or more, the second at most the "
                "first"
            )
        if self.mixture and self.expert_width < 1:
            raise ValueError(f"{self.name}: expert_width must be 1 or more: {self.expert_width}")

    @property
    def values(self) -> int:
        """Width of the values of one head."""
        return self.head_width if self.value_width is None else self.value_width

    @property
    def sparse_layers(self) -> int:
        """Layers with experts."""
        return self.n_layers - self.dense_layers if self.mixture else 0

    @property
    def cached_numbers(self) -> int:
        """Numbers that a token leaves in the cache: L*kv*(d_k + d_v), or L*(kv_rank + rope)."""
        latent = self.kv_rank + self.rope_width
        heads = self.kv_heads * (self.head_width + self.values)
        return self.n_layers * (latent if self.kv_rank else heads)


def architecture_of(shape: Shape) -> Architecture:
    """Return one of our own decoders as an architecture; ValueError for another family.

    Examples
    --------
    >>> gpt2 = architecture_of(Shape(50_257, 1024, n_layers=12, width=768, n_heads=12))
    >>> f"{count_params(gpt2):,}"  # GPT-2's without its positions and biases
    '123,551,232'
    """
    if shape.family != "gpt":
        raise ValueError(f"a {shape.family} is no decoder alone; its counts are those of its shape")
    return Architecture(
        name=shape.family,
        vocab_size=shape.table_rows,
        seq_len=shape.seq_len,
        n_layers=shape.n_layers,
        width=shape.width,
        n_heads=shape.n_heads,
        kv_heads=shape.kv_heads,
        head_width=shape.head_width,
        ffn_width=shape.hidden,
        gated=shape.ffn == "swiglu",
        tied=shape.tied,
    )


def count_groups(a: Architecture) -> pd.DataFrame:
    """Count the parameters of an architecture by group.

    With the widths of all queries q = H*d_k, keys k = K*d_k and values v = K*d_v, a layer has

    attention      d*(q + k + v) + H*d_v*d; latent: d*r_q + r_q*q (or d*q) + d*(r + d_rope)
                   + r*H*(d_k - d_rope + d_v) + H*d_v*d
    feed-forward   g*d*f, g = 3 gated, else 2; an expert likewise
    router         d*E

    Returns
    -------
    DataFrame with columns group, total (all parameters), active (those that a token passes) and
        multiplied (those of its matrix products: a tied head again, no table, bias or norm)

    Examples
    --------
    >>> count_groups(llama).set_index("group").total.div(1e9).round(2).to_dict()  # billions
    {'token table': 0.53, 'attention': 1.34, 'feed-forward': 5.64, 'norms': 0.0, 'head': 0.53}
    """
    dense, sparse, d = a.n_layers - a.sparse_layers, a.sparse_layers, a.width
    chosen, table = sparse * a.experts_per_token, a.vocab_size * d
    matrices, biases = _count_attention(a)
    ffn, ffn_bias = _count_ffn(a, a.ffn_width)
    expert, expert_bias = _count_ffn(a, a.expert_width)
    shared = _count_ffn(a, a.shared_width)[0] + a.shared_gate * d
    router = sparse * a.n_experts
    rows = [
        ("token table", table, table, 0),
        ("position table", a.position_rows * d, a.position_rows * d, 0),
        _row("attention", a.n_layers, matrices, biases),
        _row("feed-forward", dense, ffn, ffn_bias),
        ("router", router * (d + a.router_bias), router * (d + a.router_bias), router * d),
        (
            "experts",
            sparse * a.n_experts * (expert + expert_bias),
            chosen * (expert + expert_bias),
            chosen * expert,
        ),
        _row("shared experts", sparse, shared, 0),
        ("norms", _count_norms(a), _count_norms(a), 0),
        (HEAD, 0 if a.tied else table, 0 if a.tied else table, table),
    ]
    found = pd.DataFrame(rows, columns=["group", "total", "active", "multiplied"])
    return found.loc[found.total.gt(0) | found.group.eq(HEAD)].reset_index(drop=True)


def _row(group: str, layers: int, matrices: int, rest: int) -> tuple[str, int, int, int]:
    """A group that every token passes."""
    whole = layers * (matrices + rest)
    return group, whole, whole, layers * matrices


def _count_attention(a: Architecture) -> tuple[int, int]:
    """Matrices of one layer's attention, and its biases."""
    d, heads, keys = a.width, a.n_heads * a.head_width, a.kv_heads * a.head_width
    out = a.n_heads * a.values * d
    if not a.kv_rank:
        read = heads + keys + a.kv_heads * a.values
        return d * read + out, a.qkv_bias * read + a.out_bias * d
    queries = d * a.q_rank + a.q_rank * heads if a.q_rank else d * heads
    latent = a.kv_rank + a.rope_width
    expanded = a.kv_rank * a.n_heads * (a.head_width - a.rope_width + a.values)
    return (
        queries + d * latent + expanded + out,
        a.qkv_bias * (a.q_rank + latent) + a.out_bias * d,
    )


def _count_ffn(a: Architecture, width: int) -> tuple[int, int]:
    """Matrices of a feed-forward of this width, and its biases."""
    into = 2 if a.gated else 1
    return (into + 1) * a.width * width, a.ffn_bias * (into * width + a.width)


def _count_norms(a: Architecture) -> int:
    """Gains and biases of all norms."""
    full = a.n_layers * a.layer_norms + 1 + a.embedding_norm
    heads = {"": 0, "head": 2, "width": a.n_heads + a.kv_heads}[a.qk_norm]
    return (
        a.norm_vectors * full * a.width
        + a.n_layers * heads * a.head_width
        + a.n_layers * (a.q_rank + a.kv_rank)
    )


def count_params(a: Architecture, convention: str = "total", *, active: bool = False) -> int:
    """Parameters as a law counts them: all, or those that a token passes.

    Parameters
    ----------
    a : Architecture
    convention : {"total", "non_embedding", "blocks", "as_given"}
        What N counts; "as_given" is taken as all of them.
    active : bool
        Of a mixture, the experts that a token passes instead of all.

    Examples
    --------
    >>> f"{count_params(llama):,}", f"{count_params(llama, 'non_embedding'):,}"
    ('8,030,261,248', '7,504,924,672')

    Mixtral 8x7B has as many layers, each with 8 experts of which a token passes 2:

    >>> experts = dict(mixture=True, n_experts=8, experts_per_token=2, expert_width=14_336)
    >>> mixtral = replace(llama, vocab_size=32_000, **experts)
    >>> [round(count_params(mixtral, active=active) / 1e9, 1) for active in (False, True)]
    [46.7, 12.9]
    """
    groups = count_groups(a)
    kept = groups.loc[~groups.group.isin(LEFT_OUT.get(convention, ()))]
    return int(kept["active" if active else "total"].sum())


def attention_flops(a: Architecture) -> int:
    """FLOPs of one forward pass over one context in attention's products: 2*L*T^2*H*(d_k + d_v).

    Examples
    --------
    Its share of a forward pass over the whole context:

    >>> print(f"{attention_flops(llama) / forward_flops(llama):.0%}")
    22%
    """
    return 2 * a.n_layers * a.seq_len**2 * a.n_heads * (a.head_width + a.values)


def forward_flops(a: Architecture) -> int:
    """FLOPs of one forward pass over one context: 2*T*(multiplied parameters) and attention.

    Examples
    --------
    >>> print(f"{forward_flops(llama) / llama.seq_len:.3g} FLOPs a token, {2 * 8.03e9:.3g} by 2N")
    1.93e+10 FLOPs a token, 1.61e+10 by 2N
    """
    return 2 * a.seq_len * int(count_groups(a).multiplied.sum()) + attention_flops(a)


def training_flops_per_token(a: Architecture) -> float:
    """Counted training FLOPs for one token: 3 * forward_flops / T.

    Examples
    --------
    Counted against 6N; what 6N leaves out is attention, what it has too much is the token table:

    >>> print(f"{training_flops_per_token(llama) / (6 * count_params(llama)):.2f}")
    1.20
    """
    return TRAINING_OVER_FORWARD * forward_flops(a) / a.seq_len
