"""Run trunks in a pool of isolated processes; every cell leaves one record."""

import contextlib
import ctypes
import errno
import math
import os
import platform
import resource
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import torch

from scaling.data.tokens import TokenData
from scaling.errors import SweepError
from scaling.shapes.flops import training_flops_per_token
from scaling.training.checkpoints import (
    Checkpoint,
    delete_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from scaling.training.grid import Cell, Trunk, planned_row
from scaling.training.optim import cooldown_start
from scaling.training.records import failure_record, model_folder, not_yet_run, write_record
from scaling.training.saved import save_model
from scaling.training.trunk import Branching, Outcome, Point, TrunkTraining

KEPT_HEAP_BYTES = 2**30
MEASURED_STEPS = 50
CHECKPOINT_S = 20.0  # between two checkpoints of a trunk, at least
ATTEMPTS = 2  # of a trunk whose worker was killed
WRITE_AGAIN_S = (1.0, 4.0, 15.0)  # waits before a result is written again, on a full disk
PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE)  # errors that may pass
# Imported once and inherited by every worker; the optimizer would load torch._dynamo in each.
PRELOADED = ["__main__", "scaling.training.pool", "torch._dynamo"]


@dataclass(frozen=True)
class Progress:
    """A trunk on its way."""

    flops: float  # training FLOPs done by the trunk
    point: dict  # of the training curve, in the columns of the curves table; run_id: the trunk's


@dataclass(frozen=True)
class Event:
    """News of one trunk: what it is doing, how far it is, what one of its cells ended with."""

    trunk_id: str
    kind: Literal["started", "progress", "finished", "retried"]
    flops: float = 0.0  # training FLOPs done by this trunk
    row: dict | None = None  # of the finished cell
    point: dict | None = None  # of the training curve; see `Progress`
    reason: str = ""  # why it is tried again


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


@dataclass(frozen=True)
class Keeping:
    """What training keeps in the folder beside the records."""

    checkpoint_s: float = CHECKPOINT_S  # between two checkpoints of a trunk, at least
    models: bool = False  # every trained model, as `scaling.training.saved` writes it


CHECKPOINTS_ONLY = Keeping()


# ---------------------------------------------------------------- one trunk, inside its process


@dataclass(frozen=True)
class Effort:
    """What a cell cost since the trunk's last cell ended: part of the trunk, and its branch."""

    steps: int
    training_s: float  # up to the last step
    wall_s: float  # with start-up and evaluation


def run_trunk(
    trunk: Trunk,
    data: TokenData,
    device: str,
    *,
    compiled: bool = False,
    folder: Path | None = None,
    keeping: Keeping = CHECKPOINTS_ONLY,
) -> Iterator[Progress | dict]:
    """Train one trunk and its branches.

    Parameters
    ----------
    compiled : bool
        Forward and backward through torch.compile.
    folder : Path, optional
        Where its checkpoint is looked for and kept, and its models.
    keeping : Keeping
        What of them.

    Yields
    ------
    Progress at every point of a curve, and one record {"row": ..., "curve": [...]} per cell
    """
    began = trained = saved_at = time.perf_counter()
    until = cooldown_start(trunk.cells[0].recipe)
    saved = read_checkpoint(folder, trunk.trunk_id, until) if folder else None
    training = start_training(trunk, data, device, compiled, saved)
    began -= saved.cell_s if saved else 0.0
    counted_from = -saved.cell_steps if saved else 0
    points, branch_points = saved.points if saved else [], []
    resumed_at = training.step
    for news in training.run():
        now = time.perf_counter()
        if isinstance(news, Point):
            trained = now
            (points if news.branch is None else branch_points).append(news)
            done = (resumed_at + training.done) * trunk.flops_per_step
            yield Progress(done, curve_row(trunk.cells[0], news) | {"run_id": trunk.trunk_id})
        if isinstance(news, Outcome):
            cell = trunk.cells[news.branch]
            effort = Effort(training.done - counted_from, trained - began, now - began)
            row = planned_row(cell, data.n_train) | measurements(cell, data, news, effort, device)
            row["compiled"] = int(compiled)
            if folder and keeping.models and row["status"] == "ok":
                _patiently(save_trained, folder, row, training, cell, data)
            yield {"row": row, "curve": curve_rows(cell, [*points, *branch_points])}
            branch_points, began, counted_from = [], now, training.done
        elif folder and now - saved_at > keeping.checkpoint_s and may_stop(training, news):
            steps = training.done - counted_from
            with contextlib.suppress(OSError):  # a full disk costs the checkpoint, not the run
                checkpoint = Checkpoint(training.state(), points, steps, now - began)
                write_checkpoint(folder, trunk.trunk_id, checkpoint)
            saved_at = time.perf_counter()


def save_trained(
    folder: Path, row: dict, training: TrunkTraining, cell: Cell, data: TokenData
) -> None:
    """Save the model that has just come to the end of a run, with the facts of the run."""
    names = ("run_id", "objective", "data", "tokens", "flops", "loss", "seed")
    facts = {name: row[name] for name in names} | {"recipe": asdict(cell.recipe)}
    facts["data_fingerprint"] = data.fingerprint
    save_model(model_folder(folder, cell.run_id), training.model, data.tokenizer_path, facts)


def start_training(
    trunk: Trunk, data: TokenData, device: str, compiled: bool, saved: Checkpoint | None
) -> TrunkTraining:
    """Build the model of a trunk, or put it back to where its checkpoint left it."""
    shared = trunk.cells[0]
    return TrunkTraining(
        shared.shape,
        [cell.recipe for cell in trunk.cells],
        data.load("train"),
        data.load("valid"),
        objective=shared.objective,
        seed=shared.seed,
        device=device,
        precision=shared.precision,
        compiled=compiled,
        valid_windows=shared.valid_windows,
        state=saved.state if saved else None,
    )


def may_stop(training: TrunkTraining, news: Point | Branching) -> bool:
    """Tell whether the trunk's own state can be had at this moment."""
    return isinstance(news, Branching) or (news.branch is None and not training.diverged)


def measurements(
    cell: Cell, data: TokenData, outcome: Outcome, effort: Effort, device: str
) -> dict:
    """Columns of the runs table that training decides."""
    tokens_per_s = effort.steps * cell.tokens_per_step / effort.training_s
    nats_to_bits_per_byte = 1 / (data.bytes_per_token * math.log(2))
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "loss": outcome.loss,
        "loss_std": outcome.loss_std,
        "bits_per_byte": outcome.loss * nats_to_bits_per_byte,
        "wall_s": effort.wall_s,
        "tokens_per_s": tokens_per_s,
        "flops_per_s": tokens_per_s * training_flops_per_token(cell.shape),
        "peak_memory_bytes": peak_memory_bytes(device),
        "device": device_name(device),
    }


def curve_rows(cell: Cell, points: list[Point]) -> list[dict]:
    """Training curve in the columns of the curves table, from 1 % of the run on."""
    return [curve_row(cell, point) for point in points if point.step >= cell.recipe.steps / 100]


def curve_row(cell: Cell, point: Point) -> dict:
    """One point of a training curve in the columns of the curves table."""
    return {
        "run_id": cell.run_id,
        "step": point.step,
        "tokens": round(point.middle * cell.tokens_per_step),
        "flops": point.middle * cell.tokens_per_step * training_flops_per_token(cell.shape),
        "loss": point.loss,
        "lr": point.lr,
    }


def peak_memory_bytes(device: str) -> int:
    """Peak of the GPU's allocator, or on the CPU of this process's resident memory."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_name(device: str) -> str:
    """What ran it: the GPU's name, or the processor architecture."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, 1 thread)"


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory: page faults otherwise cost half of a tiny model's step."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((-1, KEPT_HEAP_BYTES), (-2, KEPT_HEAP_BYTES // 16), (-3, 2**25)):
            mallopt(option, value)  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD


def _work(
    trunk: Trunk,
    data: TokenData,
    folder: Path,
    device: str,
    compiled: bool,
    keeping: Keeping,
    pipe: Connection,
) -> None:
    """Body of a worker process: train a trunk, send its progress, write a record per cell."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    threading.Thread(target=_die_with_parent, daemon=True).start()
    settle_process()
    left = {cell.run_id: cell for cell in trunk.cells}
    try:
        for news in run_trunk(
            trunk, data, device, compiled=compiled, folder=folder, keeping=keeping
        ):
            if isinstance(news, dict):
                _patiently(write_record, folder, news)
                del left[news["row"]["run_id"]]
            pipe.send(news)
        delete_checkpoint(folder, trunk.trunk_id)
    except BrokenPipeError:  # the parent is gone: nothing has failed, another will go on
        return
    except Exception as error:
        reason, details = f"{type(error).__name__}: {error}", traceback.format_exc()
        for cell in left.values():
            pipe.send(_fail(folder, cell, data, reason, details))


def _patiently(write: Callable[..., None], *what: Any) -> None:
    """Write; on a full disk wait for room rather than lose what was computed."""
    for wait in WRITE_AGAIN_S:
        try:
            return write(*what)
        except OSError as error:
            if error.errno not in PASSING:
                raise
            time.sleep(wait)
    write(*what)


def _fail(folder: Path, cell: Cell, data: TokenData, reason: str, details: str = "") -> dict:
    """Record that a cell ended without a result, on disk if there is room; return the record."""
    record = failure_record(cell, data, reason, details)
    with contextlib.suppress(OSError):
        write_record(folder, record)
    return record


def settle_process() -> None:
    """One thread, and memory that stays: what every process that trains wants."""
    keep_freed_memory()
    torch.set_num_threads(1)


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


# ---------------------------------------------------------------- the pool


def expected_seconds(trunks: list[Trunk], data: TokenData, device: str) -> float:
    """Seconds that one worker needs for these trunks, from a short training of the middle one."""
    settle_process()
    middle = sorted(trunks, key=expected_cost)[len(trunks) // 2].cells[0]
    recipe = replace(middle.recipe, steps=MEASURED_STEPS, cooldown_steps=0)
    short = Trunk((replace(middle, recipe=recipe, valid_windows=2),))
    looks = [
        (news.flops, time.perf_counter())
        for news in run_trunk(short, data, device)
        if isinstance(news, Progress)
    ]
    (first, began), (last, ended) = looks[0], looks[-1]
    flops_per_s = (last - first) / (ended - began)
    evaluation = sum(
        min(c.valid_windows * c.shape.window.text, data.n_valid)
        * training_flops_per_token(c.shape)
        / 3
        for trunk in trunks
        for c in trunk.cells
    )
    return (sum(trunk.flops for trunk in trunks) + evaluation) / flops_per_s


@dataclass
class _Job:
    """A trunk in a worker process."""

    trunk: Trunk
    process: BaseProcess
    place: str
    flops: float = 0.0  # done
    settled: set[str] = field(default_factory=set)  # run ids of the cells that have ended


def execute(
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
    keeping : Keeping
        Checkpoints and models.

    Yields
    ------
    Event
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
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
                process = context.Process(target=_work, args=arguments, daemon=True)
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
                    left = _without_result(job, folder, keeping)
                    reason = how_it_ended(job.process.exitcode)
                    if left and killed(job.process) and attempts[job.trunk.trunk_id] < ATTEMPTS:
                        waiting.append(Trunk(tuple(left)))
                        yield Event(job.trunk.trunk_id, "retried", reason=reason)
                        continue
                    for cell in left:
                        yield _news(job, _fail(folder, cell, data, reason))
                else:
                    yield _news(job, news)
    finally:
        for job in running.values():
            job.process.kill()
            job.process.join()


def expected_cost(trunk: Trunk) -> float:
    """Rank trunks by time: small widths reach fewer FLOP/s. Long ones start first."""
    return trunk.flops * (1 + 32 / trunk.cells[0].shape.width)


def _news(job: _Job, news: Progress | dict) -> Event:
    """Turn what a worker sent into an event."""
    if isinstance(news, Progress):
        job.flops = news.flops
        return Event(job.trunk.trunk_id, "progress", flops=news.flops, point=news.point)
    job.settled.add(news["row"]["run_id"])
    return Event(job.trunk.trunk_id, "finished", flops=job.flops, row=news["row"])


def _without_result(job: _Job, folder: Path, keeping: Keeping) -> list[Cell]:
    """Cells of which neither the worker nor the disk knows an end."""
    open_cells = [cell for cell in job.trunk.cells if cell.run_id not in job.settled]
    return not_yet_run(open_cells, folder, keeping.models)


def killed(process: BaseProcess) -> bool:
    """Tell whether a signal ended the process, as the kernel does when memory runs out."""
    return process.exitcode is not None and process.exitcode < 0


def how_it_ended(exitcode: int | None) -> str:
    """Say what became of a worker that left a cell without a record."""
    if exitcode is None or exitcode >= 0:
        return f"worker ended with exit code {exitcode} and left no record"
    name = signal.Signals(-exitcode).name
    return f"worker killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
