"""Files as people have them: every one says the same table, or what is wrong in one line."""

import bz2
import csv
import gzip
import io
import json
import lzma
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from made_tables import made

from scaling.tables import packed, reading
from scaling.tables.runs import load_runs

TABLE = made()
SHORT = TABLE.head(4)


def delimited(separator=",", decimal=".", **how):
    return lambda t: t.to_csv(index=False, sep=separator, decimal=decimal, **how).encode()


def as_json(orient, **how):
    return lambda t: t.to_json(orient=orient, double_precision=15, **how).encode()


def nested(t):
    rows = [{"model": {"N": int(r.N)}, "D": int(r.D), "log": {"val": {"loss": r.loss}}}
            for r in t.itertuples()]  # fmt: skip
    return "\n".join(map(json.dumps, rows)).encode()


def zipped(t):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/runs.csv", delimited()(t))
    return file.getvalue()


WRITERS = {
    "commas": delimited(),
    "quotes": delimited(quoting=csv.QUOTE_ALL),
    "semicolons.csv": delimited(";"),
    "decimal_commas.csv": delimited(";", ","),
    "tabs.tsv": delimited("\t"),
    "tabs_and_commas.csv": delimited("\t", ","),
    "quoted_decimal_commas.csv": delimited(",", ","),
    "bars.txt": delimited("|"),
    "blanks.txt": delimited(" "),
    "excel_text.csv": lambda t: delimited("\t")(t).decode().encode("utf-16"),
    "marked.csv": lambda t: b"\xef\xbb\xbf" + delimited()(t),
    "windows.csv": lambda t: delimited()(t).replace(b"\n", b"\r\n"),
    "records.json": as_json("records"),
    "columns.json": lambda t: json.dumps({n: c.tolist() for n, c in t.items()}).encode(),
    "lines.jsonl": as_json("records", lines=True),
    "a.gz": lambda t: gzip.compress(delimited()(t)),
    "two_members.gz": lambda t: b"".join(map(gzip.compress, delimited()(t).partition(b"\n"))),
    "a.xz": lambda t: lzma.compress(delimited()(t)),
    "a.bz2": lambda t: bz2.compress(delimited()(t)),
    "a.zip": zipped,
    "named_wrong.csv": lambda t: gzip.compress(as_json("records")(t)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_reads_back_the_table(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(WRITERS[name](TABLE))
    runs = load_runs(path)
    np.testing.assert_array_equal(runs[["params", "tokens"]], TABLE[["N", "D"]])
    np.testing.assert_allclose(runs[["flops", "loss"]], TABLE[["C", "loss"]], rtol=1e-13)


def test_nested_keys_are_joined_by_dots(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(nested(TABLE))
    runs = load_runs(path, {"model.N": "N", "log.val.loss": "loss"})
    assert runs.params.tolist() == TABLE.N.tolist()
    assert runs.loss.tolist() == TABLE.loss.tolist()


@pytest.mark.parametrize("kind", ["parquet", "xlsx", "zst"])
def test_extras_read_what_they_are_for(tmp_path, kind):
    library = pytest.importorskip({"parquet": "pyarrow", "xlsx": "openpyxl"}.get(kind, "zstandard"))
    path = tmp_path / "runs.any"
    if kind == "parquet":
        TABLE.to_parquet(path)
    elif kind == "xlsx":
        TABLE.to_excel(path.with_suffix(".xlsx"), index=False)
        path = path.with_suffix(".xlsx")
    else:
        path.write_bytes(library.compress(delimited()(TABLE)))
    np.testing.assert_allclose(load_runs(path)[["params", "loss"]], TABLE[["N", "loss"]])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"^{path}: .*(truncated|damaged)"):
        load_runs(path)


@pytest.mark.parametrize("begins", [b"PAR1", b"\x28\xb5\x2f\xfd"])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, begins):
    def refuse(name):
        raise ImportError(f"No module named {name!r}", name=name.partition(".")[0])

    for module in (reading, packed):
        monkeypatch.setattr(module, "import_module", refuse)
    (tmp_path / "runs").write_bytes(begins + b"rest")
    with pytest.raises(
        ValueError,
        match=r"runs: reading it needs (pyarrow|zstandard): pip install -e '.\[tables\]'",
    ):
        load_runs(tmp_path / "runs")  # fmt: skip


CSV = delimited()(SHORT)
RECORDS = as_json("records")(SHORT)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (gzip.compress(b""), "the file is empty"),
        (gzip.compress(CSV)[:60], "truncated"),
        (lzma.compress(CSV)[:60], "truncated"),
        (bz2.compress(CSV)[:60], "truncated"),
        (zipped(SHORT)[:60], "damaged or truncated"),
        (gzip.compress(CSV)[:-8] + b"?" * 8, "damaged or truncated"),
        (
            CSV.replace(b"loss", b"\xe9loss"),
            r"no text in UTF-8 \(.*byte 6\); save the table as CSV",
        ),
        (b"a,b\n1,\0\n", "no text, but binary"),
        (b"\x89PNG\r\n\x1a\n", "no text in UTF-8"),
        (b"\xd0\xcf\x11\xe0rest", "Excel before 2007"),
        (b"\0" * 257 + b"ustar" + b"\0" * 99, "tar archive; unpack it"),
        (b"<!DOCTYPE html>", "is HTML or XML; fetch the raw file"),
        (b"version https://git-lfs.github.com/spec/v1\noid 1\n", "git lfs pull"),
        (CSV + b"1,2,3,4,5\n", "Expected 4 fields in line 6, saw 5"),
        (CSV.replace(b"D,C", b"N,C"), r"two columns are called \['N'\]"),
        (CSV.partition(b"\n")[2], "names no columns; add a line of names"),
        (RECORDS[:-9], "it looks like JSON, but"),
        (b'{"N": 1}\n{"N": 2\n', "line 2 is no JSON"),
        (b"[1, 2]", r"JSON, but no list of records: write \[\{...\}"),
        (b'[{"N": 1, "N": 2}]', "a name stands twice in one record"),
        (b'{"a":' * 100_000, "nested too deep|looks like JSON"),
        (b"[" * 100_000, "nested too deep|looks like JSON"),
    ],
    ids=lambda value: "data" if isinstance(value, bytes) else value,  # gzip dates its bytes
)
def test_what_is_no_table_is_one_line_that_names_the_file(tmp_path, data, message):
    path = tmp_path / "mine.csv"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as told:
        load_runs(path)
    assert str(told.value).startswith(str(path)) and "\n" not in str(told.value)


def test_an_archive_of_several_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in "ab":
            archive.writestr(name, CSV)
    with pytest.raises(ValueError, match="zip archive of 2 files; unpack the table"):
        load_runs(tmp_path / "a.zip")


def test_a_table_beyond_bounds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "MOST_BYTES", 2**20)
    monkeypatch.setattr(reading, "MOST_CELLS", 1000)
    path = tmp_path / "a.csv"
    for data in (b"1" * 2**21, gzip.compress(b"1" * 2**21), lzma.compress(b"1" * 2**21)):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="holds more than 1 MiB"):
            load_runs(path)
    for many in (b"N,D\n" + b"1,2\n" * 600, json.dumps([{f"n{i}": 1} for i in range(40)]).encode()):
        path.write_bytes(many)
        with pytest.raises(ValueError, match="more than 1,000 cells"):
            load_runs(path)


@pytest.mark.long
def test_a_bomb_of_three_gigabytes_takes_less_than_one(tmp_path):
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(b"1,2,3\n" * (2**20 // 6)) * (3 * 2**10))  # members of 1 MiB
    program = (
        "import resource, sys; from scaling.tables.runs import load_runs\n"
        "try: load_runs(sys.argv[1])\n"
        "except ValueError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    )
    command = [sys.executable, "-c", program, str(path)]
    told = subprocess.run(command, text=True, capture_output=True)
    message, peak = told.stdout.splitlines()
    assert "holds more than 128 MiB" in message
    assert float(peak) < 1  # GiB


def test_decimal_points_between_semicolons_keep_commas_for_thousands(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("N;D;loss\n1,500;2,000,000;3.25\n9,500;3,000,000;3.5\n")
    runs = load_runs(path)
    assert runs.params.tolist() == [1500, 9500] and runs.tokens.tolist() == [2000000, 3000000]
    path.write_text("N;D;loss\n1500;2,5e6;3,250\n9500;3,25e6;3,500\n")
    runs = load_runs(path)
    assert runs.tokens.tolist() == [2.5e6, 3.25e6] and runs.loss.tolist() == [3.25, 3.5]


def test_an_index_without_a_name_stands_in_no_ones_way(tmp_path):
    TABLE.to_csv(tmp_path / "a.csv")
    assert load_runs(tmp_path / "a.csv").params.tolist() == TABLE.N.tolist()
    assert isinstance(load_runs(tmp_path / "a.csv"), pd.DataFrame)
