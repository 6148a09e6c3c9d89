"""Jobs that launchers carry: on real clusters of this machine, and jobs that are lost."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from processes import command, descendants
from sweeps import TIMING, TINY
from verbs import SECONDS

import scaling.sweep  # noqa: F401  it tells Python where our Hydra plugin lies
from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.errors import SweepError
from scaling.shapes.shape import ModelConfig
from scaling.training.cells import group_trunks, planned_row
from scaling.training.dispatch import Job, carried_by, chosen_launch, train_elsewhere
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.optim import OptimConfig
from scaling.training.records import Keeping, not_yet_run, read_records, write_record
from scaling.training.strategy import ParallelConfig

ROOT = Path(__file__).parents[2]
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}
QUICK_TO_NOTICE = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "3",
    "RAY_USAGE_STATS_ENABLED": "0",
}
pytestmark = pytest.mark.filterwarnings("default")


# ---------------------------------------------------------------- real launchers


def start(*arguments, cwd):
    command = [sys.executable, "-m", "scaling.sweep", *TINY, "grid.budgets=[2e8]", *arguments]
    with open(cwd / "printed.txt", "w") as printed:
        return subprocess.Popen(command, cwd=cwd, stdout=printed, stderr=subprocess.STDOUT)


def finish(sweep, cwd, name="smoke-synthetic"):
    """Wait for a sweep; the runs table that it leaves, without what the clock decides."""
    try:
        assert sweep.wait(timeout=SECONDS) == 0, (cwd / "printed.txt").read_text()
    finally:
        sweep.kill()
    runs = pd.read_csv(cwd / "results" / name / "runs.csv")
    assert (runs.status == "ok").all()
    return runs.drop(columns=TIMING)


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory):
    """One cache for all; what this process starts finds it and the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALING_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setattr("scaling.data.tokens.SYNTHETIC_HELD_OUT_TOKENS", 2**14)  # drawn in no time
        yield patch


@pytest.fixture(scope="module")
def trained_here(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("here")
    return finish(start(cwd=cwd), cwd)


@pytest.fixture
def cluster(environment):
    """A Ray cluster of one node, to which nodes can be added."""
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="pip install -e '.[ray]'")
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:  # sockets: short paths
        token = Path(folder) / "token"
        token.write_text(uuid.uuid4().hex)
        (Path(folder) / "ray").mkdir()  # where Ray notes the address of the cluster
        places = {"RAY_AUTH_TOKEN_PATH": str(token), "RAY_TMPDIR": folder}
        for name, value in (QUICK_TO_NOTICE | places).items():
            environment.setenv(name, value)
        from ray.cluster_utils import Cluster

        head = NODE | {"include_dashboard": False, "temp_dir": f"{folder}/head"}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield cluster
        finally:
            cluster.shutdown()


@pytest.mark.long
def test_a_node_that_dies_in_the_middle_of_a_job_costs_no_cell(cluster, trained_here, tmp_path):
    doomed = cluster.add_node(**NODE)
    address = f"hydra.launcher.ray.init.address={cluster.address}"
    sweep = start("dispatch=ray", address, cwd=tmp_path)
    raylet = doomed.all_processes["raylet"][0].process.pid
    while not (
        jobs := [p for p in [raylet, *descendants(raylet)] if "ray::_run_job" in command(p)]
    ):
        assert sweep.poll() is None, (tmp_path / "printed.txt").read_text()
        time.sleep(0.02)
    for process in [raylet, *descendants(raylet)]:
        os.kill(process, signal.SIGKILL)
    assert jobs
    pd.testing.assert_frame_equal(finish(sweep, tmp_path), trained_here)  # bit for bit


@pytest.mark.long
def test_submitit_carries_a_sweep(trained_here, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="pip install '.[slurm]'")
    jobs = ["grid.widths=[4,8]", "grid.seeds=[0],[1]", "dispatch=submitit_local", "workers=2"]
    sweep = start(*jobs, cwd=tmp_path)
    first = finish(sweep, tmp_path, "smoke-synthetic-grid.seeds=_0_")
    pd.testing.assert_frame_equal(first, trained_here[:2])
    second = finish(sweep, tmp_path, "smoke-synthetic-grid.seeds=_1_")
    assert set(second.seed) == {1}
    assert len(list(tmp_path.glob("results/multirun/.submitit/*/*_result.pkl"))) == 4
    assert not list(tmp_path.glob("multirun"))


# ---------------------------------------------------------------- jobs, without a launcher


SOURCE = DataConfig(name="synthetic", vocab_size=256, synthetic_train_tokens=50_000)


@pytest.fixture(scope="module")
def data(environment):
    return prepare_tokens(SOURCE)


@pytest.fixture
def cells(data):
    return plan_cells(
        GridConfig(budgets=[1e8], widths=[4, 8, 12], min_steps=1),
        ModelConfig(seq_len=16),
        OptimConfig(batch_tokens=256),
        vocab_size=256,
        data="synthetic",
        data_fingerprint=data.fingerprint,
        valid_windows=64,
    )


@pytest.fixture
def dispatch(cells, data, tmp_path):
    """A function that dispatches all cells by a launch function and lists the events."""

    def by(launch, **options):
        options = {"source": SOURCE, "device": "cpu", **options}
        return list(train_elsewhere(group_trunks(cells), data, tmp_path, launch=launch, **options))

    return by


def records_of(job):
    return [record_of(cell, 5.0) for cell in job.trunk.cells]


def record_of(cell, loss):
    found = {"status": "ok", "loss": loss, "loss_std": 0.01}
    return {"row": planned_row(cell, 50_000) | found, "curve": []}


def test_records_that_come_back_are_written(dispatch, cells, tmp_path):
    events = dispatch(lambda job: lambda: records_of(job))
    assert not not_yet_run(cells, tmp_path)
    rows = [event.row for event in events if event.kind == "finished"]
    assert {row["run_id"] for row in rows} == {cell.run_id for cell in cells}


def test_a_record_on_this_disk_is_not_written_again(dispatch, cells, tmp_path):
    write_record(tmp_path, record := record_of(cells[0], 1.0))
    dispatch(lambda job: lambda: records_of(job))
    assert read_records(tmp_path, cells)[cells[0].run_id] == record


@pytest.mark.parametrize("error", [RuntimeError("node lost"), SystemExit("node lost")])
def test_a_lost_job_costs_its_own_cells_and_says_why(error, dispatch, cells, tmp_path):
    def launch(job):
        def launched():
            if cells[1] in job.trunk.cells:
                raise error
            return records_of(job)

        return launched

    dispatch(launch)
    assert not_yet_run(cells, tmp_path) == [cells[1]]
    row = read_records(tmp_path, cells)[cells[1].run_id]["row"]
    assert (row["status"], row["reason"]) == ("failed", f"{type(error).__name__}: node lost")


def test_a_job_that_brings_nothing_is_a_failure(dispatch, cells, tmp_path):
    dispatch(lambda job: lambda: [])
    reasons = {record["row"]["reason"] for record in read_records(tmp_path, cells).values()}
    assert reasons == {"its job came back without a record of it"}


def test_long_trunks_go_first_and_workers_bound_what_is_out(dispatch):
    out, most, order, lock = 0, 0, [], threading.Lock()

    def launch(job):
        def launched():
            nonlocal out, most
            with lock:
                out, order[len(order) :] = out + 1, [job.number]
                most = max(most, out)
            time.sleep(0.05)
            with lock:
                out -= 1
            return records_of(job)

        return launched

    dispatch(launch, workers=2)
    assert most == 2
    assert sorted(order) == [0, 1, 2]
    assert order[-1] == 2


@pytest.mark.long
def test_a_job_trains_without_the_folder_of_the_sweep(cells, tmp_path):
    (trunk,) = group_trunks(cells[:1])
    nowhere = tmp_path / "elsewhere"
    (record,) = Job(trunk, 0, SOURCE, "cpu", nowhere)()
    assert record["row"]["run_id"] == cells[0].run_id
    assert record["row"]["status"] == "ok"
    assert not nowhere.exists()


def test_a_job_that_cannot_bring_models_back_is_refused(cells, tmp_path):
    (trunk,) = group_trunks(cells[:1])
    keeping = Keeping(models=True)
    far = Job(trunk, 0, SOURCE, "cpu", tmp_path / "elsewhere", keeping=keeping)
    with pytest.raises(SweepError, match=r"save_models=true: .*elsewhere is not there on"):
        far()


def test_a_job_trains_nothing_that_is_done(cells, tmp_path):
    (trunk,) = group_trunks(cells[:1])
    job = Job(trunk, 0, SOURCE, "cpu", tmp_path)
    (record,) = records_of(job)
    write_record(tmp_path, record)
    assert job() == [record]


def test_a_job_refuses_other_tokens(cells, tmp_path):
    (trunk,) = group_trunks([replace(cells[0], data_fingerprint="of another machine")])
    with pytest.raises(SweepError, match="other token ids here"):
        Job(trunk, 0, SOURCE, "cpu", tmp_path)()


def test_the_local_pool_trains_unless_something_carries():
    assert chosen_launch() is None
    with carried_by(print):
        assert chosen_launch() is print
    assert chosen_launch() is None


def test_only_what_is_swept_names_a_folder():
    from hydra_plugins.scaling_sweeper import names_only_what_is_swept

    overrides = ["dispatch=ray", "grid.budgets=[1e9,2e9]", "optim.lr_scale=1,2"]
    excluded = names_only_what_is_swept(OverridesParser.create().parse_overrides(overrides))
    assert excluded.endswith("exclude_keys=[dispatch,grid.budgets,grid,data,family,name,out]")


@pytest.mark.parametrize(("nodes", "tasks"), [(1, 4), (2, 2)])
def test_slurm_is_asked_for_a_task_per_rank(nodes, tasks):
    from hydra_plugins.scaling_sweeper import ask_for_ranks

    name = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
    asked = {"_target_": name, "nodes": nodes, "tasks_per_node": 1, "gpus_per_node": None}
    launcher = OmegaConf.create(asked)
    ask_for_ranks(launcher, 1, "cuda")
    assert launcher == asked
    ask_for_ranks(launcher, 4, "cuda")
    assert (launcher.tasks_per_node, launcher.gpus_per_node) == (tasks, tasks)


def test_ray_is_asked_for_a_device_per_rank():
    from hydra_plugins.scaling_sweeper import ask_for_ranks

    name = "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher"
    remote = {"num_cpus": 1, "num_gpus": 0}
    launcher = OmegaConf.create({"_target_": name, "ray": {"remote": remote}})
    ask_for_ranks(launcher, 4, "cpu")
    assert launcher.ray.remote == {"num_cpus": 4, "num_gpus": 0}
    ask_for_ranks(launcher, 4, "cuda")
    assert launcher.ray.remote == {"num_cpus": 4, "num_gpus": 4}


def test_several_tasks_need_the_folder_of_the_sweep(cells, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    (trunk,) = group_trunks(cells[:1])
    job = Job(trunk, 0, SOURCE, "cpu", tmp_path / "elsewhere", plan=ParallelConfig("ddp", 2))
    with pytest.raises(SweepError, match=r"parallel.ranks=2: .*elsewhere is not there on"):
        job()
    with pytest.raises(ValueError, match="2 ranks were started"):
        replace(job, plan=ParallelConfig())()
