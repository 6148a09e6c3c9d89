import pytest
import torch

from scaling.models.bert import BERT
from scaling.shapes.shape import Shape

SHAPE = Shape(vocab_size=61, seq_len=16, n_layers=2, width=24, n_heads=2, family="bert")


def tokens(n_windows=2):
    return torch.randint(0, 62, (n_windows, 16), generator=torch.Generator().manual_seed(0))


EVERYWHERE = torch.arange(16).expand(2, -1)


@pytest.mark.parametrize("changed_at", [0, 7, 15])
def test_every_position_sees_both_sides(changed_at):
    model = BERT(SHAPE).eval()
    before = tokens()
    after = before.clone()
    after[:, changed_at] = (after[:, changed_at] + 1) % 62
    with torch.no_grad():
        difference = (model(before, EVERYWHERE) - model(after, EVERYWHERE)).abs().amax(-1)
    assert (difference > 1e-6).all()


def test_order_matters():
    model = BERT(SHAPE).eval()
    with torch.no_grad():
        straight, reversed_ = model(tokens(), EVERYWHERE), model(tokens().flip(1), EVERYWHERE)
    assert (straight - reversed_.flip(1)).abs().max() > 1e-3


def test_the_head_sees_the_masked_positions_only():
    model = BERT(SHAPE).eval()
    positions = torch.tensor([[1, 9], [0, 15]])
    with torch.no_grad():
        every, some = model(tokens(), EVERYWHERE), model(tokens(), positions)
    assert some.shape == (2, 2, 62)
    torch.testing.assert_close(some, every[torch.arange(2)[:, None], positions])


def test_loss_is_of_the_targets():
    model = BERT(SHAPE).eval()
    positions, targets = torch.tensor([[1, 9], [0, 15]]), torch.tensor([[3, 4], [5, 60]])
    with torch.no_grad():
        log_p = model(tokens(), positions).log_softmax(-1)
        loss = model.loss(tokens(), positions, targets)
    torch.testing.assert_close(loss, -log_p.gather(-1, targets[..., None])[..., 0])
