"""One record per run, written atomically; a sweep is plan minus records.

A record is the only thing that a run leaves: `records/<run_id>.json` with its row of the runs
table and its training curve. So a sweep can be stopped at any moment.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scaling.data.tokens import TokenData
from scaling.errors import SweepError
from scaling.files import remove_debris, write_text
from scaling.tables.runs import CURVE_COLUMNS
from scaling.training.cells import Cell, planned_row

CONFIG = "config.json"  # of a saved model; written last
FINISHED = ("ok", "diverged")  # a failed cell is tried again at the next start


@dataclass(frozen=True)
class Keeping:
    """What training keeps in the folder beside the records."""

    checkpoint_s: float = 20.0  # between two checkpoints of a trunk, at least
    models: bool = False  # every trained model, as `scaling.training.saved` writes it


CHECKPOINTS_ONLY = Keeping()


def write_record(folder: Path, record: dict) -> None:
    """Write the record of one run under `folder`/records."""
    path = folder / "records" / f"{record['row']['run_id']}.json"
    write_text(path, json.dumps(record, indent=1))


def failure_record(cell: Cell, data: TokenData, reason: str, details: str = "") -> dict:
    """Record of a cell that ended without a result, and why."""
    row = planned_row(cell, data.n_train) | {"status": "failed", "reason": reason}
    return {"row": row, "curve": [], "traceback": details}


def read_records(folder: Path, cells: list[Cell]) -> dict[str, dict]:
    """Records of these cells by run id; one that cannot be read counts as not there."""
    records = {}
    for cell in cells:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads((folder / "records" / f"{cell.run_id}.json").read_text("utf-8"))
            if record["row"]["run_id"] == cell.run_id and isinstance(record["curve"], list):
                records[cell.run_id] = record
    return records


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
        Another process sweeps into this folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+") as file:
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
