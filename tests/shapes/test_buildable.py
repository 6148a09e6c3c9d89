import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.planning.plain import to_plain
from scaling.shapes.buildable import build, count_params, nearest_shape
from scaling.shapes.flops import param_groups, training_flops_per_token
from scaling.shapes.shape import layers_for_width


@settings(max_examples=20)
@given(st.floats(1e8, 1e13))
def test_a_large_shape_is_buildable_and_near(N):
    shape = nearest_shape(N, 32_000, 2048)
    assert count_params(shape, "total") == pytest.approx(N, rel=0.03)
    assert shape.head_width == 128 and shape.width % 128 == 0
    assert 0.75 < shape.n_layers / layers_for_width(shape.width) < 1.35
    assert shape.n_heads % 4 == 0 or N < 1e10


@settings(max_examples=20)
@given(st.floats(3e4, 1e8))
def test_a_small_shape_is_buildable_and_near(N):
    built = build(N, 6 * 20 * N**2, 20 * N)
    assert built.params_off == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("convention", ["total", "non_embedding", "blocks", "as_given"])
def test_n_means_what_the_law_means(convention):
    shape = nearest_shape(1e9, 32_000, 2048, convention=convention, tied=False)
    groups = param_groups(shape)
    counted = {
        "total": sum(groups.values()),
        "as_given": sum(groups.values()),
        "non_embedding": sum(groups.values()) - groups["embedding_params"],
        "blocks": groups["block_params"] + groups["norm_params"],
    }
    assert count_params(shape, convention) == counted[convention]
    assert counted[convention] == pytest.approx(1e9, rel=0.04)


def test_flops_are_exact():
    N, D = 70e9, 1.4e12
    built = build(N, 6 * N * D, D, vocab_size=128_000, seq_len=4096)
    per_token = training_flops_per_token(built.shape)
    assert built.flops_per_token == per_token
    assert built.tokens * per_token == pytest.approx(6 * N * D)
    assert built.flops_of_plan == pytest.approx(D * per_token)
    assert built.flops_off == pytest.approx(D * per_token / (6 * N * D) - 1)
    assert built.flops_off > 0  # attention and the tied head cost more than 6ND
    assert built.assumptions == ()
    assert to_plain(built)["shape"]["head_width"] == 128


def test_what_nobody_named_is_an_assumption():
    vocabulary, context = build(70e9, 1e23, 1e12).assumptions
    assert vocabulary.startswith("vocabulary 32,000") and context.startswith("context 2,048")


def test_a_context_longer_than_the_data_is_refused():
    with pytest.raises(ValueError, match="context of 2,048 tokens is longer than the data, D=1e"):
        build(1e9, 6e12, 1000, seq_len=2048)


def test_a_vocabulary_larger_than_the_model_is_refused():
    with pytest.raises(ValueError, match=r"too small for a vocabulary of 32,000: the smallest"):
        build(1e4, 1e12, 1e6, vocab_size=32_000)
