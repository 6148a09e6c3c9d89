"""Eager or compiled: chosen per shape by a short measurement on this machine, not by belief.

torch.compile fuses what lies between the matrix products, which is most of a tiny model's step,
but costs seconds before the first. The choice is part of what a run was: it is measured before the
first cell, kept in the results folder and taken again on resume, so that a resumed run stays bit
for bit what it would have been.
"""

import json
import math
import platform
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scaling.data.archives import Report
from scaling.errors import check_choice
from scaling.files import cache_folder, write_text
from scaling.training.cells import Cell, Trunk
from scaling.training.grid import CHOICES
from scaling.training.origins import ask_worker, forkserver
from scaling.training.trunk import TrunkTraining
from scaling.training.worker import device_name, make_training, settle_process

TOO_SHORT = "too short for compiling to pay"
KILLED = "measurement was killed"
NOT_LASTING = (TOO_SHORT, KILLED)  # reasons that another sweep may not have
WARM_STEPS = 5  # before a measurement; the first compiles
MEASURED_S = 0.5  # of a measurement, at least
WORTH_MEASURING_S = 60.0  # of eager training; below, compiling could not pay
SURELY_SHORT_FLOPS = 1e11  # less than that on any machine: not even measured


@dataclass(frozen=True)
class Timing:
    """What one step of a shape costs here, in seconds; None: not measured."""

    eager_s: float | None = None
    compiled_s: float | None = None
    compile_s: float | None = None  # until the first compiled step is done
    reason: str = ""  # why something was not measured

    def pays(self, steps: int) -> bool:
        """Whether compiling is won back: steps * (eager_s - compiled_s) > compile_s."""
        if self.eager_s is None or self.compiled_s is None or self.compile_s is None:
            return False
        return steps * (self.eager_s - self.compiled_s) > self.compile_s


def choose_compiled(
    trunks: list[Trunk], mode: str, device: str, folder: Path, workers: int, report: Report
) -> dict[str, bool]:
    """Say for every trunk whether to compile it; measure the shapes that nobody has measured here.

    Parameters
    ----------
    mode : {"auto", "always", "never"}
    folder : Path
        The results folder: `calibration.json` in it holds earlier choices, which stay.
    workers : int
        Measurements at a time, as many as there will be trainings.

    Returns
    -------
    dict of trunk_id -> bool
    """
    check_choice("compile", mode, CHOICES["compile"])
    if mode != "auto":
        return {trunk.trunk_id: mode == "always" for trunk in trunks}
    path = folder / "calibration.json"
    kept = _read(path, chosen=True)
    groups: dict[str, list[Trunk]] = {}
    for trunk in trunks:
        groups.setdefault(task_key(trunk.cells[0]), []).append(trunk)
    todo = {key: group for key, group in groups.items() if key not in kept}
    if todo:
        kept |= _measured(todo, device, workers, report)
        write_text(path, json.dumps(kept, indent=1))
    return {t.trunk_id: kept[key]["compiled"] for key, group in groups.items() for t in group}


def _measured(
    todo: dict[str, list[Trunk]], device: str, workers: int, report: Report
) -> dict[str, dict]:
    """Timing and choice of every group, from this machine's cache where it has them."""
    cache = cache_folder() / "calibration" / f"{machine_key(device)}.json"
    known = _read(cache, chosen=False)
    cells = {key: group[0].cells[0] for key, group in todo.items()}
    steps = {key: sum(trunk.steps for trunk in group) for key, group in todo.items()}
    short = [k for k, ts in todo.items() if sum(t.flops for t in ts) < SURELY_SHORT_FLOPS]
    known |= {key: asdict(Timing(reason=TOO_SHORT)) for key in short if key not in known}
    new = [key for key in cells if key not in known]
    if new:
        report(f"compile=auto: measuring {len(new)} shapes, eager and compiled")
        known |= {key: asdict(Timing(reason=KILLED)) for key in new}
        try:
            with ProcessPoolExecutor(
                min(workers, len(new)), mp_context=forkserver(), max_tasks_per_child=1
            ) as pool:
                measure = partial(measure_cell, device=device)
                tasks = (cells[key] for key in new), (steps[key] for key in new)
                for key, timing in zip(new, pool.map(measure, *tasks), strict=True):
                    known[key] = asdict(timing)
        except (BrokenProcessPool, OSError, EOFError):  # a worker, or what starts them
            report(f"compile=auto: a {KILLED} (out of memory?); shapes not measured stay eager")
        lasting = {k: timing for k, timing in known.items() if timing["reason"] not in NOT_LASTING}
        write_text(cache, json.dumps(lasting, indent=1))  # another sweep may measure the others
    return {key: known[key] | {"compiled": Timing(**known[key]).pays(steps[key])} for key in cells}


def measure_cell(cell: Cell, steps: int, device: str) -> Timing:
    """Time a training step of this cell's shape, batch and precision, in this process.

    Compilation is tried only where so many eager steps would take a minute.
    """
    settle_process(device)
    try:
        eager_s, _ = seconds_per_step(cell, device, compiled=False)
    except RuntimeError as error:  # out of memory: the sweep itself will say so
        return Timing(reason=str(error)[:500])
    if steps * eager_s < WORTH_MEASURING_S:
        return Timing(eager_s, reason=TOO_SHORT)
    try:
        compiled_s, compile_s = seconds_per_step(cell, device, compiled=True)
    except Exception as error:  # no compiler, or one that fails
        return Timing(eager_s, reason=f"{type(error).__name__}: {error}"[:500])
    return Timing(eager_s, compiled_s, compile_s)


def seconds_per_step(cell: Cell, device: str, compiled: bool) -> tuple[float, float]:
    """Seconds of one training step, and of the first ones, which compile."""
    began = time.perf_counter()
    training = random_training(cell, device, compiled)
    take_steps(training, WARM_STEPS)
    warm = time.perf_counter()
    best = float("inf")
    while time.perf_counter() - warm < MEASURED_S:
        started = time.perf_counter()
        take_steps(training, WARM_STEPS)
        best = min(best, (time.perf_counter() - started) / WARM_STEPS)
    return best, max(0.0, warm - began - WARM_STEPS * best)


def random_training(cell: Cell, device: str, compiled: bool) -> TrunkTraining:
    """Training of a cell's shape on random tokens: what a step costs does not depend on them."""
    recipe = replace(cell.recipe, steps=10**5, cooldown_steps=0)
    n_tokens = 64 * recipe.batch_size * cell.shape.window.text
    drawn = np.random.default_rng(0).integers(0, cell.shape.vocab_size, n_tokens)
    tokens, trunk = drawn.astype(np.uint16), Trunk((replace(cell, recipe=recipe, seed=0),))
    return make_training(trunk, tokens, tokens[: 4 * cell.shape.window.text], device, compiled)


def take_steps(training: TrunkTraining, steps: int) -> None:
    """Train so many steps further, and wait until they are done."""
    for _ in training.advance(training.recipes[0], training.step + steps):
        pass
    if training.device.startswith("cuda"):
        torch.cuda.synchronize(training.device)


def task_key(cell: Cell) -> str:
    """What a timing belongs to: shape, objective, batch and precision."""
    shape = asdict(cell.shape)
    sizes = "-".join(str(shape[name]) for name in sorted(shape))
    return f"{cell.objective}-{sizes}-{cell.recipe.batch_size}-{cell.precision}"


def machine_key(device: str) -> str:
    """What a timing holds for: processor or GPU, and version of torch."""
    chip = ask_worker(device_name, device) if device.startswith("cuda") else _processor()
    return "".join(c if c.isalnum() else "_" for c in f"{chip} torch {torch.__version__}")


def _processor() -> str:
    try:
        lines: Iterable[str] = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _read(path: Path, *, chosen: bool) -> dict[str, dict]:
    """Read a file of timings, and of what was chosen by them; what cannot be one is left out."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    items = found.items() if isinstance(found, dict) else ()
    return {key: kept for key, kept in items if _is_timing(kept, chosen)}


def _is_timing(kept: Any, chosen: bool) -> bool:
    """Tell whether this was written from a `Timing`, or is a choice, with its timing if told."""
    if not isinstance(kept, dict):
        return False
    times = [value for name, value in kept.items() if name.endswith("_s") and value is not None]
    if not all(type(value) in (int, float) and 0 <= value < math.inf for value in times):
        return False
    if chosen:
        return type(kept.get("compiled")) is bool
    return {*kept} == {field.name for field in fields(Timing)} and isinstance(kept["reason"], str)
