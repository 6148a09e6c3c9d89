import pytest
import torch
from torch.nn import functional as F

from scaling.models.build import build_model
from scaling.models.kernels import (
    ATTENTIONS,
    PRODUCTS,
    Kernels,
    Linear,
    cross_entropy,
    gelu,
    head_cross_entropy,
    rms_norm,
    use_kernels,
)
from scaling.shapes.shape import Shape

SIZES = {"vocab_size": 64, "seq_len": 16, "n_layers": 2, "width": 24, "n_heads": 2}


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


def gradients(function, *inputs):
    """Value and gradients of a function, for a gradient that differs from place to place."""
    value = function(*inputs)
    weights = torch.linspace(-1, 2, value.numel()).view(value.shape).to(value.dtype)
    return [value.detach(), *torch.autograd.grad(value, inputs, weights)]


@pytest.mark.parametrize(
    "ours, known",
    [
        (gelu, lambda x, _: F.gelu(x, approximate="tanh")),
        (lambda x, gain: rms_norm(x, gain, 1e-6), lambda x, gain: F.rms_norm(x, (12,), gain, 1e-6)),
    ],
    ids=["gelu", "rms_norm"],
)
def test_values_and_gradients_are_torchs_own_in_double_precision(ours, known):
    x, gain = draw(5, 7, 12), draw(12)
    inputs = (x,) if ours is gelu else (x, gain)
    exact = [p.detach().double().requires_grad_() for p in inputs]
    extra = () if len(inputs) == 2 else (None,)
    expected = gradients(lambda *p: known(*p, *extra), *exact)
    for found, right in zip(gradients(ours, *inputs), expected, strict=True):
        torch.testing.assert_close(found.double(), right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("even", [True, False], ids=["of a mean", "row by row"])
def test_a_heads_loss_in_chunks_is_the_whole_one(even, monkeypatch):
    monkeypatch.setattr("scaling.models.kernels.CHUNK", 64)
    head, target = Linear(12, 50), torch.arange(77).view(7, 11) % 50
    x = draw(7, 11, 12)
    found, right = (
        [loss.detach(), *torch.autograd.grad((loss * scale).mean(), (x, head.weight))]
        for loss in (head_cross_entropy(head, x, target), cross_entropy(head(x), target))
        for scale in [torch.ones(7, 11) if even else torch.linspace(0, 2, 77).view(7, 11)]
    )
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["gpt", "bert"])
def test_every_choice_of_kernels_gives_the_same_numbers_but_for_rounding(family):
    model = build_model(Shape(family=family, **SIZES))
    tokens = torch.arange(3 * 16).view(3, 16) % 61
    places = torch.arange(4).expand(3, 4)
    batch = (tokens,) if family == "gpt" else (tokens, places, tokens[:, :4])
    found = {}
    for kernels in [Kernels(p, a) for p in PRODUCTS for a in ATTENTIONS]:
        use_kernels(model, kernels)
        loss = model.loss(*batch).mean()
        found[kernels.label] = [loss, *torch.autograd.grad(loss, [*model.parameters()])]
    for label, values in found.items():
        for one, other in zip(values, found["torch-flash"], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6, msg=label)
