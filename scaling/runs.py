"""The runs table: one row per trained model; the one door between training and fitting.

Tables speak words (`total_params`, `tokens`, `flops`, `loss`), formulas speak symbols
(`N`, `D`, `C`, `L`); `Convention` and `observations` translate.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from scaling.published import PUBLISHED, read_published


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
FURTHER = {"S": "steps", "batch": "batch_tokens", "S_min": "S_min", "B_crit": "B_crit"} | {
    "vocab_size": "vocab_size"
}
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
SAME_BUDGET = np.log(1.25) - 1e-9  # from this step in ln C on, a new IsoFLOP group starts
WHOLE_CHAIN = np.log(1.5)  # a wider chain of smaller steps is several groups
MIN_RUNS = 4  # no law of two variables shows its shape in fewer


class RunsWarning(UserWarning):
    """A runs table can be fitted, but something about it looks wrong."""


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
    source : path of a CSV file, name of a published table, or DataFrame
        Needs `loss` (nats/token) and either our parameter columns and `tokens`, or two of `N`
        (parameters), `D` (tokens), `C` (FLOPs); the third follows from C = 6ND. The names are
        those of `scaling.published.PUBLISHED`; a file of that name comes first.
    columns : dict, their name -> our name, optional
        Our names are those of `COLUMNS` or the symbols N, D, C, L.

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
    scaling.published.PublishedDataError
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
    runs = validate(_derived(_typed(runs, COLUMNS)))
    runs.attrs = attrs
    return runs


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
        budget (FLOPs), weight, cluster; and where the table has them for every run, S (steps),
        batch (tokens), U (unique tokens), S_min, B_crit, vocab_size. One row per finished run.
    excluded : DataFrame with columns run_id, reason; one row per run that did not, or that a
        filter left out before (`attrs["excluded"]`).

    Raises
    ------
    ValueError
        The convention needs a column that the table lacks, or no run is "ok".

    Notes
    -----
    `budget` is flops_budget where C is counted. Under another convention the runs of a planned
    group no longer share one C, and without flops_budget there is no plan: the group is then a
    cluster of ln C and its budget the geometric mean of C. A gap of 25 % starts a new cluster; a
    chain without one that is wider than x1.5 falls into windows of x1.25, the densest first.
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
    left_out = [*zip(others.run_id, _reasons(others), strict=True), *runs.attrs.get("excluded", [])]
    excluded = pd.DataFrame(left_out, columns=["run_id", "reason"])
    runs = runs.loc[finished]
    N = runs[[*N_COLUMNS[convention.N]]].sum(axis=1).astype(float)
    D = runs.tokens.astype(float)
    C = 6.0 * N * D if convention.C == "6ND" else runs.flops.astype(float)
    obs = pd.DataFrame({"run_id": runs.run_id, "N": N, "D": D, "C": C, "L": runs.loss})
    obs["budget"] = _budgets(runs, C, planned=convention.C == "counted")
    obs["weight"] = runs["weight"].astype(float) if "weight" in runs else 1.0
    trunk = runs["trunk_id"] if "trunk_id" in runs else pd.Series("", index=runs.index)
    obs["cluster"] = trunk.where(trunk != "", runs.run_id)
    for symbol, values in _further(runs):
        if np.isfinite(values).all():
            obs[symbol] = values
    return obs.reset_index(drop=True), excluded


def _further(runs: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """What some laws read besides N, D and C, and the check for losses in bits."""
    for symbol, name in FURTHER.items():
        if name in runs:
            yield symbol, runs[name].astype(float)
    if "epochs" in runs:
        yield "U", runs.tokens / runs.epochs.astype(float)


def refuse_too_few(runs: pd.DataFrame) -> None:
    """Raise ValueError if fewer than `MIN_RUNS` runs are finished; call it before a fit."""
    finished = runs.run_id[runs.status == "ok"]
    if len(finished) < MIN_RUNS:
        raise ValueError(
            f"{runs.attrs.get('source', 'the runs table')} has {len(finished)} finished runs "
            f"{[*finished]}; a fit needs at least {MIN_RUNS}, of several N and D: train or add more"
        )


def warn_of_oddities(obs: pd.DataFrame) -> None:
    """Warn, as `RunsWarning`, of what a table may hold but is seldom meant.

    Copies of a row; one compute budget only (all C within a factor 1.25); N or D that look like
    billions; losses that look like bits. The last is a guess from their size: above ln(vocab_size),
    what guessing evenly costs, or below 1.5 in every row though no model reaches 1e10 parameters
    (no guess is made for a vocabulary of up to 1,000, whose tokens are as short as characters).

    Parameters
    ----------
    obs : DataFrame, as `observations` returns it
    """
    for oddity in _oddities(obs):
        warnings.warn(oddity, RunsWarning, stacklevel=3)


def _oddities(obs: pd.DataFrame) -> Iterator[str]:
    copies = obs.run_id[obs.duplicated(["N", "D", "L"], keep=False)].tolist()
    if copies:
        yield f"run_id {_few(copies)} have the same N, D and loss; a copy counts twice: drop it"
    if obs.C.max() <= 1.25 * obs.C.min():
        yield (
            f"all {len(obs)} runs cost about {obs.C.median():.3g} FLOPs; one budget says nothing "
            "about growth with compute: add runs at two more"
        )
    for symbol, meaning, least in (("N", "parameters", 1e4), ("D", "tokens", 1e6)):
        if (largest := obs[symbol].to_numpy(float).max()) < least:
            yield (
                f"{symbol} is at most {largest:g} {meaning}; if these are millions or billions, "
                "multiply the column by 1e6 or 1e9"
            )
    yield from _bits(obs)


def _bits(obs: pd.DataFrame) -> Iterator[str]:
    vocab_size = np.asarray(obs["vocab_size"] if "vocab_size" in obs else [np.inf] * len(obs))
    high = obs[np.exp(obs.L) > vocab_size]
    if len(high):
        yield (
            f"loss {_few(high.L)} of run_id {_few(high.run_id)} is above ln(vocab_size); if it is "
            "in bits, multiply it by ln 2 = 0.6931; else these runs have learnt nothing"
        )
    if float(obs.L.max()) < 1.5 and float(obs.N.max()) < 1e10 and vocab_size.min() > 1000:
        yield (
            f"every loss is below 1.5 (from {obs.L.min():g} to {obs.L.max():g}), unusual in "
            "nats/token at this size; bits/byte times ln 2 = 0.6931 times the bytes per token are "
            "nats/token"
        )


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
    log_C = C.map(np.log)
    group = runs.flops_budget if "flops_budget" in runs else _alike(log_C)
    return log_C.groupby(group).transform("mean").map(np.exp)


def _alike(log_C: pd.Series) -> pd.Series:
    """Number the runs of one C alike: those between two gaps, or the dense windows of a chain."""
    ordered = log_C.sort_values()
    chain = (ordered.diff() > SAME_BUDGET).cumsum()
    window = ordered.groupby(chain).transform(_dense_windows)
    return ordered.groupby([chain, window]).ngroup()


def _dense_windows(ordered: pd.Series) -> np.ndarray:
    """Number the densest windows of ascending ln C, one after the other; all alike if narrow.

    Of windows with as many runs the narrowest is taken, of such the lowest.
    """
    x, found = ordered.to_numpy(), np.zeros(len(ordered))
    left = np.arange(len(x)) if np.ptp(x) > WHOLE_CHAIN else np.arange(0)
    while len(left):
        start = x[left]
        end = np.searchsorted(start, start + SAME_BUDGET)
        count, width = end - np.arange(len(start)), np.round(start[end - 1] - start, 9)
        first = np.lexsort((start, width, -count))[0]
        found[left[first : end[first]]] = found.max() + 1
        left = np.delete(left, slice(first, end[first]))
    return found


def _few(values) -> str:
    values = list(values)
    return f"{values[:3]}" + (f" and {len(values) - 3} more" if len(values) > 3 else "")
