"""Parameters and training FLOPs of a shape, exactly.

A multiply-add is 2 FLOPs; a training step is 3 forwards (1 forward, 2 backward); looking up an
embedding costs nothing. Only matrix products are counted, as torch's own counter does.

Examples
--------
GPT-3 175B and GPT-2 124M, without their positions and biases:

>>> gpt3 = Shape(50_257, 2048, n_layers=96, width=12_288, n_heads=96)
>>> gpt2 = Shape(50_257, 1024, n_layers=12, width=768, n_heads=12)
"""

from scaling.shapes.shape import Shape

TRAINING_OVER_FORWARD = 3


def param_groups(shape: Shape) -> dict[str, int]:
    """Count the parameters of a model by group.

    Returns
    -------
    dict: embedding_params (token table), block_params (matrices of all layers), head_params
        (0 when tied: the table is counted once), norm_params (a gain for every sublayer and for
        the end of every stack)

    Examples
    --------
    >>> param_groups(gpt2)
    {'embedding_params': 38597376, 'block_params': 84934656, 'head_params': 0, 'norm_params': 19200}
    """
    table, depth = shape.table_rows * shape.width, shape.n_layers
    blocks, gains = depth * _layer_params(shape), 2 * depth + 1
    if shape.family == "t5":
        blocks += depth * (_layer_params(shape) + _attention_params(shape))
        gains += 3 * depth + 1
    return {
        "embedding_params": table,
        "block_params": blocks,
        "head_params": 0 if shape.tied else table,
        "norm_params": gains * shape.width,
    }


def total_params(shape: Shape) -> int:
    """All parameters, a tied head once (N of Hoffmann et al. 2022).

    Examples
    --------
    >>> f"{total_params(gpt3):,}"
    '174,566,105,088'
    """
    return sum(param_groups(shape).values())


def non_embedding_params(shape: Shape) -> int:
    """All parameters but the token table; an untied head counts.

    Examples
    --------
    >>> [round(non_embedding_params(shape) / total_params(shape), 3) for shape in (gpt2, gpt3)]
    [0.688, 0.996]
    """
    return total_params(shape) - param_groups(shape)["embedding_params"]


def _layer_params(shape: Shape) -> int:
    """P = 2*d*a*(1 + r) + g*d*f: self-attention and feed-forward."""
    ffn_matrices = 2 if shape.ffn == "gelu" else 3
    return _attention_params(shape) + ffn_matrices * shape.width * shape.hidden


def _attention_params(shape: Shape) -> int:
    """2*d*a*(1 + r): query and output, key and value; r key/value heads per head."""
    return 2 * shape.width * shape.head_width * (shape.n_heads + shape.kv_heads)


def forward_flops(shape: Shape) -> int:
    """FLOPs of one forward pass over one window.

    With the lengths of `Shape.window`, a = n_heads * head_width and the V rows of the table; causal
    attention counts as the full square, as torch and PaLM count it (exact: (T + 1) / 2T of that):

    gpt   2*T*(L*P + V*d) + 4*L*T^2*a
    bert  2*(T*L*P + M*V*d) + 4*L*T^2*a, the head on the M masked positions only
    t5    an encoder, 2*Te*L*P + 4*L*Te^2*a; a decoder, 2*Td*(L*P + V*d) + 4*L*Td^2*a; and
          cross-attention, L*[4*Td*d*a + 4*Te*d*a*r + 4*Td*Te*a]

    Examples
    --------
    >>> f"{forward_flops(gpt3) / gpt3.seq_len:.4g}"  # a token; 2N is 3.491e11
    '3.588e+11'
    """
    inputs, targets = shape.window.inputs, shape.window.targets
    head = 2 * targets * shape.table_rows * shape.width
    if shape.family == "gpt":
        return _stack_flops(shape, inputs) + head
    encoder = _stack_flops(shape, inputs)
    if shape.family == "bert":
        return encoder + head
    decoder = _stack_flops(shape, targets) + _cross_flops(shape, inputs, targets)
    return encoder + decoder + head


def _stack_flops(shape: Shape, length: int) -> int:
    """2*T*L*P + 4*L*T^2*a: all layers, self-attention included, over `length` positions."""
    attention = 4 * shape.n_layers * length**2 * shape.n_heads * shape.head_width
    return 2 * length * shape.n_layers * _layer_params(shape) + attention


def _cross_flops(shape: Shape, inputs: int, targets: int) -> int:
    """Query and output of every target, key and value of every input, the product of the two."""
    query, key = shape.n_heads * shape.head_width, shape.kv_heads * shape.head_width
    matrices = 4 * shape.width * (targets * query + inputs * key)
    return shape.n_layers * (matrices + 4 * targets * inputs * query)


def training_flops_per_token(shape: Shape) -> float:
    """Counted training FLOPs for one token of D, `Shape.window.text`: 3 * forward_flops / text.

    Examples
    --------
    6ND, by which Brown et al. 2020 count 3.14e23 for GPT-3, is 3 % short, and for GPT-2 13 %:

    >>> print(f"{300e9 * training_flops_per_token(gpt3):.3g}")
    3.23e+23
    >>> ratios = [training_flops_per_token(s) / (6 * total_params(s)) for s in (gpt3, gpt2)]
    >>> print(f"{ratios[0]:.3f} {ratios[1]:.3f}")
    1.028 1.153
    """
    return TRAINING_OVER_FORWARD * forward_flops(shape) / shape.window.text


def muon_flops(shape: Shape, iterations: int = 5) -> int:
    """FLOPs of the matrix products of one step of Muon, which `forward_flops` knows nothing of.

    A matrix with sides s <= l costs 2 s^2 (2 l + s) in each Newton-Schulz iteration: X X^T, its
    square, and their sum times X. It does not depend on the batch, so that its share of a step is
    largest where batches are small.

    Examples
    --------
    Over the FLOPs of a step, at a batch of half a million tokens and of one context:

    >>> batches = 2**19, gpt2.seq_len
    >>> [round(muon_flops(gpt2) / (B * training_flops_per_token(gpt2)), 3) for B in batches]
    [0.003, 1.74]
    """
    attention, key = shape.n_heads * shape.head_width, shape.kv_heads * shape.head_width
    width, up = shape.width, shape.hidden * (1 if shape.ffn == "gelu" else 2)
    ffn = [(up, width), (width, shape.hidden)]
    layer = [(attention + 2 * key, width), (width, attention), *ffn]
    cross = [(attention, width), (2 * key, width), (width, attention)]
    matrices = [*layer, *layer, *cross] if shape.family == "t5" else layer
    sides = [sorted(matrix) for matrix in matrices]
    one = sum(2 * s**2 * (2 * long + s) for s, long in sides)
    return iterations * shape.n_layers * one
