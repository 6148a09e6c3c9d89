import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from processes import command, descendants, parent, start_time

from scaling.data.objectives import make_objective
from scaling.data.tokens import TokenData
from scaling.errors import SweepError
from scaling.files import HOST
from scaling.shapes.shape import ModelConfig
from scaling.tables.runs import CURVE_COLUMNS, load_curves, load_runs
from scaling.training import pool
from scaling.training.cells import group_trunks
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.optim import OptimConfig
from scaling.training.pool import train_here
from scaling.training.records import (
    Keeping,
    collect,
    locked,
    model_folder,
    not_yet_run,
    read_records,
)
from scaling.training.saved import load_model, read_config
from scaling.training.trunk import window_losses


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    for split, n in (("train", 40_000), ("valid", 1_100)):
        np.save(tmp_path / f"{split}.npy", rng.integers(0, 32, n).astype(np.uint16))
    return TokenData(
        name="noise",
        vocab_size=32,
        folder=tmp_path,
        n_train=40_000,
        n_valid=2_000,
        n_test=0,
        bytes_per_token=2.0,
        entropy_rate=float(np.log(32)),
        fingerprint="noise",
    )


@pytest.fixture
def cells(plan_noise):
    return plan_noise([2e8, 3e8], OptimConfig(batch_tokens=256))


def run(cells, data, folder, workers=2):
    return list(train_here(group_trunks(cells), data, folder, workers=workers, device="cpu"))


def test_every_cell_leaves_a_row_and_a_curve(cells, data, tmp_path):
    events = run(cells, data, tmp_path)
    assert {e.row["run_id"] for e in events if e.row} == {c.run_id for c in cells}
    assert not not_yet_run(cells, tmp_path)
    rows, points = collect(cells, tmp_path)
    runs, curves = load_runs(rows), load_curves(points)
    assert runs.run_id.tolist() == [c.run_id for c in cells]
    assert (runs.status == "ok").all()
    assert (runs.loss > np.log(32) - 0.05).all()  # noise cannot be learned
    np.testing.assert_allclose(runs.bits_per_byte, runs.loss / np.log(2) / 2)
    assert (runs.peak_memory_bytes > 1e7).all()
    assert set(curves.run_id) == set(runs.run_id)
    assert [*points.columns] == [*CURVE_COLUMNS]
    ends = curves.groupby("run_id").flops.max()
    assert (ends[runs.run_id].to_numpy() <= runs.flops).all()


def test_what_is_done_takes_no_time(data):
    assert pool.expected_seconds([], data, "cpu") == 0


def test_worker_count_does_not_change_the_numbers(cells, data, tmp_path):
    run(cells, data, tmp_path / "two")
    run(cells[:2], data, tmp_path / "one", workers=1)
    two, one = (read_records(tmp_path / name, cells[:2]) for name in ("two", "one"))
    assert [two[c.run_id]["curve"] for c in cells[:2]] == [
        one[c.run_id]["curve"] for c in cells[:2]
    ]
    assert [two[c.run_id]["row"]["loss"] for c in cells[:2]] == [
        one[c.run_id]["row"]["loss"] for c in cells[:2]
    ]


def test_only_what_is_missing_is_trained(cells, data, tmp_path):
    run(cells[:3], data, tmp_path)
    assert not_yet_run(cells, tmp_path) == cells[3:]
    (tmp_path / "records" / f"{cells[0].run_id}.json").write_text('{"row": {"run_id"')
    assert not_yet_run(cells, tmp_path) == [cells[0], cells[3]]


def longer(cell, steps=20_000):
    return replace(cell, recipe=replace(cell.recipe, steps=steps))


def test_a_worker_killed_twice_costs_only_its_trunk(cells, data, tmp_path):
    own = replace(cells[0], recipe=replace(cells[0].recipe, lr=0.001))  # a trunk of its own
    long, killed = longer(own), []
    trunks = group_trunks([long, *cells[1:]])
    for event in train_here(trunks, data, tmp_path, workers=1, device="cpu"):
        mine = event.trunk_id == long.trunk_id
        if mine and event.kind == "started":
            fresh = True
        if mine and event.kind == "progress" and fresh:
            killed.append(kill_worker_of(long, tmp_path))
            fresh = False
        if mine and event.kind == "retried":
            assert event.reason == "worker killed by SIGKILL (out of memory?)"
    assert len(killed) == 2
    assert not_yet_run([long, *cells[1:]], tmp_path) == [long]
    rows, _ = collect([long, *cells[1:]], tmp_path)
    assert rows.status.tolist() == ["failed", "ok", "ok", "ok"]
    assert rows.reason[0] == "worker killed by SIGKILL (out of memory?)"


@pytest.mark.long
def test_a_worker_killed_once_leaves_no_trace_in_the_numbers(cells, data, tmp_path):
    [trunk] = group_trunks([longer(cells[0], 200), longer(cells[0], 300)])
    [calm] = {tuple(losses(trunk, data, tmp_path / "calm", kill=False))}
    assert tuple(losses(trunk, data, tmp_path / "killed", kill=True)) == calm


def losses(trunk, data, folder, kill):
    """Losses and curves of a trunk whose worker is killed once if asked for."""
    kinds = []
    events = train_here(
        [trunk], data, folder, workers=1, device="cpu", keeping=Keeping(checkpoint_s=0.0)
    )
    for event in events:
        kinds.append(event.kind)
        if kill and kinds.count("progress") == 15 and "retried" not in kinds:
            kill_worker_of(trunk.cells[0], folder)
            kill = False
    assert ("retried" in kinds) == (folder.name == "killed")
    found = read_records(folder, list(trunk.cells))
    assert not list(folder.glob("checkpoints/*"))
    return [
        (found[c.run_id]["row"]["loss"], json.dumps(found[c.run_id]["curve"])) for c in trunk.cells
    ]


def test_horizons_of_a_shape_share_a_trunk(data, tmp_path):
    cells = plan_cells(
        GridConfig(budgets=[2e8, 4e8, 8e8], widths=[8], min_steps=1),
        ModelConfig(seq_len=16),
        OptimConfig(batch_tokens=256, rules="shape"),
        vocab_size=32,
        data="noise",
        data_fingerprint=data.fingerprint,
        valid_windows=64,
    )
    [trunk] = group_trunks(cells)
    events = list(train_here([trunk], data, tmp_path, workers=1, device="cpu"))
    rows, _ = collect(cells, tmp_path)
    assert set(rows.trunk_id) == {trunk.trunk_id}
    assert (rows.status == "ok").all()
    assert events[-1].flops == pytest.approx(trunk.flops)
    assert trunk.flops < 0.8 * rows.flops.sum()


def test_a_record_that_cannot_be_written_fails_its_cell_and_no_other(cells, data, tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / f"{cells[0].run_id}.json").mkdir()
    events = run(cells[:2], data, tmp_path)
    rows = {e.row["run_id"]: e.row for e in events if e.row}
    assert rows[cells[0].run_id]["status"] == "failed"
    assert "IsADirectoryError" in rows[cells[0].run_id]["reason"]
    assert rows[cells[1].run_id]["status"] == "ok"


def kill_worker_of(cell, folder):
    """Kill the busiest grandchild: the process that trains the long cell."""
    children = [p for p in descendants(os.getpid()) if "forkserver" in command(p)]
    workers = [p for p in children if parent(p) in children]
    oldest = min(workers, key=start_time)
    os.kill(oldest, signal.SIGKILL)
    return oldest


def test_a_cell_that_raises_is_failed_with_its_reason(cells, data, tmp_path):
    greedy = replace(cells[0], shape=replace(cells[0].shape, vocab_size=8))  # ids beyond the table
    recipe = replace(cells[2].recipe, batch_size=2**50)
    huge = replace(cells[2], recipe=recipe)  # more than any memory
    events = run([greedy, huge, cells[1]], data, tmp_path)
    reasons = {e.row["run_id"]: e.row["reason"] for e in events if e.row}
    assert "Memory" in reasons[huge.run_id]
    assert "IndexError" in reasons[greedy.run_id]
    assert reasons[cells[1].run_id] == ""
    record = json.loads((tmp_path / "records" / f"{greedy.run_id}.json").read_text())
    assert "Traceback" in record["traceback"]


def test_a_diverged_cell_is_finished(cells, data, tmp_path):
    recipe = replace(cells[0].recipe, lr=1000.0, grad_clip=1e9, warmup_steps=1)
    wild = replace(cells[0], recipe=recipe)
    [row] = [e.row for e in run([wild], data, tmp_path) if e.row]
    assert row["status"] == "diverged"
    assert not not_yet_run([wild], tmp_path)
    assert load_runs(collect([wild], tmp_path)[0]).status.tolist() == ["diverged"]


@pytest.mark.long
def test_workers_die_with_their_parent(cells, data, tmp_path):
    script = f"""
import dataclasses
from scaling.training.pool import train_here
from scaling.data.tokens import TokenData
from scaling.training.cells import Cell, group_trunks
from pathlib import Path, PosixPath
from scaling.shapes.shape import Shape
from scaling.training.optim import Recipe
nan = float("nan")
if __name__ == "__main__":
    cell = {cells[0]!r}
    cell = dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, steps=20_000))
    trunks, folder = group_trunks([cell]), Path({str(tmp_path)!r})
    for event in train_here(trunks, {data!r}, folder, workers=1, device="cpu"):
        print(event.kind, flush=True)
"""
    (tmp_path / "sweep_forever.py").write_text(script)
    sweep = subprocess.Popen(
        [sys.executable, str(tmp_path / "sweep_forever.py")], stdout=subprocess.PIPE, text=True
    )
    assert sweep.stdout is not None
    assert [sweep.stdout.readline().strip() for _ in range(2)] == ["started", "progress"]
    workers = descendants(sweep.pid)
    assert len(workers) >= 2
    sweep.kill()
    sweep.wait()
    sweep.stdout.close()
    deadline = time.monotonic() + 200
    while any(command(p) for p in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [p for p in workers if command(p)] == []


def test_a_folder_belongs_to_one_sweep(tmp_path):
    with locked(tmp_path):
        code = (
            "import sys; from pathlib import Path; from scaling.training.records import *\n"
            f"try:\n  locked(Path({str(tmp_path)!r})).__enter__()\n"
            "except SweepError as error: sys.exit(str(error))"
        )
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert second.returncode == 1
    assert f"in use by the sweep with process id {os.getpid()}" in second.stderr
    with locked(tmp_path):
        pass


def test_unknown_devices_are_refused(monkeypatch):
    assert pool.resolve_device("cpu") == "cpu"
    with pytest.raises(SweepError, match="device='quantum' is unknown"):
        pool.resolve_device("quantum")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pool.resolve_device("auto") == "cpu"
    with pytest.raises(SweepError, match="device=cuda: torch sees no GPU here"):
        pool.resolve_device("cuda")


def test_workers_are_dealt_out_over_all_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pool.place_of_workers("cuda", 3) == [("cuda:0",), ("cuda:1",), ("cuda:0",)]
    assert pool.place_of_workers("cuda:1", 2) == [("cuda:1",)] * 2
    assert pool.place_of_workers("cpu", 2) == [("cpu",)] * 2
    assert pool.default_workers("cuda") == 2
    assert pool.default_workers("cuda:1") == 1
    assert pool.default_workers("cpu") == len(os.sched_getaffinity(0))


def test_saved_models_have_the_losses_of_their_rows(cells, data, tmp_path):
    keeping = Keeping(models=True)
    shared = group_trunks([longer(cells[0], 100), longer(cells[0], 150)])
    wild = replace(cells[1].recipe, lr=1000.0, grad_clip=1e9, warmup_steps=1)
    [trunk], lost = shared, group_trunks([replace(cells[1], recipe=wild)])
    options = dict(workers=2, device="cpu", keeping=keeping)
    list(train_here([trunk, *lost], data, tmp_path, **options))
    for cell in trunk.cells:
        folder = model_folder(tmp_path, cell.run_id)
        model, tokenizer = load_model(folder)
        objective = make_objective(cell.shape)
        losses = window_losses(model, objective, data.load("valid"), cell.valid_windows)
        row = read_records(tmp_path, [cell])[cell.run_id]["row"]
        assert tokenizer is None  # ids that never were text
        assert losses.mean() == pytest.approx(row["loss"], rel=1e-6)  # by torch's own kernels
        facts = read_config(folder)["facts"]
        assert (facts["run_id"], facts["loss"]) == (cell.run_id, row["loss"])
    everything = [*trunk.cells, *lost[0].cells]
    assert not not_yet_run(everything, tmp_path, models=True)  # what diverged has no model
    (model_folder(tmp_path, trunk.cells[0].run_id) / "config.json").unlink()
    assert not_yet_run(everything, tmp_path, models=True) == [trunk.cells[0]]
    assert not not_yet_run(everything, tmp_path)


def test_the_lock_of_a_dead_owner_is_not_inherited(tmp_path):
    code = (
        "import os, signal; from pathlib import Path; from scaling.training.records import locked\n"
        f"with locked(Path({str(tmp_path)!r})):\n  os.kill(os.getpid(), signal.SIGKILL)"
    )
    dead = subprocess.run([sys.executable, "-c", code])
    assert dead.returncode == -signal.SIGKILL
    assert (tmp_path / ".lock").read_text().isdigit()  # it still names its owner
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_a_killed_sweep_leaves_no_debris_behind_the_lock(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "records").mkdir()
    debris = tmp_path / "records" / f".r.json.{HOST}.{gone.pid}.partial"
    with locked(tmp_path):
        debris.write_text("{")  # a worker killed meanwhile
    assert not debris.exists()


def test_a_record_of_an_older_program_gets_the_columns_that_the_plan_knows(cells, data, tmp_path):
    run(cells[:1], data, tmp_path)
    path = tmp_path / "records" / f"{cells[0].run_id}.json"
    record = json.loads(path.read_text())
    del record["row"]["predicted_tokens"], record["sha256"]
    path.write_text(json.dumps(record))
    rows, _ = collect(cells, tmp_path)
    assert rows.predicted_tokens.tolist() == [cells[0].tokens]
    assert rows.epochs.tolist() == [record["row"]["epochs"]]
