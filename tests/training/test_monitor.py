"""The display follows events; it is given a clock, so that no test waits."""

import io

import pytest
from rich.console import Console

from scaling.training.cells import Event, group_trunks
from scaling.training.monitor import Monitor, duration, tell_stopped, verdict, watch
from scaling.training.optim import OptimConfig

POINT = {"run_id": "r", "step": 3, "tokens": 1500, "flops": 1e9, "loss": 4.321, "lr": 0.01}


@pytest.fixture
def trunks(plan_noise):
    """Two trunks of two cells each."""
    trunks = group_trunks(plan_noise([2e9, 4e9], OptimConfig(rules="shape")))
    assert [len(trunk.cells) for trunk in trunks] == [2, 2]
    return trunks


def row(cell, status="ok", reason=""):
    facts = {"run_id": cell.run_id, "status": status, "reason": reason}
    return facts | {"loss": 4.2, "wall_s": 3.0, "flops_per_s": 2e9}


def test_progress_speed_and_what_is_left(trunks):
    monitor = Monitor(trunks)
    first, whole = trunks[0], sum(trunk.flops for trunk in trunks)
    assert monitor.see(Event(first.trunk_id, "started"), 100.0) is None
    assert monitor.time_left == ""  # nothing is known yet
    assert "0 of 4 cells done, 1 trunk running, 0 of" in monitor.summary
    monitor.see(Event(first.trunk_id, "progress", flops=0.0, point=POINT), 100.0)
    quarter = whole / 4
    monitor.see(Event(first.trunk_id, "progress", flops=quarter, point=POINT), 160.0)
    assert monitor.time_left == "about 3 min 00 s left"
    assert f"{quarter:.3g} of {whole:.3g} FLOPs" in monitor.summary


def test_what_a_checkpoint_had_done_is_no_speed_and_a_start_no_time(trunks):
    monitor = Monitor(trunks)
    first, whole = trunks[0], sum(trunk.flops for trunk in trunks)
    monitor.see(Event(first.trunk_id, "started"), 0.0)
    monitor.see(Event(first.trunk_id, "progress", flops=whole / 4, point=POINT), 30.0)
    assert monitor.time_left == ""
    monitor.see(Event(first.trunk_id, "progress", flops=whole / 3.99, point=POINT), 32.0)
    assert monitor.time_left == ""  # too little to tell a speed
    monitor.see(Event(first.trunk_id, "progress", flops=whole / 2, point=POINT), 90.0)
    assert monitor.time_left == "about 2 min 00 s left"


def test_cells_that_end_are_told_and_counted(trunks):
    monitor = Monitor(trunks)
    trunk = trunks[0]
    monitor.see(Event(trunk.trunk_id, "started"), 0.0)
    line = monitor.see(Event(trunk.trunk_id, "finished", row=row(trunk.cells[0])), 5.0)
    assert line is not None
    assert line.startswith(f"[1/4] {trunk.cells[0].label}: loss 4.2000 nats/token, 3 s, 2.0 GFLOP")
    bad = row(trunk.cells[1], "failed", "worker killed by SIGKILL (out of memory?)")
    line = monitor.see(Event(trunk.trunk_id, "finished", row=bad), 6.0)
    assert line is not None
    assert "failed, worker killed by SIGKILL (out of memory?)" in line
    assert "1 of 4 cells done, 1 failed" in monitor.summary
    assert monitor.flops[trunk.trunk_id] == trunk.flops


def test_a_trunk_tried_again_says_why(trunks):
    monitor = Monitor(trunks)
    trunk = trunks[1]
    monitor.see(Event(trunk.trunk_id, "started"), 0.0)
    line = monitor.see(Event(trunk.trunk_id, "retried", reason="worker killed by SIGKILL"), 1.0)
    assert line == f"{trunk.label}: worker killed by SIGKILL; tried again"
    assert "running" not in monitor.summary


def events_of(trunks):
    for trunk in trunks:
        yield Event(trunk.trunk_id, "started")
        point = POINT | {"run_id": trunk.trunk_id}
        yield Event(trunk.trunk_id, "progress", flops=trunk.flops / 2, point=point)
        for cell in trunk.cells:
            yield Event(trunk.trunk_id, "finished", flops=trunk.flops, row=row(cell))


def watched(trunks, events, terminal, width=80):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=width, soft_wrap=True)
    seen = []
    watch(console, trunks, events, seen.append)
    assert seen
    return out.getvalue()


def test_a_terminal_shows_a_table_and_a_line_per_cell(trunks):
    printed = watched(trunks, events_of(trunks), terminal=True)
    assert all(f"[{n}/4]" in printed for n in (1, 2, 3, 4))
    assert "4 of 4 cells done, 8.8e+09 of 8.8e+09 FLOPs" in printed


def test_elsewhere_there_is_a_line_per_ten_percent(trunks):
    printed = watched(trunks, events_of(trunks), terminal=False)
    tenths = [line.split(" %: ")[0] for line in printed.splitlines()]
    assert tenths == ["0", "20", "40", "70", "100"]
    assert printed.endswith(" FLOPs\n") and "4 of 4 cells done" in printed


def test_what_fails_is_told_wherever_it_is_read(trunks):
    bad = row(trunks[0].cells[0], "failed", "worker killed by SIGKILL")
    events = [Event(trunks[0].trunk_id, "finished", row=bad)]
    assert "failed, worker killed by SIGKILL" in watched(trunks, events, terminal=False)


def test_the_live_table_keeps_to_its_columns(trunks):
    """A line that the terminal had to break would stay when the table is drawn again."""
    monitor = Monitor(trunks)
    console = Console(file=io.StringIO(), width=80, soft_wrap=True)
    for trunk in trunks:
        monitor.see(Event(trunk.trunk_id, "started"), 0.0)
        for share in (0, 0.5):
            done = Event(trunk.trunk_id, "progress", flops=share * trunk.flops, point=POINT)
            monitor.see(done, 9e6 * share)
    with console.capture() as printed:
        console.print(monitor.table())
    lines = printed.get().splitlines()
    assert len(lines) == 1 + len(trunks) + 2 and max(map(len, lines)) <= 80
    assert "trunks running" in lines[-2] and lines[-1].split()[-1] == "left"


def test_a_table_without_rows_has_no_head(trunks):
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as printed:
        console.print(Monitor(trunks).table())
    assert printed.get().startswith("0 of 4 cells done")


def test_the_table_names_the_running_trunks(trunks):
    out = io.StringIO()
    monitor = Monitor(trunks)
    monitor.see(Event(trunks[0].trunk_id, "started"), 0.0)
    point = Event(trunks[0].trunk_id, "progress", flops=trunks[0].flops / 2, point=POINT)
    monitor.see(point, 1.0)
    Console(file=out, width=200).print(monitor.table())
    assert trunks[0].label in out.getvalue()
    assert " 50%" in out.getvalue()
    assert "1.5k" in out.getvalue()
    assert "4.321" in out.getvalue()
    assert trunks[1].label not in out.getvalue()


@pytest.mark.parametrize(
    "seconds, text", [(0.4, "0 s"), (59.6, "1 min 00 s"), (61, "1 min 01 s"), (3720, "1 h 02 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_diverged_run_says_so():
    said = verdict({"status": "diverged", "reason": "training loss became nan by step 9"})
    assert said == "diverged, training loss became nan by step 9"


def test_an_interrupt_says_that_the_same_command_goes_on(capsys):
    with pytest.raises(KeyboardInterrupt), tell_stopped(Console(width=80)):
        raise KeyboardInterrupt
    assert capsys.readouterr().out == "stopped; the same command goes on where it was\n"
