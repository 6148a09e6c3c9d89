import torch

from scaling.training.footprint import allocate, held_by_kind, held_bytes


def test_the_allocator_tells_the_peak_and_what_is_left():
    def work():
        kept = torch.zeros(1000)
        torch.zeros(5000)
        return kept

    peak, left = allocate(work)
    assert left == 4000
    assert 24_000 <= peak < 24_500


def test_bytes_by_kind():
    model = torch.nn.Linear(10, 20)
    optimizer = torch.optim.AdamW(model.parameters())
    assert held_by_kind(model, optimizer) == {"weights": 880, "gradients": 0, "optimizer": 0}
    model(torch.zeros(1, 10)).sum().backward()
    optimizer.step()
    steps = 2 * 4
    held = {"weights": 880, "gradients": 880, "optimizer": 1760 + steps}
    assert held_by_kind(model, optimizer) == held
    assert held_bytes([None, torch.zeros(3)]) == 12
