"""Run trunks in a pool of isolated processes, on this machine."""

import os
import signal
import time
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from scaling.data.tokens import TokenData
from scaling.errors import SweepError
from scaling.shapes.flops import training_flops_per_token
from scaling.training.cells import Event, Trunk, expected_cost
from scaling.training.records import CHECKPOINTS_ONLY, Keeping, not_yet_run
from scaling.training.worker import fail, forkserver, run_trunk, settle_process, work

MEASURED_STEPS = 50
ATTEMPTS = 2  # of a trunk whose worker was killed


def resolve_device(device: str) -> str:
    """Turn "auto" into "cuda" where there is one, else "cpu"; refuse what is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SweepError(f"device={device}: torch sees no GPU here; use device=cpu or device=auto")
    try:
        return str(torch.device(device))
    except RuntimeError:
        raise SweepError(f"device={device!r} is unknown; use auto, cpu or cuda") from None


def default_workers(device: str) -> int:
    """One process per core that we may use; one per GPU."""
    if device != "cpu":
        return torch.cuda.device_count() if device == "cuda" else 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def place_of_workers(device: str, workers: int) -> list[str]:
    """One device per worker: "cuda" without a number is dealt out over all GPUs."""
    if device != "cuda":
        return [device] * workers
    return [f"cuda:{i % torch.cuda.device_count()}" for i in range(workers)]


def expected_seconds(trunks: list[Trunk], data: TokenData, device: str) -> float:
    """Seconds that one worker needs for these trunks, from a short training of the middle one."""
    settle_process()
    middle = sorted(trunks, key=expected_cost)[len(trunks) // 2].cells[0]
    recipe = replace(middle.recipe, steps=MEASURED_STEPS, cooldown_steps=0)
    short = Trunk((replace(middle, recipe=recipe, valid_windows=2),))
    looks = [
        (news.flops, time.perf_counter())
        for news in run_trunk(short, data, device)
        if isinstance(news, Event)
    ]
    (first, began), (last, ended) = looks[0], looks[-1]
    flops_per_s = (last - first) / (ended - began)
    flops = sum(trunk.flops for trunk in trunks)
    for cell in (cell for trunk in trunks for cell in trunk.cells):  # forward on held-out windows
        n_tokens = min(cell.valid_windows * cell.shape.window.text, data.n_valid)
        flops += n_tokens * training_flops_per_token(cell.shape) / 3
    return flops / flops_per_s


@dataclass
class _Job:
    """A trunk in a worker process."""

    trunk: Trunk
    process: BaseProcess
    place: str
    flops: float = 0.0  # done
    settled: set[str] = field(default_factory=set)  # run ids of the cells that have ended


def train_here(
    trunks: list[Trunk],
    data: TokenData,
    folder: Path,
    *,
    workers: int,
    device: str,
    compiled: Mapping[str, bool] | None = None,
    keeping: Keeping = CHECKPOINTS_ONLY,
) -> Generator[Event]:
    """Train trunks, each in a process of its own, at most `workers` at a time.

    A trunk whose worker is killed is tried once more, from its checkpoint and without the cells
    that it had finished; then its cells get a record with status "failed". Closing the generator,
    or the end of this process by any means, ends the workers.

    Parameters
    ----------
    compiled : mapping of trunk_id -> bool, optional
        Which trunks are trained through torch.compile; none if omitted.
    """
    context = forkserver()
    waiting = sorted(trunks, key=expected_cost)
    attempts: Counter[str] = Counter()
    places = place_of_workers(device, workers)
    running: dict[Any, _Job] = {}  # by the pipe that brings news
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                trunk = waiting.pop()
                attempts[trunk.trunk_id] += 1
                place = next(iter(Counter(places) - Counter(j.place for j in running.values())))
                receive, send = context.Pipe(duplex=False)
                whether = (compiled or {}).get(trunk.trunk_id, False)
                arguments = (trunk, data, folder, place, whether, keeping, send)
                process = context.Process(target=work, args=arguments, daemon=True)
                process.start()
                send.close()
                running[receive] = _Job(trunk, process, place)
                yield Event(trunk.trunk_id, "started")
            ready = connection.wait(list(running))
            for pipe in [pipe for pipe in running if pipe in ready]:
                job = running[pipe]
                try:
                    news = pipe.recv()
                except (EOFError, OSError):  # it ended; OSError: in the middle of a message
                    del running[pipe]
                    job.process.join()
                    cells = [c for c in job.trunk.cells if c.run_id not in job.settled]
                    left = not_yet_run(cells, folder, keeping.models)
                    reason = how_it_ended(job.process.exitcode)
                    killed = (job.process.exitcode or 0) < 0
                    if left and killed and attempts[job.trunk.trunk_id] < ATTEMPTS:
                        waiting.append(Trunk(tuple(left)))
                        yield Event(job.trunk.trunk_id, "retried", reason=reason)
                        continue
                    for cell in left:
                        failure = fail(job.trunk, cell, data, folder, reason)
                        yield replace(failure, flops=job.flops)
                else:
                    job.flops = max(job.flops, news.flops)
                    if news.row:
                        job.settled.add(news.row["run_id"])
                    yield replace(news, flops=job.flops)
    finally:
        for job in running.values():
            job.process.kill()
            job.process.join()


def how_it_ended(exitcode: int | None) -> str:
    """Say what became of a worker that left a cell without a record; below 0: a signal's number."""
    if exitcode is None or exitcode >= 0:
        return f"worker ended with exit code {exitcode} and left no record"
    name = signal.Signals(-exitcode).name
    return f"worker killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
