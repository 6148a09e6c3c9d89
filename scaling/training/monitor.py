"""What a sweep shows while it runs: a live table on a terminal, lines elsewhere.

The display follows the events of trunks; it decides nothing.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scaling.quantities import count, format_quantity, pass_tenth
from scaling.training.cells import Event, Trunk
from scaling.training.trackers import Track

BAR, MOST_ROWS = 20, 12  # columns of a bar; running trunks that are shown at once
MEASURED_S = 10.0  # of progress, before it tells a speed


class Monitor:
    """Counts what events of all trunks tell: done, running, failed, FLOPs done, time left.

    A clock's reading in s is given with each event.
    """

    def __init__(self, trunks: list[Trunk]):
        self.trunks = {trunk.trunk_id: trunk for trunk in trunks}
        self.labels = {cell.run_id: cell.label for trunk in trunks for cell in trunk.cells}
        self.flops = dict.fromkeys(self.trunks, 0.0)  # done
        self.first_flops: dict[str, float] = {}  # of trunks that go on from a checkpoint
        self.points: dict[str, dict] = {}  # the last one of every running trunk
        self.rows: list[dict] = []  # of the cells that have ended
        self.began: float | None = None  # when progress was first told: workers start before
        self.now = 0.0

    def see(self, event: Event, now: float) -> str | None:
        """Take one event in; return a line worth keeping, if it is one."""
        self.now, trunk = now, self.trunks[event.trunk_id]
        if event.kind == "started":
            self.points[event.trunk_id] = {}
        if event.kind == "progress":
            self.began = now if self.began is None else self.began
            self.first_flops.setdefault(event.trunk_id, event.flops)
            self.flops[event.trunk_id], self.points[event.trunk_id] = event.flops, event.point or {}
        if event.kind == "noticed":
            return f"{trunk.label}: {event.reason}"
        if event.kind == "retried":
            self.points.pop(event.trunk_id, None)
            return f"{trunk.label}: {event.reason}; tried again"
        if event.row is None:
            return None
        self.rows.append(event.row)
        settled = {row["run_id"] for row in self.rows}
        if all(cell.run_id in settled for cell in trunk.cells):
            self.points.pop(event.trunk_id, None)
            self.flops[event.trunk_id] = trunk.flops
        head = f"[{len(self.rows)}/{len(self.labels)}] {self.labels[event.row['run_id']]}"
        return f"{head}: {verdict(event.row)}; {self.time_left}".removesuffix("; ")

    @property
    def total(self) -> float:
        """FLOPs of all trunks."""
        return sum(trunk.flops for trunk in self.trunks.values())

    @property
    def time_left(self) -> str:
        """Remaining time at the speed of this run so far, once it was measured for a while.

        What a checkpoint had done is no speed, and the start of workers no time.
        """
        found = sum(self.first_flops.values())
        done, left = sum(self.flops.values()) - found, self.total - sum(self.flops.values())
        if self.began is None or done <= 0 or self.now < self.began + MEASURED_S:
            return ""
        return f"about {duration((self.now - self.began) * max(0.0, left) / done)} left"

    @property
    def summary(self) -> str:
        """One line: done, running, failed, FLOPs done, time left; what is none is not said."""
        failed = sum(row["status"] == "failed" for row in self.rows)
        parts = [f"{len(self.rows) - failed} of {count(len(self.labels), 'cell')} done"]
        parts += [f"{count(len(self.points), 'trunk')} running"] if self.points else []
        parts += [f"{failed} failed"] if failed else []
        parts.append(f"{sum(self.flops.values()):.3g} of {self.total:.3g} FLOPs")
        parts += [self.time_left] if self.points and self.time_left else []
        return ", ".join(parts)

    @property
    def share(self) -> float:
        """FLOPs done over those of all trunks."""
        return sum(self.flops.values()) / self.total

    def table(self) -> Group:
        """Table of the running trunks, where there are some, and the summary.

        Texts say themselves that they wrap: a console that wraps nothing would leave it to the
        terminal, whose lines then are not those that the next table takes away.
        """
        table = Table("running", box=None, expand=True, padding=(0, 1, 0, 0))
        table.columns[0].overflow = "ellipsis"
        for head, width in (("done", 4), ("", BAR), ("tokens", 6), ("loss", 6), ("lr", 8)):
            table.add_column(head, width=width, no_wrap=True)
        for trunk_id, point in [*self.points.items()][:MOST_ROWS]:
            trunk = self.trunks[trunk_id]
            share = self.flops[trunk_id] / trunk.flops
            numbers = ()
            if point:
                tokens = format_quantity(point["tokens"])
                numbers = (tokens, f"{point['loss']:.3f}", f"{point['lr']:.2g}")
            label = Text(trunk.label, no_wrap=True, overflow="ellipsis")
            table.add_row(label, f"{share:4.0%}", ProgressBar(1.0, share, width=BAR), *numbers)
        more = len(self.points) - MOST_ROWS
        parts = [table] if self.points else []
        parts += [whole(f"and {count(more, 'trunk')} more")] if more > 0 else []
        return Group(*parts, whole(self.summary))


def whole(line: str) -> Text:
    """A line that is broken between words, whatever its console does."""
    return Text(line, no_wrap=False, overflow="fold")


def watch(
    console: Console, trunks: list[Trunk], events: Iterable[Event], track: Track | None = None
) -> None:
    """Show events until there are no more, and give each to a tracker.

    A terminal shows a live table and a line for every cell that ends. Elsewhere a line per ten
    percent is written, and one for what did not go well.
    """
    monitor, told = Monitor(trunks), -1.0
    with contextlib.ExitStack() as stack:
        live = Live(console=console, refresh_per_second=2) if console.is_terminal else None
        if live:
            stack.enter_context(live)
        for event in events:
            line = monitor.see(event, time.monotonic())
            went_well = event.row is not None and event.row["status"] == "ok"
            if live:
                live.update(monitor.table())
            if line and (live or not went_well):
                console.print(whole(line), soft_wrap=not live)
            if not live and (percent := pass_tenth(told, monitor.share)) is not None:
                console.print(f"{percent} %: {monitor.summary}", highlight=False)
                told = monitor.share
            if track:
                track(event)


@contextlib.contextmanager
def tell_stopped(console: Console) -> Iterator[None]:
    """Say after a Ctrl-C that nothing is lost, and let it pass."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on where it was")
        raise


def duration(seconds: float) -> str:
    """Hours, minutes and seconds for people."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def verdict(row: dict) -> str:
    """Say how a run ended, in a few words."""
    if row["status"] != "ok":
        return f"{row['status']}, {row['reason']}"
    speed = row["flops_per_s"] / 1e9
    return f"loss {row['loss']:.4f} nats/token, {row['wall_s']:.0f} s, {speed:.1f} GFLOP/s"
