import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from scaling.training.checkpoints import (
    Checkpoint,
    checkpoint_path,
    delete_checkpoint,
    read_checkpoint,
    set_damaged_aside,
    write_checkpoint,
)
from scaling.training.trunk import Point, TrunkState

ID = "0123456789ab"


def checkpoint(step=40):
    rng = torch.Generator().manual_seed(step)
    tensors = {f"weights.{i}": torch.randn(3, i + 1, generator=rng) for i in range(3)}
    tensors |= {"loss_sum": torch.tensor(1.25), "step.0": torch.tensor(float(step))}
    points = [Point(s, s - 0.5, 3.0 + 1 / 3 / s, 0.01) for s in (1, 2, 4)]
    return Checkpoint(TrunkState(step, 38, tensors), points, 12, 3.5)


def read(folder, until):
    """Read into a state of the same trunk at another moment."""
    return read_checkpoint(folder, ID, until, lambda: checkpoint(step=5).state)


def test_what_is_written_is_read_exactly(tmp_path):
    kept = checkpoint()
    write_checkpoint(tmp_path, ID, kept)
    found = read(tmp_path, until=40)
    assert found is not None
    assert (found.points, found.cell_steps, found.cell_s) == (kept.points, 12, 3.5)
    assert (found.state.step, found.state.looked) == (40, 38)
    assert {*found.state.tensors} == {*kept.state.tensors}
    assert all(torch.equal(t, kept.state.tensors[n]) for n, t in found.state.tensors.items())


def test_one_beyond_the_next_branch_is_of_no_use(tmp_path):
    write_checkpoint(tmp_path, ID, checkpoint(step=40))
    assert read(tmp_path, until=39) is None


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "garbled", "foreign"])
def test_one_that_cannot_be_read_is_none(tmp_path, damage):
    path = checkpoint_path(tmp_path, ID)
    write_checkpoint(tmp_path, ID, checkpoint())
    whole = path.read_bytes()
    if damage == "missing":
        delete_checkpoint(tmp_path, ID)
        assert not path.parent.exists()
    elif damage == "foreign":
        save_file({"x": torch.zeros(3)}, path)
    else:
        garbled = bytes(np.random.default_rng(0).integers(0, 256, 200, dtype=np.uint8))
        path.write_bytes({"empty": b"", "truncated": whole[:-20], "garbled": garbled}[damage])
    assert read(tmp_path, until=100) is None


def test_what_is_damaged_is_named_and_kept_aside(tmp_path):
    path = checkpoint_path(tmp_path, ID)
    assert set_damaged_aside(tmp_path, ID) == []
    write_checkpoint(tmp_path, ID, checkpoint())
    assert set_damaged_aside(tmp_path, ID) == []
    path.write_bytes(path.read_bytes()[:-20])
    [line] = set_damaged_aside(tmp_path, ID)
    assert str(path) in line and "damaged, and not gone on from" in line
    assert [p.name for p in path.parent.iterdir()] == [f"{ID}.safetensors.damaged"]
    assert read(tmp_path, until=100) is None


def test_a_foreign_nan_is_not_gone_on_from(tmp_path):
    kept = checkpoint()
    write_checkpoint(tmp_path, ID, kept)
    with safe_open(path := checkpoint_path(tmp_path, ID), framework="pt") as file:
        facts, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["weights.0"][1] = float("nan")
    save_file(tensors, path, facts)
    assert read(tmp_path, until=100) is None
    assert "is not what was written" in set_damaged_aside(tmp_path, ID)[0]


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_no_bit_of_a_checkpoint_changes_unnoticed(tmp_path_factory, place, bit):
    folder, kept = tmp_path_factory.mktemp("checkpoint"), checkpoint()
    write_checkpoint(folder, ID, kept)
    path = checkpoint_path(folder, ID)
    changed = bytearray(path.read_bytes())
    changed[place % len(changed)] ^= 1 << bit
    path.write_bytes(changed)
    if found := read(folder, until=100):  # nothing that counts has changed
        assert found.points == kept.points and found.state.step == 40
        assert all(torch.equal(t, kept.state.tensors[n]) for n, t in found.state.tensors.items())


def test_an_interrupted_write_leaves_the_old_one(tmp_path, monkeypatch):
    write_checkpoint(tmp_path, ID, checkpoint(step=40))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_checkpoint(tmp_path, ID, checkpoint(step=60))
    found = read(tmp_path, until=100)
    assert found is not None and found.state.step == 40
    assert [p.name for p in checkpoint_path(tmp_path, ID).parent.iterdir()] == [f"{ID}.safetensors"]
