"""Where training curves go beside the records, cell by cell: TensorBoard, W&B, MLflow.

A tracker is a function that starts the run of a cell; the run takes the points of its curve, and in
the end its row. What a trunk does is part of every cell that it still carries.
"""

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from numbers import Number
from pathlib import Path
from typing import Any, NamedTuple

from scaling.training.cells import Cell, Event, Trunk, planned_row

Track = Callable[[Event], None]
CURVE = ("loss", "lr", "tokens", "flops")
EXTRAS = {"tensorboard": "track", "wandb": "wandb", "mlflow": "mlflow"}  # what brings each


class Run(NamedTuple):
    """What a tracker keeps of one cell."""

    log: Callable[[dict], None]  # a point of the curve
    end: Callable[[dict | None], None]  # the cell's row; None where the sweep was stopped


Start = Callable[[Cell], Run]


def check_tracker(track: bool | str | None) -> str | None:
    """Name the tracker that `track` means, None for none.

    Raises
    ------
    ValueError
        It is unknown or not installed.
    """
    if track in (None, False):
        return None
    name = "tensorboard" if track is True else str(track)
    if name not in EXTRAS:
        raise ValueError(f"track={track} is unknown; choose true, false or one of {[*EXTRAS]}")
    try:
        import_module(name)
    except ImportError:
        needed = f"pip install 'scaling-laboratory[{EXTRAS[name]}]'"
        raise ValueError(f"track={name} needs {needed}") from None
    return name


@contextlib.contextmanager
def tracked(track: bool | str | None, folder: Path, trunks: Sequence[Trunk]) -> Iterator[Track]:
    """Give a function that takes the events of trunks to a tracker.

    Files go under the sweep's folder, unless the tracker's own environment variables name a server.
    A tracker that fails is told of once and left: it costs no training.
    """
    name = check_tracker(track)
    if name is None:
        yield lambda event: None
        return
    failed: list[str] = []
    running: dict[str, Run] = {}
    try:
        see = follow(trunks, TRACKERS[name](folder), running)
    except Exception as error:
        raise ValueError(f"track={name} cannot begin: {_first_line(error)}") from error

    def attempt(act: Callable[..., None], *what: Any) -> None:
        try:
            act(*what)
        except Exception as error:  # of a server, a disk, a network
            failed.append(name)
            told = f"track={name} goes on no more: {_first_line(error)}"
            warnings.warn(told, RuntimeWarning, stacklevel=2)

    try:
        yield lambda event: None if failed else attempt(see, event)
    finally:
        for run in [*running.values()]:
            attempt(run.end, None)


def follow(trunks: Sequence[Trunk], start: Start, running: dict[str, Run]) -> Track:
    """Turn the events of trunks into runs of cells; `running` holds those that are open."""
    cells = {cell.run_id: cell for trunk in trunks for cell in trunk.cells}
    left = {trunk.trunk_id: [cell.run_id for cell in trunk.cells] for trunk in trunks}
    last = dict.fromkeys(cells, -1)  # step that a run has seen

    def log(run_id: str, point: dict) -> None:
        if point["step"] <= last[run_id]:
            return  # done again, after a checkpoint
        last[run_id] = point["step"]
        if run_id not in running:
            running[run_id] = start(cells[run_id])
        running[run_id].log(point)

    def see(event: Event) -> None:
        if event.point:
            owner = event.point["run_id"]
            for run_id in left[event.trunk_id] if owner == event.trunk_id else [owner]:
                log(run_id, event.point)
        if event.row:
            run_id = event.row["run_id"]
            for point in event.curve:
                log(run_id, point)
            run = running.pop(run_id, None) or start(cells[run_id])
            run.end(event.row)
            left[event.trunk_id].remove(run_id)

    return see


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _measured(cell: Cell, row: dict) -> dict:
    """What training added to the planned row."""
    planned = planned_row(cell)
    return {name: value for name, value in row.items() if name not in planned}


# ---------------------------------------------------------------- trackers


def to_tensorboard(folder: Path) -> Start:
    """Event files under the folder's `tensorboard`, over tokens."""

    def start(cell: Cell) -> Run:
        from torch.utils.tensorboard import SummaryWriter  # here, as torch is slow to import

        writer = SummaryWriter(
            str(folder / "tensorboard" / f"{planned_row(cell)['name']}-{cell.run_id}")
        )

        def log(point: dict) -> None:
            for name in ("loss", "lr"):
                writer.add_scalar(name, point[name], point["tokens"])

        def end(row: dict | None) -> None:
            if row and row["status"] == "ok":
                writer.add_scalar("held-out loss", row["loss"], cell.tokens)
            writer.close()

        return Run(log, end)

    return start


def to_wandb(folder: Path) -> Start:
    """Runs of a project called as the folder; WANDB_PROJECT, WANDB_MODE and its login count."""
    wandb = import_module("wandb")
    project = os.environ.get("WANDB_PROJECT", folder.name)
    if os.environ.get("WANDB_MODE", "online") == "online":
        wandb.login()  # asks on a terminal, and fails elsewhere, before any training

    def start(cell: Cell) -> Run:
        planned = planned_row(cell)
        run = wandb.init(
            project=project,
            group=folder.name,
            name=planned["name"],
            id=cell.run_id,
            resume="allow",
            config=planned,
            dir=str(folder),
            reinit="create_new",  # cells of a trunk are open side by side
            settings=wandb.Settings(silent=True, console="off"),
        )
        run.define_metric("train/*", step_metric="train/tokens")

        def end(row: dict | None) -> None:
            run.summary.update(_measured(cell, row) if row else {})
            run.finish(exit_code=int(row is None or row["status"] == "failed"))

        return Run(lambda point: run.log({f"train/{name}": point[name] for name in CURVE}), end)

    return start


def to_mlflow(folder: Path) -> Start:
    """Runs of an experiment called as the folder, on MLFLOW_TRACKING_URI or under `mlflow`."""
    mlflow = import_module("mlflow")
    entities = import_module("mlflow.entities")
    here = (folder / "mlflow").resolve()
    here.mkdir(parents=True, exist_ok=True)
    uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    client = mlflow.MlflowClient(uri)
    known = client.get_experiment_by_name(folder.name)
    place = None if "MLFLOW_TRACKING_URI" in os.environ else here.as_uri()
    experiment = known.experiment_id if known else client.create_experiment(folder.name, place)

    def start(cell: Cell) -> Run:
        planned, tags = planned_row(cell), {"run_id": cell.run_id}
        found = client.search_runs([experiment], f"tags.run_id = '{cell.run_id}'")
        made = (
            found[0]
            if found
            else client.create_run(experiment, tags=tags, run_name=planned["name"])
        )
        key = made.info.run_id
        if not found:
            params = [entities.Param(name, str(value)) for name, value in planned.items()]
            client.log_batch(key, params=params)

        def keep(values: dict, step: int) -> None:
            now = int(time.time() * 1000)
            client.log_batch(
                key, [entities.Metric(name, float(v), now, step) for name, v in values.items()]
            )

        def end(row: dict | None) -> None:
            measured = _measured(cell, row) if row else {}
            numbers = {name: v for name, v in measured.items() if isinstance(v, Number)}
            keep(numbers, cell.tokens)
            for name in measured.keys() - numbers.keys():
                client.set_tag(key, name, str(measured[name]))
            ended = (
                "KILLED" if row is None else "FAILED" if row["status"] == "failed" else "FINISHED"
            )
            client.set_terminated(key, ended)

        return Run(lambda p: keep({f"train/{name}": p[name] for name in CURVE}, p["tokens"]), end)

    return start


TRACKERS: dict[str, Callable[[Path], Start]] = {
    "tensorboard": to_tensorboard,
    "wandb": to_wandb,
    "mlflow": to_mlflow,
}
