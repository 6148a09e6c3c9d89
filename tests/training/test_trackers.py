"""Every tracker gets a run for every cell: its own curve, its plan and what it reached."""

import sys
import types

import pytest

from scaling.training.cells import Event, group_trunks
from scaling.training.optim import OptimConfig
from scaling.training.trackers import check_tracker, follow, tracked

POINT = {"step": 3, "tokens": 1500, "flops": 1e9, "loss": 4.5, "lr": 0.01}


@pytest.fixture
def trunk(plan_noise):
    """A trunk of two cells."""
    return group_trunks(plan_noise([2e9, 4e9], OptimConfig(rules="shape")))[0]


def row(cell, status="ok"):
    return {"run_id": cell.run_id, "status": status, "reason": "", "loss": 4.25, "device": "cpu"}


def events_of(trunk):
    """The trunk's first point, the first cell's branch and end, the trunk again, the second."""
    one, two = trunk.cells

    def at(owner, step, loss):
        point = POINT | {"run_id": owner, "step": step, "tokens": 500 * step, "loss": loss}
        return Event(trunk.trunk_id, "progress", point=point)

    yield Event(trunk.trunk_id, "started")
    yield at(trunk.trunk_id, 1, 5.0)
    yield at(one.run_id, 2, 4.5)
    yield Event(trunk.trunk_id, "finished", row=row(one))
    yield at(trunk.trunk_id, 2, 4.75)
    yield at(two.run_id, 3, 4.5)
    yield Event(trunk.trunk_id, "finished", row=row(two))


WANTED = ([(1, 5.0), (2, 4.5)], [(1, 5.0), (2, 4.75), (3, 4.5)])  # step and loss, of both cells


def collect():
    """A start function, and what its runs were given: run id -> points, run id -> row."""
    logged, ended = {}, {}

    def start(cell):
        points = logged.setdefault(cell.run_id, [])
        from scaling.training.trackers import Run

        return Run(
            lambda point: points.append((point["step"], point["loss"])),
            lambda row: ended.update({cell.run_id: row}),
        )

    return start, logged, ended


def test_what_a_trunk_does_is_part_of_every_cell_that_it_still_carries(trunk):
    start, logged, ended = collect()
    running = {}
    see = follow([trunk], start, running)
    for event in events_of(trunk):
        see(event)
    assert tuple(logged[cell.run_id] for cell in trunk.cells) == WANTED
    assert ended == {cell.run_id: row(cell) for cell in trunk.cells}
    assert running == {}


def test_points_done_again_count_once_and_a_whole_curve_fills_up(trunk):
    start, logged, _ = collect()
    see = follow([trunk], start, {})
    first = trunk.cells[0]
    for step in (1, 2, 1, 2):
        point = POINT | {"run_id": trunk.trunk_id, "step": step}
        see(Event(trunk.trunk_id, "progress", point=point))
    curve = [POINT | {"run_id": first.run_id, "step": step} for step in (1, 2, 3)]
    see(Event(trunk.trunk_id, "finished", row=row(first), curve=curve))
    assert [step for step, _ in logged[first.run_id]] == [1, 2, 3]


def track_all(name, folder, trunk):
    with tracked(name, folder, [trunk]) as track:
        for event in events_of(trunk):
            track(event)


def test_tensorboard_has_a_folder_for_every_cell(trunk, tmp_path):
    pytest.importorskip("tensorboard", reason="pip install 'scaling-laboratory[track]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track_all(True, tmp_path, trunk)
    for cell, points in zip(trunk.cells, WANTED, strict=True):
        [folder] = (tmp_path / "tensorboard").glob(f"*-{cell.run_id}")
        read = EventAccumulator(str(folder)).Reload()
        found = [(event.step, event.value) for event in read.Scalars("loss")]
        assert found == [(500 * step, loss) for step, loss in points]  # over tokens
        assert read.Scalars("held-out loss")[0].value == 4.25


class FakeRun:
    def __init__(self, **options):
        self.options, self.logged, self.summary, self.code = options, [], {}, None

    def define_metric(self, *_, **__):
        pass

    def log(self, values):
        self.logged.append(values)

    def finish(self, exit_code):
        self.code = exit_code


def fake_wandb(monkeypatch):
    runs = []

    def init(**options):
        runs.append(FakeRun(**options))
        return runs[-1]

    fake = types.SimpleNamespace(init=init, Settings=dict, login=lambda: None)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return runs


def test_wandb_has_a_run_for_every_cell(trunk, tmp_path, monkeypatch):
    runs = fake_wandb(monkeypatch)
    track_all("wandb", tmp_path / "demo", trunk)
    assert [run.options["id"] for run in runs] == [cell.run_id for cell in trunk.cells]
    for run, cell, points in zip(runs, trunk.cells, WANTED, strict=True):
        assert run.options["project"] == run.options["group"] == "demo"
        assert run.options["config"]["tokens"] == cell.tokens
        assert [(p["train/tokens"], p["train/loss"]) for p in run.logged] == [
            (500 * step, loss) for step, loss in points
        ]
        assert run.summary["loss"] == 4.25 and run.summary["device"] == "cpu"
        assert run.code == 0


def test_a_sweep_that_is_stopped_ends_its_runs(trunk, tmp_path, monkeypatch):
    runs = fake_wandb(monkeypatch)
    with pytest.raises(KeyboardInterrupt), tracked("wandb", tmp_path, [trunk]) as track:
        for event, _ in zip(events_of(trunk), range(4), strict=False):
            track(event)
        raise KeyboardInterrupt
    assert [run.code for run in runs] == [0, 1]


def test_a_tracker_that_fails_costs_no_training(trunk, tmp_path, monkeypatch):
    fake_wandb(monkeypatch)
    monkeypatch.setattr(FakeRun, "log", lambda *_: 1 / 0)
    with pytest.warns(RuntimeWarning, match=r"track=wandb goes on no more: division by zero"):
        track_all("wandb", tmp_path, trunk)


def test_a_login_that_fails_is_one_error_before_training(trunk, tmp_path, monkeypatch):
    fake_wandb(monkeypatch)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(sys.modules["wandb"], "login", lambda: 1 / 0)
    with (
        pytest.raises(ValueError, match="track=wandb cannot begin: division"),
        tracked("wandb", tmp_path, [trunk]),
    ):
        pass


@pytest.mark.long
def test_wandb_itself_keeps_every_cell_offline(trunk, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="pip install 'scaling-laboratory[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    track_all("wandb", tmp_path, trunk)
    for cell in trunk.cells:
        [folder] = (tmp_path / "wandb").glob(f"offline-run-*-{cell.run_id}")
        assert [*folder.glob("*.wandb")]


@pytest.mark.long
@pytest.mark.filterwarnings("default")
def test_mlflow_itself_keeps_every_cell(trunk, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="pip install 'scaling-laboratory[mlflow]'")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    track_all("mlflow", tmp_path, trunk)
    track_all("mlflow", tmp_path, trunk)  # goes on with the runs that are there
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow/mlflow.db")
    [experiment] = client.search_experiments(filter_string=f"name = '{tmp_path.name}'")
    runs = {run.data.tags["run_id"]: run for run in client.search_runs([experiment.experiment_id])}
    assert {*runs} == {cell.run_id for cell in trunk.cells}
    for cell in trunk.cells:
        run = runs[cell.run_id]
        assert run.data.params["tokens"] == str(cell.tokens)
        assert run.data.metrics["loss"] == 4.25 and run.data.tags["device"] == "cpu"
        assert run.info.status == "FINISHED"
        assert client.get_metric_history(run.info.run_id, "train/loss")[0].value == 5.0


@pytest.mark.parametrize("name", ["wandb", "mlflow", "tensorboard"])
def test_without_its_package_the_way_out_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    extra = "track" if name == "tensorboard" else name
    told = rf"track={name} needs pip install 'scaling-laboratory\[{extra}\]'"
    with pytest.raises(ValueError, match=told):
        check_tracker(name)


def test_an_unknown_tracker_is_refused_and_none_does_nothing(trunk, tmp_path):
    with pytest.raises(ValueError, match=r"track=comet is unknown; choose true, false or one of"):
        check_tracker("comet")
    assert check_tracker(False) is None
    track_all(False, tmp_path, trunk)
    assert not [*tmp_path.iterdir()]
