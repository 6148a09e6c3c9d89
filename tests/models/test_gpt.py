import pytest
import torch
from groups import group_params

from scaling.models.gpt import GPT
from scaling.shapes.flops import param_groups
from scaling.shapes.shape import Shape

SHAPES = {
    "tied": Shape(vocab_size=61, seq_len=16, n_layers=2, width=24, n_heads=2),
    "untied": Shape(vocab_size=61, seq_len=16, n_layers=1, width=24, n_heads=2, tied=False),
    "swiglu": Shape(vocab_size=61, seq_len=8, n_layers=3, width=32, n_heads=4, ffn="swiglu"),
    "grouped": Shape(vocab_size=61, seq_len=8, n_layers=2, width=32, n_heads=4, n_kv_heads=2),
}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def shape(request):
    return request.param


def test_every_parameter_is_counted_in_its_group(shape):
    model = GPT(shape)
    assert group_params(model) == param_groups(shape)
    assert sum(p.numel() for p in model.parameters()) == sum(param_groups(shape).values())


def test_no_position_sees_its_future(shape):
    model = GPT(shape).eval()
    tokens = torch.randint(0, 61, (2, 8), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 61
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(-1).all()


def test_positions_matter_only_relatively(shape):
    rotary = GPT(shape).rotary
    q, k = torch.randn(2, shape.head_width, generator=torch.Generator().manual_seed(0))
    turned_q, turned_k = (rotary(x.expand(1, 1, shape.seq_len, -1))[0, 0] for x in (q, k))
    products = turned_q @ turned_k.T
    torch.testing.assert_close(products.diagonal(-2), products[2, 0].expand(shape.seq_len - 2))


def test_an_untrained_model_guesses_evenly(shape):
    generator = torch.Generator().manual_seed(0)
    windows = torch.randint(0, 61, (64, shape.seq_len + 1), generator=generator)
    loss = GPT(shape).loss(windows)
    assert loss.shape == (64, shape.seq_len)
    assert loss.mean().item() == pytest.approx(torch.tensor(61.0).log().item(), abs=0.03)


def test_the_seed_decides_the_weights(shape):
    first, again, other = GPT(shape, seed=1), GPT(shape, seed=1), GPT(shape, seed=2)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.table.weight, other.table.weight)
