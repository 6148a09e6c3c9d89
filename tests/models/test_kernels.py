import pytest
import torch

from scaling.models.build import build_model
from scaling.models.kernels import (
    PRODUCTS,
    Kernels,
    Linear,
    cross_entropy,
    head_cross_entropy,
    use_kernels,
)
from scaling.shapes.shape import Shape

SIZES = {"vocab_size": 64, "seq_len": 16, "n_layers": 2, "width": 24, "n_heads": 2}


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("even", [True, False], ids=["of a mean", "row by row"])
def test_a_heads_loss_in_chunks_is_the_whole_one(even):
    head, target = Linear(12, 50), torch.arange(77).view(7, 11) % 50
    use_kernels(head, Kernels(native=True))
    x = draw(7, 11, 12)
    found, right = (
        [loss.detach(), *torch.autograd.grad((loss * scale).mean(), (x, head.weight))]
        for loss in (head_cross_entropy(head, x, target), cross_entropy(head(x), target))
        for scale in [torch.ones(7, 11) if even else torch.linspace(0, 2, 77).view(7, 11)]
    )
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


BATCHES = {  # of 3 windows
    "gpt": lambda n: (tokens(n + 1),),
    "bert": lambda n: (tokens(n), torch.arange(4).expand(3, 4), tokens(4)),
    "t5": lambda n: (tokens(n), tokens(5)),
}
SHAPES = {
    "as the demo's": SIZES,
    "odd sizes, grouped heads": SIZES
    | dict(vocab_size=101, seq_len=37, width=20, n_heads=10)
    | dict(n_kv_heads=5, ffn="swiglu", tied=False),
}


def tokens(n):
    return torch.arange(3 * n).view(3, n) * 7 % 61


@pytest.mark.parametrize("family", BATCHES)
@pytest.mark.parametrize("sizes", SHAPES)
def test_every_choice_of_kernels_gives_the_same_numbers_but_for_rounding(family, sizes):
    model = build_model(Shape(family=family, **SHAPES[sizes]))
    batch, found = BATCHES[family](SHAPES[sizes]["seq_len"]), {}
    for kernels in [Kernels(p, native) for p in PRODUCTS for native in (False, True)]:
        use_kernels(model, kernels)
        loss = model.loss(*batch).mean()
        found[kernels.label] = [loss, *torch.autograd.grad(loss, [*model.parameters()])]
    for label, values in found.items():
        for one, other in zip(values, found["torch"], strict=True):
            torch.testing.assert_close(
                one, other, rtol=1e-5, atol=1e-5 * other.abs().max().item(), msg=label
            )


def test_what_is_hooked_into_a_layer_is_called():
    model, seen = build_model(Shape(**SIZES)), []
    use_kernels(model, Kernels(native=True))
    for linear in (model.blocks[0].ffn.up, model.blocks[1].attention.out, model.head):
        linear.register_forward_hook(lambda module, x, y: seen.append(module))
    model.loss(tokens(17))
    assert len(seen) == 3


def test_what_the_future_holds_does_not_matter():
    model = build_model(Shape(**SIZES))
    use_kernels(model, Kernels(native=True))
    x = model.table(tokens(16)).detach()
    changed = torch.cat([x[:, :9], 100 * x[:, 9:]], 1)
    found = [model.blocks[0](y, model.rotary)[:, :9] for y in (x, changed)]
    assert torch.equal(*found)
