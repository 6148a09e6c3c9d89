"""Files: written whole or not at all, sealed, and the folder of what can be made again."""

import hashlib
import json
import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import platformdirs

DIGITS = 8  # of a table in a record: so many are the same on every processor
SEALS = "seals.json"  # of a folder, see `seal_folder`
SEALED_WHOLE = 2**28  # bytes of a file that a seal reads to the last
SEALED_BLOCKS = 256, 2**20  # of a larger one: blocks, and bytes of each
HOST = re.sub(r"\W", "-", platform.node())  # others may write into a shared folder


def write_text(path: Path, text: str) -> None:
    """Write a text file so that at any moment the old or the new one is there, whole."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that at any moment the old or the new one is there, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{HOST}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # a write has no name
    finally:
        partial.unlink(missing_ok=True)


def write_table(path: Path, table: pd.DataFrame, digits: int = DIGITS) -> None:
    """Write a table as CSV, its numbers in the digits that every processor agrees on.

    A table that is read back to go on from there is written in full precision instead.
    """
    write_text(path, table.to_csv(index=False, float_format=f"%.{digits}g"))


def json_hash(content: Any) -> str:
    """Hash of what JSON can hold, whatever the order of its names."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def seal(path: Path) -> str:
    """Hash of a file's size and content; of a large one, of blocks spread evenly over it."""
    size = path.stat().st_size
    n_blocks, n_bytes = SEALED_BLOCKS
    starts = [0] if size <= SEALED_WHOLE else np.linspace(0, size - n_bytes, n_blocks).astype(int)
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for start in starts:
            file.seek(start)
            digest.update(file.read(size if size <= SEALED_WHOLE else n_bytes))
    return digest.hexdigest()


def seal_folder(folder: Path) -> None:
    """Write `SEALS`, the seals of all files under a folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    seals = {str(file.relative_to(folder)): seal(file) for file in files}
    write_text(folder / SEALS, json.dumps(seals, indent=1))


def broken_seals(folder: Path) -> list[str]:
    """Names of the files of a sealed folder that are missing or not what was written."""
    try:
        seals = json.loads((folder / SEALS).read_text("utf-8"))
        kept = {name: folder / name for name in seals}
        return [n for n, file in kept.items() if not file.is_file() or seal(file) != seals[n]]
    except (OSError, ValueError, AttributeError, TypeError):
        return [SEALS]


def set_aside(path: Path) -> Path:
    """Rename what is damaged, a file or a folder, out of the way; return where it is kept."""
    names = (f"{path.name}.damaged{n}" for n in ["", *map(str, range(2, 1000))])
    aside = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    os.replace(path, aside)
    return aside


def partials(path: Path) -> list[Path]:
    """List what processes have begun to write in the place of a file."""
    return list(path.parent.glob(f".{path.name}.*.partial"))


def remove_debris(folder: Path) -> None:
    """Remove what killed processes of this machine had begun to write under a folder."""
    for partial in folder.rglob(f".*.{HOST}.*.partial"):
        process_id = int(partial.suffixes[-2][1:])
        try:
            os.kill(process_id, 0)  # only asks whether it lives
        except ProcessLookupError:
            partial.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Folder of everything that can be made again: $SCALING_CACHE_DIR, or the user's cache."""
    chosen = os.environ.get("SCALING_CACHE_DIR")
    return (
        Path(chosen).expanduser().resolve() if chosen else platformdirs.user_cache_path("scaling")
    )


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of data that lies beside a module.

    Returns
    -------
    DataFrame; a column of numbers is float64, each the nearest to what is printed, NaN where
        nothing is; any other column is text
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in table:
        with suppress(ValueError):
            table[name] = table[name].replace("", "nan").astype(float)
    return table
