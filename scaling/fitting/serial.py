"""Dataclasses and tables as a JSON file that knows whether it is still what was written."""

import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from scaling.files import json_hash, write_text

HASH = "sha256"  # of the rest of the file
T = TypeVar("T")


def write_parts(path: Path, parts: dict[str, Any]) -> None:
    """Write a JSON object, a line for each of its parts; numbers that JSON lacks by their names."""
    dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
    parts = parts | {HASH: json_hash(parts)}
    lines = [f"{dumps(name)}:{dumps(value)}" for name, value in parts.items()]
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def read_parts(path: Path) -> dict[str, Any]:
    """Read what `write_parts` wrote; a file without a hash is an older program's.

    Raises
    ------
    ValueError
        It is no JSON object, or not what was written.
    """
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from None
    if not isinstance(parts, dict):
        raise ValueError(f"{path} holds no JSON object")
    if (kept := parts.pop(HASH, None)) is not None and kept != json_hash(parts):
        raise ValueError(f"{path} is not what was written there: somebody edited it, or the disk")
    return parts


def unstructure(value: Any) -> Any:
    """Turn a dataclass into JSON's types."""
    return _codec().unstructure(value)


def structure(parts: dict[str, Any], schema: type[T]) -> T:
    """Turn what `unstructure` made into the dataclass again.

    Raises
    ------
    ValueError
        A part is missing, unknown, or of another type.
    """
    from cattrs import transform_error

    try:
        return _codec().structure(parts, schema)
    except Exception as error:  # a group of what a stranger's file may do to any constructor
        raise ValueError(str(transform_error(error)[0]).replace("@ $.", "in ")) from None


def _codec():
    from cattrs import Converter  # here, so that `import scaling` stays fast

    codec = Converter(forbid_extra_keys=True)
    codec.register_unstructure_hook(
        float, lambda x: x if np.isfinite(x) else {"number": str(float(x))}
    )
    codec.register_unstructure_hook(
        pd.DataFrame, lambda t: {name: codec.unstructure(c.tolist()) for name, c in t.items()}
    )
    codec.register_structure_hook(float, lambda value, _: _number(value))
    codec.register_structure_hook(pd.DataFrame, lambda columns, _: _table(columns))
    codec.register_structure_hook(float | str, lambda value, _: _number(value, text=True))
    return codec


def _number(value: Any, text: bool = False) -> Any:
    if isinstance(value, dict) and [*value] == ["number"]:
        return float(value["number"])
    if isinstance(value, str) and text:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _table(columns: Any) -> pd.DataFrame:
    if not isinstance(columns, dict) or not all(isinstance(c, list) for c in columns.values()):
        raise ValueError("a table must have a list for each column")
    return pd.DataFrame(
        {n: [_number(v) if isinstance(v, dict) else v for v in c] for n, c in columns.items()}
    )
