"""Every statement of the course beside what comes out here: reproduced, or differing and why.

What is said stands in statements.csv: the printed number and how many of its digits count, or the
range that is allowed, and the table, row and column of the number that it is held against.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from scaling.course.numbers import describe_numbers, more_tables
from scaling.course.tables import course_tables
from scaling.files import read_table
from scaling.quantities import format_quantity as short

REPRODUCED, DIFFERS, NOT_COMPUTED = "reproduced", "differs", "not computed"
NEAR = 1e-9


def statements_table(tables: Mapping[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """Hold every statement against our number.

    Parameters
    ----------
    tables : mapping or None
        As `course_tables` returns them; None: computed here.

    Returns
    -------
    DataFrame with columns section, claim (ids of `claims_table`), statement, origin (course,
        paper or ours), low and high (what
        rounds to the printed number, or the printed range), ours (NaN where nothing here computes
        it), unit (of all three), how (the formula behind ours), why (ours differs, or what it
        rests on), verdict
    """
    tables = course_tables() if tables is None else tables
    said = read_table(Path(__file__).with_name("statements.csv"))
    tables, words = {**tables, **more_tables(tables)}, describe_numbers()
    ends = zip((said.low, said.high), rounds_to(said.printed, said.digits), strict=True)
    low, high = (end.fillna(rounded).fillna(said.printed) for end, rounded in ends)
    ours = pd.Series([_look_up(tables, row) for row in said.to_dict("records")])
    how, why = (said[name].map(lambda text: text.format_map(words)) for name in ("how", "why"))
    table = said[["section", "claim", "statement", "origin"]].assign(low=low, high=high, ours=ours)
    table = table.assign(unit=said.unit, how=how, why=why)
    return table.assign(verdict=compare(low, high, ours))


def rounds_to(printed, digits):
    """Ends of what rounds to a number printed in so many significant digits."""
    half = 0.5 * 10.0 ** (np.floor(np.log10(np.abs(printed))) - digits + 1)
    return printed - half, printed + half


def compare(low, high, ours) -> np.ndarray:
    """Tell whether ours lies within what a statement allows; "not computed" for NaN."""
    low, high, ours = np.broadcast_arrays(low, high, ours)
    slack = NEAR * np.abs(ours)
    inside = (low - slack <= ours) & (ours <= high + slack)
    return np.select([np.isnan(ours), inside], [NOT_COMPUTED, REPRODUCED], DIFFERS)


def count_verdicts(statements: pd.DataFrame) -> str:
    """Say how many statements are reproduced, differ, or are not computed."""
    counts = statements.verdict.value_counts()
    reproduced, differ, left = counts.reindex([REPRODUCED, DIFFERS, NOT_COMPUTED], fill_value=0)
    return (
        f"Of {len(statements)} statements of the course {reproduced} are reproduced, {differ} "
        f"differ and {left} cannot be computed here."
    )


def write_ours(row: Mapping) -> str:
    """Write our number for people: sizes with a suffix, FLOPs as a power, the rest as it is."""
    value, unit = row["ours"], row["unit"]
    if np.isnan(value):
        return "-"
    if unit in ("tokens", "parameters", "GPU-hours"):
        return f"{short(value)} {unit}"
    if unit and 1e3 <= value < 1e6:
        return f"{value:,.0f} {unit}"
    return f"{value:.4g} {unit}".strip() if unit else f"{value:.7g}"


# ---------------------------------------------------------------- the numbers behind them


def _look_up(tables: Mapping[str, pd.DataFrame], row: Mapping) -> float:
    if not row["table"]:
        return float("nan")
    [value] = tables[row["table"]].query(row["row"])[row["column"]]
    return float(value)
