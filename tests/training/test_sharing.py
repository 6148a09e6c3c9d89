import pytest

from scaling.training import pool, sharing
from scaling.training.cells import group_trunks
from scaling.training.optim import OptimConfig
from scaling.training.pool import Failure
from scaling.training.records import CHECKPOINTS_ONLY
from scaling.training.sharing import choose, choose_workers, find_mps, measure_together


@pytest.fixture
def trunks(plan_noise):
    return group_trunks(plan_noise([1e14, 2e14], OptimConfig(batch_tokens=256)))


@pytest.fixture
def gpu(monkeypatch):
    """A GPU on which up to four workers find memory, each half as fast as one alone."""
    tried = []

    def measure(cell, device, n, compiled=False):
        tried.append((device, n))
        return None if n > 4 else {1: 100.0, 2: 190.0, 4: 260.0}[n]

    monkeypatch.setattr(sharing, "default_workers", lambda device: 8 if device == "cpu" else 1)
    monkeypatch.setattr(sharing, "machine_key", lambda device: "some GPU")
    monkeypatch.setattr(sharing, "measure_together", measure)
    return tried


@pytest.mark.parametrize(
    ("speeds", "chosen"),
    [
        ({}, 1),
        ({1: 100.0}, 1),
        ({1: 100.0, 2: 105.0, 4: 300.0}, 1),
        ({1: 100.0, 2: 111.0}, 2),
        ({1: 100.0, 2: 190.0, 4: 200.0}, 2),
    ],
)
def test_more_workers_must_bring_a_tenth_more(speeds, chosen):
    assert choose(speeds) == chosen


def test_workers_are_measured_once_and_kept(trunks, gpu, tmp_path):
    many, told = trunks * 8, []
    assert choose_workers(many, "cuda", tmp_path, told.append) == 4  # 8 found no memory
    assert gpu == [("cuda:0", 1), ("cuda:0", 2), ("cuda:0", 4), ("cuda:0", 8)]
    assert "4 per GPU" in told[-1]
    assert choose_workers(many, "cuda", tmp_path, told.append) == 4
    assert len(gpu) == 4
    (tmp_path / "workers.json").write_text('{"machine": "some GPU", "workers": true}')
    assert choose_workers(many, "cuda", tmp_path, told.append) == 4
    assert len(gpu) == 8


def test_few_trunks_or_little_work_are_not_measured(trunks, plan_noise, gpu, tmp_path):
    short = group_trunks(plan_noise([2e8, 3e8], OptimConfig(batch_tokens=256)))
    assert choose_workers(short * 4, "cuda", tmp_path, print) == 1
    assert choose_workers(trunks[:1], "cuda", tmp_path, print) == 1
    assert gpu == []


def test_the_service_for_several_processes_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_mps() == "absent"
    program = tmp_path / sharing.MPS
    program.touch(mode=0o755)
    assert find_mps() == "not started"
    (tmp_path / "control").touch()
    assert find_mps() == "running"


def test_a_gpu_without_room_is_known_by_what_failed(trunks, tmp_path):
    job = pool._Job(trunks[0], ("cuda:0",))
    job.failures.append(Failure("OutOfMemoryError: CUDA out of memory.", "", 0.0))
    job.exitcodes = [1]
    assert job.was_crowded and not job.was_killed
    waiting = []
    [event] = pool._settle(job, None, tmp_path, CHECKPOINTS_ONLY, waiting)
    assert event.kind == "retried" and "out of memory" in event.reason
    assert [trunk.trunk_id for trunk in waiting] == [trunks[0].trunk_id]


@pytest.mark.long
def test_trainings_side_by_side_are_measured(plan_noise, monkeypatch):
    [cell, *_] = plan_noise([2e8], OptimConfig(batch_tokens=256))
    assert measure_together(cell, "cpu", 2) > 0
    assert measure_together(cell, "cuda:7", 1) is None  # no such GPU
