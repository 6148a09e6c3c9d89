import math

import pytest
import torch

from scaling.models.build import build_model
from scaling.models.quantised import (
    PACE,
    FakeQuantiser,
    Float8,
    absmax_scale,
    best_share,
    calibrate,
    decode,
    encode,
    join,
    quantise,
    quantised_parts,
    round_inputs,
    split,
    train_in_float8,
    train_quantised,
    trained_scale,
    trained_storage,
)
from scaling.models.storage import FORMATS, INTEGERS, SHARES, Storage
from scaling.shapes.shape import Shape


def shape(**options):
    sizes = dict(vocab_size=32, seq_len=8, n_layers=1, width=16, n_heads=1)
    return Shape(**sizes, **options)


def weights(rows=12, columns=20, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.mark.parametrize("per", SHARES)
@pytest.mark.parametrize("format", FORMATS)
def test_the_error_is_half_a_step_at_most(format, per):
    w, storage = weights(), Storage(format, per, group=8)
    codes, scale = encode(w, storage)
    back = decode(codes, scale, storage)
    assert back.shape == w.shape
    if storage.is_integer:
        half = join((scale / 2).expand_as(split(w, storage)), w.shape)
        assert ((back - w).abs() <= half * (1 + 1e-5)).all()
    else:
        relative = {"fp16": 2**-11, "bf16": 2**-8, "fp8_e4m3": 2**-4, "fp8_e5m2": 2**-3}[format]
        big = w.abs() > 0.02 * w.abs().max()
        assert ((back - w).abs()[big] <= w.abs()[big] * relative * (1 + 1e-5)).all()


@pytest.mark.parametrize("format", INTEGERS)
def test_rounding_twice_changes_nothing(format):
    storage = Storage(format)
    once = decode(*encode(weights(), storage), storage)
    assert torch.allclose(decode(*encode(once, storage), storage), once, atol=1e-7)


def test_two_bits_have_four_levels_without_zero():
    storage = Storage("int2", "tensor")
    levels = decode(*encode(weights(40, 40), storage), storage).unique()
    assert levels.tolist() == pytest.approx(
        (levels[-1] * torch.tensor([-1, -1 / 3, 1 / 3, 1])).tolist()
    )


@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize("format", ["int8", "int6", "int4", "int3"])
def test_the_fake_quantiser_is_torchs(format, share):
    """Values and gradients of weights and scales against torch's own operators."""
    storage, w = Storage(format), weights()
    low, high, _ = storage.levels
    ours = FakeQuantiser(w, storage, learned=True)
    ours.clip.data.fill_(math.log(share) / PACE)
    s = trained_scale(w, storage, ours.clip).detach().flatten()
    learnable = torch._fake_quantize_learnable_per_channel_affine
    mine, theirs, s_theirs = w.clone().requires_grad_(), w.clone().requires_grad_(), s.clone()
    y = learnable(theirs, s_theirs.requires_grad_(), torch.zeros(len(s)), 0, low, high, 1.0)
    x = w / s[:, None]
    beyond = ((x > high) & (x < high + 0.5)) | ((x < low) & (x > low - 0.5))
    slope = weights(seed=1).masked_fill(beyond, 0.0)  # where torch sees no clipping yet
    ours(mine).backward(slope)
    y.backward(slope)
    plain = torch.fake_quantize_per_channel_affine(w, s, torch.zeros(len(s)), 0, low, high)
    assert torch.allclose(ours(mine), y, atol=1e-6)
    assert torch.allclose(ours(mine), plain, atol=1e-6)
    assert torch.allclose(mine.grad, slope, rtol=1e-5)  # beyond the levels, theirs is none
    inside = (x > low) & (x < high)
    assert torch.allclose(mine.grad[inside], theirs.grad[inside], rtol=1e-5)
    assert torch.allclose(ours.clip.grad, s_theirs.grad * s * PACE, rtol=1e-3, atol=1e-7)


def test_the_fake_quantiser_is_torchaos():
    torchao = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    w, storage = weights(), Storage("int4")
    s = absmax_scale(split(w, storage), storage).flatten()
    asked = ((1, w.shape[1]), s, torch.zeros(len(s), dtype=torch.int32), torch.int8)
    codes = torchao.quantize_affine(w, *asked, *storage.levels[:2])
    theirs = torchao.dequantize_affine(codes, *asked, *storage.levels[:2])
    assert torch.equal(codes, encode(w, storage)[0])
    assert torch.allclose(FakeQuantiser(w, storage, learned=False)(w), theirs, atol=1e-6)


@pytest.mark.parametrize("learned", [True, False])
def test_every_gradient_passes_and_scales_follow_the_weights(learned):
    fake = FakeQuantiser(weights(), Storage("int3"), learned)
    w = weights().requires_grad_()
    fake(w).backward(slope := weights(seed=1))
    assert torch.allclose(w.grad, slope, rtol=1e-5)
    s, thrice = (trained_scale(f * w.detach(), fake.storage, fake.clip) for f in (1, 3))
    assert torch.allclose(thrice, 3 * s)
    assert torch.equal(fake(w), decode(*encode(w.detach(), fake.storage, s), fake.storage))


@pytest.mark.parametrize("family", ["gpt", "bert", "t5"])
def test_blocks_and_all_are_named(family):
    model = build_model(shape(family=family))
    blocks = [name for name, _ in quantised_parts(model, "blocks")]
    everything = [name for name, _ in quantised_parts(model, "all")]
    assert set(everything) - set(blocks) == {"table", "head"}
    matrices = {n for n, p in model.named_parameters() if p.ndim == 2}
    assert {f"{name}.weight" for name in everything} - {"head.weight"} == matrices


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_is_rounded_with_its_table(tied):
    model = build_model(shape(tied=tied))
    train_quantised(model, Storage("int4", parts="all"), learned=True)
    assert (model.head.quantiser is model.table.quantiser) == tied
    assert trained_storage(model) == Storage("int4", parts="all")
    before = model.table.weight.clone()
    quantise(model, Storage("int4"))
    assert torch.equal(model.table.weight, before)
    quantise(model, Storage("int4", parts="all"))
    assert not torch.equal(model.table.weight, before)


def test_float8_products_are_those_of_the_operator():
    """Against torch._scaled_mm, which has hardware behind it on some devices."""
    model = build_model(shape())
    linear = model.blocks[0].ffn.up
    train_in_float8(model)
    x = torch.randn(16, 16, generator=torch.Generator().manual_seed(2))
    e4m3 = torch.float8_e4m3fn
    scales = [t.detach().abs().max() / torch.finfo(e4m3).max for t in (x, linear.weight)]
    a, b = (t.detach().div(s).to(e4m3) for t, s in zip((x, linear.weight), scales, strict=True))
    theirs = torch._scaled_mm(a, b.T, *scales, out_dtype=torch.float32)
    assert torch.allclose(linear(x), theirs, atol=1e-5)
    assert isinstance(linear.quantiser, Float8)
    assert trained_storage(model) is None


def test_float8_gradients_are_rounded_to_e5m2():
    model = build_model(shape())
    train_in_float8(model)
    linear, x = model.blocks[0].ffn.up, torch.eye(16).requires_grad_()
    slope = torch.randn(16, 64, generator=torch.Generator().manual_seed(3))
    linear(x).backward(slope)
    s = slope.abs().max() / torch.finfo(torch.float8_e5m2).max
    rounded = (slope / s).to(torch.float8_e5m2).float() * s
    assert torch.allclose(linear.weight.grad, rounded.T, atol=1e-6)


def test_activations_are_cut_at_what_calibration_met():
    model, storage = build_model(shape()), Storage("int8", activations=8)
    tokens = torch.arange(16).view(2, 8)
    before = model(tokens)
    scales = calibrate(model, storage, lambda: model(tokens))
    assert set(scales) == {name for name, _ in quantised_parts(model, "blocks")}
    assert torch.equal(model(tokens), before)  # no hook is left
    round_inputs(model, scales, 8)
    rounded = model(tokens)
    assert not torch.equal(rounded, before)
    assert torch.allclose(rounded, before, atol=0.05)


@pytest.mark.parametrize("format, low, high", [("int8", 0.95, 1), ("int3", 0.5, 0.9)])
def test_learning_starts_at_the_least_squared_error(format, low, high):
    w, storage = weights(200, 64), Storage(format)
    assert low <= best_share(w, storage) <= high
    start = FakeQuantiser(w, storage, learned=True)(w)
    absmax = FakeQuantiser(w, storage, learned=False)(w)
    assert (start - w).square().sum() <= (absmax - w).square().sum()
    assert best_share(torch.zeros(4, 4), storage) == 1


def test_a_group_of_zeros_has_a_scale():
    storage = Storage("int4", "group", 8)
    w = torch.zeros(2, 12)
    assert (absmax_scale(split(w, storage), storage) > 0).all()
    assert torch.equal(decode(*encode(w, storage), storage), w)
