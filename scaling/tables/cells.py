"""Numbers in the cells of a table, as people write them: 70.7M, "70,650,045", 3,0283."""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from scaling.quantities import parse_quantity

MISSING = {"", "nan", "na", "n/a", "null", "none", "-", "--", "?"}
GROUPS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?!\d)")
NUMBER = re.compile(r"\s*[-+]?\d")
WHOLE = 2.0**63  # from here on int64 holds no number


def read_numbers(values: pd.Series) -> pd.Series:
    """A column as float64; NaN where a cell is empty or no number, as `find_unread` tells.

    Commas group thousands if in every cell with a comma three digits follow each; else each is a
    decimal comma.
    """
    try:
        return values.astype("float64")
    except (TypeError, ValueError, OverflowError):
        return pd.Series([*_read_cells(values)], index=values.index, dtype="float64")


def _read_cells(values: pd.Series) -> Iterator[float]:
    is_decimal = any(
        NUMBER.match(cell) and not GROUPS.match(cell.strip())
        for cell in values
        if isinstance(cell, str) and "," in cell
    )
    for cell in values:
        text = cell.replace(",", ".") if is_decimal and isinstance(cell, str) else cell
        try:
            yield float(text)
        except (TypeError, ValueError, OverflowError):
            yield _read_quantity(text)


def _read_quantity(cell: object) -> float:
    try:
        return parse_quantity(cell) if isinstance(cell, str) else np.nan
    except (ValueError, OverflowError):
        return np.nan


def find_unread(values: pd.Series, numbers: pd.Series) -> pd.Series:
    """Which cells hold something that is no number: neither empty nor a word for nothing."""
    text = values.astype(str).str.strip().str.lower()
    return numbers.isna() & values.notna() & ~text.isin(MISSING)


def as_whole(numbers: pd.Series) -> pd.Series:
    """As int64 where all are whole and fit, as they are otherwise."""
    x = numbers.to_numpy()
    fits = np.isfinite(x).all() and (np.abs(x) < WHOLE).all() and (x % 1 == 0).all()
    return numbers.astype("int64") if fits else numbers
