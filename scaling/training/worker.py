"""One trunk trained in the process that it has for itself; every cell leaves one record."""

import contextlib
import ctypes
import errno
import math
import os
import platform
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from scaling.data.order import Mixture
from scaling.data.shards import Ids
from scaling.data.tokens import TokenData
from scaling.files import cache_folder
from scaling.models.build import Model
from scaling.models.kernels import STOCK, Kernels
from scaling.shapes.flops import training_flops_per_token
from scaling.training.cells import Cell, Event, Trunk, planned_row
from scaling.training.checkpoints import (
    Checkpoint,
    delete_checkpoint,
    read_checkpoint,
    set_damaged_aside,
    write_checkpoint,
)
from scaling.training.optim import cooldown_start
from scaling.training.origins import die_with_parent
from scaling.training.parallel import agree, joined, own_rank, whole_weights
from scaling.training.parts import part_columns
from scaling.training.records import (
    CHECKPOINTS_ONLY,
    Keeping,
    failure_record,
    model_folder,
    write_record,
)
from scaling.training.saved import load_start, save_model
from scaling.training.service import join_service
from scaling.training.strategy import ALONE, ParallelConfig
from scaling.training.trunk import Branching, Outcome, Point, TrunkTraining

KEPT_HEAP_BYTES = 2**30
WRITE_AGAIN_S = (1.0, 4.0, 15.0)  # waits before a result is written again, on a full disk
TRANSIENT = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE)  # errors that may pass


def run_trunk(
    trunk: Trunk,
    data: TokenData,
    device: str,
    *,
    kernels: Kernels = STOCK,
    folder: Path | None = None,
    keeping: Keeping = CHECKPOINTS_ONLY,
    plan: ParallelConfig = ALONE,
) -> Iterator[Event | dict]:
    """Train one trunk and its branches; a folder holds its checkpoint, and models if wanted.

    Every rank of a plan trains it so, and what one yields the others do.

    Yields
    ------
    Event "noticed" of a checkpoint that is damaged and kept aside, "progress" at every point of a
    curve, one record {"row": ..., "curve": [...]} per cell
    """
    began = trained = saved_at = time.perf_counter()
    until = cooldown_start(trunk.cells[0].recipe)
    ids = data.load("train"), data.load("valid")
    training = make_training(trunk, *ids, device, kernels, plan, find_start(trunk, data, folder))
    if folder:
        damaged = set_damaged_aside(folder, trunk.trunk_id) if own_rank() == 0 else []
        for line in agree(damaged):
            yield Event(trunk.trunk_id, "noticed", reason=line)
    saved = read_checkpoint(folder, trunk.trunk_id, until, training.state) if folder else None
    if saved:
        training.restore(saved.state)
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
            whose = trunk.trunk_id if news.branch is None else trunk.cells[news.branch].run_id
            point = curve_row(trunk.cells[0], news) | {"run_id": whose}
            yield Event(trunk.trunk_id, "progress", flops=done, point=point)
        if isinstance(news, Outcome):
            cell = trunk.cells[news.branch]
            steps = training.done - counted_from
            row = planned_row(cell, data.n_train) | {
                **measurements(cell, data, news, steps, trained - began, device),
                **part_columns(cell, data, news),
                "wall_s": now - began,
                "compiled": int(kernels.compiled),
                "kernels": training.computed_by,
                "parallel": plan.label,
                "ranks": plan.ranks,
                **of_gpu(training),
            }
            if folder and keeping.models and row["status"] == "ok":
                kept = model_folder(folder, cell.run_id)
                save_trained(kept, training.model, cell, data, news.loss)
            first = cell.recipe.steps / 100  # step of the curve that is kept
            curve = [curve_row(cell, p) for p in [*points, *branch_points] if p.step >= first]
            yield {"row": row, "curve": curve}
            branch_points, began, counted_from = [], now, training.done
        elif folder and may_stop(training, news) and agree(now - saved_at > keeping.checkpoint_s):
            steps = training.done - counted_from
            with contextlib.suppress(OSError):  # a full disk costs the checkpoint, not the run
                checkpoint = Checkpoint(training.state(), points, steps, now - began)
                write_checkpoint(folder, trunk.trunk_id, checkpoint)
            saved_at = time.perf_counter()


def save_trained(folder: Path, model: Model, cell: Cell, data: TokenData, loss: float) -> None:
    """Save the model that has just come to the end of a run, with the facts of the run."""
    facts = {
        "run_id": cell.run_id,
        "objective": cell.objective,
        "data": cell.data,
        "tokens": cell.tokens,
        "flops": cell.flops,
        "loss": loss,
        "seed": cell.seed,
        "precision": cell.precision,
        "recipe": cell.recipe.facts,
        "data_fingerprint": data.fingerprint,
    }
    weights = whole_weights(model)
    if own_rank() == 0:
        write = partial(save_model, parameters=weights)
        patiently(write, folder, model, data.tokenizer_path, facts)


def make_training(
    trunk: Trunk,
    tokens: Ids | Mixture,
    valid_tokens: Ids | Mixture,
    device: str,
    kernels: Kernels = STOCK,
    plan: ParallelConfig = ALONE,
    model: Model | None = None,
) -> TrunkTraining:
    """Build the model of a trunk, on the ranks of a plan; or train a given one further."""
    shared = trunk.cells[0]
    return TrunkTraining(
        shared.shape,
        [cell.recipe for cell in trunk.cells],
        tokens,
        valid_tokens,
        objective=shared.objective,
        seed=shared.seed,
        device=device,
        precision=shared.precision,
        kernels=kernels,
        valid_windows=shared.valid_windows,
        plan=plan,
        model=model,
    )


def find_start(trunk: Trunk, data: TokenData, folder: Path | None) -> Model | None:
    """Load the model that a trunk goes on from; None where it is a new one, or nothing is kept."""
    cell = trunk.cells[0]
    if folder is None or not cell.start_from:
        return None
    return load_start(model_folder(folder, cell.start_from), cell.shape, data.tokenizer_path)


def may_stop(training: TrunkTraining, news: Point | Branching) -> bool:
    """Tell whether the trunk's own state can be had at this moment."""
    return isinstance(news, Branching) or (news.branch is None and not training.diverged)


def measurements(
    cell: Cell, data: TokenData, outcome: Outcome, steps: int, training_s: float, device: str
) -> dict:
    """Columns of the runs table that training decides.

    Steps and seconds are those since the trunk's last cell ended: part of it, and the branch.
    """
    tokens_per_s = steps * cell.tokens_per_step / training_s
    nats_to_bits_per_byte = 1 / (data.bytes_per_token * math.log(2))
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "loss": outcome.loss,
        "loss_std": outcome.loss_std,
        "bits_per_byte": outcome.loss * nats_to_bits_per_byte,
        "tokens_per_s": tokens_per_s,
        "flops_per_s": tokens_per_s * training_flops_per_token(cell.shape),
        "peak_memory_bytes": peak_memory_bytes(device),
        "device": device_name(device),
    }


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


def of_gpu(training: TrunkTraining) -> dict[str, str]:
    """Column of the runs table that only a GPU has: how its steps are launched."""
    if not training.device.startswith("cuda"):
        return {}
    why = training.static.failure if training.static else training.plain
    return {"launch": f"plain: {why}" if why else "graph"}


def device_name(device: str) -> str:
    """What ran it: the GPU's name, or the processor architecture."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, 1 thread)"


def settle_process(device: str = "cpu") -> None:
    """Settle what every process that trains wants: one thread, memory that stays, equal bits.

    Page faults otherwise cost half of a tiny model's step. On a GPU, before its first kernel:
    algorithms that sum in one order, since a run that was stopped is promised to end bit for bit
    as if it had not been.
    """
    torch.set_num_threads(1)
    # what one worker has compiled the next one reads
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
    if device.startswith("cuda"):
        join_service()
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        # or every new tensor is filled with NaN, by a kernel of its own
        torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore
    with contextlib.suppress(OSError, AttributeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((-1, KEPT_HEAP_BYTES), (-2, KEPT_HEAP_BYTES // 16), (-3, 2**25)):
            mallopt(option, value)  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD


@dataclass(frozen=True)
class Failure:
    """Why a worker ends without having done its work."""

    reason: str
    details: str
    at: float  # seconds of this machine's clock, by which the first of several ranks is known


def train_trunk(
    trunk: Trunk,
    data: TokenData,
    folder: Path,
    device: str,
    kernels: Kernels,
    keeping: Keeping,
    plan: ParallelConfig,
) -> Iterator[Event]:
    """Train a trunk, write a record per cell, and clear away; of several ranks the first does."""
    options: dict[str, Any] = {"kernels": kernels, "keeping": keeping, "plan": plan}
    for news in run_trunk(trunk, data, device, folder=folder, **options):
        if own_rank() > 0:
            continue
        if isinstance(news, dict):
            patiently(write_record, folder, news)
            news = Event(trunk.trunk_id, "finished", row=news["row"], curve=news["curve"])
        yield news
    if own_rank() == 0:
        delete_checkpoint(folder, trunk.trunk_id)


def work(
    train: Callable[[], Iterator[Event]],
    plan: ParallelConfig,
    device: str,
    rank: int,
    port: int | None,
    pipe: Connection,
) -> None:
    """Body of a worker process, which is one rank of a trunk: train it and send events."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    die_with_parent()
    settle_process(device)
    try:
        with joined(plan, device, rank=rank, port=port):
            for event in train():
                pipe.send(event)
    except BrokenPipeError:  # the parent is gone: nothing has failed, another will go on
        return
    except Exception as error:
        reason, details = f"{type(error).__name__}: {error}", traceback.format_exc()
        pipe.send(Failure(reason, details, time.monotonic()))
        sys.exit(1)


def fail(
    trunk: Trunk, cell: Cell, data: TokenData, folder: Path, reason: str, details: str = ""
) -> Event:
    """Record that a cell ended without a result, on disk if there is room."""
    record = failure_record(cell, data, reason, details)
    with contextlib.suppress(OSError):
        write_record(folder, record)
    return Event(trunk.trunk_id, "finished", row=record["row"])


def patiently(write: Callable[..., None], *what: Any) -> None:
    """Write; on a full disk wait for room rather than lose what was computed."""
    for wait in WRITE_AGAIN_S:
        try:
            return write(*what)
        except OSError as error:
            if error.errno not in TRANSIENT:
                raise
            time.sleep(wait)
    write(*what)
