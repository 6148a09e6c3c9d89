import os
from pathlib import Path

import pytest

from scaling.training import pool, sharing
from scaling.training.cells import group_trunks
from scaling.training.optim import OptimConfig
from scaling.training.pool import Failure
from scaling.training.records import CHECKPOINTS_ONLY
from scaling.training.sharing import (
    choose,
    choose_workers,
    find_mps,
    measure_together,
    side_by_side,
)


@pytest.fixture
def trunks(plan_noise):
    return group_trunks(plan_noise([1e14, 2e14], OptimConfig(batch_tokens=256)))


@pytest.fixture
def gpu(monkeypatch):
    """A GPU on which up to four workers find memory, each half as fast as one alone."""
    tried = []

    def measure(cell, device, counts):
        for n in counts:
            tried.append((device, n))
            if n > 4:
                return
            yield n, {1: 100.0, 2: 190.0, 4: 260.0}[n]

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


SERVICE = """#!/bin/sh
if [ "$1" = -d ]; then touch "$CUDA_MPS_PIPE_DIRECTORY/control"; exit $STATUS; fi
read word && [ "$word" = quit ] && echo "$CUDA_MPS_PIPE_DIRECTORY" >> "$ENDED"
"""


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A service that is installed and not running, and serves; the file that its end is told to."""
    program, ended = tmp_path / sharing.MPS, tmp_path / "ended"
    program.write_text(SERVICE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ENDED", str(ended))
    monkeypatch.setenv("STATUS", "0")
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    monkeypatch.setattr(sharing, "TOUCH", "")
    return ended


def pipes():
    return os.environ.get("CUDA_MPS_PIPE_DIRECTORY")


def test_a_service_of_our_own_runs_for_as_long_as_it_is_wanted(service):
    with pytest.raises(KeyboardInterrupt), side_by_side("cuda"):
        own = pipes()
        assert find_mps() == "running" and not service.exists()
        raise KeyboardInterrupt
    assert service.read_text().split() == [own]
    assert pipes() is None and not Path(own).exists()


@pytest.mark.parametrize("fault", ["start", "touch"])
def test_a_service_that_does_not_serve_is_ended_and_forgotten(service, monkeypatch, fault):
    monkeypatch.setenv("STATUS", "1" if fault == "start" else "0")
    monkeypatch.setattr(sharing, "TOUCH", "raise SystemExit(100)" if fault == "touch" else "")
    with side_by_side("cuda:0"):
        assert pipes() is None and service.exists()


def test_a_service_of_others_is_used_as_it_is(service, tmp_path, monkeypatch):
    (tmp_path / "control").touch()
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    with side_by_side("cuda"):
        assert pipes() == str(tmp_path)
    assert not service.exists()


def test_a_cpu_needs_no_service(service):
    with side_by_side("cpu"):
        assert pipes() is None
    assert not service.exists()


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
    speeds = dict(measure_together(cell, "cpu", (1, 2)))
    assert [*speeds] == [1, 2] and min(speeds.values()) > 0
    assert dict(measure_together(cell, "cuda:7", (1, 2))) == {}  # no such GPU
