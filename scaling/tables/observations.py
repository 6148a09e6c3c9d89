"""A runs table in the symbols of a law: what N and C mean, which runs share a budget.

Tables speak words (`total_params`, `tokens`, `flops`, `loss`), formulas speak symbols
(`N`, `D`, `C`, `L`); `Convention` and `observations` translate.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.tables.noise import find_plateaus, on_plateau

SETTING = ("vocab_size", "seq_len")  # of a model, beside its size: what a law's N and L go with
FURTHER = {"S": "steps", "batch": "batch_tokens", "S_min": "S_min", "B_crit": "B_crit"} | {
    name: name for name in SETTING
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
BUDGET_DIGITS = "{:.12g}"  # of a budget that is a mean: 6e18, not 5.999999999999989e18
OUTCOMES = {  # what a run brought, or how it is called: all else makes a run what it is
    *("run_id", "name", "trunk_id", "seed", "loss", "loss_std", "bits_per_byte", "status"),
    *("reason", "wall_s", "tokens_per_s", "flops_per_s", "peak_memory_bytes", "device", "version"),
    *("compiled", "weight", "flops", "flops_budget"),
}
KNOWN_TEXT = {"run_id", "status", "reason", "device", "version", "schedule", "precision"}
MIN_CHAIN, EVENLY = 4, 0.01  # checkpoints of a run; how evenly they are spaced
MIN_RUNS = 4  # no law of two variables shows its shape in fewer


class RunsWarning(UserWarning):
    """A runs table can be fitted, but something about it looks wrong.

    Examples
    --------
    A run without a loss is left out, and told:

    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always", scaling.RunsWarning)
    ...     loaded = scaling.load_runs(table.assign(loss=table.loss.where(table.N > 1e7)))
    >>> loaded.status[0], str(told[0].message)[:27]
    ('failed', '1 of 15 runs are left out: ')
    """


@dataclass(frozen=True)
class Convention:
    """What a fit calls N and C; travels with every result.

    Attributes
    ----------
    N : {"total", "non_embedding", "blocks", "as_given"}
    C : {"counted", "6ND", "as_given"}

    Examples
    --------
    >>> scaling.Convention(N="blocks", C="6ND")
    Convention(N='blocks', C='6ND')
    >>> scaling.Convention(N="trainable")
    Traceback (most recent call last):
        ...
    ValueError: convention N='trainable' is unknown; use one of ['total', ...
    """

    N: str = "total"
    C: str = "counted"

    def __post_init__(self):
        for symbol, choice, known in (("N", self.N, N_MEANING), ("C", self.C, C_MEANING)):
            if choice not in known:
                raise ValueError(
                    f"convention {symbol}={choice!r} is unknown; use one of {[*known]}"
                )

    def describe(self, symbols: Iterable[str] = "NC") -> str:
        """One line to print beside any ratio; of the symbols that are asked for.

        Examples
        --------
        >>> scaling.Convention().describe()
        'N: all parameters, tied head once; C: counted training FLOPs, forward + backward'
        """
        meaning = {"N": N_MEANING[self.N], "C": C_MEANING[self.C]}
        return "; ".join(f"{symbol}: {meaning[symbol]}" for symbol in symbols)


def default_convention(runs: pd.DataFrame) -> Convention:
    """N total and C counted for our tables; as given (C = 6ND without a C) for foreign ones."""
    if "params" in runs:  # which is N by its name or by a mapping, whatever stands beside
        return Convention("as_given", "as_given" if "flops" in runs else "6ND")
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
        budget (FLOPs), weight, cluster, repeat; and where the table has them for every run, S
        (steps), batch (tokens), U (unique tokens), S_min, B_crit, vocab_size, seq_len. One row per
        finished run.
    excluded : DataFrame with columns run_id, reason; one row per run that did not, that a filter
        left out before (`attrs["excluded"]`), or whose budget is on a plateau.

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
    `cluster` is the trunk where runs share one, or the run whose checkpoints they seem to be
    (`find_chains`): they are resampled together. `repeat` numbers runs alike but for their seed.
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
    plateaus = find_plateaus(runs)
    stuck = finished & on_plateau(runs, plateaus)
    left_out = [
        *zip(others.run_id, _tell_reasons(others), strict=True),
        *runs.attrs.get("excluded", []),
        *(_tell_plateaus(runs.loc[stuck], plateaus) if plateaus else ()),
    ]
    finished &= ~stuck
    if not finished.any():
        raise ValueError(f"every budget is on a plateau: {left_out[-1][1]}; train longer runs")
    excluded = pd.DataFrame(left_out, columns=["run_id", "reason"])
    runs = runs.loc[finished]
    (N, C), D = count_compute(runs, convention), runs.tokens.astype(float)
    obs = pd.DataFrame({"run_id": runs.run_id, "N": N, "D": D, "C": C, "L": runs.loss})
    obs["budget"] = _assign_budgets(runs, C, planned=convention.C == "counted")
    equal = "weight" not in runs or np.ptp(runs["weight"]) == 0  # as without, however large
    obs["weight"] = 1.0 if equal else runs["weight"].astype(float)
    trunk = runs["trunk_id"] if "trunk_id" in runs else pd.Series("", index=runs.index)
    chain = find_chains(runs.assign(N=N))
    obs["cluster"] = trunk.where(trunk != "", runs.run_id if chain is None else chain[1])
    alike = [name for name in runs if name not in OUTCOMES]
    obs["repeat"] = runs.groupby(alike, dropna=False, sort=False).ngroup()
    for symbol, values in _read_further(runs):
        if np.isfinite(values).all():
            obs[symbol] = values
    return obs.reset_index(drop=True), excluded


def count_compute(runs: pd.DataFrame, convention: Convention) -> tuple[pd.Series, pd.Series]:
    """N (parameters) and C (FLOPs) of rows, finished or not; NaN where the table does not say."""
    N = runs[[*N_COLUMNS[convention.N]]].sum(axis=1, min_count=1).astype(float)
    C = 6.0 * N * runs.tokens.astype(float) if convention.C == "6ND" else runs.flops.astype(float)
    return N, C


def _tell_plateaus(
    stuck: pd.DataFrame, plateaus: Mapping[float, float]
) -> Iterator[tuple[str, str]]:
    for run_id, C in zip(stuck.run_id, stuck.flops_budget.astype(float), strict=True):
        yield run_id, f"seeds at {C:.3g} FLOPs differ by {plateaus[C]:.1%}: a plateau"


def _read_further(runs: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """What some laws read besides N, D and C, and the check for losses in bits."""
    for symbol, name in FURTHER.items():
        if name in runs:
            found = pd.Series(runs[name], dtype=float)
            yield symbol, found.where(found > 0)  # none of them can be zero: that is a gap
    if "epochs" in runs:
        yield "U", runs.tokens / pd.Series(runs.epochs, dtype=float)


def list_values(runs: pd.DataFrame, name: str) -> list:
    """The values of a column in order, but for empty text; none where the table lacks it."""
    return sorted({*runs[name]} - {""}) if name in runs else []


def refuse_mixed_objectives(runs: pd.DataFrame) -> None:
    """Raise ValueError if the runs learned different objectives: their losses have no one law."""
    for name in ("family", "objective"):
        found = list_values(runs, name)
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


def find_chains(runs: pd.DataFrame) -> tuple[str, pd.Series] | None:
    """Find the column that names runs of which several checkpoints are rows.

    Parameters
    ----------
    runs : DataFrame, as `scaling.tables.runs.load_runs` returns it, with N (parameters)

    Returns
    -------
    name of the column, its values; or None. Checkpoints are rows of one name, one N and growing D
    whose learning rate falls from row to row, or whose D are evenly spaced; runs that share a
    trunk_id are known to be branches.
    """
    if "trunk_id" in runs and (runs.trunk_id != "").any():
        return None
    for column in runs:
        if column in KNOWN_TEXT or not pd.api.types.is_string_dtype(runs[column]):
            continue
        groups = [rows.sort_values("tokens") for _, rows in runs.groupby(column)]
        if len(groups) > 1 and all(map(_is_chain, groups)):
            return str(column), pd.Series(runs[column])
    return None


def _is_chain(rows: pd.DataFrame) -> bool:
    D = rows.tokens.to_numpy(float)
    steps = np.diff(D)
    if len(D) < MIN_CHAIN or rows.N.nunique() > 1 or (steps <= 0).any():
        return False
    decays = "lr" in rows and bool((np.diff(rows.lr.to_numpy(float)) < 0).all())
    return decays or float(np.ptp(steps)) <= EVENLY * float(steps.mean())


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
    mean = log_C.groupby(group).transform("mean").map(np.exp)
    return mean.map(BUDGET_DIGITS.format).astype(float)


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
