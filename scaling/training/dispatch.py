"""Trunks trained by other processes or machines: jobs go out, records come back.

A launcher carries the jobs; `scaling.plugins` hands one in, and nothing here knows which.
"""

import contextlib
import platform
import queue
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scaling.data.corpora import DataConfig
from scaling.data.tokens import TokenData, prepare_tokens
from scaling.errors import SweepError
from scaling.training import records
from scaling.training.cells import Event, Trunk, expected_cost, group_trunks
from scaling.training.records import CHECKPOINTS_ONLY, Keeping
from scaling.training.strategy import ALONE, ParallelConfig, check_launch, launched


@dataclass(frozen=True)
class Job:
    """One trunk on its way to a worker, with all that the worker needs; launchers pickle it."""

    trunk: Trunk
    number: int  # place in the queue, for the launcher's logs
    source: DataConfig  # of the token ids, where a worker's cache has none
    device: str  # auto, cpu, cuda; resolved where the job runs
    folder: Path  # the sweep's results, absolute; used where it is there too, on a shared disk
    compiled: bool = False  # through torch.compile
    keeping: Keeping = CHECKPOINTS_ONLY
    plan: ParallelConfig = field(default_factory=ParallelConfig)

    def __call__(self, composed: Any = None) -> list[dict]:
        """Train the trunk and return its records; what Hydra composed is not needed.

        A launcher that starts a task per rank calls this in each of them.

        Raises
        ------
        SweepError
            Models are to be saved, or several tasks train, and the folder is not there.
        """
        check_launch(self.plan)
        if self.folder.is_dir():
            return self.train_in(self.folder)
        if self.keeping.models or launched():
            why = "save_models=true" if self.keeping.models else f"parallel.ranks={self.plan.ranks}"
            raise SweepError(
                f"{why}: {self.folder} is not there on {platform.node()}, and only "
                "records travel back; put results=PATH on a file system that all machines share"
            )
        with tempfile.TemporaryDirectory() as folder:
            return self.train_in(Path(folder))

    def train_in(self, folder: Path) -> list[dict]:
        """Train what has no record in this folder yet, in processes of its own.

        Where the launcher has started every rank, it is trained in theirs.
        """
        from scaling.models.kernels import PLAIN, STOCK  # and torch, which nobody needs who only
        from scaling.training import pool  # hands jobs over

        cells = list(self.trunk.cells)
        todo = group_trunks(records.not_yet_run(cells, folder, self.keeping.models))
        device = pool.resolve_device(self.device)
        options: dict[str, Any] = {"device": device, "keeping": self.keeping, "plan": self.plan}
        started = launched()
        if started is None:
            pool.check_devices(self.plan, device)
            kernels = replace(PLAIN, compiled=True) if self.compiled else STOCK
            options |= {"workers": 1, "kernels": {t.trunk_id: kernels for t in todo}}
            events = pool.train_here(todo, self.tokens(), folder, **options)
        elif started[0] == 0:
            events = pool.lead(todo, self.tokens(), folder, **options)
        else:
            return pool.follow(self.plan, device=device) or []
        for _ in events:
            pass
        return list(records.read_records(folder, cells).values())

    def tokens(self) -> TokenData:
        """Token ids from this machine's cache, or made here.

        Raises
        ------
        SweepError
            They are not those that the sweep was planned with.
        """
        data, planned = prepare_tokens(self.source), self.trunk.cells[0].data_fingerprint
        if data.fingerprint != planned:
            raise SweepError(
                f"data={data.name} has other token ids here (fingerprint {data.fingerprint[:12]}) "
                f"than where the sweep was planned ({planned[:12]}); give both machines the same "
                "corpus and the same version of tokenizers"
            )
        return data


# Takes a job to a launcher; what it returns launches the job and waits for its records.
Launch = Callable[[Job], Callable[[], list[dict]]]
_LAUNCH: ContextVar[Launch | None] = ContextVar("launch", default=None)


@contextlib.contextmanager
def carried_by(launch: Launch | None) -> Iterator[None]:
    """Let `launch` carry the jobs of a sweep that runs inside this context."""
    token = _LAUNCH.set(launch)
    try:
        yield
    finally:
        _LAUNCH.reset(token)


def chosen_launch() -> Launch | None:
    """Return what carries the jobs; None: no launcher was chosen, the local pool trains."""
    return _LAUNCH.get()


def train_elsewhere(
    trunks: Sequence[Trunk],
    data: TokenData,
    folder: Path,
    *,
    launch: Launch,
    source: DataConfig,
    device: str,
    workers: int | None = None,
    compiled: bool = False,
    keeping: Keeping = CHECKPOINTS_ONLY,
    plan: ParallelConfig = ALONE,
) -> Generator[Event]:
    """Train trunks as jobs of a launcher, long ones first; write the records that come back.

    Every job is launched by itself: one that ends badly costs its own trunk only, whatever the
    launcher does then. Nothing is tried again but by the launcher. Jobs that a queue has taken
    stay there when this process is interrupted.

    Parameters
    ----------
    workers : int, optional
        Jobs in the launcher's hands at a time; None: all of them.

    Yields
    ------
    Event
        "started" for the jobs that are handed over, "finished" for every cell of one that is back.
    """
    ordered = sorted(trunks, key=expected_cost, reverse=True)
    same = (source, device, folder.resolve(), compiled, keeping, plan)
    jobs = [Job(trunk, number, *same) for number, trunk in enumerate(ordered)]
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    news: queue.SimpleQueue = queue.SimpleQueue()
    for job in jobs:
        waiting.put((job, launch(job)))
    for _ in range(min(len(jobs), workers or len(jobs))):
        threading.Thread(target=_carry, args=(waiting, news), daemon=True).start()
    left = len(jobs)
    while left:
        job, returned, reason = news.get()
        if returned is None:
            yield Event(job.trunk.trunk_id, "started")
        else:
            left -= 1
            yield from _finished(job.trunk, returned, reason, data, folder)


def _carry(waiting: queue.SimpleQueue, news: queue.SimpleQueue) -> None:
    """Launch jobs one after the other until none waits; body of a thread."""
    with contextlib.suppress(queue.Empty):
        while True:
            job, launch = waiting.get_nowait()
            news.put((job, None, ""))
            try:
                news.put((job, launch(), ""))
            except BaseException as error:  # launchers raise anything, SystemExit included
                news.put((job, [], f"{type(error).__name__}: {error}"))


def _finished(
    trunk: Trunk, returned: list[dict], reason: str, data: TokenData, folder: Path
) -> Iterator[Event]:
    """Write what this disk lacks of a job's records; where there is none, write why."""
    came_back = {record["row"]["run_id"]: record for record in returned}
    cells = list(trunk.cells)
    for cell in records.not_yet_run(cells, folder):
        why = reason or "its job came back without a record of it"
        record = came_back.get(cell.run_id) or records.failure_record(cell, data, why)
        records.write_record(folder, record)
    for record in records.read_records(folder, cells).values():
        ended = {"row": record["row"], "curve": record["curve"]}
        yield Event(trunk.trunk_id, "finished", flops=trunk.flops, **ended)
