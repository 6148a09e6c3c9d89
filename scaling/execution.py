"""Run cells in a pool of isolated processes, each of which leaves one record."""

import contextlib
import ctypes
import os
import platform
import resource
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import torch

from scaling.data.tokens import TokenData
from scaling.flops import training_flops_per_token
from scaling.grid import Cell, planned_row
from scaling.records import SweepError, is_finished, read_records, write_failure, write_record
from scaling.train import Outcome, Point, train_model

KEPT_HEAP_BYTES = 2**30
MEASURED_STEPS = 50
# Imported once and inherited by every worker; the optimizer would load torch._dynamo in each.
PRELOADED = ["__main__", "scaling.execution", "torch._dynamo"]


@dataclass(frozen=True)
class Event:
    """News of one cell: what it is doing, how far it is, what it ended with."""

    run_id: str
    kind: Literal["started", "progress", "finished"]
    flops: float = 0.0  # training FLOPs done by this cell
    row: dict | None = None  # the finished row


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


# ---------------------------------------------------------------- one cell, inside its process


def run_cell(cell: Cell, data: TokenData, device: str) -> Iterator[Point | dict]:
    """Train one cell; yield its curve and at last its record {"row": ..., "curve": [...]}."""
    started = last_point = time.perf_counter()
    points: list[Point] = []
    for news in train_model(
        cell.shape,
        cell.recipe,
        data.load("train"),
        data.load("valid"),
        seed=cell.seed,
        device=device,
        precision=cell.precision,
        valid_windows=cell.valid_windows,
    ):
        if isinstance(news, Point):
            last_point = time.perf_counter()
            points.append(news)
            yield news
        else:
            measured = measurements(cell, data, news, last_point - started, device)
            row = planned_row(cell, data.n_train) | measured
            row["wall_s"] = time.perf_counter() - started
            yield {"row": row, "curve": curve_rows(cell, points)}


def measurements(
    cell: Cell, data: TokenData, outcome: Outcome, training_s: float, device: str
) -> dict:
    """Columns of the runs table that training decides."""
    tokens = outcome.steps * cell.recipe.batch_size * cell.shape.seq_len
    nats_to_bits_per_byte = 1 / (data.bytes_per_token * 0.6931471805599453)
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "loss": outcome.loss,
        "loss_std": outcome.loss_std,
        "bits_per_byte": outcome.loss * nats_to_bits_per_byte,
        "tokens_per_s": tokens / training_s,
        "flops_per_s": tokens * training_flops_per_token(cell.shape) / training_s,
        "peak_memory_bytes": peak_memory_bytes(device),
        "device": device_name(device),
    }


def curve_rows(cell: Cell, points: list[Point]) -> list[dict]:
    """Training curve in the columns of the curves table."""
    tokens_per_step = cell.recipe.batch_size * cell.shape.seq_len
    flops_per_step = tokens_per_step * training_flops_per_token(cell.shape)
    return [
        {
            "run_id": cell.run_id,
            "step": p.step,
            "tokens": round(p.middle * tokens_per_step),
            "flops": p.middle * flops_per_step,
            "loss": p.loss,
            "lr": p.lr,
        }
        for p in points
    ]


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


def _work(cell: Cell, data: TokenData, folder: Path, device: str, pipe: Connection) -> None:
    """Body of a worker process: train one cell, send its progress, write its record."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    threading.Thread(target=_die_with_parent, daemon=True).start()
    settle_process()
    flops_per_step = cell.flops / cell.recipe.steps
    try:
        for news in run_cell(cell, data, device):
            if isinstance(news, Point):
                pipe.send(news.step * flops_per_step)
            else:
                write_record(folder, news)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        write_failure(folder, cell, data, reason, traceback.format_exc())


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


def expected_seconds(cells: list[Cell], data: TokenData, device: str) -> float:
    """Seconds that one worker needs for these cells, from a short training of the middle one."""
    settle_process()
    middle = sorted(cells, key=expected_cost)[len(cells) // 2]
    short = replace(middle, recipe=replace(middle.recipe, steps=MEASURED_STEPS), valid_windows=2)
    looks = [
        (news.step, time.perf_counter())
        for news in run_cell(short, data, device)
        if isinstance(news, Point)
    ]
    (first, began), (last, ended) = looks[0], looks[-1]
    flops_per_s = (last - first) * middle.flops / middle.recipe.steps / (ended - began)
    evaluation = sum(
        min(c.valid_windows * c.shape.seq_len, data.n_valid) * training_flops_per_token(c.shape) / 3
        for c in cells
    )
    return (sum(cell.flops for cell in cells) + evaluation) / flops_per_s


def execute(
    cells: list[Cell], data: TokenData, folder: Path, *, workers: int, device: str
) -> Iterator[Event]:
    """Train cells, each in a process of its own, at most `workers` at a time.

    A worker that is killed costs only its cell, which gets a record with status "failed".
    Closing the generator, or the end of this process by any means, ends the workers.

    Yields
    ------
    Event
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    waiting = sorted(cells, key=expected_cost)
    places = place_of_workers(device, workers)
    running: dict[Any, tuple[Cell, BaseProcess, str]] = {}  # by the pipe that brings news
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                cell = waiting.pop()
                place = next(iter(Counter(places) - Counter(p for *_, p in running.values())))
                receive, send = context.Pipe(duplex=False)
                arguments = (cell, data, folder, place, send)
                process = context.Process(target=_work, args=arguments, daemon=True)
                process.start()
                send.close()
                running[receive] = (cell, process, place)
                yield Event(cell.run_id, "started")
            ready = connection.wait(list(running))
            for pipe in [pipe for pipe in running if pipe in ready]:
                cell, process, _ = running[pipe]
                try:
                    yield Event(cell.run_id, "progress", flops=pipe.recv())
                except EOFError:
                    del running[pipe]
                    yield _finished(cell, process, data, folder)
    finally:
        for _, process, _ in running.values():
            process.kill()
            process.join()


def expected_cost(cell: Cell) -> float:
    """Rank cells by time: small widths reach fewer FLOP/s. Long ones start first."""
    return cell.flops * (1 + 32 / cell.shape.width)


def _finished(cell: Cell, process: BaseProcess, data: TokenData, folder: Path) -> Event:
    """Read what the worker left; where it left nothing, record why."""
    process.join()
    record = read_records(folder, [cell]).get(cell.run_id)
    if record is None or (process.exitcode and not is_finished(record)):
        record = write_failure(folder, cell, data, _how_it_ended(process.exitcode))
    return Event(cell.run_id, "finished", flops=cell.flops, row=record["row"])


def _how_it_ended(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"worker ended with exit code {exitcode} and left no record"
    name = signal.Signals(-exitcode).name
    return f"worker killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
