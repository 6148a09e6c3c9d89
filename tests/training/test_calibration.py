import json
import math
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from types import SimpleNamespace

import pytest

from scaling.models.layers import compiled_block
from scaling.training import calibration
from scaling.training.calibration import (
    Timing,
    choose_kernels,
    machine_key,
    measure_cell,
    task_key,
)
from scaling.training.cells import group_trunks
from scaling.training.optim import OptimConfig


@pytest.fixture
def trunks(plan_noise, tmp_path, monkeypatch):
    monkeypatch.setenv("SCALING_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(
        calibration, "forkserver", lambda: None
    )  # the default: fork, with our patches
    return group_trunks(plan_noise([2e11, 4e11], OptimConfig(rules="shape")))


def choose(trunks, folder, mode="auto"):
    lines = []
    chosen = choose_kernels(trunks, mode, "cpu", folder, 1, lines.append)
    return [chosen[trunk.trunk_id].compiled for trunk in trunks], lines


@pytest.mark.parametrize(
    "timing, steps, pays",
    [
        (Timing(eager_s=0.010, compiled_s=0.008, compile_s=10.0), 5001, True),
        (Timing(eager_s=0.010, compiled_s=0.008, compile_s=10.0), 4999, False),
        (Timing(eager_s=0.008, compiled_s=0.010, compile_s=0.0), 10**9, False),
        (Timing(eager_s=0.010, reason="no compiler"), 10**9, False),
        (Timing(reason="out of memory"), 10**9, False),
    ],
)
def test_compiling_pays_when_it_is_won_back(timing, steps, pays):
    assert timing.pays(steps) is pays


def test_a_shape_is_measured_once_per_machine(trunks, tmp_path, monkeypatch):
    measured = {
        8: Timing(0.01, 0.01, native=False, compiled_s=0.005, compile_s=1.0),
        16: Timing(0.01, 0.01, "onednn", False, compiled_s=0.02, compile_s=1.0),
    }
    monkeypatch.setattr(calibration, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(
        calibration, "measure_cell", lambda cell, steps, device: measured[cell.shape.width]
    )
    first, told = choose(trunks, tmp_path / "one")
    assert first == [True, False]
    assert told == ["compile=auto: measuring 2 shapes"]
    monkeypatch.setattr(calibration, "measure_cell", None)  # would fail if it were called
    assert choose(trunks, tmp_path / "two") == (first, [])


class Inline:
    """A pool that works in this process, so that patches hold."""

    def __init__(self, *_, **__):
        self.map = map

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


def end_with(error):
    """A map that measures one shape, and then ends so."""

    def measure(*_):
        yield Timing(0.01, 0.01, compiled_s=0.005, compile_s=1.0)
        raise error

    return measure


def measure_by(monkeypatch, mapped):
    monkeypatch.setattr(Inline, "map", staticmethod(mapped), raising=False)
    monkeypatch.setattr(Inline, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(calibration, "ProcessPoolExecutor", Inline)


def test_a_killed_measurement_costs_the_choice_and_not_the_sweep(trunks, tmp_path, monkeypatch):
    measure_by(monkeypatch, end_with(BrokenProcessPool))
    chosen, told = choose(trunks, tmp_path / "one")
    assert chosen == [True, False]
    assert (
        "a measurement was killed (out of memory?); torch computes what was not measured"
        in told[-1]
    )
    _, told = choose(trunks, tmp_path / "two")  # another sweep measures what has no timing
    assert told[0] == "compile=auto: measuring 1 shapes"


def test_what_was_measured_before_an_interrupt_is_not_measured_again(trunks, tmp_path, monkeypatch):
    measure_by(monkeypatch, end_with(KeyboardInterrupt))
    stopped = []
    child = SimpleNamespace(kill=lambda: stopped.append(True))
    monkeypatch.setattr(calibration.multiprocessing, "active_children", lambda: [child])
    with pytest.raises(KeyboardInterrupt):
        choose(trunks, tmp_path / "one")
    assert stopped  # nobody waits for it
    monkeypatch.setattr(Inline, "map", map)
    monkeypatch.setattr(calibration, "measure_cell", lambda *_, **__: Timing(0.01, 0.01))
    _, told = choose(trunks, tmp_path / "one")
    assert told == ["compile=auto: measuring 1 shapes"]


def test_a_resumed_sweep_keeps_its_choice(trunks, tmp_path):
    kept = {
        task_key(t.cells[0]): {"product": "torch", "native": n == 0, "compiled": n == 1}
        for n, t in enumerate(trunks)
    }
    (tmp_path / "calibration.json").write_text(json.dumps(kept))
    assert choose(trunks, tmp_path) == ([False, True], [])


def test_what_is_surely_short_is_not_measured(trunks, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "measure_cell", None)
    monkeypatch.setattr(calibration, "SURELY_SHORT_FLOPS", 1e12)
    chosen, told = choose(trunks, tmp_path)
    assert (chosen, told) == ([False, False], [])
    kept = json.loads((tmp_path / "calibration.json").read_text())
    assert {k["reason"] for k in kept.values()} == {calibration.TOO_SHORT}


DAMAGED = [
    '{"half',
    "[]",
    "\x00",
    "[" * 10**5,
    {},
    {"compiled": "yes"},
    {"compiled": 1},
    {"compiled": True, "eager_s": math.nan},
    {"compiled": True, "eager_s": "0.1"},
    {"compiled": True, "compile_s": -1},
    None,
    [True],
]


@pytest.mark.parametrize("damaged", DAMAGED, ids=lambda damaged: str(damaged)[:20])
def test_a_damaged_file_is_measured_anew(damaged, trunks, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "SURELY_SHORT_FLOPS", 1e12)
    if not isinstance(damaged, str):
        damaged = json.dumps({task_key(trunk.cells[0]): damaged for trunk in trunks})
    cache = calibration.cache_folder() / "calibration" / f"{machine_key('cpu')}.json"
    for path in (tmp_path / "calibration.json", cache):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(damaged)
    assert choose(trunks, tmp_path)[0] == [False, False]
    kept = json.loads((tmp_path / "calibration.json").read_text())
    assert {entry["reason"] for entry in kept.values()} == {calibration.TOO_SHORT}


@pytest.mark.parametrize("mode, compiled", [("always", True), ("never", False)])
def test_a_wish_is_followed_without_measuring(trunks, tmp_path, mode, compiled):
    assert choose(trunks, tmp_path, mode) == ([compiled] * 2, [])
    assert not (tmp_path / "calibration.json").exists()
    with pytest.raises(ValueError, match="compile='sometimes': choose one of"):
        choose(trunks, tmp_path, "sometimes")


def test_a_compiler_that_fails_leaves_the_eager_time_and_the_reason(trunks, monkeypatch):
    def broken(model_loss):
        raise RuntimeError("no C++ compiler found")

    compiled_block.cache_clear()  # another test may have compiled one
    monkeypatch.setattr("torch.compile", broken)
    monkeypatch.setattr("scaling.training.casting.library", lambda: "no C compiler")
    timing = measure_cell(trunks[0].cells[0], 10**9, "cpu")
    assert timing.eager_s is not None and timing.stock_s is not None
    assert 0 < timing.eager_s <= timing.stock_s
    assert timing.compiled_s is None
    assert timing.reason == "RuntimeError: no C++ compiler found"
    assert not timing.pays(10**9)


def test_where_our_own_kernels_are_the_fastest_nothing_is_compiled(trunks, monkeypatch):
    monkeypatch.setattr("torch.compile", None)  # would fail if it were called
    timing = measure_cell(trunks[0].cells[0], 10**9, "cpu")
    assert timing.native and timing.reason == calibration.OWN
    assert timing.eager_s < timing.stock_s


def test_timings_belong_to_shape_batch_and_precision(trunks):
    cell = trunks[0].cells[0]
    other = replace(cell, recipe=replace(cell.recipe, batch_size=cell.recipe.batch_size + 1))
    keys = {task_key(c) for c in (cell, other, replace(cell, precision="bf16"), trunks[1].cells[0])}
    assert len(keys) == 4
    assert task_key(trunks[0].cells[-1]) == task_key(cell)  # the horizon does not matter
    assert "torch" in machine_key("cpu")
