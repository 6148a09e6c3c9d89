"""Whatever a file holds, it is a table or one line of a ValueError that names it."""

import gzip
import lzma
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_tables import made

from scaling.fitting.prepared import prepare
from scaling.tables.observations import RunsWarning

NAMES = ["N", "D", "C", "loss", "status", "run_id", "weight", "lr", "a b", '"x', "", "N*2", "steps"]
CELLS = ["1", "2.5", "3,5", "1,000", "7e7", "70M", "nan", "", "inf", "-1", "0", "ok", "crashed"]
CELLS += ["OOM", '"', "1e400", "9" * 30, "{}", "[1", "é", "\\", "1.2.3", "None", "True"]
SEPARATORS = [",", ";", "\t", "|", " "]
MAPPINGS = [None, {"N": "D"}, {"N*D": "C"}, {"N+C": "N", "loss": "loss"}, {"": "N"}, {"a b": "lr"}]
TEXT = made().to_csv(index=False).encode()
SEEDS = [TEXT, gzip.compress(TEXT, mtime=0), lzma.compress(TEXT), made().to_json().encode()]
SEEDS += [made().to_json(orient="records").encode()]
fuzz = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def tables(draw):
    """Columns of a law in most, cells that are numbers in most, all that people write in some."""
    separator = draw(st.sampled_from(SEPARATORS))
    lawful = draw(st.sampled_from([[], ["N", "D", "loss"], ["N", "C", "loss"]]))
    others = st.sampled_from([name for name in NAMES if name not in lawful])
    names = lawful + draw(st.lists(others, max_size=3, unique=bool(lawful)))
    number = st.integers(1, 10**9).map(str)
    cell = number | number | number | st.sampled_from(CELLS) | st.text(max_size=5)
    size = len(names) if draw(st.integers(0, 9)) else draw(st.integers(1, 9))
    row = st.lists(cell, min_size=size, max_size=size)
    if lawful:
        start = st.lists(st.integers(1, 99).map(str), min_size=3, max_size=3)
        row = st.builds(lambda first, rest: (first + rest)[:size], start, row)
    rows = draw(st.lists(row, max_size=7))
    return "\n".join(separator.join(row) for row in [names, *rows]).encode("utf-8", "replace")


@st.composite
def damaged(draw):
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for place, byte in draw(st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)))):
        data[place % len(data)] = byte
    return bytes(data[: draw(st.integers(0, len(data)))])


def read(path, data, columns=None):
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", RunsWarning)
        try:
            prepare(path, columns)
        except ValueError as error:
            assert type(error) is ValueError and "\n" not in str(error)
            return str(error)
    return ""


@fuzz
@given(data=tables() | st.binary(max_size=99), columns=st.sampled_from(MAPPINGS))
def test_any_text_is_a_table_or_one_line(tmp_path, data, columns):
    read(tmp_path / "runs.csv", data, columns)


@fuzz
@given(data=damaged())
def test_any_damaged_file_is_a_table_or_one_line(tmp_path, data):
    read(tmp_path / "runs.csv", data)


@pytest.mark.parametrize("data", SEEDS[:3])
def test_an_undamaged_file_is_read(tmp_path, data):
    assert read(tmp_path / "runs.csv", data) == ""
