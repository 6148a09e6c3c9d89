"""A real sweep is killed, starved and spoiled at random moments; its tables end as undisturbed.

FAULTS=50 pytest -m long tests/training/test_faults.py kills more often still.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from processes import command, descendants, parent
from sweeps import TIMING
from verbs import SECONDS

from scaling.errors import INTERRUPTED

ROOT = Path(__file__).parents[2]
SWEEP = [
    "grid=smoke",
    "data=synthetic",
    "data.synthetic_train_tokens=2000000",
    "grid.budgets=[4e9,8e9,1.6e10]",  # long enough for a kill to find it at work
    "grid.widths=[8,16]",
    "optim.rules=shape",
    "model.seq_len=32",
    "valid_tokens=4096",
    "fit.bootstrap=0",
    "compile=never",
    "checkpoint_s=0.05",
    "workers=2",
]
SHORT = [*SWEEP, "grid.budgets=[1e9]", "grid.min_steps=1"]  # two runs, which nothing is fitted to
FAULTS = int(os.environ.get("FAULTS", "3"))  # starts that are disturbed
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("default")]


def environment(cwd):
    return os.environ | {"SCALING_CACHE_DIR": str(cwd.parent / "cache"), "PYTHONPATH": str(ROOT)}


def start(cwd, words=SWEEP, **environ):
    return subprocess.Popen(
        [sys.executable, "-m", "scaling.sweep", *words],
        cwd=cwd,
        env=environment(cwd) | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def tables(cwd):
    folder = cwd / "results" / "smoke-synthetic"
    runs, curves = (pd.read_csv(folder / name) for name in ("runs.csv", "curves.csv"))
    return runs.drop(columns=TIMING), curves


def assert_same(ours, theirs):
    for our, their in zip(ours, theirs, strict=True):
        pd.testing.assert_frame_equal(our, their)  # bit for bit


def kill(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def spoil(folder, chance):
    """Cut a record or a checkpoint short, as a disk that lies about fsync does."""
    files = sorted([*folder.glob("records/*.json"), *folder.glob("checkpoints/*.safetensors")])
    with suppress(IndexError, FileNotFoundError):  # none there; an orphan has just removed it
        victim = chance.choice(files)
        victim.write_bytes((whole := victim.read_bytes())[: int(chance.random() * len(whole))])


def ages(folder):
    """When every whole record of a result was written."""
    found = {}
    for path in folder.glob("records/*.json"):
        with suppress(ValueError, FileNotFoundError):  # cut short, or just set aside
            if json.loads(path.read_text())["row"]["status"] == "ok":
                found[path.name] = path.stat().st_mtime_ns
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Tables of the sweep left in peace, and seconds that its two workers trained."""
    cwd = tmp_path_factory.mktemp("undisturbed")
    sweep = start(cwd)
    printed, _ = sweep.communicate(timeout=SECONDS)
    assert sweep.returncode == 0, printed
    wall_s = pd.read_csv(cwd / "results" / "smoke-synthetic" / "runs.csv").wall_s.sum()
    return tables(cwd), wall_s / 2


def wait(sweep, folder, chance, seconds, cells):
    """Let the sweep run for a while: three times of four into training, else anywhere before.

    Not beyond its last cell but one, however fast it is now.
    """
    deadline = time.monotonic() + chance.uniform(0, 5)
    if chance.random() < 0.75:
        while not (folder / "checkpoints").exists() and sweep.poll() is None:
            time.sleep(0.01)
        deadline = time.monotonic() + chance.uniform(0, seconds)
    while time.monotonic() < deadline and sweep.poll() is None and len(ages(folder)) < cells - 1:
        time.sleep(0.01)


@pytest.mark.parametrize("victims", [["sweep"], ["worker", "sweep"]], ids="-".join)
def test_kills_at_random_moments_leave_no_trace_in_the_tables(victims, undisturbed, tmp_path):
    expected, seconds = undisturbed
    folder, chance = tmp_path / "results" / "smoke-synthetic", random.Random("-".join(victims))
    kills, cells = 0, len(expected[0])
    for _ in range(FAULTS):
        sweep = start(tmp_path)
        for victim in victims:
            wait(sweep, folder, chance, seconds / len(victims), cells)
            pids = [sweep.pid] if victim == "sweep" else descendants(sweep.pid)
            if pids and sweep.poll() is None:
                kill(chance.choice(pids))
                kills += 1
        sweep.communicate(timeout=SECONDS)
        spoil(folder, chance)
    finished = ages(folder)
    done = f"{len(finished)} of {cells} cells are done already"
    done = f"all {cells} cells are done" if len(finished) == cells else done if finished else ""
    for _ in range(3):  # what a worker's death has failed is tried again
        sweep = start(tmp_path)
        printed, _ = sweep.communicate(timeout=SECONDS)
        assert done in printed
        done = ""  # more by now
        if sweep.returncode == 0:
            break
        assert "cells are missing; the same command tries again" in printed
    assert sweep.returncode == 0, printed
    assert kills >= FAULTS / 2
    assert_same(tables(tmp_path), expected)
    assert ages(folder).items() >= finished.items()  # nothing done was done again
    assert not list(folder.rglob(".*.partial"))
    spoiled = [p for p in folder.rglob("*") if ".damaged" in p.name]
    assert len(spoiled) <= FAULTS and {*folder.glob("checkpoints/*")} <= {*spoiled}


@pytest.fixture(scope="module")
def scaling(verb):
    """A function that starts a sweep in a thread; `disturb` is called with its process id."""
    run = verb("sweep", "import scaling.training.pool, scaling.results, torch._dynamo")

    def sweep(cwd, disturb=None):
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(run, *SHORT, cwd=cwd, environment=environment(cwd))
            while disturb and not (children := descendants(run.process.pid)):
                time.sleep(0.001)
            if disturb:
                disturb(children[0])
            return running.result(SECONDS)

    return sweep


@pytest.fixture(scope="module")
def short(scaling, tmp_path_factory):
    """Tables of the short sweep left in peace."""
    cwd = tmp_path_factory.mktemp("short") / "cwd"
    cwd.mkdir()
    done = scaling(cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return tables(cwd)


def test_a_killed_forkserver_leaves_no_trace_in_the_tables(short, tmp_path):
    chance, kills = random.Random(1), 0
    sweep = start(tmp_path, SHORT)
    while kills < FAULTS and sweep.poll() is None:
        time.sleep(chance.uniform(0, 3))
        for pid in descendants(sweep.pid):
            if "forkserver" in command(pid) and parent(pid) == sweep.pid:
                kill(pid)
                kills += 1
    printed, _ = sweep.communicate(timeout=SECONDS)
    assert sweep.returncode == 0, printed
    assert kills and "Traceback" not in printed
    assert_same(tables(tmp_path), short)


JUMPING = """
import os, random, time
true, chance = time.time, random.Random(os.getpid())
time.time = lambda: true() + chance.choice([0, -1, 1]) * 10 ** chance.uniform(0, 9)
time.time_ns = lambda: int(time.time() * 1e9)
"""


def test_one_core_a_thousand_workers_and_a_clock_that_jumps(short, tmp_path):
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(JUMPING)  # imported by every process
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(before)])
    try:
        sweep = start(tmp_path, [*SHORT, "workers=1000"], PYTHONPATH=f"{tmp_path / 'clock'}:{ROOT}")
    finally:
        os.sched_setaffinity(0, before)
    printed, _ = sweep.communicate(timeout=SECONDS)
    assert sweep.returncode == 0, printed
    assert_same(tables(tmp_path), short)


def test_ctrl_c_at_any_moment_ends_with_130_and_the_same_command_goes_on(short, scaling, tmp_path):
    chance, codes = random.Random(2), []

    def interrupt(pid):
        time.sleep(chance.uniform(0, chance.choice([0.5, 8])))
        for each in [pid, *descendants(pid)]:  # a terminal sends it to all
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGINT)

    while len(codes) < FAULTS or (INTERRUPTED not in codes and len(codes) < 10 * FAULTS):
        done = scaling(tmp_path, interrupt)
        codes.append(done.returncode)
        assert not done.stderr and "Traceback" not in done.stdout
    assert {*codes} <= {INTERRUPTED, 0} and INTERRUPTED in codes  # or it was always too fast
    done = scaling(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(tables(tmp_path), short)


def test_a_folder_removed_in_the_middle_is_told_in_a_line(short, scaling, tmp_path):
    folder = tmp_path / "results" / "smoke-synthetic"

    def remove(pid):
        while not {"checkpoints", "records"} & {path.name for path in folder.glob("*")}:
            time.sleep(0.01)
        shutil.rmtree(folder, ignore_errors=True)

    done = scaling(tmp_path, remove)
    assert done.returncode == 1
    assert re.fullmatch("error: .*was removed or replaced.* the same command.*\n", done.stderr)
    done = scaling(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(tables(tmp_path), short)
