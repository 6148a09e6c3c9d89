"""Every precision trains, goes on bit for bit where it was stopped, and learns a known cycle."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from recipes import TINY

from scaling.models.build import build_model
from scaling.models.kernels import STOCK
from scaling.shapes.shape import Shape
from scaling.training.casting import cast, set_products, settle_kernels
from scaling.training.saved import load_model, read_weights, save_model
from scaling.training.strategy import ALONE
from scaling.training.trunk import TrunkTraining, window_losses

SHAPE = Shape(vocab_size=16, seq_len=8, n_layers=1, width=16, n_heads=1)
pytestmark = pytest.mark.usefixtures("one_thread")
RECIPE = replace(TINY, lr=0.02, batch_size=16)
CYCLE = np.tile(np.arange(16, dtype=np.uint16), 800)  # the next token is always the last plus one
SOON = ["bf16_pure", "fp16", "fp8", "int8", "int4", "int2"]
LATE = ["fp32", "bf16", "int6", "int3", "int4_absmax", "int8_tensor", "int3_group16"]
LATE += ["int4_absmax_group16_all", "int4_all"]
BY_TURNS = [*SOON, *(pytest.param(name, marks=pytest.mark.long) for name in LATE)]


def trunk(precision, **options):
    return TrunkTraining(
        SHAPE, [RECIPE], CYCLE, CYCLE, valid_windows=32, precision=precision, **options
    )


@functools.cache
def trained(precision):
    """A model trained without a stop, its outcome, and its state and news at half the way."""
    training, state, seen = trunk(precision), None, []
    for news in training.run():
        seen.append(news)
        if state is None and training.step >= RECIPE.steps // 2:
            state, heard = training.state(), len(seen)
    return training, seen, state, heard


@pytest.mark.parametrize("precision", BY_TURNS)
def test_a_cycle_is_learned_and_a_stopped_training_goes_on_bit_for_bit(precision):
    _, seen, state, heard = trained(precision)
    assert seen[-1].status == "ok"
    assert seen[-1].loss < 0.1 < seen[0].loss
    assert [*trunk(precision, state=state).run()] == seen[heard:]


@pytest.mark.parametrize("precision", ["int4", pytest.param("int2_all", marks=pytest.mark.long)])
def test_a_model_trained_in_few_bits_is_saved_in_them(precision, tmp_path):
    training = trunk(precision)
    [*_] = training.advance(RECIPE, 20)
    save_model(tmp_path, training.model, None, {})
    model, _ = load_model(tmp_path)
    theirs = window_losses(training.model, training.objective, CYCLE, 32)
    assert (window_losses(model, training.objective, CYCLE, 32) == theirs).all()
    weights = read_weights(tmp_path)
    assert weights["blocks.0.ffn.up.codes"].numel() == 16 * 64 * int(precision[3]) // 8


def test_fp16_scales_its_loss_and_halves_the_scale_where_it_overflows():
    training = trunk("fp16")
    start = training.scaler.get_scale()
    assert start == 2**16
    [*_] = training.advance(RECIPE, 1)
    before = training.model.table.weight.clone()
    training.scaler.update(2.0**40)  # every gradient overflows
    [*_] = training.advance(replace(RECIPE, lr=1.0), 2)
    assert torch.equal(training.model.table.weight, before)
    assert training.scaler.get_scale() == 2.0**39
    assert training.state().tensors["scaler.scale"].item() == 2.0**39


def test_pure_bf16_keeps_weights_and_moments_in_bf16():
    tensors = trained("bf16_pure")[2].tensors
    kept = [f"{what}.table.weight" for what in ("weights", "exp_avg", "exp_avg_sq")]
    assert {t.dtype for name, t in tensors.items() if name in kept} == {torch.bfloat16}


def test_tf32_is_refused_on_a_processor():
    with pytest.raises(ValueError, match="precision=tf32 is arithmetic of NVIDIA GPUs"):
        cast(build_model(SHAPE), "tf32", "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="tf32 needs an NVIDIA GPU")
def test_tf32_trains_on_a_gpu():
    try:
        assert [*trunk("tf32", device="cuda").run()][-1].loss < 0.1
    finally:
        torch.set_float32_matmul_precision("highest")


def test_on_a_gpu_torch_computes_all():
    settled, why = settle_kernels(STOCK, "bf16", ALONE, "cuda:0")
    assert (settled.label, why) == ("torch", "")
    wished = replace(STOCK, compiled=True)
    assert settle_kernels(wished, "bf16", ALONE, "cuda:0")[0].label == "torch-compiled"


def test_only_tf32_rounds_the_products_of_fp32():
    before = torch.get_float32_matmul_precision()
    try:
        for precision, said in (("tf32", "high"), ("fp32", "highest"), ("bf16", "highest")):
            set_products(precision)
            assert torch.get_float32_matmul_precision() == said
    finally:
        torch.set_float32_matmul_precision(before)
