"""Any table a person has, read as text: delimited, JSON, Parquet or Excel, compressed or not.

What a file is says its content, not its name. Memory is bounded, whatever a file claims to hold.
"""

import csv
import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.tables.observations import RunsWarning
from scaling.tables.packed import shorten, unpack

MOST_CELLS = 10**7
MOST_NAMES = 100_000  # characters of the first line that are looked at
SEPARATORS = ",;\t|"
EXTRA = "pip install -e '.[tables]', or save it as CSV"
EMPTY = "the file is empty; a runs table has a line of names and one per run"
AS_CSV = "save the table as CSV, in UTF-8"
DECIMAL_COMMA = r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?"
DECIMAL_POINT = r"[-+]?\d+\.\d+(?:[eE][-+]?\d+)?"
FOREIGN = {  # how a file begins that is no table, and what to do
    "<": "is HTML or XML; fetch the raw file",
    "version https://git-lfs": "is a pointer of Git LFS; fetch the file itself with git lfs pull",
}


def read_file(path: Path) -> pd.DataFrame:
    """Read a table: CSV (commas, semicolons, tabs, bars, blanks), JSON, Parquet or Excel.

    JSON is a list of records, one record a line, or an object of columns; nested keys are joined by
    dots. A file may be compressed by gzip, xz, bzip2, zip or zstd. Decimal commas between
    semicolons become points.

    Returns
    -------
    DataFrame with cells as they stand: text in CSV, what the format knows elsewhere

    Raises
    ------
    ValueError
        The file is empty, cut, of another kind, beyond `MOST_BYTES` or `MOST_CELLS`, or needs a
        package that is not installed. The message begins with its path.
    """
    with _told_of(path):
        data = unpack(path)
        if not data.strip():
            raise ValueError(EMPTY)
        for magic, read in BINARY.items():
            if data.startswith(magic):
                return _name_columns(read(data))
        text = _decode(data)
        if not text.strip():
            raise ValueError(EMPTY)
        for start, why in FOREIGN.items():
            if text.lstrip().startswith(start):
                raise ValueError(why)
        is_json = text.lstrip()[:1] in ("[", "{")
        return _name_columns(_read_json(text) if is_json else _read_delimited(text))


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Every failure of a format's reader as one line that begins with the path."""
    try:
        yield
    except ImportError as error:
        raise ValueError(f"{path}: reading it needs {error.name or error}: {EXTRA}") from error
    except EOFError as error:
        raise ValueError(f"{path}: the file is truncated; fetch or write it again") from error
    except MemoryError as error:
        raise ValueError(f"{path}: the table does not fit into memory; {AS_CSV}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: its values are nested too deep; {AS_CSV}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {shorten(error)}") from error
    except OSError as error:
        if error.errno is not None:  # of the disk: it names the file itself
            raise
        raise ValueError(f"{path}: {shorten(error)}; fetch or write it again") from error


# ---------------------------------------------------------------- text


def _decode(data: bytes) -> str:
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))  # as Excel writes "Unicode text"
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text in UTF-8 ({error.reason}, byte {error.start}); {AS_CSV}") \
            from error  # fmt: skip
    if "\0" in text:
        raise ValueError(f"it is no text, but binary; {AS_CSV}")
    return text


def _read_delimited(text: str) -> pd.DataFrame:
    first = next(line for line in text.splitlines() if line.strip())
    separator = _find_separator(first)
    cells = text.count("\n") * (1 + first.count(separator or " "))
    _refuse_too_many(max(cells, text.count(separator or " ")))
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a row longer than the names
        try:
            table = pd.read_csv(
                io.StringIO(text),
                sep=separator or r"\s+",
                header=None,
                dtype="str",  # Python's float() reads it back exactly
                index_col=False,
                skipinitialspace=True,
            )
        except (pd.errors.ParserWarning, pd.errors.ParserError) as error:
            raise ValueError(f"{shorten(error)}; every row needs as many cells as names") from None
    names = table.iloc[0].fillna("").str.strip()
    if names.map(_is_number).all():
        raise ValueError(f"the first line, {first[:80]!r}, names no columns; add a line of names")
    table = table.iloc[1:].reset_index(drop=True)
    table = _with_points(table) if separator == ";" else table
    # an index that somebody wrote, mostly, has no name
    return table.set_axis([name or f"column {i + 1}" for i, name in enumerate(names)], axis=1)


def _find_separator(first: str) -> str:
    """The separator that makes most names of the first line; empty for blanks."""
    names = first[:MOST_NAMES]
    count = {sep: len(next(csv.reader([names], delimiter=sep))) for sep in SEPARATORS}
    best = max(count, key=lambda sep: count[sep])
    return best if count[best] > 1 or len(first.split()) < 3 else ""


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _with_points(table: pd.DataFrame) -> pd.DataFrame:
    """Decimal commas as points, unless the table has decimal points already."""
    if any(table[name].str.fullmatch(DECIMAL_POINT).any() for name in table):
        return table
    for name in table:
        commas = table.loc[table[name].str.contains(",", na=False), name]
        if len(commas) and commas.str.fullmatch(DECIMAL_COMMA).all():
            table[name] = table[name].str.replace(",", ".")
    return table


def _read_json(text: str) -> pd.DataFrame:
    try:
        found = json.loads(text, object_pairs_hook=_refuse_twice)
    except (ValueError, RecursionError) as error:
        found = _read_lines(text, error)
    if isinstance(found, dict):
        lengths = {len(column) if isinstance(column, list) else None for column in found.values()}
        if len(lengths) == 1 and None not in lengths:
            return pd.DataFrame(found)
        found = [found]
    if not found or not all(isinstance(record, dict) for record in found):
        raise ValueError("it is JSON, but no list of records: write [{...}, {...}], one per run")
    records = [dict(flatten(record)) for record in found]
    names = list(dict.fromkeys(name for record in records for name in record))
    _refuse_too_many(len(names) * len(records))
    return pd.DataFrame(records, columns=names)


def _read_lines(text: str, error: Exception) -> list[Any]:
    """JSON lines; the error of the whole where the first line is no record of its own."""
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            records += [json.loads(line, object_pairs_hook=_refuse_twice)] if line.strip() else []
        except (ValueError, RecursionError) as at:
            told = f"line {number} is no JSON ({shorten(at)})" if records else shorten(error)
            raise ValueError(f"it looks like JSON, but {told}") from None
    return records


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(record := dict(pairs)) < len(pairs):
        raise ValueError(f"a name stands twice in one record, of {[*record][:9]}")
    return record


def flatten(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested records as one, names joined by dots."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


# ---------------------------------------------------------------- binary formats


@contextmanager
def _told_as(kind: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a damaged file makes their readers raise anything
        raise ValueError(f"it is damaged or truncated {kind} ({shorten(error)})") from error


def _read_parquet(data: bytes) -> pd.DataFrame:
    parquet = import_module("pyarrow.parquet")  # of the extra `tables`

    with _told_as("Parquet"):
        known = parquet.ParquetFile(io.BytesIO(data)).metadata
    _refuse_too_many(known.num_rows * known.num_columns)
    with _told_as("Parquet"):
        table = pd.read_parquet(io.BytesIO(data), engine="pyarrow")
    return table if isinstance(table.index, pd.RangeIndex) else table.reset_index()


def _read_excel(data: bytes) -> pd.DataFrame:
    import_module("openpyxl")  # of the extra `tables`

    with _told_as("Excel"), pd.ExcelFile(io.BytesIO(data), engine="openpyxl") as book:
        sheets, table = [*book.sheet_names], pd.read_excel(book)
    if len(sheets) > 1:
        told = f"sheet {sheets[0]!r} is read, of {sheets}; save another one as CSV to read it"
        warnings.warn(told, RunsWarning, stacklevel=2)
    return table


def _refuse_old_excel(data: bytes) -> pd.DataFrame:
    raise ValueError("it is a file of Excel before 2007; save it as .xlsx or CSV")


BINARY: dict[bytes, Callable[[bytes], pd.DataFrame]] = {
    b"PAR1": _read_parquet,
    b"PK\x03\x04": _read_excel,
    b"\xd0\xcf\x11\xe0": _refuse_old_excel,
}


# ---------------------------------------------------------------- what all formats share


def _refuse_too_many(cells: int) -> None:
    if cells > MOST_CELLS:
        raise ValueError(
            f"it has more than {MOST_CELLS:,} cells; a runs table has one row per run: keep the "
            "rows and columns that are needed"
        )


def _name_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Names as text, without two alike."""
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    twice = table.columns[table.columns.duplicated()].unique()
    if len(twice):
        raise ValueError(f"two columns are called {[*twice]}; rename or remove one of each")
    return table
