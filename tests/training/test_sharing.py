import pytest

from scaling.training import pool, sharing
from scaling.training.cells import group_trunks
from scaling.training.optim import OptimConfig
from scaling.training.pool import Failure
from scaling.training.records import CHECKPOINTS_ONLY
from scaling.training.sharing import choose, choose_workers, may_share, measure_together


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


def test_few_trunks_or_little_work_do_not_share_unless_asked_to(trunks, plan_noise, gpu):
    short = group_trunks(plan_noise([2e8, 3e8], OptimConfig(batch_tokens=256)))
    assert may_share(trunks * 2, "cuda", None)
    assert not may_share(trunks[:1], "cuda", None)
    assert not may_share(short * 4, "cuda", None)
    assert may_share(short * 4, "cuda", 2)
    assert not may_share(trunks * 2, "cuda", 1)
    assert not may_share(trunks * 2, "cpu", 4)


def test_what_was_measured_without_the_service_is_measured_again_with_it(
    trunks, gpu, tmp_path, monkeypatch
):
    many = trunks * 8
    choose_workers(many, "cuda", tmp_path, print)
    monkeypatch.setattr(sharing, "find_service", lambda: "running")
    choose_workers(many, "cuda", tmp_path, print)
    assert len(gpu) == 8


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
