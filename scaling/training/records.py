"""One record per run, written atomically; a sweep is plan minus records.

A record is the only thing that a run leaves: `records/<run_id>.json` with its row of the runs
table, its training curve, and a hash of both. So a sweep can be stopped at any moment. A record
that is not what was written, or not of the planned run, is kept aside and its run done again.
"""

import contextlib
import errno
import fcntl
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pandas as pd

from scaling.data.tokens import TokenData
from scaling.errors import SweepError
from scaling.files import json_hash, remove_debris, set_aside, write_text
from scaling.tables.runs import CURVE_COLUMNS
from scaling.training.cells import Cell, planned_row

CONFIG = "config.json"  # of a saved model; written last
FINISHED = ("ok", "diverged")  # a failed cell is tried again at the next start
HASH = "sha256"  # of the rest of a record
NAMES = {"row", "curve", "traceback", HASH}  # of a record's parts
PLANNED = ("total_params", "tokens", "flops", "steps", "batch_tokens", "seed", "lr")


class Flawed(Exception):
    """A record that cannot be believed, and why."""


@dataclass(frozen=True)
class Keeping:
    """What training keeps in the folder beside the records."""

    checkpoint_s: float = 20.0  # between two checkpoints of a trunk, at least
    models: bool = False  # every trained model, as `scaling.training.saved` writes it


CHECKPOINTS_ONLY = Keeping()


def write_record(folder: Path, record: dict) -> None:
    """Write the record of one run under `folder`/records."""
    path = record_path(folder, record["row"]["run_id"])
    write_text(path, json.dumps(record | {HASH: _hash(record)}, indent=1))


def record_path(folder: Path, run_id: str) -> Path:
    """Return where the record of a run lies."""
    return folder / "records" / f"{run_id}.json"


def _hash(record: dict) -> str:
    return json_hash({name: value for name, value in record.items() if name != HASH})


def failure_record(cell: Cell, data: TokenData, reason: str, details: str = "") -> dict:
    """Record of a cell that ended without a result, and why."""
    row = planned_row(cell, data.n_train) | {"status": "failed", "reason": reason}
    return {"row": row, "curve": [], "traceback": details}


def read_records(folder: Path, cells: list[Cell]) -> dict[str, dict]:
    """Records of these cells by run id; one with a `flaw` counts as not there."""
    records = {}
    for cell in cells:
        with contextlib.suppress(Flawed):
            records[cell.run_id] = _read_record(record_path(folder, cell.run_id), cell)
            records[cell.run_id].pop(HASH, None)
    return records


def set_flawed_aside(folder: Path, cells: list[Cell]) -> Iterator[str]:
    """Rename the records of these cells that have a flaw; yield a line on each."""
    for cell in cells:
        path = record_path(folder, cell.run_id)
        if path.is_file() and (why := flaw(path, cell)):
            yield f"{path}: {why}; kept as {set_aside(path).name}, and trained again"


def flaw(path: Path, cell: Cell) -> str | None:
    """Say why the record of a cell cannot be believed; None if it can."""
    try:
        _read_record(path, cell)
    except Flawed as why:
        return str(why)
    return None


def _read_record(path: Path, cell: Cell) -> dict:
    """Read the record of a cell; `Flawed` says why it cannot be believed.

    It has to be what was written, to name sizes, tokens and FLOPs as they are planned, and to have
    a loss if it says that the run is ok. A record without a hash is an older program's.
    """
    try:
        record = json.loads(path.read_text("utf-8"))
        row, curve = record["row"], record["curve"]
        if row["run_id"] != cell.run_id or not isinstance(curve, list):
            raise Flawed("is the record of something else")
        if (HASH in record and record[HASH] != _hash(record)) or {*record} - NAMES:
            raise Flawed("is not what was written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Flawed(f"cannot be read ({type(error).__name__}: {error})") from None
    planned = planned_row(cell)
    for name in PLANNED:
        if name in row and not (_is_number(row[name]) and row[name] == planned[name]):
            raise Flawed(f"says {name} {row[name]!r}, the plan {planned[name]!r}")
    if row.get("status") not in (*FINISHED, "failed"):
        raise Flawed(f"says status {row.get('status')!r}")
    if row["status"] == "ok":
        for name in ("loss", "loss_std"):
            if not (_is_number(row.get(name)) and 0 <= row[name] < math.inf):
                raise Flawed(f"says status 'ok' and {name} {row.get(name)!r}")
        if not all(_is_point(point) for point in curve):
            raise Flawed("has a curve with something that is no point")
    return record


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_point(point: object) -> bool:
    if not isinstance(point, dict):
        return False
    return all(_is_number(point.get(name)) for name in CURVE_COLUMNS if name != "run_id")


def refuse_no_model(folder: Path) -> None:
    """Refuse a folder that holds no saved model; ValueError says where there are some."""
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"model={folder} has no {CONFIG}: it is no saved model; train one with "
            "python -m scaling.sweep save_models=true and give results/NAME/models/RUN"
        )


def model_folder(folder: Path, run_id: str) -> Path:
    """Return where the trained model of a run is saved."""
    return folder / "models" / run_id


def not_yet_run(cells: list[Cell], folder: Path, models: bool = False) -> list[Cell]:
    """Plan minus done: the cells without a finished record; with `models`, or without their model.

    A run that diverged has no model.
    """
    rows = {run_id: record["row"] for run_id, record in read_records(folder, cells).items()}

    def is_done(cell: Cell) -> bool:
        status = rows.get(cell.run_id, {}).get("status")
        saved = status != "ok" or (model_folder(folder, cell.run_id) / CONFIG).is_file()
        return status in FINISHED and (saved or not models)

    return [cell for cell in cells if not is_done(cell)]


def collect(cells: list[Cell], folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs table and curves table of the cells that have a record, in the order of the plan.

    What a record lacks of the planned columns, since an older program wrote it, the plan says.
    """
    records = read_records(folder, cells)
    rows = [
        # a run may serve another plan's budget
        planned_row(cell) | record["row"] | {"flops_budget": cell.flops_budget}
        for cell in cells
        if (record := records.get(cell.run_id))
    ]
    points = [point for cell in cells for point in records.get(cell.run_id, {}).get("curve", [])]
    return pd.DataFrame(rows), pd.DataFrame(points, columns=list(CURVE_COLUMNS))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one sweep; the lock dies with its owner.

    Raises
    ------
    SweepError
        Another process sweeps into this folder, or its lock is a link to some other file; at the
        end: the folder is not the one that was locked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _open_lock(folder / ".lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise SweepError(
                f"{folder} is in use by the sweep with process id {owner}; wait for it, stop it, "
                "or choose another folder with name=NAME"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        remove_debris(folder)
        try:
            yield
        finally:
            remove_debris(folder)
        if not _is_at(folder / ".lock", file):
            raise SweepError(
                f"{folder} was removed or replaced while a sweep wrote into it; the same command "
                "does again what is gone"
            )


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def _open_lock(path: Path) -> IO[str]:
    try:
        return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+")
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        message = f"{path} is a symbolic link, which a sweep does not follow; remove it"
        raise SweepError(message) from None
