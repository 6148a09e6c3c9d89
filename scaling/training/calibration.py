"""Kernels and compiler: chosen per shape by a short measurement on this machine, not by belief.

Whether our own kernels are the fastest, or which library of torch's multiplies faster, depends on
the processor and the shape; that is measured in half a second of eager steps. torch.compile fuses
what lies between the products, as ours do, but costs up to half a minute before its first step, so
it is tried only where ours do not win and a saving that is plausible would win that back. The
choice is part of what a run was: it is measured before the first cell, kept in the results folder
and taken again on resume, so that a resumed run stays bit for bit what it would have been.
"""

import json
import math
import multiprocessing
import platform
import time
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
from scaling.models.kernels import ONEDNN, PLAIN, PRODUCTS, STOCK, Kernels
from scaling.models.native import read_cpuinfo
from scaling.training.casting import settle_kernels
from scaling.training.cells import Cell, Trunk
from scaling.training.grid import CHOICES
from scaling.training.origins import ask_worker, forkserver
from scaling.training.strategy import ALONE
from scaling.training.trunk import TrunkTraining
from scaling.training.worker import device_name, make_training, settle_process

TOO_SHORT = "too short for compiling to pay"
KILLED = "measurement was killed"
OWN = "own kernels are the fastest"
NOT_LASTING = (TOO_SHORT, KILLED)  # reasons that another sweep may not have
WARM_STEPS = 2  # before a measurement; the first compiles
ROUNDS = 3  # of steps that take turns, at least,
MEASURED_S = 0.1  # and so long for each of the kernels that are compared
COMPILE_S, PLAUSIBLE = 30.0, 0.2  # what compiling costs at most, and the share that it may save
WORTH_MEASURING_S = COMPILE_S / PLAUSIBLE  # of eager training
SURELY_SHORT_FLOPS = 1e11  # less than that on any machine: not even measured


@dataclass(frozen=True)
class Timing:
    """What one step of a shape costs here, in seconds; None: not measured."""

    stock_s: float | None = None  # eager, by torch's kernels
    eager_s: float | None = None  # eager, by the fastest ones:
    product: str = STOCK.product
    native: bool = STOCK.native
    compiled_s: float | None = None
    compile_s: float | None = None  # until the first compiled step is done
    reason: str = ""  # why something was not measured

    def pays(self, steps: int) -> bool:
        """Whether compiling is won back: steps * (eager_s - compiled_s) > compile_s."""
        if self.eager_s is None or self.compiled_s is None or self.compile_s is None:
            return False
        return steps * (self.eager_s - self.compiled_s) > self.compile_s


def choose_kernels(
    trunks: list[Trunk], mode: str, device: str, folder: Path, workers: int, report: Report
) -> dict[str, Kernels]:
    """Say for every trunk what computes it; measure the shapes that nobody has measured here.

    Parameters
    ----------
    mode : {"auto", "always", "never"}
        Whether to compile; nothing is measured unless "auto".
    folder : Path
        The results folder: `calibration.json` in it holds earlier choices, which stay.
    workers : int
        Measurements at a time, as many as there will be trainings.

    Returns
    -------
    dict of trunk_id -> Kernels
    """
    check_choice("compile", mode, CHOICES["compile"])
    if mode != "auto":
        wished = replace(PLAIN, compiled=True) if mode == "always" else STOCK
        return {t.trunk_id: wished for t in trunks}
    path = folder / "calibration.json"
    kept = _read(path, chosen=True)
    groups: dict[str, list[Trunk]] = {}
    for trunk in trunks:
        groups.setdefault(task_key(trunk.cells[0]), []).append(trunk)
    todo = {key: group for key, group in groups.items() if key not in kept}
    if todo:
        kept |= _measured(todo, device, workers, report)
        write_text(path, json.dumps(kept, indent=1))
    names = [field.name for field in fields(Kernels)]
    chosen = {k: Kernels(**{n: kept[k][n] for n in names}) for k in groups}
    return {t.trunk_id: chosen[key] for key, group in groups.items() for t in group}


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
        report(f"compile=auto: measuring {len(new)} shapes")
        known |= {key: asdict(Timing(reason=KILLED)) for key in new}
        try:
            with ProcessPoolExecutor(
                min(workers, len(new)), mp_context=forkserver(), max_tasks_per_child=1
            ) as pool:
                measure = partial(measure_cell, device=device)
                tasks = (cells[key] for key in new), (steps[key] for key in new)
                try:
                    for key, timing in zip(new, pool.map(measure, *tasks), strict=True):
                        known[key] = asdict(timing)
                except KeyboardInterrupt:  # nobody waits for what is being measured
                    for child in multiprocessing.active_children():
                        child.kill()
                    raise
        except (BrokenProcessPool, OSError, EOFError):  # a worker, or what starts them
            report(
                f"compile=auto: a {KILLED} (out of memory?); torch computes what was not measured"
            )
        finally:  # another sweep may measure the others
            lasting = {k: t for k, t in known.items() if t["reason"] not in NOT_LASTING}
            write_text(cache, json.dumps(lasting, indent=1))
    return {key: known[key] | {"compiled": Timing(**known[key]).pays(steps[key])} for key in cells}


def measure_cell(cell: Cell, steps: int, device: str) -> Timing:
    """Time a training step of this cell's shape, batch and precision, in this process.

    Compilation is tried only where so many eager steps are likely to win it back.
    """
    settle_process(device)
    try:
        seconds = race_kernels(random_training(cell, device), candidates(cell, device))
    except RuntimeError as error:  # out of memory: the sweep itself will say so
        return Timing(reason=str(error)[:500])
    best = min(seconds, key=seconds.__getitem__)
    timing = Timing(seconds[PLAIN], seconds[best], best.product, best.native)
    if best.native:
        return replace(timing, reason=OWN)
    if steps * seconds[best] < WORTH_MEASURING_S:
        return replace(timing, reason=TOO_SHORT)
    compiled, began = replace(best, compiled=True), time.perf_counter()
    try:
        training = random_training(cell, device, compiled)
        take_steps(training, WARM_STEPS)
        warm_s = time.perf_counter() - began
        compiled_s = race_kernels(training, [compiled])[compiled]
    except Exception as error:  # no compiler, or one that fails
        return replace(timing, reason=f"{type(error).__name__}: {error}"[:500])
    compile_s = max(0.0, warm_s - WARM_STEPS * compiled_s)
    return replace(timing, compiled_s=compiled_s, compile_s=compile_s)


def candidates(cell: Cell, device: str) -> list[Kernels]:
    """Kernels that may be the fastest for a cell, torch's own as a rule says among them."""
    if device != "cpu":
        return [PLAIN]
    products = PRODUCTS if ONEDNN else PRODUCTS[:1]
    native, _ = settle_kernels(STOCK, cell.precision, ALONE, device)
    return [*dict.fromkeys([native, *map(Kernels, products)])]


def race_kernels(training: TrunkTraining, kernels: list[Kernels]) -> dict[Kernels, float]:
    """Seconds of the fastest training step by each of these, which take turns."""
    seconds = dict.fromkeys(kernels, math.inf)
    for chosen in kernels:
        training.use(chosen)
        take_steps(training, WARM_STEPS)
    began, rounds = time.perf_counter(), 0
    while rounds < ROUNDS or time.perf_counter() - began < MEASURED_S * len(kernels):
        for chosen in kernels:
            training.use(chosen)
            started = time.perf_counter()
            take_steps(training, 1)
            seconds[chosen] = min(seconds[chosen], time.perf_counter() - started)
        rounds += 1
    return seconds


def random_training(cell: Cell, device: str, kernels: Kernels = STOCK) -> TrunkTraining:
    """Training of a cell's shape on random tokens: what a step costs does not depend on them."""
    recipe = replace(cell.recipe, steps=10**5, cooldown_steps=0)
    n_tokens = 64 * recipe.batch_size * cell.shape.window.text
    drawn = np.random.default_rng(0).integers(0, cell.shape.vocab_size, n_tokens)
    tokens, trunk = drawn.astype(np.uint16), Trunk((replace(cell, recipe=recipe, seed=0),))
    return make_training(trunk, tokens, tokens[: 4 * cell.shape.window.text], device, kernels)


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
    lines = read_cpuinfo()
    if not lines:
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
    if kept.get("product") not in PRODUCTS or type(kept.get("native")) is not bool:
        return False
    if chosen:
        return type(kept.get("compiled")) is bool
    return {*kept} == {field.name for field in fields(Timing)} and isinstance(kept["reason"], str)
