import math

import numpy as np
import pytest
import torch
from groups import group_params

from scaling.data.objectives import make_objective
from scaling.models.build import build_model
from scaling.shapes.flops import param_groups, total_params
from scaling.shapes.shape import FAMILIES, Shape

SIZES = {
    "tied": dict(n_layers=2, width=24, n_heads=2),
    "untied": dict(n_layers=1, width=24, n_heads=2, tied=False),
    "swiglu": dict(n_layers=3, width=32, n_heads=4, ffn="swiglu"),
    "grouped": dict(n_layers=2, width=32, n_heads=4, n_kv_heads=2),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(params=SIZES.values(), ids=SIZES)
def shape(request, family):
    return Shape(vocab_size=61, seq_len=24, family=family, **request.param)


def batch(shape, n_windows):
    objective = make_objective(shape)
    n = objective.window.text + objective.overlap
    windows = np.random.default_rng(0).integers(0, 61, (n_windows, n))
    return [torch.from_numpy(a) for a in objective(windows, np.arange(n_windows), 0)]


def test_every_parameter_is_counted_in_its_group(shape):
    model = build_model(shape)
    assert group_params(model) == param_groups(shape)
    assert sum(p.numel() for p in model.parameters()) == total_params(shape)


def test_an_untrained_model_guesses_evenly(shape):
    loss = build_model(shape).loss(*batch(shape, 64))
    assert loss.shape == (64, shape.window.targets)
    assert loss.mean().item() == pytest.approx(math.log(shape.table_rows), abs=0.05)


def test_the_seed_decides_the_weights(shape):
    models = [build_model(shape, seed) for seed in (1, 1, 2)]
    for a, b, c in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(a, b)
        assert a.ndim == 1 or not torch.equal(a, c)


def test_every_parameter_gets_a_gradient(shape):
    model = build_model(shape)
    model.loss(*batch(shape, 4)).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_autocast_changes_little(shape):
    model, arrays = build_model(shape), batch(shape, 8)
    with torch.no_grad():
        exact = model.loss(*arrays)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model.loss(*arrays)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=0.05, rtol=0)


def test_a_few_steps_learn_a_batch_by_heart(family):
    shape = Shape(vocab_size=61, seq_len=24, n_layers=2, width=32, n_heads=2, family=family)
    model, arrays = build_model(shape), batch(shape, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(60):
        loss = model.loss(*arrays).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.1


def test_residual_outputs_start_small(family):
    shape = Shape(vocab_size=61, seq_len=24, n_layers=8, width=64, n_heads=4, family=family)
    model = build_model(shape)
    for name, parameter in model.named_parameters():
        if name.endswith("out.weight"):
            additions = 8 * (3 if name.startswith("decoder") else 2)
            wanted = (parameter.shape[1] * additions) ** -0.5
            assert parameter.std().item() == pytest.approx(wanted, rel=0.06), name
