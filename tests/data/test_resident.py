import numpy as np
import pytest

from scaling.data.objectives import make_objective
from scaling.data.order import draw_windows
from scaling.data.resident import ResidentIds, hold_ids
from scaling.data.shards import Stream, find_shards
from scaling.shapes.shape import Shape

SHAPE = Shape(vocab_size=60_000, seq_len=16, n_layers=1, width=8, n_heads=1)
CLM = make_objective(SHAPE)


@pytest.mark.parametrize(("dtype", "most"), [("uint8", 255), ("uint16", 60_000), ("uint32", 2**20)])
def test_windows_are_those_of_the_host_over_two_epochs(dtype, most, monkeypatch):
    monkeypatch.setattr("scaling.data.resident.BLOCK", 300)
    tokens = np.random.default_rng(0).integers(0, most, 1000).astype(dtype)
    held = ResidentIds(tokens, CLM, 3, "cpu")
    places = np.arange(20, 120)
    [expected] = CLM(draw_windows(tokens, places, CLM, 3), places, 3)
    assert (held.draw(places).numpy() == expected).all()


def test_shards_are_held_as_an_array_is(tmp_path):
    tokens = np.arange(500, dtype=np.uint16)
    for number, part in enumerate(np.split(tokens, [123])):
        np.save(tmp_path / f"{number}.npy", part)
    held = ResidentIds(Stream(find_shards(str(tmp_path))), CLM, 0, "cpu")
    assert (held.ids.numpy() == tokens).all()


def test_without_a_gpu_windows_are_made_on_the_host():
    assert hold_ids(np.zeros(100, np.uint16), CLM, 0, "cpu") is None
