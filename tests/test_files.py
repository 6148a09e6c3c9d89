import math
import os
import resource
import subprocess
import sys

import pandas as pd
import pytest

from scaling.files import (
    HOST,
    partials,
    read_table,
    remove_debris,
    write_bytes,
    write_table,
    write_text,
)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]
    write_text(path, "new\n")
    assert path.read_bytes() == b"new\n"


def test_a_file_beyond_what_the_system_allows_is_named(tmp_path):
    path = tmp_path / "model.bin"
    write_bytes(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=f"File too large: '{path}'"):
            write_bytes(path, bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def test_bytes_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "model.bin"
    write_bytes(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert partials(path) == []


def test_debris_of_the_dead_goes_and_that_of_the_living_stays(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = [f"{HOST}.{gone.pid}", f"{HOST}.{os.getpid()}", f"elsewhere.{gone.pid}"]
    dead, living, far = paths = [tmp_path / f".r.json.{name}.partial" for name in names]
    for path in paths:
        path.write_text("{")
    assert sorted(partials(tmp_path / "r.json")) == sorted(paths)
    remove_debris(tmp_path)
    assert sorted(partials(tmp_path / "r.json")) == sorted([living, far])
    assert not dead.exists()


def test_what_a_killed_write_leaves_is_debris(tmp_path):
    code = (
        "import os, signal; from pathlib import Path; from scaling.files import write_text\n"
        "os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"write_text(Path({str(tmp_path / 'r.json')!r}), '{{')"
    )
    subprocess.run([sys.executable, "-c", code])
    assert len(partials(tmp_path / "r.json")) == 1
    remove_debris(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_data_has_numbers_as_printed_and_text_as_it_stands(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("name,N,note,table\na,1.7976931348623157e308,,3\nb,,NA,A3\n")
    table = read_table(path)
    assert table.N[0] == 1.7976931348623157e308 and math.isnan(table.N[1])
    assert [*table.note] == ["", "NA"] and [*table.table] == ["3", "A3"]


def test_a_table_has_the_digits_that_every_processor_agrees_on(tmp_path):
    path = tmp_path / "table.csv"
    table = pd.DataFrame({"x": [1 / 3, 1e23], "n": [7, 12345678901], "ok": [True, False]})
    write_table(path, table)
    assert path.read_text() == "x,n,ok\n0.33333333,7,True\n1e+23,12345678901,False\n"
    before = path.read_text()
    write_table(path, table.assign(x=table.x * (1 + 1e-12)))
    assert path.read_text() == before
