import pytest
import torch

from scaling.models.layers import CrossAttention
from scaling.models.t5 import T5
from scaling.shapes.shape import Shape

SHAPE = Shape(vocab_size=61, seq_len=32, n_layers=2, width=24, n_heads=2, family="t5")
ROWS, END = SHAPE.table_rows, SHAPE.table_rows - 1
TARGETS = SHAPE.window.targets


def example():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, ROWS, (2, 32), generator=generator)
    targets = torch.randint(0, ROWS, (2, TARGETS), generator=generator)
    targets[:, -1] = END
    return inputs, targets


def other(tokens, position):
    changed = tokens.clone()
    changed[:, position] = (changed[:, position] + 1) % ROWS
    return changed


def test_the_decoder_sees_no_future():
    model = T5(SHAPE).eval()
    inputs, targets = example()
    with torch.no_grad():
        before, after = model(inputs, targets), model(inputs, other(targets, 3))
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert ((before - after)[:, 3:].abs().amax(-1) > 1e-6).all()


def test_no_target_helps_to_predict_itself_or_those_before():
    model = T5(SHAPE).eval()
    inputs, targets = example()
    with torch.no_grad():
        before, after = model.loss(inputs, targets), model.loss(inputs, other(targets, 3))
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert (before != after)[:, 3:].all()
    previous = torch.cat([torch.full((2, 1), END), targets[:, :-1]], 1)
    log_p = model(inputs, previous).log_softmax(-1)  # from the end mark to the last but one
    torch.testing.assert_close(before, -log_p.gather(-1, targets[..., None])[..., 0])


@pytest.mark.parametrize("changed_at", [0, 17, 31])
def test_every_target_sees_the_whole_input(changed_at):
    model = T5(SHAPE).eval()
    inputs, targets = example()
    with torch.no_grad():
        difference = model(inputs, targets) - model(other(inputs, changed_at), targets)
    assert (difference.abs().amax(-1) > 1e-6).all()


def test_the_encoder_is_bidirectional():
    model = T5(SHAPE).eval()
    x = torch.randn(1, 32, 24, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[:, -1] += 1
    with torch.no_grad():
        before, after = (model.encoder[0](h, model.rotary) for h in (x, changed))
    assert ((before - after).abs().amax(-1) > 1e-6).all()


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_cross_attention_has_no_positions_and_sees_the_memory_as_a_set(kv_heads):
    cross = CrossAttention(
        Shape(vocab_size=2, seq_len=8, n_layers=1, width=32, n_heads=4, n_kv_heads=kv_heads)
    )
    generator = torch.Generator().manual_seed(0)
    x, memory = torch.randn(2, 3, 5, 32, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(cross(x, memory), cross(x, memory.flip(1)))
        torch.testing.assert_close(cross(x.flip(1), memory).flip(1), cross(x, memory))


def test_cross_attention_is_the_formula():
    shape = Shape(vocab_size=2, seq_len=8, n_layers=1, width=32, n_heads=4)
    cross = CrossAttention(shape)
    generator = torch.Generator().manual_seed(0)
    x, memory = torch.randn(3, 32, generator=generator), torch.randn(7, 32, generator=generator)
    with torch.no_grad():
        q = cross.q(x).view(3, 4, 8)
        k, v = cross.kv(memory).view(7, 2, 4, 8).unbind(1)
        weights = (torch.einsum("thk,mhk->htm", q, k) / 8**0.5).softmax(-1)
        wanted = cross.out(torch.einsum("htm,mhk->thk", weights, v).reshape(3, 32))
        torch.testing.assert_close(cross(x[None], memory[None])[0], wanted)
