import os
import subprocess
import sys

import pytest

from scaling.files import partials, remove_debris, write_bytes, write_text


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]
    write_text(path, "new\n")
    assert path.read_bytes() == b"new\n"


def test_bytes_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "model.bin"
    write_bytes(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert partials(path) == []


def test_debris_of_the_dead_goes_and_that_of_the_living_stays(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, living = (tmp_path / f".r.json.{pid}.partial" for pid in (gone.pid, os.getpid()))
    dead.write_text("{")
    living.write_text("{")
    assert sorted(partials(tmp_path / "r.json")) == sorted([dead, living])
    remove_debris(tmp_path)
    assert partials(tmp_path / "r.json") == [living]
