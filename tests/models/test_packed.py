import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaling.models.build import build_model
from scaling.models.packed import CODES, SCALE, pack, pack_model, unpack, unpack_model
from scaling.models.quantised import quantise
from scaling.models.storage import FORMATS, SHARES, Storage
from scaling.shapes.shape import Shape

SHAPE = Shape(vocab_size=32, seq_len=8, n_layers=1, width=20, n_heads=2)


@given(st.sampled_from([8, 6, 4, 3, 2]), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_packed_codes_take_their_bits_and_come_back(bits, rows, columns, seed):
    half = 2 ** (bits - 1)
    codes = np.random.default_rng(seed).integers(-half, half, (rows, columns))
    tensor = torch.from_numpy(codes).to(torch.int8)
    packed = pack(tensor, bits)
    assert packed.dtype == torch.uint8
    assert len(packed) == -(-rows * columns * bits // 8)
    assert torch.equal(unpack(packed, bits, tensor.shape), tensor)


@pytest.mark.parametrize("per", SHARES)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("parts", ["blocks", "all"])
def test_a_packed_model_is_the_quantised_one(format, per, parts):
    storage, model = Storage(format, per, 8, parts), build_model(SHAPE, seed=1)
    tensors = pack_model(model, storage)
    unpacked, inputs = unpack_model(tensors, build_model(SHAPE), storage)
    quantise(model, storage)
    assert inputs == {}
    assert set(unpacked) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        assert torch.equal(unpacked[name], parameter), name


def test_four_bits_are_an_eighth_of_fp32():
    tensors = pack_model(build_model(SHAPE), Storage("int4", parts="all"))
    codes = sum(t.numel() for name, t in tensors.items() if name.endswith(CODES))
    matrices = sum(p.numel() for p in build_model(SHAPE).parameters() if p.ndim == 2)
    assert codes * 8 == matrices * 4
    assert tensors["table" + SCALE].shape == (32, 1, 1)
