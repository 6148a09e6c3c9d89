import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scaling.data.objectives import make_objective
from scaling.models.build import build_model
from scaling.shapes.flops import (
    forward_flops,
    hoffmann_flops_per_token,
    kaplan_flops_per_token,
    non_embedding_params,
    palm_flops_per_token,
    param_groups,
    six_n_flops_per_token,
    total_params,
    training_flops_per_token,
)
from scaling.shapes.shape import FAMILIES, Shape

TABLE_A4 = [  # Hoffmann et al. 2022: layers, width, ffn, heads, head width, FLOPs over 6ND
    (10, 640, 2560, 10, 64, 1.03),
    (20, 1024, 4096, 16, 64, 1.10),
    (24, 1280, 5120, 10, 128, 1.08),
    (26, 1792, 7168, 14, 128, 1.04),
    (28, 2048, 8192, 16, 128, 1.03),
    (40, 3584, 14336, 28, 128, 0.99),
]


def counted_by_torch(shape, n_sequences):
    model, objective = build_model(shape), make_objective(shape)
    n_tokens = objective.window.text + objective.overlap
    windows = np.zeros((n_sequences, n_tokens), np.int64)
    arrays = [torch.from_numpy(a) for a in objective(windows, np.arange(n_sequences), 0)]
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.loss(*arrays).mean().backward()
    return counter.get_total_flops()


@settings(max_examples=50)
@given(
    family=st.sampled_from(FAMILIES),
    vocab_size=st.integers(2, 80),
    seq_len=st.integers(3, 40),
    n_layers=st.integers(1, 3),
    heads=st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 2), (4, 4)]),
    head_width=st.sampled_from([2, 6, 8]),
    ffn=st.sampled_from(["gelu", "swiglu"]),
    tied=st.booleans(),
    n_sequences=st.integers(1, 3),
)
def test_counted_flops_equal_torchs_counter(
    family, vocab_size, seq_len, n_layers, heads, head_width, ffn, tied, n_sequences
):
    shape = Shape(
        vocab_size=vocab_size,
        seq_len=seq_len,
        n_layers=n_layers,
        width=heads[0] * head_width,
        n_heads=heads[0],
        n_kv_heads=heads[1],
        ffn=ffn,
        tied=tied,
        family=family,
    )
    counted = counted_by_torch(shape, n_sequences)
    assert counted == 3 * forward_flops(shape) * n_sequences
    per_token = training_flops_per_token(shape)
    assert per_token * shape.window.text * n_sequences == pytest.approx(counted, rel=1e-12)


@pytest.mark.parametrize("layers, width, ffn, heads, head_width, ratio", TABLE_A4)
def test_hoffmanns_table_a4(layers, width, ffn, heads, head_width, ratio):
    shape = Shape(
        vocab_size=32_000,
        seq_len=2048,
        n_layers=layers,
        width=width,
        n_heads=heads,
        ffn_width=ffn,
    )
    assert shape.head_width == head_width
    relative_positions = layers * width**2  # a projection that our models lack (Dai et al. 2019)
    six_n = six_n_flops_per_token(shape) + 6 * (relative_positions - norm_params(shape))
    ours = hoffmann_flops_per_token(shape, vocabulary=False) / six_n
    assert ours == pytest.approx(ratio, abs=0.005)
    assert hoffmann_flops_per_token(shape) / six_n > ratio + 0.03  # vocabulary breaks the table


def norm_params(shape):
    return param_groups(shape)["norm_params"]


def test_conventions_on_a_shape_counted_by_hand():
    shape = Shape(vocab_size=1024, seq_len=128, n_layers=2, width=32, n_heads=2)
    assert param_groups(shape) == {
        "embedding_params": 1024 * 32,
        "block_params": 2 * 12 * 32**2,
        "head_params": 0,
        "norm_params": 5 * 32,
    }
    assert total_params(shape) == 57_504
    assert non_embedding_params(shape) == 57_504 - 1024 * 32
    assert six_n_flops_per_token(shape) == 6 * 57_504
    assert kaplan_flops_per_token(shape) == 6 * (24_576 + 160)
    assert palm_flops_per_token(shape) == 6 * 57_504 + 12 * 2 * 32 * 128
    assert training_flops_per_token(shape) == 6 * (24_576 + 32_768) + 12 * 2 * 128 * 32
    assert 6 * 57_504 / training_flops_per_token(shape) == pytest.approx(0.78, abs=0.005)


def test_causal_attention_counts_half():
    shape = Shape(vocab_size=64, seq_len=7, n_layers=2, width=16, n_heads=2)
    pairs = sum(range(1, 8))  # position t looks at t keys
    full, causal = forward_flops(shape), forward_flops(shape, attended=(7 + 1) / (2 * 7))
    assert full - causal == pytest.approx(4 * 2 * 16 * (49 - pairs))


@pytest.mark.parametrize("n_text, n_inputs, n_targets", [(568, 512, 114), (141, 128, 29)])
def test_encoder_decoder_by_hand_and_by_torch(n_text, n_inputs, n_targets):
    d, layers, V = 16, 2, 64
    shape = Shape(vocab_size=V, seq_len=n_inputs, n_layers=layers, width=d, n_heads=2, family="t5")
    Te, Td, ffn, rows = n_inputs, n_targets, 2 * d * 4 * d, shape.table_rows
    encoder = layers * (2 * Te * (4 * d**2 + ffn) + 4 * Te**2 * d)
    decoder = layers * (2 * Td * (6 * d**2 + ffn) + 4 * Te * d**2 + 4 * Td**2 * d + 4 * Td * Te * d)
    assert forward_flops(shape) == encoder + decoder + 2 * Td * rows * d
    assert 3 * forward_flops(shape) == counted_by_torch(shape, 1)
    assert training_flops_per_token(shape) == 3 * forward_flops(shape) / n_text


def test_masked_rows_by_hand_and_by_torch():
    shape = Shape(vocab_size=64, seq_len=128, n_layers=2, width=16, n_heads=2, family="bert")
    stack = 2 * (2 * 128 * 12 * 16**2 + 4 * 128**2 * 16)
    assert forward_flops(shape) == stack + 2 * 19 * 65 * 16
    assert 3 * forward_flops(shape) == counted_by_torch(shape, 1)


def test_parameters_of_three_families_by_hand():
    sizes = dict(vocab_size=1024, seq_len=128, n_layers=2, width=32, n_heads=2)
    groups = {family: param_groups(Shape(family=family, **sizes)) for family in FAMILIES}
    assert groups["bert"] == groups["gpt"] | {"embedding_params": 1025 * 32}
    assert groups["t5"] == {
        "embedding_params": 1032 * 32,
        "block_params": 2 * (12 + 16) * 32**2,
        "head_params": 0,
        "norm_params": (5 + 7) * 32,
    }


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_only_the_causal_square_is_halved(family):
    shape = Shape(vocab_size=64, seq_len=24, n_layers=2, width=16, n_heads=2, family=family)
    Td = shape.window.targets
    saved = forward_flops(shape) - forward_flops(shape, attended=(Td + 1) / (2 * Td))
    hidden_pairs = Td**2 - sum(range(1, Td + 1)) if family == "t5" else 0
    assert saved == pytest.approx(4 * 2 * 16 * hidden_pairs)


@pytest.mark.parametrize("family", ["bert", "t5"])
@pytest.mark.parametrize("convention", [palm_flops_per_token, hoffmann_flops_per_token])
def test_conventions_of_decoders_refuse_the_others(family, convention):
    shape = Shape(vocab_size=64, seq_len=24, n_layers=2, width=16, n_heads=2, family=family)
    with pytest.raises(ValueError, match=f"counts decoders .family 'gpt'., not '{family}'"):
        convention(shape)
