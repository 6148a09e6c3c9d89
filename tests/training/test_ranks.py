"""Ranks of a trunk as processes: killed, started by torchrun or by a cluster; no orphan is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from processes import command, descendants, parent
from sweeps import TIMING, TINY
from verbs import SECONDS

from scaling.models.kernels import STOCK
from scaling.training.casting import settle_kernels
from scaling.training.saved import load_model
from scaling.training.strategy import ALONE

ROOT = Path(__file__).parents[2]
ASKED = [*TINY, "grid.budgets=[2e9]", "grid.widths=[8]", "checkpoint_s=0", "save_models=true"]
RANKS = ["parallel=fsdp", "parallel.ranks=2"]
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALING_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PYTHONPATH", str(ROOT))
        yield patch


def start(*arguments, cwd, by=("-m", "scaling.sweep")):
    with open(cwd / "printed.txt", "a") as printed:
        return subprocess.Popen(
            [sys.executable, *by, *ASKED, *arguments],
            cwd=cwd,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )


def finish(sweep, cwd, family=()):
    """Wait for a sweep and all that it started; its table without what the clock decides."""
    try:
        assert sweep.wait(timeout=SECONDS) == 0, (cwd / "printed.txt").read_text()
    finally:
        sweep.kill()
    gone(family)
    assert not (folder_of(cwd) / "checkpoints").exists()
    runs, curves = (pd.read_csv(folder_of(cwd) / name) for name in ("runs.csv", "curves.csv"))
    assert (runs.status == "ok").all()
    return runs.drop(columns=TIMING), curves


def folder_of(cwd):
    return cwd / "results" / "smoke-synthetic"


def gone(family, seconds=30):
    deadline = time.monotonic() + seconds
    while alive := [pid for pid in family if command(pid)]:
        assert time.monotonic() < deadline, f"orphans {alive}"
        time.sleep(0.05)


def ranks_of(sweep):
    """Wait until the ranks have left a checkpoint; their process ids."""
    while not list(folder_of(Path(f"/proc/{sweep.pid}/cwd").resolve()).glob("checkpoints/*/*/f*")):
        assert sweep.poll() is None
        time.sleep(0.02)
    children = [pid for pid in descendants(sweep.pid) if "forkserver" in command(pid)]
    return [pid for pid in children if parent(pid) in children]


@pytest.fixture(scope="module")
def undisturbed(environment, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("undisturbed")
    return finish(start(*RANKS, cwd=cwd), cwd), cwd


def test_a_rank_that_is_killed_leaves_no_trace_in_the_tables(undisturbed, tmp_path):
    sweep = start(*RANKS, cwd=tmp_path)
    ranks, family = ranks_of(sweep), descendants(sweep.pid)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    tables = finish(sweep, tmp_path, family)
    assert "worker killed by SIGKILL" in (tmp_path / "printed.txt").read_text()
    for ours, theirs in zip(tables, undisturbed[0], strict=True):
        pd.testing.assert_frame_equal(ours, theirs)  # bit for bit


def test_a_sweep_that_is_killed_takes_its_ranks_along_and_one_process_goes_on(
    undisturbed, tmp_path
):
    sweep = start(*RANKS, cwd=tmp_path)
    ranks_of(sweep)
    family = descendants(sweep.pid)
    sweep.kill()
    sweep.wait()
    gone(family)
    kernels, _ = settle_kernels(STOCK, "fp32", ALONE, "cpu")
    alone = {"parallel": "none", "ranks": 1, "kernels": kernels.label}
    check_same(finish(start(cwd=tmp_path), tmp_path), undisturbed[0], **alone)


def check_same(tables, expected, **told):
    """Tables of the same numbers by another strategy."""
    (runs, curves), (theirs, their_curves) = tables, expected
    assert [runs[name][0] for name in told] == [*told.values()]
    differing = [*told, "loss", "loss_std", "bits_per_byte"]
    pd.testing.assert_frame_equal(runs.drop(columns=differing), theirs.drop(columns=differing))
    pd.testing.assert_series_equal(runs.loss, theirs.loss, rtol=0, atol=1e-5)
    pd.testing.assert_frame_equal(curves, their_curves, rtol=0, atol=1e-5)


def test_the_model_that_is_saved_is_whole(undisturbed):
    (runs, _), cwd = undisturbed
    model, _ = load_model(folder_of(cwd) / "models" / runs.run_id[0])
    assert sum(p.numel() for p in model.parameters()) == runs.total_params[0]


def test_torchrun_starts_the_ranks(undisturbed, tmp_path):
    by = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    sweep = start("parallel=zero1", cwd=tmp_path, by=[*by, "scaling.sweep"])
    ranks_of(sweep)
    family = descendants(sweep.pid)
    sweep.kill()  # nothing else ends the ranks
    sweep.wait()
    gone(family)
    sweep = start("parallel=zero1", cwd=tmp_path, by=[*by, "scaling.sweep"])
    check_same(finish(sweep, tmp_path), undisturbed[0], parallel="zero1 x2")
    again = start("parallel=zero1", cwd=tmp_path, by=[*by, "scaling.sweep"])
    finish(again, tmp_path)
    assert "all 1 cells are done" in (tmp_path / "printed.txt").read_text()


def test_a_cluster_starts_a_task_per_rank(undisturbed, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="pip install '.[slurm]'")
    sweep = start("parallel=ddp", "dispatch=submitit_local", cwd=tmp_path)
    check_same(finish(sweep, tmp_path), undisturbed[0], parallel="ddp x2")
    tasks = list(tmp_path.glob("results/multirun/.submitit/*/*_log.err"))
    assert len(tasks) == 2


def test_what_cannot_be_is_refused_before_any_work(tmp_path):
    for asked, told in {
        "parallel=ddp parallel.ranks=3": "parallel.ranks=3 does not divide",
        "parallel=hsdp parallel.sharding_factor=3": "sharding_factor=3 must divide",
        "parallel=fsdp compile=always": "compile=always: parallel=fsdp is trained eagerly",
    }.items():
        sweep = start(*asked.split(), "dry_run=true", cwd=tmp_path)
        assert sweep.wait(timeout=SECONDS) == 1
        assert told in (tmp_path / "printed.txt").read_text().splitlines()[-1]
    assert not (tmp_path / "results").exists()
