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
    non_embedding_params,
    param_groups,
    total_params,
    training_flops_per_token,
)
from scaling.shapes.shape import FAMILIES, Shape


def counted_by_torch(shape, n_sequences):
    model, objective = build_model(shape), make_objective(shape)
    n_tokens = objective.window.text + objective.overlap
    windows = np.zeros((n_sequences, n_tokens), np.int64)
    arrays = [torch.from_numpy(a) for a in objective(windows, np.arange(n_sequences), 0)]
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.loss(*arrays).mean().backward()
    return counter.get_total_flops()


@settings(max_examples=15)
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


def test_a_shape_counted_by_hand():
    shape = Shape(vocab_size=1024, seq_len=128, n_layers=2, width=32, n_heads=2)
    assert param_groups(shape) == {
        "embedding_params": 1024 * 32,
        "block_params": 2 * 12 * 32**2,
        "head_params": 0,
        "norm_params": 5 * 32,
    }
    assert total_params(shape) == 57_504
    assert non_embedding_params(shape) == 57_504 - 1024 * 32
    assert training_flops_per_token(shape) == 6 * (24_576 + 32_768) + 12 * 2 * 128 * 32
    assert 6 * 57_504 / training_flops_per_token(shape) == pytest.approx(0.78, abs=0.005)


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
