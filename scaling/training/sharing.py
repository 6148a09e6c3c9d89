"""How many workers share a GPU: measured, since one tiny model leaves most of it idle."""

import contextlib
import json
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from scaling.data.archives import Report
from scaling.files import write_text
from scaling.models.kernels import STOCK, Kernels
from scaling.training.calibration import machine_key, random_training, take_steps
from scaling.training.cells import Cell, Trunk, expected_cost
from scaling.training.origins import die_with_parent, forkserver
from scaling.training.pool import default_workers
from scaling.training.service import find_service
from scaling.training.worker import settle_process

TRIED = (1, 2, 4, 8, 16)  # workers per GPU
GAIN = 1.1  # in steps per second, below which more workers are not worth their memory
TRIAL_S = 2.0
STEPS = 50  # between two looks at the clock
PATIENCE_S = 120.0  # with a trial that says nothing
SHORT_FLOPS = 1e14  # below, a sweep on a GPU is over before the trial is


@dataclass(frozen=True)
class Sharing:
    """What was measured, and what was chosen by it."""

    machine: str
    shape: str
    workers: int  # per GPU
    steps_per_s: dict[str, float]  # of all workers of one GPU together, by their number
    mps: str  # see `scaling.training.service.find_service`


def may_share(trunks: Sequence[Trunk], device: str, workers: int | None) -> bool:
    """Tell whether a GPU may get several workers: asked for, or enough to do to try that."""
    if not device.startswith("cuda"):
        return False
    n_gpus = default_workers(device)
    if workers is not None:
        return min(workers, len(trunks)) > n_gpus
    most = min(len(trunks), default_workers("cpu"))
    return most > n_gpus and sum(trunk.flops for trunk in trunks) >= SHORT_FLOPS


def choose_workers(trunks: Sequence[Trunk], device: str, folder: Path, report: Report) -> int:
    """Say how many workers train at a time, over all GPUs; `workers.json` in the folder keeps it.

    Twice as many are tried as long as that brings a tenth more steps per second and all of them
    find memory; the trunk of middle cost stands for all. For trunks that `may_share`.
    """
    n_gpus = default_workers(device)
    most = min(len(trunks), default_workers("cpu"))
    path, machine = folder / "workers.json", machine_key(device)
    if (known := _read(path, machine)) is not None:
        return min(most, n_gpus * known)
    cell = sorted(trunks, key=expected_cost)[len(trunks) // 2].cells[0]
    report(f"workers: trying {cell.shape.label} on one GPU, several at a time")
    found: dict[int, float] = {}
    own = "cuda:0" if device == "cuda" else device
    tried = [n for n in TRIED if n * n_gpus <= most]
    with contextlib.closing(measure_together(cell, own, tried)) as trials:
        for n, speed in trials:
            found[n] = speed
            if choose(found) < n:
                break
    chosen = choose(found)
    speeds = {str(n): round(speed, 3) for n, speed in found.items()}
    sharing = Sharing(machine, cell.shape.label, chosen, speeds, find_service())
    write_text(path, json.dumps(asdict(sharing), indent=1))
    told = ", ".join(f"{n}: {speed:.0f}" for n, speed in found.items())
    report(f"workers: {chosen} per GPU (steps/s by workers {told}; MPS {sharing.mps})")
    return min(most, n_gpus * chosen)


def choose(steps_per_s: dict[int, float]) -> int:
    """Return the fewest workers after which twice as many bring less than a tenth; 1 if unknown."""
    chosen = 1
    for n in sorted(steps_per_s):
        if n > 1 and steps_per_s[n] < GAIN * steps_per_s[chosen]:
            break
        chosen = n
    return chosen


def measure_together(
    cell: Cell, device: str, counts: Sequence[int], kernels: Kernels = STOCK
) -> Generator[tuple[int, float], None, None]:
    """Yield n and the steps per second of n trainings at once, all together, for rising counts n.

    The processes of one count go on in the next. It ends where one of them fails.
    """
    context, pipes, processes = forkserver(), [], []
    try:
        for n in counts:
            new = range(len(pipes), n)
            for _ in new:
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_train_when_told, args=(cell, device, kernels, theirs), daemon=True
                )
                process.start()
                theirs.close()
                pipes.append(ours)
                processes.append(process)
            for number in new:
                _hear(pipes[number])
            for pipe in pipes:
                pipe.send(True)
            yield n, sum(_hear(pipe) for pipe in pipes)
    except (EOFError, OSError, TimeoutError):  # out of memory, most likely
        return
    finally:
        for process in processes:
            process.kill()
            process.join()


def _hear(pipe: Connection) -> float:
    if not pipe.poll(PATIENCE_S):
        raise TimeoutError
    return pipe.recv()


def _train_when_told(cell: Cell, device: str, kernels: Kernels, pipe: Connection) -> None:
    """Body of a trial: say when it is warm, and, as often as asked, how fast it is now."""
    die_with_parent()
    settle_process(device)
    with contextlib.suppress(RuntimeError, EOFError):  # the end of the pipe says it
        training = random_training(cell, device, kernels)
        take_steps(training, STEPS)
        pipe.send(0.0)
        while pipe.recv():
            steps, began = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - began) < TRIAL_S:
                take_steps(training, STEPS)
                steps += STEPS
            pipe.send(steps / elapsed)


def _read(path: Path, machine: str) -> int | None:
    """Workers per GPU as an earlier sweep into this folder found them, as things are now."""
    try:
        kept = json.loads(path.read_text("utf-8"))
        alike = kept["machine"] == machine and kept["mps"] == find_service()
        workers = kept["workers"] if alike else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return workers if type(workers) is int and workers >= 1 else None
