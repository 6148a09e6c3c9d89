"""A real sweep is killed, starved and spoiled at random moments; its tables end as undisturbed.

FAULTS=50 pytest -m long tests/training/test_faults.py kills more often still.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from processes import descendants
from sweeps import TIMING
from verbs import SECONDS

ROOT = Path(__file__).parents[2]
SWEEP = [
    "grid=smoke",
    "data=synthetic",
    "data.synthetic_train_tokens=2000000",
    "grid.widths=[8,16]",
    "optim.rules=shape",
    "model.seq_len=32",
    "valid_tokens=4096",
    "fit.bootstrap=0",
    "compile=never",
    "checkpoint_s=0.05",
    "workers=2",
]
FAULTS = int(os.environ.get("FAULTS", "3"))  # starts that are disturbed
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("default")]


def start(cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "scaling.sweep", *SWEEP],
        cwd=cwd,
        env=os.environ | {"SCALING_CACHE_DIR": str(cwd.parent / "cache"), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def tables(cwd):
    folder = cwd / "results" / "smoke-synthetic"
    runs, curves = (pd.read_csv(folder / name) for name in ("runs.csv", "curves.csv"))
    return runs.drop(columns=TIMING), curves


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
        with suppress(ValueError):
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


def wait(sweep, folder, chance, seconds):
    """Let the sweep run for a while: three times of four into training, else anywhere before."""
    deadline = time.monotonic() + chance.uniform(0, 5)
    if chance.random() < 0.75:
        while not (folder / "checkpoints").exists() and sweep.poll() is None:
            time.sleep(0.01)
        deadline = time.monotonic() + chance.uniform(0, seconds)
    while time.monotonic() < deadline and sweep.poll() is None:
        time.sleep(0.01)


@pytest.mark.parametrize("victims", [["sweep"], ["worker", "sweep"]], ids="-".join)
def test_kills_at_random_moments_leave_no_trace_in_the_tables(victims, undisturbed, tmp_path):
    expected, seconds = undisturbed
    folder, chance = tmp_path / "results" / "smoke-synthetic", random.Random("-".join(victims))
    kills = 0
    for _ in range(FAULTS):
        sweep = start(tmp_path)
        for victim in victims:
            wait(sweep, folder, chance, seconds / len(victims))
            pids = [sweep.pid] if victim == "sweep" else descendants(sweep.pid)
            if pids and sweep.poll() is None:
                kill(chance.choice(pids))
                kills += 1
        sweep.communicate(timeout=SECONDS)
        spoil(folder, chance)
    finished = ages(folder)
    cells = len(expected[0])
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
    for ours, theirs in zip(tables(tmp_path), expected, strict=True):
        pd.testing.assert_frame_equal(ours, theirs)  # bit for bit
    assert ages(folder).items() >= finished.items()  # nothing done was done again
    assert not list(folder.rglob(".*.partial"))
    spoiled = [p for p in folder.rglob("*") if ".damaged" in p.name]
    assert len(spoiled) <= FAULTS and {*folder.glob("checkpoints/*")} <= {*spoiled}
