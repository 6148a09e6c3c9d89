import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.shapes import flops
from scaling.shapes.architecture import (
    Architecture,
    architecture_of,
    attention_flops,
    count_groups,
    count_params,
    forward_flops,
    training_flops_per_token,
)
from scaling.shapes.buildable import count_params as count_shape
from scaling.shapes.shape import Shape

MIXTURE = Architecture(
    name="mixture",
    vocab_size=100,
    seq_len=16,
    n_layers=3,
    width=8,
    n_heads=2,
    kv_heads=1,
    head_width=4,
    ffn_width=32,
    mixture=True,
    n_experts=4,
    experts_per_token=2,
    expert_width=10,
    shared_width=6,
    dense_layers=1,
)


@settings(max_examples=20, deadline=None)
@given(
    vocab_size=st.integers(2, 80),
    seq_len=st.integers(3, 40),
    n_layers=st.integers(1, 3),
    heads=st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 2)]),
    head_width=st.sampled_from([2, 6, 8]),
    ffn=st.sampled_from(["gelu", "swiglu"]),
    tied=st.booleans(),
)
def test_our_own_shapes_count_the_same(vocab_size, seq_len, n_layers, heads, head_width, ffn, tied):
    sizes = dict(vocab_size=vocab_size, seq_len=seq_len, n_layers=n_layers)
    heads = dict(width=heads[0] * head_width, n_heads=heads[0], n_kv_heads=heads[1])
    shape = Shape(**sizes, **heads, ffn=ffn, tied=tied)
    given = architecture_of(shape)
    for convention in ("total", "non_embedding", "blocks", "as_given"):
        assert count_params(given, convention) == count_shape(shape, convention)
    assert forward_flops(given) == flops.forward_flops(shape)
    assert training_flops_per_token(given) == flops.training_flops_per_token(shape)


def test_an_encoder_is_no_architecture():
    shape = Shape(vocab_size=9, seq_len=8, n_layers=1, width=4, n_heads=1, family="t5")
    with pytest.raises(ValueError, match="a t5 is no decoder alone"):
        architecture_of(shape)


def test_a_mixture_by_hand():
    groups = count_groups(MIXTURE).set_index("group")
    expert = 3 * 8 * 10
    assert groups.total.to_dict() == {
        "token table": 800,
        "attention": 3 * (8 * (8 + 4 + 4) + 8 * 8),
        "feed-forward": 3 * 8 * 32,  # one layer is dense
        "router": 2 * 8 * 4,
        "experts": 2 * 4 * expert,
        "shared experts": 2 * 3 * 8 * 6,
        "norms": 7 * 8,
        "head": 800,
    }
    assert groups.total.sum() - groups.active.sum() == 2 * 2 * expert
    assert groups.multiplied.sum() == groups.active.sum() - 800 - 7 * 8  # no table, no norm
    assert attention_flops(MIXTURE) == 3 * 4 * 16**2 * 8
    assert MIXTURE.cached_numbers == 3 * 2 * 4


def test_latent_attention_caches_what_it_compresses():
    latent = Architecture(
        **(vars(MIXTURE) | dict(kv_heads=2, head_width=6, value_width=4, kv_rank=5, rope_width=2))
    )
    attention = count_groups(latent).set_index("group").total.attention
    queries, compressed, expanded, out = 8 * 12, 8 * (5 + 2), 5 * 2 * (6 - 2 + 4), 2 * 4 * 8
    assert attention == 3 * (queries + compressed + expanded + out)
    assert latent.cached_numbers == 3 * (5 + 2)


def test_biases_and_learned_positions_cost_no_flops():
    more = dict(qkv_bias=True, out_bias=True, ffn_bias=True, norm_vectors=2, position_rows=16)
    biased = Architecture(**(vars(MIXTURE) | more))
    assert count_params(biased) > count_params(MIXTURE)
    assert count_params(biased, "blocks") < count_params(biased) - 2 * 800 - 16 * 8 + 1
    assert forward_flops(biased) == forward_flops(MIXTURE)
