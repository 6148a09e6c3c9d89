"""What lies in a record is believed only while it is what was written, and of the planned run."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.errors import SweepError
from scaling.training import cells
from scaling.training.cells import planned_row
from scaling.training.optim import OptimConfig
from scaling.training.records import (
    HASH,
    flaw,
    locked,
    not_yet_run,
    read_records,
    record_path,
    set_flawed_aside,
    write_record,
)

POINT = {"step": 1, "tokens": 256, "flops": 1e6, "loss": 3.5, "lr": 0.01}


@pytest.fixture(scope="module")
def cell(plan_noise):
    return plan_noise([2e8, 3e8], OptimConfig(batch_tokens=256))[0]


def record_of(cell):
    row = planned_row(cell, 40_000) | {"status": "ok", "reason": "", "loss": 3.4, "loss_std": 0.01}
    return {"row": row, "curve": [POINT | {"run_id": cell.run_id}]}


def edit(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_what_is_written_is_believed(cell, tmp_path):
    write_record(tmp_path, record_of(cell))
    assert flaw(record_path(tmp_path, cell.run_id), cell) is None
    found = read_records(tmp_path, [cell])[cell.run_id]
    assert found["row"] == json.loads(json.dumps(record_of(cell)["row"]))
    assert [*set_flawed_aside(tmp_path, [cell])] == []
    assert not_yet_run([cell], tmp_path) == []


def test_a_record_without_a_hash_is_an_older_programs(cell, tmp_path):
    write_record(tmp_path, record_of(cell))
    edit(record_path(tmp_path, cell.run_id), lambda record: record.pop(HASH))
    assert not_yet_run([cell], tmp_path) == []


NONSENSE = {
    "no number": ("loss", float("nan")),
    "null": ("loss", None),
    "negative": ("loss", -1.0),
    "endless": ("loss", float("inf")),
    "a list": ("loss", [3.4]),
    "text": ("loss", "3.4"),
    "true": ("loss", True),
    "no error": ("loss_std", float("nan")),
    "other tokens": ("tokens", 7),
    "other sizes": ("total_params", 1.5),
    "other FLOPs": ("flops", "many"),
    "another seed": ("seed", 17),
    "a new status": ("status", "great"),
    "a status that is a list": ("status", ["ok"]),
}


@pytest.mark.parametrize("hashed", [True, False], ids=["edited", "written so"])
@pytest.mark.parametrize(("name", "value"), NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_trained_again(name, value, hashed, cell, tmp_path):
    write_record(tmp_path, record_of(cell))
    path = record_path(tmp_path, cell.run_id)
    edit(path, lambda record: record["row"].update({name: value}))
    if not hashed:
        edit(path, lambda record: record.pop(HASH))
        assert name in str(flaw(path, cell))
    assert not_yet_run([cell], tmp_path) == [cell]
    [line] = set_flawed_aside(tmp_path, [cell])
    assert str(path) in line and f"{path.name}.damaged" in line
    assert not path.exists() and path.with_name(f"{path.name}.damaged").exists()
    assert [*set_flawed_aside(tmp_path, [cell])] == []


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"null", b'{"row": 3, "curve": []}', b"\xff\xfe", b"[" * 10**5]
)
def test_what_is_no_record_is_kept_aside_under_a_name_of_its_own(content, cell, tmp_path):
    path = record_path(tmp_path, cell.run_id)
    path.parent.mkdir()
    for name in (f"{path.name}.damaged", f"{path.name}.damaged2"):
        path.write_bytes(content)
        [line] = set_flawed_aside(tmp_path, [cell])
        assert name in line and "\n" not in line
    assert len([*path.parent.iterdir()]) == 2


def test_a_curve_with_something_else_in_it_is_no_curve(cell, tmp_path):
    record = record_of(cell)
    for point in ("x", {"step": 1}, POINT | {"loss": "low"}):
        write_record(tmp_path, record | {"curve": [point]})
        assert "no point" in str(flaw(record_path(tmp_path, cell.run_id), cell))


@pytest.fixture(scope="module")
def written(cell, tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")
    write_record(folder, record_of(cell))
    path = record_path(folder, cell.run_id)
    return path, path.read_bytes()


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_no_bit_of_a_record_changes_unnoticed(written, cell, place, bit):
    path, whole = written
    changed = bytearray(whole)
    changed[place % len(whole)] ^= 1 << bit
    path.write_bytes(changed)
    if flaw(path, cell) is None:  # white space between the values
        assert json.loads(changed) == json.loads(whole)


def test_a_record_of_another_configuration_or_version_is_not_of_this_plan(
    cell, plan_noise, tmp_path, monkeypatch
):
    write_record(tmp_path, record_of(cell))
    other = plan_noise([2e8, 3e8], OptimConfig(batch_tokens=256, lr_scale=0.5))[0]
    assert not_yet_run([other], tmp_path) == [other]
    monkeypatch.setattr(cells, "TRAINING_VERSION", cells.TRAINING_VERSION + 1)
    newer = plan_noise([2e8, 3e8], OptimConfig(batch_tokens=256))[0]
    assert not_yet_run([newer], tmp_path) == [newer]
    assert [*set_flawed_aside(tmp_path, [other, newer])] == []  # nothing is wrong with it
    assert record_path(tmp_path, newer.run_id) not in [*tmp_path.rglob("*.json")]


def test_a_folder_that_is_gone_at_the_end_is_told(tmp_path):
    folder = tmp_path / "results"
    with pytest.raises(SweepError, match="results was removed or replaced"), locked(folder):
        shutil.rmtree(folder)
        write_record(folder, {"row": {"run_id": "late"}})
    with locked(folder):
        pass


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    target = tmp_path / "precious"
    target.write_text("7")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / ".lock").symlink_to(target)
    with (
        pytest.raises(SweepError, match="symbolic link, which a sweep does not follow; remove it"),
        locked(tmp_path / "results"),
    ):
        pass
    assert target.read_text() == "7"
