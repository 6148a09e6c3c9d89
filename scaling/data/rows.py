"""Documents as rows of a table: Parquet, Arrow or JSON lines here, or a data set on the hub.

Rows are read one after the other and never held; where reading stands can be said and gone back to.
"""

import glob
import gzip
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scaling.errors import DataError

ENDINGS = (".parquet", ".arrow", ".jsonl", ".jsonl.gz", ".json", ".json.gz", ".ndjson")
ROWS_AT_ONCE = 1024
EXTRA = "pip install -e '.[hf]'"


class FileRows:
    """One column of local files, row by row, from where `state` says."""

    def __init__(self, files: list[Path], column: str, state: dict | None = None):
        self.files, self.column = files, column
        self.file, self.row = (state["file"], state["row"]) if state else (0, 0)
        self.done_bytes = sum(file.stat().st_size for file in files[: self.file])

    def __iter__(self) -> Iterator[str]:
        for number in range(self.file, len(self.files)):
            first = self.row if number == self.file else 0
            for row, text in enumerate(read_column(self.files[number], self.column)):
                if row >= first:
                    self.file, self.row = number, row + 1
                    yield text
            self.file, self.row = number + 1, 0
            self.done_bytes += self.files[number].stat().st_size

    def state(self) -> dict[str, Any]:
        """Where the next row lies."""
        return {"file": self.file, "row": self.row}

    def share_done(self) -> float | None:
        """Share of the bytes in the files that are read through."""
        return self.done_bytes / max(1, sum(file.stat().st_size for file in self.files))


class HubRows:
    """One column of a streamed data set, from where `state` says."""

    def __init__(self, dataset: Any, column: str, state: dict | None = None):
        names = dataset.column_names
        self.column, self.dataset = column, dataset
        if names is not None and column not in names:
            raise DataError(
                f"data.text_column={column!r} is no column of the data set; choose from {names}"
            )
        if state:
            dataset.load_state_dict(state)

    def __iter__(self) -> Iterator[str]:
        for row in self.dataset:
            if self.column not in row:
                raise DataError(
                    f"data.text_column={self.column!r} is no column of the data set; choose from "
                    f"{[*row]}"
                )
            yield row[self.column] or ""

    def state(self) -> dict[str, Any]:
        """Where the next row lies, in the words of the library."""
        return self.dataset.state_dict()

    def share_done(self) -> float | None:
        """Nobody knows how long a stream is."""
        return None


def is_hub_name(name: str) -> bool:
    """Whether this may be OWNER/NAME on the hub, by its looks."""
    return name.count("/") == 1 and name[0] not in "/.~" and not name.endswith(("/", *ENDINGS))


def open_rows(
    path: str,
    column: str,
    *,
    split: str,
    subset: str | None,
    revision: str | None = None,
    state: dict | None = None,
) -> FileRows | HubRows:
    """Rows of local files if the path is one, a folder or a pattern; else of a hub data set.

    Raises
    ------
    ValueError
        The path is there but holds no rows.
    DataError
        The hub cannot be had, or the extra is not installed.
    """
    if files := find_files(path):
        return FileRows(files, column, state)
    if Path(path).expanduser().exists() or path[:1] in "/.~" or path.endswith(ENDINGS):
        raise ValueError(f"there are no rows at {path}; give files of {ENDINGS}, or a hub name")
    try:
        library = importlib.import_module("datasets")  # an extra, slow to import
    except ImportError:
        raise DataError(f"data.path={path} is no local file, and the hub needs {EXTRA}") from None
    try:
        dataset = library.load_dataset(path, subset, split=split, revision=revision, streaming=True)
    except Exception as error:  # what the library and its network raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"data.path={path} (split {split!r}) cannot be had from the hub: {reason}. Without a "
            "network, fetch its Parquet files elsewhere (hf download --repo-type dataset "
            f"{path}) and give data.path=FOLDER"
        ) from error
    return HubRows(dataset, column, state)


def find_files(path: str) -> list[Path]:
    """Files of rows at a path, in a folder and its subfolders, or that fit a pattern; sorted."""
    place = Path(path).expanduser()
    if place.is_dir():
        found = [file for file in place.rglob("*") if file.is_file()]
    else:
        found = [place] if place.is_file() else [Path(file) for file in glob.glob(str(place))]
    return sorted(file.resolve() for file in found if file.name.endswith(ENDINGS))


def read_column(file: Path, column: str) -> Iterator[str]:
    """Yield the documents of one file; DataError names an unknown column or a damaged row."""
    if file.suffix in (".parquet", ".arrow"):
        yield from _read_arrow(file, column)
        return
    with (
        gzip.open(file, "rt", encoding="utf-8")
        if file.suffix == ".gz"
        else open(file, encoding="utf-8") as lines
    ):
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{file}, line {number}, is no JSON ({error})") from None
            if not isinstance(row, dict) or column not in row:
                known = [*row] if isinstance(row, dict) else "no columns"
                raise DataError(
                    f"data.text_column={column!r} is no column of {file}, line {number}; it has "
                    f"{known}"
                )
            yield _as_text(row[column], file, column)


def _read_arrow(file: Path, column: str) -> Iterator[str]:
    try:
        arrow = importlib.import_module("pyarrow")  # an extra
        ipc, parquet = (importlib.import_module(f"pyarrow.{name}") for name in ("ipc", "parquet"))
    except ImportError:
        raise DataError(f"{file} is read with pyarrow: {EXTRA}") from None
    try:
        if file.suffix == ".parquet":
            table = parquet.ParquetFile(file)
            names = table.schema_arrow.names
            batches = table.iter_batches(ROWS_AT_ONCE, columns=[column] if column in names else [])
        else:
            batches, names = _open_arrow(file, ipc)
        if column not in names:
            raise DataError(f"data.text_column={column!r} is no column of {file}; it has {names}")
        for batch in batches:
            for value in batch.column(column).to_pylist():
                yield _as_text(value, file, column)
    except arrow.ArrowInvalid as error:
        raise DataError(f"{file} is damaged or of another kind ({error})") from error


def _open_arrow(file: Path, ipc: Any) -> tuple[Iterator[Any], list[str]]:
    """Arrow's file format, or the stream that `datasets` writes."""
    with file.open("rb") as opened:
        is_file = opened.read(6) == b"ARROW1"
    if is_file:
        reader = ipc.open_file(str(file))
        return (reader.get_batch(i) for i in range(reader.num_record_batches)), reader.schema.names
    reader = ipc.open_stream(str(file))
    return iter(reader), reader.schema.names


def _as_text(value: Any, file: Path, column: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"data.text_column={column!r} of {file} holds {type(value).__name__}, "
                        "not text")  # fmt: skip
    return value
