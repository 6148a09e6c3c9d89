"""A runs table in the symbols of a law: what N and C mean, which runs share a budget.

Tables speak words (`total_params`, `tokens`, `flops`, `loss`), formulas speak symbols
(`N`, `D`, `C`, `L`); `Convention` and `observations` translate.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.tables.runs import few

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
    chain without one that is wider than x1.5 falls into windows of x1.25, the densest first. A run
    without a flops_budget in a table that has them (a fixed-N arm) is of no group: budget NaN.
    `cluster` is the trunk where runs share one: they are resampled together.
    """
    convention = convention or default_convention(runs)
    if lacking := [c for c in _list_needed(convention) if c not in runs]:
        raise ValueError(
            f"convention ({convention.describe()}) needs columns {lacking}, which the table lacks; "
            f"it has {[*runs.columns]}: choose another convention"
        )
    finished = runs.status == "ok"
    if not finished.any():
        raise ValueError(f"none of the {len(runs)} runs has status 'ok'; there is nothing to fit")
    others = runs.loc[~finished]
    left_out = [
        *zip(others.run_id, _tell_reasons(others), strict=True),
        *runs.attrs.get("excluded", []),
    ]
    excluded = pd.DataFrame(left_out, columns=["run_id", "reason"])
    runs = runs.loc[finished]
    N = runs[[*N_COLUMNS[convention.N]]].sum(axis=1).astype(float)
    D = runs.tokens.astype(float)
    C = 6.0 * N * D if convention.C == "6ND" else runs.flops.astype(float)
    obs = pd.DataFrame({"run_id": runs.run_id, "N": N, "D": D, "C": C, "L": runs.loss})
    obs["budget"] = _assign_budgets(runs, C, planned=convention.C == "counted")
    obs["weight"] = runs["weight"].astype(float) if "weight" in runs else 1.0
    trunk = runs["trunk_id"] if "trunk_id" in runs else pd.Series("", index=runs.index)
    obs["cluster"] = trunk.where(trunk != "", runs.run_id)
    for symbol, values in _read_further(runs):
        if np.isfinite(values).all():
            obs[symbol] = values
    return obs.reset_index(drop=True), excluded


def _read_further(runs: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """What some laws read besides N, D and C, and the check for losses in bits."""
    for symbol, name in FURTHER.items():
        if name in runs:
            yield symbol, pd.Series(runs[name], dtype=float)
    if "epochs" in runs:
        yield "U", runs.tokens / pd.Series(runs.epochs, dtype=float)


def refuse_mixed_objectives(runs: pd.DataFrame) -> None:
    """Raise ValueError if the runs learned different objectives: their losses have no one law."""
    for name in ("family", "objective"):
        found = sorted({*runs[name]} - {""}) if name in runs else []
        if len(found) > 1:
            raise ValueError(
                f"{runs.attrs.get('source', 'the runs table')} holds runs of {name} {found}, whose "
                f"losses cannot be compared; fit one at a time: runs[runs.{name} == {found[0]!r}], "
                f"or {name}={found[0]} on the command line"
            )


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
    for oddity in _find_oddities(obs):
        warnings.warn(oddity, RunsWarning, stacklevel=3)


def _find_oddities(obs: pd.DataFrame) -> Iterator[str]:
    copies = obs.run_id[obs.duplicated(["N", "D", "L"], keep=False)].tolist()
    if copies:
        yield f"run_id {few(copies)} have the same N, D and loss; a copy counts twice: drop it"
    if obs.C.max() <= 1.25 * obs.C.min():
        yield (
            f"all {len(obs)} runs cost about {obs.C.median():.3g} FLOPs; one budget says nothing "
            "about growth with compute: add runs at two more"
        )
    for symbol, meaning, least in (("N", "parameters", 1e4), ("D", "tokens", 1e5)):
        if (largest := obs[symbol].to_numpy(float).max()) < least:
            yield (
                f"{symbol} is at most {largest:g} {meaning}; if these are millions or billions, "
                "multiply the column by 1e6 or 1e9"
            )
    yield from _doubt_units(obs)


def _doubt_units(obs: pd.DataFrame) -> Iterator[str]:
    vocab_size = np.asarray(obs["vocab_size"] if "vocab_size" in obs else [np.inf] * len(obs))
    high = obs[np.exp(obs.L) > vocab_size]
    if len(high):
        yield (
            f"loss {few(high.L)} of run_id {few(high.run_id)} is above ln(vocab_size); if it is "
            "in bits, multiply it by ln 2 = 0.6931; else these runs have learnt nothing"
        )
    if float(obs.L.max()) < 1.5 and float(obs.N.max()) < 1e10 and vocab_size.min() > 1000:
        yield (
            f"every loss is below 1.5 (from {obs.L.min():g} to {obs.L.max():g}), unusual in "
            "nats/token at this size; bits/byte times ln 2 = 0.6931 times the bytes per token are "
            "nats/token"
        )


def _list_needed(convention: Convention) -> list[str]:
    return [*N_COLUMNS[convention.N]] + ([] if convention.C == "6ND" else ["flops"])


def _tell_reasons(runs: pd.DataFrame) -> pd.Series:
    why = runs["reason"] if "reason" in runs else pd.Series("", index=runs.index)
    return ("status " + runs.status + ": " + why).str.removesuffix(": ")


def _assign_budgets(runs: pd.DataFrame, C: pd.Series, planned: bool) -> pd.Series:
    if "flops_budget" in runs and planned:
        return runs.flops_budget.astype(float)
    log_C = C.map(np.log)
    group = runs.flops_budget if "flops_budget" in runs else _number_alike(log_C)
    return log_C.groupby(group).transform("mean").map(np.exp)


def _number_alike(log_C: pd.Series) -> pd.Series:
    """Number the runs of one C alike: those between two gaps, or the dense windows of a chain."""
    ordered = log_C.sort_values()
    chain = (ordered.diff() > SAME_BUDGET).cumsum()
    window = ordered.groupby(chain).transform(_number_windows)
    return ordered.groupby([chain, window]).ngroup()


def _number_windows(ordered: pd.Series) -> np.ndarray:
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
