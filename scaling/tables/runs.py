"""The runs table: one row per trained model; the one door between training and fitting."""

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scaling.errors import suggest
from scaling.quantities import parse_quantity
from scaling.tables.cells import as_whole, find_unread, read_numbers
from scaling.tables.names import SYMBOLS, derive_tokens, explain_lack, map_columns, name_rows
from scaling.tables.observations import RunsWarning
from scaling.tables.published import PUBLISHED, read_published
from scaling.tables.reading import read_file
from scaling.tables.states import read_states
from scaling.tables.wandb_runs import PREFIX, read_wandb


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
SIZES = ("total_params", "non_embedding_params")  # N of our own tables
CHECKED = (*SIZES, "params", "block_params", "tokens", "flops", "loss")
WEIGHTS = (1e-30, 1e30)  # least and most of a weight where they differ: 1 / variance of ln L


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
    source : path of a file as `scaling.tables.reading` takes it, published table, DataFrame, or
        the runs of a project on Weights & Biases, "wandb:ENTITY/PROJECT".
        Needs `loss` (nats/token) and either our parameter columns and `tokens`, or two of `N`
        (parameters), `D` (tokens), `C` (FLOPs); the third follows from C = 6ND. The names are
        those of `scaling.tables.published.PUBLISHED`; a file of that name comes first.
    columns : dict, their name -> our name, optional
        Our names are those of `COLUMNS` or the symbols N, D, C, L; sums and products may stand for
        a name, as `scaling.tables.names.map_columns` says.
    where, best_of : rows to keep, as in `choose_rows`

    Returns
    -------
    DataFrame, one row per run, with at least run_id, status, tokens, loss and a parameter column.
        Without an N of ours its parameters stand in `params` (convention "as given"). Without a
        run_id it is that of a column `name` that tells all rows apart, as W&B exports it, else
        row0001, row0002, ... `attrs` says where the rows come from: source (the
        file's name, the table's name, or "DataFrame"), filter (in words, "" if none) and excluded
        (list of [run_id, reason]); a published table adds citation, url and sha256. Runs without
        one of the numbers that are needed get the status failed, with a warning.

    Raises
    ------
    ValueError
        A file cannot be read; a column is missing, no number or not positive; a run_id repeats; a
        status is unknown.
    scaling.tables.published.PublishedDataError
        A published table cannot be had.

    Examples
    --------
    >>> table = pd.DataFrame({"size": [1e6, 4e6], "D": [2e7, 8e7], "loss": [4.1, 3.6]})
    >>> loaded = scaling.load_runs(table, columns={"size": "N"})
    >>> loaded.tokens.tolist(), loaded.status.tolist()
    ([20000000, 80000000], ['ok', 'ok'])
    """
    runs = _read(source)
    origin = "DataFrame" if isinstance(source, pd.DataFrame) else Path(source).name
    attrs = {"source": origin, "filter": "", "excluded": []} | runs.attrs
    runs = map_columns(runs, columns or {}, {*COLUMNS})
    if "run_id" not in runs:
        runs.insert(0, "run_id", name_rows(runs))
    runs = _derive_missing(_convert_types(read_states(runs), COLUMNS))
    runs.attrs = attrs
    ours = columns or {}  # a column is also known by the name that it had
    asked = {ours.get(name, name): value for name, value in check_where(where).items()}
    runs = validate(_leave_out_empty(choose_rows(runs, asked)))
    return choose_rows(runs, best_of=[ours.get(name, name) for name in best_of])


def check_where(where: Any) -> Mapping[str, Any]:
    """What to keep of which column, empty if nothing is said; ValueError if it is no mapping."""
    if where is not None and not isinstance(where, Mapping):
        raise ValueError(f"where={where!r} must map columns to values: 'where={{metric: text}}'")
    return where or {}


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
        if pd.api.types.is_numeric_dtype(runs[column]):
            same = runs[column].isin([parse_quantity(value, f"where: {name}") for value in values])
        else:
            same = runs[column].astype(str).str.lower().isin([str(v).lower() for v in values])
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
        like = suggest(name, runs)
        raise ValueError(f"{name}: {source} has no such column{like}; it has {[*runs.columns]}")
    return found[0]


def load_curves(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Read a curves table: run_id, step, tokens, flops, loss (smoothed training), lr.

    Raises
    ------
    ValueError
        One of run_id, step, tokens, flops, loss is missing.

    Examples
    --------
    >>> curve = {"run_id": "a", "step": [1, 2], "tokens": [512, 1024], "flops": [3e9, 6e9]}
    >>> len(scaling.load_curves(pd.DataFrame(curve | {"loss": [6.9, 6.7]})))
    2
    """
    curves = _convert_types(_read(source), CURVE_COLUMNS)
    if lacking := [c for c in CURVE_COLUMNS if c not in curves and c != "lr"]:
        raise ValueError(f"curves table lacks columns {lacking}; it has {[*curves.columns]}")
    return curves


def curves_by_run(curves: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The curve of every run along its tokens, without points that have no logarithm."""
    known = curves.loc[(curves.tokens > 0) & (curves.loss > 0) & np.isfinite(curves.loss)]
    return dict(iter(known.sort_values("tokens").groupby("run_id")))  # pyright: ignore


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
            f"run_id must be unique; repeated: {few(twice)}; where rows are checkpoints of one run "
            "map its name to trunk_id instead, else give every row an id of its own"
        )
    finished = runs.loc[runs.status == "ok"]
    for name in {*CHECKED, "flops_budget", "weight"} & {*runs.columns}:
        rows = finished
        if name == "flops_budget":  # which a run may lack
            rows = finished.loc[finished.flops_budget.notna()]
        values = rows[name]
        if (bad := ~(np.isfinite(values) & (values > 0))).any():
            raise ValueError(
                f"{name} must be finite and positive; it is {few(values[bad])} in run_id "
                f"{few(rows.run_id[bad])}; correct these rows or give them status 'failed'"
            )
    if "weight" in finished and np.ptp(finished.weight) > 0:
        _refuse_weights(finished)
    if (bad := finished.loss >= 100).any():
        raise ValueError(
            f"loss {few(finished.loss[bad])} in run_id {few(finished.run_id[bad])} is no "
            "nats/token; a perplexity needs its logarithm taken"
        )
    return runs


def _refuse_weights(finished: pd.DataFrame) -> None:
    if (bad := ~finished.weight.between(*WEIGHTS)).any():
        raise ValueError(
            f"weight {few(finished.weight[bad])} of run_id {few(finished.run_id[bad])} is no "
            f"1 / variance of ln L: it must lie between {WEIGHTS[0]:g} and {WEIGHTS[1]:g}"
        )


def _read(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    if isinstance(source, pd.DataFrame):
        table = source.reset_index(drop=True)
        table.columns = pd.Index([str(name) for name in table.columns])
        return table
    if Path(source).is_file():
        return read_file(Path(source))
    if str(source).startswith(PREFIX):
        return read_wandb(str(source))
    if str(source) in PUBLISHED:
        return read_published(str(source))
    raise ValueError(
        f"there is no runs table at {source}; give the path of a file (CSV, JSON, Parquet, Excel), "
        f"wandb:ENTITY/PROJECT, or the name of a published table, {[*PUBLISHED]}"
    )


def _convert_types(table: pd.DataFrame, columns: dict[str, Column]) -> pd.DataFrame:
    typed = {}
    for name in table.columns:
        values = pd.Series(table[name])
        dtype = columns[name].dtype if name in columns else "any"
        if dtype == "str":
            typed[name] = values.astype(object).where(values.notna(), "").astype("str")
        elif dtype != "any":
            numbers = read_numbers(values)
            _tell_unread(table, name, numbers)
            typed[name] = numbers if dtype == "float64" else as_whole(numbers)
        elif not pd.api.types.is_numeric_dtype(values):
            typed[name] = _type_foreign(values)
    return table.assign(**typed)


def _type_foreign(values: pd.Series) -> pd.Series:
    """Numbers where every cell is one, else text where a cell is something that has no hash."""
    try:
        numbers = values.astype("float64")
    except (TypeError, ValueError, OverflowError):
        is_text = pd.api.types.is_string_dtype(values)
        return values if is_text else values.map(str).astype("str")
    return values if numbers.isna().any() else as_whole(numbers)


def _tell_unread(table: pd.DataFrame, name: str, numbers: pd.Series) -> None:
    """Refuse text where a fit needs a number, with that text; warn of it elsewhere."""
    if not numbers.isna().any():
        return
    unread = find_unread(pd.Series(table[name]), numbers)
    if "status" in table:
        unread &= table.status == "ok"
    if not unread.any():
        return
    told = f"{name} {few(table.loc[unread, name])} in run_id {few(table.run_id[unread])} "
    if name in (*CHECKED, "flops_budget", "weight") or "status" not in table:
        raise ValueError(
            f"{told}is no number; write 3.028, 70.7M or 1.4e9, or give these rows status 'failed'"
        )
    warnings.warn(f"{told}is no number, and taken as unknown", RunsWarning, stacklevel=4)


def _leave_out_empty(runs: pd.DataFrame) -> pd.DataFrame:
    """Give runs without a number that every fit needs the status 'failed', and tell which."""
    finished, needed = runs.status == "ok", [name for name in CHECKED if name in runs]
    if np.isfinite(runs[needed].to_numpy(float)).all():
        return runs
    lost = {name: finished & runs[name].isna() for name in needed}
    lost["loss"] |= finished & np.isinf(runs.loss)
    gone = pd.DataFrame(lost).any(axis=1)
    if not gone.any():
        return runs
    told = [f"{name} is missing or infinite in run_id {few(runs.run_id[rows])}"
            for name, rows in lost.items() if rows.any()]  # fmt: skip
    if not (finished & ~gone).any():
        raise ValueError(f"no run has all of {needed}: {'; '.join(told)}")
    message = f"{gone.sum()} of {len(runs)} runs are left out: {'; '.join(told)}"
    warnings.warn(message, RunsWarning, stacklevel=3)
    why = pd.Series("", index=runs.index) if "reason" not in runs else runs.reason
    for name, rows in lost.items():
        why = why.mask(rows, f"{name} is missing or infinite")
    return runs.assign(status=runs.status.mask(gone, "failed"), reason=why)


def _derive_missing(runs: pd.DataFrame) -> pd.DataFrame:
    runs = derive_tokens(runs)
    ours = any(name in runs for name in (*SIZES, "params"))
    if not ours and {"tokens", "flops"} <= {*runs.columns}:
        params = runs.flops / (6.0 * runs.tokens)
        runs = runs.assign(params=params.map("{:.12g}".format).astype(float))  # one N, one value
    if "tokens" not in runs and {"params", "flops"} <= {*runs.columns}:
        runs = runs.assign(tokens=runs.flops / (6.0 * runs.params))
    lacking = [name for name in ("tokens", "loss") if name not in runs]
    lacking += [] if ours or "params" in runs else ["N"]
    if lacking:
        raise ValueError(explain_lack(runs, lacking))
    return runs


def few(values) -> str:
    """The first three values, and how many more there are."""
    values = list(values)
    return f"{values[:3]}" + (f" and {len(values) - 3} more" if len(values) > 3 else "")
