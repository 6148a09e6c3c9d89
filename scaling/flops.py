"""Parameters and training FLOPs of a shape, exactly and under each paper's convention.

A multiply-add is 2 FLOPs; a training step is 3 forwards (1 forward, 2 backward); looking up an
embedding costs nothing. Only matrix products are counted, as torch's own counter does.
"""

from scaling.models.shape import Shape

TRAINING_OVER_FORWARD = 3


def param_groups(shape: Shape) -> dict[str, int]:
    """Count the parameters of a GPT by group.

    Returns
    -------
    dict: embedding_params (token table), block_params (matrices of all layers), head_params
        (0 when tied: the table is counted once), norm_params (two gains a layer and the last one)
    """
    return {
        "embedding_params": shape.vocab_size * shape.width,
        "block_params": shape.n_layers * _layer_params(shape),
        "head_params": 0 if shape.tied else shape.vocab_size * shape.width,
        "norm_params": (2 * shape.n_layers + 1) * shape.width,
    }


def total_params(shape: Shape) -> int:
    """All parameters, a tied head once (N of Hoffmann et al. 2022)."""
    return sum(param_groups(shape).values())


def non_embedding_params(shape: Shape) -> int:
    """All parameters but the token table; an untied head counts."""
    return total_params(shape) - param_groups(shape)["embedding_params"]


def _layer_params(shape: Shape) -> int:
    """P = 2*d*a*(1 + r) + g*d*f: query and output, key and value, feed-forward."""
    attention = shape.n_heads * shape.head_width
    kv_ratio = shape.kv_heads / shape.n_heads
    ffn_matrices = 2 if shape.ffn == "gelu" else 3
    return round(2 * shape.width * attention * (1 + kv_ratio)) + (
        ffn_matrices * shape.width * shape.hidden
    )


def forward_flops(shape: Shape, attended: float = 1.0) -> float:
    """FLOPs of one forward pass over one sequence of T = seq_len tokens.

    2*T*(L*P + V*d) + 4*L*T^2*a*k

    Parameters
    ----------
    attended : float, k
        Share of the T x T attention products that is counted: 1 counts the full square, as torch
        and PaLM do (and as the runs table does); (T + 1) / (2*T) is exact causal attention.
    """
    T, d = shape.seq_len, shape.width
    matrices = shape.n_layers * _layer_params(shape) + shape.vocab_size * d
    attention = 4 * shape.n_layers * T**2 * shape.n_heads * shape.head_width
    return 2 * T * matrices + attention * attended


def training_flops_per_token(shape: Shape, attended: float = 1.0) -> float:
    """Counted training FLOPs for one token: 3 * forward_flops / T."""
    return TRAINING_OVER_FORWARD * forward_flops(shape, attended) / shape.seq_len


def six_n_flops_per_token(shape: Shape) -> float:
    """C / D = 6*N with N all parameters: the rule of thumb (Hoffmann et al. 2022, appendix F)."""
    return 6.0 * total_params(shape)


def kaplan_flops_per_token(shape: Shape) -> float:
    """C / D = 6*N with N = blocks and norms, no table, no head (Kaplan et al. 2020, table 1).

    The attention term 2 * n_layers * T * width of their table 1 is left out, as their C = 6ND does.
    """
    groups = param_groups(shape)
    return 6.0 * (groups["block_params"] + groups["norm_params"])


def palm_flops_per_token(shape: Shape) -> float:
    """6*N + 12*L*H*Q*T, N all parameters (Chowdhery et al. 2022, appendix B)."""
    attention = 12 * shape.n_layers * shape.n_heads * shape.head_width * shape.seq_len
    return 6.0 * total_params(shape) + attention


def hoffmann_flops_per_token(shape: Shape, vocabulary: bool = True) -> float:
    """Training FLOPs per token as Hoffmann et al. 2022, appendix F, list them.

    They count the embedding as a matrix product (2*V*d), the softmax (3*H*T) and the logits.

    Parameters
    ----------
    vocabulary : bool
        False leaves out embedding and logits: only so their table A4 is reproduced, and only with
        N = 13*L*d^2 + V*d, the thirteenth square being the relative-position projection of their
        models.
    """
    T, d, a = shape.seq_len, shape.width, shape.n_heads * shape.head_width
    attention = 6 * d * a + 2 * T * a + 3 * shape.n_heads * T + 2 * T * a + 2 * a * d
    dense = 4 * d * shape.hidden
    tables = 4 * shape.vocab_size * d if vocabulary else 0
    return float(TRAINING_OVER_FORWARD * (tables + shape.n_layers * (attention + dense)))
