"""The runs table: one row per trained model; the one door between training and fitting."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scaling.tables.published import PUBLISHED, read_published


class Column(NamedTuple):
    """What one column holds; int64 columns turn float64 where a failed run leaves a gap."""

    dtype: str
    unit: str
    meaning: str


with Path(__file__).with_name("columns.csv").open(encoding="utf-8", newline="") as _lines:
    COLUMNS = {row.pop("name"): Column(**row) for row in csv.DictReader(_lines)}
CURVE_COLUMNS = {
    "run_id": COLUMNS["run_id"],
    "step": Column("int64", "steps", "optimiser steps so far"),
    "tokens": Column("int64", "tokens", "tokens so far"),
    "flops": Column("float64", "FLOPs", "training compute so far"),
    "loss": Column("float64", "nats/token", "smoothed training loss"),
    "lr": Column("float64", "", "learning rate of this step"),
}
STATUSES = ("ok", "diverged", "failed")
SIZES = ("total_params", "non_embedding_params")  # N of our own tables
SYMBOLS = {"N": "params", "D": "tokens", "C": "flops", "L": "loss"}


def load_runs(
    source: str | Path | pd.DataFrame,
    columns: dict[str, str] | None = None,
    *,
    where: Mapping[str, Any] | None = None,
    best_of: Sequence[str] = (),
) -> pd.DataFrame:
    """Read and validate a runs table: ours, or anybody's with N, D and loss.

    Parameters
    ----------
    source : path of a CSV file, name of a published table, or DataFrame
        Needs `loss` (nats/token) and either our parameter columns and `tokens`, or two of `N`
        (parameters), `D` (tokens), `C` (FLOPs); the third follows from C = 6ND. The names are
        those of `scaling.tables.published.PUBLISHED`; a file of that name comes first.
    columns : dict, their name -> our name, optional
        Our names are those of `COLUMNS` or the symbols N, D, C, L.
    where, best_of : rows to keep, as in `choose_rows`

    Returns
    -------
    DataFrame, one row per run, with at least run_id, status, tokens, loss and a parameter column.
        Without an N of ours its parameters stand in `params` (convention "as given") and run_id is
        row0001, row0002, ... unless given. `attrs` says where the rows come from: source (the
        file's name, the table's name, or "DataFrame"), filter (in words, "" if none) and excluded
        (list of [run_id, reason]); a published table adds citation, url and sha256.

    Raises
    ------
    ValueError
        A column is missing, not a number, not finite or not positive; a run_id repeats; a status
        is unknown.
    scaling.tables.published.PublishedDataError
        A published table cannot be had.
    """
    runs = _read(source)
    origin = "DataFrame" if isinstance(source, pd.DataFrame) else Path(source).name
    attrs = {"source": origin, "filter": "", "excluded": []} | runs.attrs
    if lacking := sorted(set(columns or {}) - set(runs.columns)):
        raise ValueError(f"columns {lacking} of the mapping are not in the table {[*runs.columns]}")
    if strange := sorted(set((columns or {}).values()) - set(COLUMNS) - set(SYMBOLS)):
        raise ValueError(f"mapping to unknown columns {strange}; use N, D, C, loss or {[*COLUMNS]}")
    runs = runs.rename(columns=columns or {}).rename(columns=SYMBOLS)
    if twice := sorted(set(runs.columns[runs.columns.duplicated()])):
        raise ValueError(f"two columns of the table both mean {twice}; drop or remap one of each")
    if "run_id" not in runs:
        runs.insert(0, "run_id", [f"row{i + 1:04d}" for i in range(len(runs))])
    runs = runs if "status" in runs else runs.assign(status="ok")
    runs = validate(_derive_missing(_convert_types(runs, COLUMNS)))
    runs.attrs = attrs
    return choose_rows(runs, where, best_of)


def choose_rows(
    runs: pd.DataFrame, where: Mapping[str, Any] | None = None, best_of: Sequence[str] = ()
) -> pd.DataFrame:
    """Leave out rows; `attrs` says which, and why.

    Parameters
    ----------
    runs : DataFrame, as `load_runs` returns it
    where : dict, column -> value, or list of values, optional
        {"metric": "text"} keeps the rows of this value.
    best_of : list of columns
        ["N", "D"] keeps the row of the lowest loss of each N and D: of several learning rates, for
        instance; the name of a run's column keeps the last of its checkpoints.

    Raises
    ------
    ValueError
        The table has no such column, or no row of that value.
    """
    attrs, excluded = runs.attrs, []
    filters = [attrs.get("filter", "")]
    for name, wanted in (where or {}).items():
        column, values = _find_column(runs, name), wanted if isinstance(wanted, list) else [wanted]
        same = runs[column].astype(str).isin([str(value) for value in values])
        if pd.api.types.is_numeric_dtype(runs[column]):
            same = runs[column].isin([float(value) for value in values])
        if not bool(same.any()):
            known = few(sorted(set(runs[column])))
            raise ValueError(f"{name}={wanted}: {attrs.get('source', 'the table')} has {known}")
        told = f"{name} == {wanted}" if len(values) == 1 else f"{name} in {values}"
        excluded += [[run_id, f"not {told}"] for run_id in runs.run_id[~same]]
        filters.append(told)
        runs = runs.loc[same]
    if best_of:
        names = [_find_column(runs, name) for name in best_of]
        best = runs.loc[runs.status == "ok"].groupby(names, dropna=False).loss.idxmin()
        beaten = (runs.status == "ok") & ~runs.index.isin(best)
        told = f"lowest loss of each {', '.join(best_of)}"
        excluded += [[run_id, f"not the {told}"] for run_id in runs.run_id[beaten]]
        filters.append(told)
        runs = runs.loc[~beaten]
    if excluded:
        runs = runs.reset_index(drop=True)
        told = " and ".join(filter(None, filters))
        runs.attrs = attrs | {"filter": told, "excluded": [*attrs.get("excluded", []), *excluded]}
    return runs


def _find_column(runs: pd.DataFrame, name: str) -> str:
    """Column that a user calls so, N and D among them."""
    meant = [name, SYMBOLS.get(name, name)] + (list(SIZES) if name == "N" else [])
    found = [column for column in meant if column in runs]
    if not found:
        source = runs.attrs.get("source", "the table")
        raise ValueError(f"{name}: {source} has no such column; it has {[*runs.columns]}")
    return found[0]


def load_curves(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Read a curves table: run_id, step, tokens, flops, loss (smoothed training), lr.

    Raises
    ------
    ValueError
        One of run_id, step, tokens, flops, loss is missing.
    """
    curves = _convert_types(_read(source), CURVE_COLUMNS)
    if lacking := [c for c in CURVE_COLUMNS if c not in curves and c != "lr"]:
        raise ValueError(f"curves table lacks columns {lacking}; it has {[*curves.columns]}")
    return curves


def runs_to_csv(table: pd.DataFrame) -> str:
    """Runs or curves as CSV text that reads back exactly; known columns first, in their order."""
    known = [name for name in COLUMNS | CURVE_COLUMNS if name in table.columns]
    rest = [name for name in table.columns if name not in known]
    return table[known + rest].to_csv(index=False)


def validate(runs: pd.DataFrame) -> pd.DataFrame:
    """Return `runs` unchanged, or say which column of which rows is wrong and what to do."""
    if not len(runs):
        raise ValueError("the runs table is empty; it needs one row per trained model")
    if runs.run_id.duplicated().any():
        twice = sorted(set(runs.run_id[runs.run_id.duplicated()]))
        raise ValueError(
            f"run_id must be unique; repeated: {few(twice)}; drop the older rows, "
            "or where they are checkpoints of one run map its name to trunk_id instead"
        )
    if (bad := ~runs.status.isin(STATUSES)).any():
        found = sorted(set(runs.status[bad]))
        raise ValueError(f"unknown status {found} in {few(runs.run_id[bad])}; use {STATUSES}")
    finished = runs[runs.status == "ok"]
    for name in {*_list_checked(runs)}:
        rows = finished
        if name == "flops_budget":  # which a run may lack
            rows = finished.loc[finished.flops_budget.notna()]
        values = rows[name]
        if (bad := ~(np.isfinite(values) & (values > 0))).any():
            raise ValueError(
                f"{name} must be finite and positive; it is {few(values[bad])} in run_id "
                f"{few(rows.run_id[bad])}; correct these rows or give them status 'failed'"
            )
    if (bad := finished.loss >= 100).any():
        raise ValueError(
            f"loss {few(finished.loss[bad])} in run_id {few(finished.run_id[bad])} is no "
            "nats/token; a perplexity needs its logarithm taken"
        )
    return runs


def _read(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    if isinstance(source, pd.DataFrame):
        return source.reset_index(drop=True)
    if not Path(source).is_file():
        if str(source) in PUBLISHED:
            return read_published(str(source))
        raise ValueError(
            f"there is no runs table at {source}; give the path of a CSV file or the name of a "
            f"published table, {[*PUBLISHED]}"
        )
    return pd.read_csv(source, dtype="str")  # as text: Python's float() reads it back exactly


def _convert_types(table: pd.DataFrame, columns: dict[str, Column]) -> pd.DataFrame:
    typed = {}
    for name in table.columns:
        values = pd.Series(table[name])
        dtype = columns[name].dtype if name in columns else "any"
        if dtype == "str":
            typed[name] = values.astype(object).where(values.notna(), "").astype("str")
        elif dtype != "any" or pd.api.types.is_string_dtype(values):
            number = _read_number(values)
            foreign_text = dtype == "any" and number.isna().any()
            whole = dtype != "float64" and np.isfinite(number).all() and (number % 1 == 0).all()
            typed[name] = values if foreign_text else number.astype("int64") if whole else number
    return table.assign(**typed)


def _read_number(values: pd.Series) -> pd.Series:
    try:
        return values.astype("float64")
    except (TypeError, ValueError):
        return pd.Series(pd.to_numeric(values, errors="coerce"), dtype="float64")


def _derive_missing(runs: pd.DataFrame) -> pd.DataFrame:
    ours = "total_params" in runs or "non_embedding_params" in runs
    if not ours and "params" not in runs and {"tokens", "flops"} <= {*runs.columns}:
        params = runs.flops / (6.0 * runs.tokens)
        runs = runs.assign(params=params.map("{:.12g}".format).astype(float))  # one N, one value
    if not ours and "tokens" not in runs and {"params", "flops"} <= {*runs.columns}:
        runs = runs.assign(tokens=runs.flops / (6.0 * runs.params))
    lacking = [name for name in ("tokens", "loss") if name not in runs]
    lacking += [] if ours or "params" in runs else ["N"]
    if lacking:
        raise ValueError(
            f"runs table lacks {lacking}; it has {[*runs.columns]}. It needs loss and two of N, D, "
            "C: name them so, or map them with columns={'their name': 'N', ...}"
        )
    return runs


def _list_checked(runs: pd.DataFrame) -> list[str]:
    candidates = ("total_params", "non_embedding_params", "params", "block_params", "tokens")
    return [
        name for name in (*candidates, "flops", "flops_budget", "loss", "weight") if name in runs
    ]


def few(values) -> str:
    """The first three values, and how many more there are."""
    values = list(values)
    return f"{values[:3]}" + (f" and {len(values) - 3} more" if len(values) > 3 else "")
