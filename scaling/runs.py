"""The runs table: one row per trained model; the one door between training and fitting.

Tables speak words (`total_params`, `tokens`, `flops`, `loss`), formulas speak symbols
(`N`, `D`, `C`, `L`); `Convention` and `observations` translate.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd


class Column(NamedTuple):
    """What one column holds; int64 columns turn float64 where a failed run leaves a gap."""

    dtype: str
    unit: str
    meaning: str


COLUMNS = {
    "run_id": Column("str", "", "hash of everything that determines the numbers"),
    "name": Column("str", "", "human-readable label of the model"),
    "family": Column("str", "", "gpt, bert or t5"),
    "objective": Column("str", "", "clm, mlm or span corruption"),
    "data": Column("str", "", "corpus"),
    "vocab_size": Column("int64", "tokens", "size of the vocabulary"),
    "seq_len": Column("int64", "tokens", "length of a training window"),
    "n_layers": Column("int64", "layers", "transformer blocks"),
    "width": Column("int64", "", "dimension of the residual stream"),
    "n_heads": Column("int64", "heads", "attention heads per layer"),
    "embedding_params": Column("int64", "parameters", "token and position tables"),
    "block_params": Column("int64", "parameters", "attention and feed-forward weights"),
    "head_params": Column("int64", "parameters", "output head; 0 when tied"),
    "norm_params": Column("int64", "parameters", "normalisation gains and biases"),
    "total_params": Column("int64", "parameters", "all of them, a tied head once"),
    "non_embedding_params": Column("int64", "parameters", "all but the embedding tables"),
    "params": Column("int64", "parameters", "N of a foreign table, counted as its author did"),
    "tokens": Column("int64", "tokens", "tokens trained on"),
    "flops": Column("float64", "FLOPs", "training compute, forward + backward"),
    "flops_budget": Column("float64", "FLOPs", "planned compute of the IsoFLOP group"),
    "loss": Column("float64", "nats/token", "held-out loss after the last step"),
    "loss_std": Column("float64", "nats/token", "standard error of the held-out loss"),
    "bits_per_byte": Column("float64", "bits/byte", "held-out loss per byte of text"),
    "lr": Column("float64", "", "peak learning rate"),
    "batch_tokens": Column("int64", "tokens", "tokens per optimiser step"),
    "steps": Column("int64", "steps", "optimiser steps"),
    "warmup_steps": Column("int64", "steps", "steps of linear warm-up"),
    "schedule": Column("str", "", "learning-rate schedule"),
    "beta2": Column("float64", "", "Adam's second-moment decay"),
    "seed": Column("int64", "", "seed of weights and data order"),
    "precision": Column("str", "", "number format of the forward pass"),
    "trunk_id": Column("str", "", "the run whose trunk this one shares; empty if none"),
    "epochs": Column("float64", "passes", "tokens over unique tokens, at least 1 if repeated"),
    "status": Column("str", "", "ok, diverged or failed"),
    "reason": Column("str", "", "why the status is not ok"),
    "wall_s": Column("float64", "s", "wall time of training"),
    "tokens_per_s": Column("float64", "tokens/s", "training throughput"),
    "flops_per_s": Column("float64", "FLOP/s", "achieved training speed"),
    "peak_memory_bytes": Column("int64", "bytes", "largest memory use"),
    "device": Column("str", "", "where it ran"),
    "version": Column("str", "", "version of the training code's numbers"),
}
CURVE_COLUMNS = {
    "run_id": COLUMNS["run_id"],
    "step": Column("int64", "steps", "optimiser steps so far"),
    "tokens": Column("int64", "tokens", "tokens so far"),
    "flops": Column("float64", "FLOPs", "training compute so far"),
    "loss": Column("float64", "nats/token", "smoothed training loss"),
    "lr": Column("float64", "", "learning rate of this step"),
}
STATUSES = ("ok", "diverged", "failed")
SYMBOLS = {"N": "params", "D": "tokens", "C": "flops", "L": "loss"}
N_COLUMNS = {
    "total": ("total_params",),
    "non_embedding": ("non_embedding_params",),
    "blocks": ("block_params", "norm_params"),
    "as_given": ("params",),
}
N_MEANING = {
    "total": "all parameters, tied head once",
    "non_embedding": "parameters without token and position tables",
    "blocks": "parameters of the blocks only, no table, no head",
    "as_given": "parameters as the table gives them",
}
C_MEANING = {
    "counted": "counted training FLOPs, forward + backward",
    "6ND": "6*N*D FLOPs",
    "as_given": "FLOPs as the table gives them",
}
SAME_BUDGET = np.log(1.25)  # a wider step in ln C starts a new IsoFLOP group


@dataclass(frozen=True)
class Convention:
    """What a fit calls N and C; travels with every result.

    Attributes
    ----------
    N : {"total", "non_embedding", "blocks", "as_given"}
    C : {"counted", "6ND", "as_given"}
    """

    N: str = "total"
    C: str = "counted"

    def __post_init__(self):
        for symbol, choice, known in (("N", self.N, N_MEANING), ("C", self.C, C_MEANING)):
            if choice not in known:
                raise ValueError(
                    f"convention {symbol}={choice!r} is unknown; use one of {[*known]}"
                )

    def describe(self) -> str:
        """One line to print beside any ratio."""
        return f"N: {N_MEANING[self.N]}; C: {C_MEANING[self.C]}"


def load_runs(
    source: str | Path | pd.DataFrame, columns: dict[str, str] | None = None
) -> pd.DataFrame:
    """Read and validate a runs table: ours, or anybody's with N, D and loss.

    Parameters
    ----------
    source : path of a CSV file, or DataFrame
        Needs `loss` (nats/token) and either our parameter columns and `tokens`, or two of `N`
        (parameters), `D` (tokens), `C` (FLOPs); the third follows from C = 6ND.
    columns : dict, their name -> our name, optional
        Our names are those of `COLUMNS` or the symbols N, D, C, L.

    Returns
    -------
    DataFrame, one row per run, with at least run_id, status, tokens, loss and a parameter column.
        Without an N of ours its parameters stand in `params` (convention "as given") and run_id is
        row0001, row0002, ... unless given.

    Raises
    ------
    ValueError
        A column is missing, not a number, not finite or not positive; a run_id repeats; a status
        is unknown.
    """
    runs = _read(source)
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
    return validate(_derived(_typed(runs, COLUMNS)))


def load_curves(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Read a curves table: run_id, step, tokens, flops, loss (smoothed training), lr.

    Raises
    ------
    ValueError
        One of run_id, step, tokens, flops, loss is missing.
    """
    curves = _typed(_read(source), CURVE_COLUMNS)
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
        raise ValueError(f"run_id must be unique; repeated: {_few(twice)}; drop the older rows")
    if (bad := ~runs.status.isin(STATUSES)).any():
        found = sorted(set(runs.status[bad]))
        raise ValueError(f"unknown status {found} in {_few(runs.run_id[bad])}; use {STATUSES}")
    finished = runs[runs.status == "ok"]
    for name in {*_used(runs)}:
        values = finished[name]
        if (bad := ~(np.isfinite(values) & (values > 0))).any():
            raise ValueError(
                f"{name} must be finite and positive; it is {_few(values[bad])} in run_id "
                f"{_few(finished.run_id[bad])}; correct these rows or give them status 'failed'"
            )
    if (bad := finished.loss >= 100).any():
        raise ValueError(
            f"loss {_few(finished.loss[bad])} in run_id {_few(finished.run_id[bad])} is no "
            "nats/token; a perplexity needs its logarithm taken"
        )
    return runs


def default_convention(runs: pd.DataFrame) -> Convention:
    """N total and C counted for our tables; as given (C = 6ND without a C) for foreign ones."""
    if "total_params" in runs:
        return Convention("total", "counted" if "flops" in runs else "6ND")
    if "non_embedding_params" in runs:
        return Convention("non_embedding", "counted" if "flops" in runs else "6ND")
    return Convention("as_given", "as_given" if "flops" in runs else "6ND")


def observations(
    runs: pd.DataFrame, convention: Convention | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs table in the symbols of a law.

    Parameters
    ----------
    runs : DataFrame, as `load_runs` returns it
    convention : Convention, optional
        What N and C mean; `default_convention` if omitted.

    Returns
    -------
    obs : DataFrame with columns run_id, N (parameters), D (tokens), C (FLOPs), L (nats/token),
        budget (FLOPs), weight, cluster; one row per run that finished.
    excluded : DataFrame with columns run_id, reason; one row per run that did not.

    Raises
    ------
    ValueError
        The convention needs a column that the table lacks, or no run is "ok".

    Notes
    -----
    `budget` is flops_budget where C is counted. Under another convention the runs of a planned
    group no longer share one C, and without flops_budget there is no plan: the group is then a
    cluster of ln C (a gap above 25 % starts a new one) and its budget the geometric mean of C.
    `cluster` is the trunk where runs share one: they are resampled together.
    """
    convention = convention or default_convention(runs)
    if lacking := [c for c in _needed(convention) if c not in runs]:
        raise ValueError(
            f"convention ({convention.describe()}) needs columns {lacking}, which the table lacks; "
            f"it has {[*runs.columns]}: choose another convention"
        )
    finished = runs.status == "ok"
    if not finished.any():
        raise ValueError(f"none of the {len(runs)} runs has status 'ok'; there is nothing to fit")
    others = runs.loc[~finished]
    excluded = pd.DataFrame({"run_id": others.run_id, "reason": _reasons(others)})
    runs = runs.loc[finished]
    N = runs[[*N_COLUMNS[convention.N]]].sum(axis=1).astype(float)
    D = runs.tokens.astype(float)
    C = 6.0 * N * D if convention.C == "6ND" else runs.flops.astype(float)
    obs = pd.DataFrame({"run_id": runs.run_id, "N": N, "D": D, "C": C, "L": runs.loss})
    obs["budget"] = _budgets(runs, C, planned=convention.C == "counted")
    obs["weight"] = runs["weight"].astype(float) if "weight" in runs else 1.0
    trunk = runs["trunk_id"] if "trunk_id" in runs else pd.Series("", index=runs.index)
    obs["cluster"] = trunk.where(trunk != "", runs.run_id)
    return obs.reset_index(drop=True), excluded.reset_index(drop=True)


def _read(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    if isinstance(source, pd.DataFrame):
        return source.reset_index(drop=True)
    if not Path(source).is_file():
        raise ValueError(f"there is no runs table at {source}; give the path of a CSV file")
    return pd.read_csv(source, dtype="str")  # as text: Python's float() reads it back exactly


def _typed(table: pd.DataFrame, columns: dict[str, Column]) -> pd.DataFrame:
    typed = {}
    for name in table.columns:
        values = pd.Series(table[name])
        dtype = columns[name].dtype if name in columns else "any"
        if dtype == "str":
            typed[name] = values.astype(object).where(values.notna(), "").astype("str")
        elif dtype != "any" or pd.api.types.is_string_dtype(values):
            number = _number(values)
            foreign_text = dtype == "any" and number.isna().any()
            whole = dtype != "float64" and np.isfinite(number).all() and (number % 1 == 0).all()
            typed[name] = values if foreign_text else number.astype("int64") if whole else number
    return table.assign(**typed)


def _number(values: pd.Series) -> pd.Series:
    try:
        return values.astype("float64")
    except (TypeError, ValueError):
        return pd.Series(pd.to_numeric(values, errors="coerce"), dtype="float64")


def _derived(runs: pd.DataFrame) -> pd.DataFrame:
    ours = "total_params" in runs or "non_embedding_params" in runs
    if not ours and "params" not in runs and {"tokens", "flops"} <= {*runs.columns}:
        runs = runs.assign(params=runs.flops / (6.0 * runs.tokens))
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


def _used(runs: pd.DataFrame) -> list[str]:
    candidates = ("total_params", "non_embedding_params", "params", "block_params", "tokens")
    return [
        name for name in (*candidates, "flops", "flops_budget", "loss", "weight") if name in runs
    ]


def _needed(convention: Convention) -> list[str]:
    return [*N_COLUMNS[convention.N]] + ([] if convention.C == "6ND" else ["flops"])


def _reasons(runs: pd.DataFrame) -> pd.Series:
    why = runs["reason"] if "reason" in runs else pd.Series("", index=runs.index)
    return ("status " + runs.status + ": " + why).str.removesuffix(": ")


def _budgets(runs: pd.DataFrame, C: pd.Series, planned: bool) -> pd.Series:
    if "flops_budget" in runs and planned:
        return runs.flops_budget.astype(float)
    if "flops_budget" in runs:
        group = runs.flops_budget
    else:
        log_C = C.sort_values().map(np.log)
        group = (log_C.diff() > SAME_BUDGET).cumsum().reindex(C.index)
    return C.map(np.log).groupby(group).transform("mean").map(np.exp)


def _few(values) -> str:
    values = list(values)
    return f"{values[:3]}" + (f" and {len(values) - 3} more" if len(values) > 3 else "")
