"""Run trunks in a pool of isolated processes, on this machine."""

import contextlib
import math
import os
import signal
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from scaling.data.tokens import TokenData
from scaling.errors import SweepError
from scaling.models.kernels import STOCK, Kernels
from scaling.shapes.flops import training_flops_per_token
from scaling.training.cells import Event, Trunk, expected_cost
from scaling.training.origins import ask_worker, die_with_parent, forkserver
from scaling.training.parallel import agree, host_ranks, joined
from scaling.training.records import CHECKPOINTS_ONLY, Keeping, not_yet_run
from scaling.training.strategy import ALONE, ParallelConfig
from scaling.training.worker import Failure, fail, run_trunk, settle_process, train_trunk, work

MEASURED_STEPS = 50
MEASURABLE = 2e12  # FLOPs that a processor is asked for in a dry run
ATTEMPTS = 2  # of a trunk whose worker was killed
LOST = 255  # exit code of a worker whose forkserver is gone
STARTS = 10  # of a process, where the forkserver is killed meanwhile
START_AGAIN_S = 0.5  # after which a killed forkserver is surely gone
PATIENCE_S = 10.0  # with the other ranks of a trunk after one has ended badly


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


def default_workers(device: str, ranks: int = 1) -> int:
    """One process per core that we may use, or per GPU; trunks of several ranks: so many fewer."""
    return max(1, _processes(device) // ranks)


def _processes(device: str) -> int:
    if device != "cpu":
        return torch.cuda.device_count() if device == "cuda" else 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_devices(plan: ParallelConfig, device: str) -> None:
    """Refuse more ranks than GPUs; SweepError says how many there are."""
    if device == "cpu" or plan.ranks == 1:
        return
    n = torch.cuda.device_count() if device == "cuda" else 1
    if plan.ranks > n:
        raise SweepError(
            f"parallel.ranks={plan.ranks}: a rank needs a GPU of its own, and device={device} has "
            f"{n}; lower parallel.ranks, or use device=cpu"
        )


def place_of_workers(device: str, workers: int, ranks: int = 1) -> list[tuple[str, ...]]:
    """A device per rank for each worker: "cuda" without a number is dealt out over all GPUs."""
    if device != "cuda":
        return [(device,) * ranks] * workers
    n = torch.cuda.device_count()
    dealt = [f"cuda:{i % n}" for i in range(workers * ranks)]
    return [tuple(dealt[i : i + ranks]) for i in range(0, len(dealt), ranks)]


def expected_seconds(trunks: list[Trunk], data: TokenData, device: str) -> float:
    """Seconds that one worker needs for these trunks, from a short training of the middle one.

    NaN where that would itself take a processor minutes, 0 without trunks.
    """
    if not trunks:
        return 0.0
    if device.startswith("cuda"):
        return ask_worker(_seconds_here, trunks, data, device)
    return _seconds_here(trunks, data, device)


def _seconds_here(trunks: list[Trunk], data: TokenData, device: str) -> float:
    settle_process(device)
    trunk = sorted(trunks, key=expected_cost)[len(trunks) // 2]
    middle = trunk.cells[0]
    if device == "cpu" and MEASURED_STEPS * trunk.flops_per_step > MEASURABLE:
        return math.nan
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
    """A trunk in its worker processes, one per rank."""

    trunk: Trunk
    places: tuple[str, ...]  # a device per rank
    processes: list[BaseProcess] = field(default_factory=list)
    exitcodes: list[int | None] = field(default_factory=list)  # once they have ended; None: by us
    failures: list[Failure] = field(default_factory=list)
    meeting: Any = None  # where the ranks find each other
    flops: float = 0.0  # done
    settled: set[str] = field(default_factory=set)  # run ids of the cells that have ended

    def stop(self, patience_s: float = 0.0) -> None:
        """End the ranks that do not end by themselves."""
        last = time.monotonic() + patience_s
        for process in self.processes:
            process.join(max(0.0, last - time.monotonic()))
        self.exitcodes = self.exitcodes or [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
            process.join()
            if process.exitcode == LOST and process.pid:  # it may live on
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)

    @property
    def was_killed(self) -> bool:
        """Whether a signal that is not ours has ended one of the ranks, or what starts them."""
        signalled = any(code is not None and code < 0 for code in self.exitcodes)
        return signalled or (LOST in self.exitcodes and not self.failures)

    @property
    def was_crowded(self) -> bool:
        """Whether a GPU had no memory left for it beside the others."""
        return any(failure.reason.startswith("OutOfMemoryError") for failure in self.failures)

    @property
    def ending(self) -> Failure:
        """Why cells have no record: the signal, else what failed first, else an exit code."""
        first = min(self.failures, key=lambda failure: failure.at, default=None)
        if first is not None and not self.was_killed:
            return first
        code = min((code for code in self.exitcodes if code is not None), default=0)
        if code == LOST and not self.failures:
            return Failure("the process that starts workers was killed", "", 0.0)
        return Failure(how_it_ended(code), first.details if first else "", 0.0)


def train_here(
    trunks: list[Trunk],
    data: TokenData,
    folder: Path,
    *,
    workers: int,
    device: str,
    kernels: Mapping[str, Kernels] | None = None,
    keeping: Keeping = CHECKPOINTS_ONLY,
    plan: ParallelConfig = ALONE,
) -> Generator[Event]:
    """Train trunks, each in processes of its own, one per rank, at most `workers` at a time.

    A trunk whose worker is killed is tried once more, from its checkpoint and without the cells
    that it had finished; then its cells get a record with status "failed". Where a GPU's memory
    does not suffice for all workers, there are fewer of them from then on. One rank that ends
    badly ends the others. Closing the generator, or the end of this process by any means, ends the
    workers.

    Parameters
    ----------
    kernels : mapping of trunk_id -> Kernels, optional
        What computes each trunk; those of torch, uncompiled, if omitted.
    """
    context = forkserver()
    waiting = sorted(trunks, key=expected_cost)
    attempts: Counter[str] = Counter()
    places = place_of_workers(device, workers, plan.ranks)
    running: dict[Any, tuple[_Job, int]] = {}  # by the pipe that brings a rank's news
    jobs: list[_Job] = []
    try:
        while waiting or jobs:
            while waiting and len(jobs) < workers:
                trunk = waiting.pop()
                attempts[trunk.trunk_id] += 1
                taken = Counter(job.places for job in jobs)
                job = _Job(trunk, next(iter(Counter(places) - taken)))
                jobs.append(job)
                chosen = (kernels or {}).get(trunk.trunk_id, STOCK)
                arguments = (trunk, data, folder, chosen, keeping, plan)
                for rank, pipe in enumerate(_start(context, job, *arguments)):
                    running[pipe] = job, rank
                yield Event(trunk.trunk_id, "started")
            ready = connection.wait([*running])
            for pipe in [pipe for pipe in running if pipe in ready]:
                job, rank = running[pipe]
                try:
                    news = pipe.recv()
                except (EOFError, OSError):  # it ended; OSError: in the middle of a message
                    del running[pipe]
                    job.processes[rank].join()
                    if job.processes[rank].exitcode != 0:
                        job.stop(PATIENCE_S)
                    if not any(other is job for other, _ in running.values()):
                        jobs.remove(job)
                        again = attempts[job.trunk.trunk_id] < ATTEMPTS
                        if job.was_crowded and jobs:  # fewer at a time from now on
                            workers, again = len(jobs), True
                        yield from _settle(job, data, folder, keeping, waiting if again else None)
                    continue
                if isinstance(news, Failure):
                    job.failures.append(news)
                    continue
                job.flops = max(job.flops, news.flops)
                if news.row:
                    job.settled.add(news.row["run_id"])
                yield replace(news, flops=job.flops)
    finally:
        for job in jobs:
            job.stop()


def _start(
    context: ForkServerContext,
    job: _Job,
    trunk: Trunk,
    data: TokenData,
    folder: Path,
    kernels: Kernels,
    keeping: Keeping,
    plan: ParallelConfig,
) -> Iterator[Any]:
    """Start the ranks of a job; yield the pipe that brings the news of each."""
    port = None
    if plan.mode != "none":
        job.meeting = host_ranks()
        port = job.meeting.port
    for rank, device in enumerate(job.places):
        receive, send = context.Pipe(duplex=False)
        train = partial(train_trunk, trunk, data, folder, device, kernels, keeping, plan)
        arguments = (train, plan, device, rank, port, send)
        job.processes.append(_started(arguments))
        send.close()
        yield receive


def _started(arguments: tuple) -> BaseProcess:
    """Start a worker; a forkserver that was killed is started again by the next try."""
    why: Exception | None = None
    for _ in range(STARTS):
        try:
            process = forkserver().Process(target=work, args=arguments, daemon=True)
            process.start()
            return process
        except (OSError, EOFError) as error:
            why = error
            time.sleep(START_AGAIN_S)
    raise SweepError(f"no worker starts ({type(why).__name__}: {why}); the same command goes on")


def _settle(
    job: _Job, data: TokenData, folder: Path, keeping: Keeping, waiting: list[Trunk] | None
) -> Iterator[Event]:
    """Queue again what a killed or crowded trunk has left undone, if it may be; else fail."""
    cells = [cell for cell in job.trunk.cells if cell.run_id not in job.settled]
    left, ending = not_yet_run(cells, folder, keeping.models), job.ending
    if left and (job.was_killed or job.was_crowded) and waiting is not None:
        waiting.append(Trunk(tuple(left)))
        yield Event(job.trunk.trunk_id, "retried", reason=ending.reason)
        return
    for cell in left:
        failure = fail(job.trunk, cell, data, folder, ending.reason, ending.details)
        yield replace(failure, flops=job.flops)


def lead(
    trunks: list[Trunk],
    data: TokenData,
    folder: Path,
    *,
    device: str,
    keeping: Keeping = CHECKPOINTS_ONLY,
    plan: ParallelConfig,
) -> Generator[Event]:
    """Train trunks one after the other, as the first of the ranks that something else started.

    That is torchrun or a cluster; the other ranks `follow`, on a disk that all of them share. What
    fails ends this process: the starter ends the other ranks, and may start all of them again.
    """
    done: dict[str, float] = {}
    for event in _in_step(plan, device, (trunks, data, folder, keeping)):
        done[event.trunk_id] = max(done.get(event.trunk_id, 0.0), event.flops)
        yield replace(event, flops=done[event.trunk_id])


def follow(plan: ParallelConfig, *, device: str) -> None:
    """Train what the first rank leads."""
    for _ in _in_step(plan, resolve_device(device), None):
        pass


def _in_step(plan: ParallelConfig, device: str, work: tuple | None) -> Iterator[Event]:
    die_with_parent()
    settle_process(device)
    if device == "cuda":  # some starters let a rank see its own GPU only
        device += f":{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
    with joined(plan, device):
        trunks, data, folder, keeping = agree(work)
        for trunk in trunks:
            yield Event(trunk.trunk_id, "started")
            yield from train_trunk(trunk, data, folder, device, STOCK, keeping, plan)


def how_it_ended(exitcode: int | None) -> str:
    """Say what became of a worker that left a cell without a record; below 0: a signal's number."""
    if exitcode is None or exitcode >= 0:
        return f"worker ended with exit code {exitcode} and left no record"
    name = signal.Signals(-exitcode).name
    return f"worker killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
