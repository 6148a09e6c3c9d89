import pytest
import torch

from scaling.models.gpt import GPT
from scaling.models.kernels import Linear, cross_entropy
from scaling.models.losses import WHOLE_LOGITS, head_loss
from scaling.shapes.shape import Shape

SHAPE = Shape(vocab_size=61, seq_len=7, n_layers=1, width=8, n_heads=1)


def gradients(model, losses):
    """Of a loss whose targets weigh differently."""
    model.zero_grad()
    (losses * torch.linspace(0.5, 2, losses.numel()).view_as(losses)).mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("piece", [1, 61, 5 * 61, 10**6])
def test_pieces_have_the_losses_and_gradients_of_the_whole(piece):
    model, windows = GPT(SHAPE, 0), torch.randint(61, (3, 8))
    x, target = model.norm(model.stream(windows[:, :-1])), windows[:, 1:]
    whole = cross_entropy(model.head(x), target)
    expected = gradients(model, whole)
    x = model.norm(model.stream(windows[:, :-1]))
    pieces = head_loss(model.head, x, target, 61, whole=0, piece=piece)
    assert pieces.shape == (3, 7)
    torch.testing.assert_close(pieces, whole, rtol=1e-6, atol=1e-6)
    found = gradients(model, pieces)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-6)


def test_pieces_hold_less_than_the_whole():
    """What autograd keeps of a forward pass: the softmax of every logit, or the rows alone."""
    head, kept = Linear(4, 500), {}
    head.register_forward_hook(lambda *_: None)  # or a CPU's own kernel makes no whole logits
    x, target = torch.randn(64, 4, requires_grad=True), torch.randint(500, (64,))
    for whole in (WHOLE_LOGITS, 0):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):  # noqa: B023
            head_loss(head, x, target, 500, whole=whole, piece=500 * 8)
        kept[whole] = sum(t.numel() for t in saved)
    assert kept[WHOLE_LOGITS] > 64 * 500
    assert kept[0] < 64 * 500 / 4
