"""What a runs table may hold that is seldom meant: it is fitted, and told of."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from scaling.tables.comparable import HELD_OUT
from scaling.tables.noise import find_plateaus, on_plateau
from scaling.tables.observations import OUTCOMES, find_chains, list_values
from scaling.tables.runs import few
from scaling.tables.units import Oddity, doubt_units

MIN_LADDER = 6  # runs, from which a table without two runs of one budget is odd
STRAIGHT = 0.02  # rms of ln D around a power of N, below which D follows N
ATTENTION = ("n_layers", "seq_len", "width")
SCATTER = 0.02  # of L between rows of one (N, D); seeds scatter by a tenth of that
NOT_SPLIT = (OUTCOMES - {"seed", "name"}) | {"N", "D", "params", "tokens"}


def find_oddities(obs: pd.DataFrame, runs: pd.DataFrame | None = None) -> tuple[Oddity, ...]:
    """Find what a table may hold but is seldom meant.

    Copies of a row; one compute budget only (all C within a factor 1.25), or D that follows N in
    every run; one run per budget; numbers in other units than FLOPs, parameters, tokens and
    nats/token, as `scaling.tables.units.doubt_units` guesses from their size.

    With the table itself, also rows of one (N, D) that differ far beyond noise, with the column
    that tells them apart; checkpoints of a run; repeated tokens.

    Parameters
    ----------
    obs : DataFrame, as `observations` returns it
    runs : DataFrame, as `scaling.tables.runs.load_runs` returns it, optional

    Returns
    -------
    tuple of Oddity. Grave are rows of which several tell of one model, and impossible units.
    """
    rows = None if runs is None else _keep_rows(obs, runs)
    counted = None if rows is None else _count_params(rows)
    found = tuple(map(Oddity, _doubt_design(obs))) + tuple(doubt_units(obs, counted))
    return found if runs is None or rows is None else found + tuple(_doubt_rows(runs, rows))


def _count_params(rows: pd.DataFrame) -> pd.Series | None:
    """All parameters of a table of ours, and what a token costs in attention, as if it were some.

    Scores and sums over T positions are 12 L T d FLOPs per token, those of 2 L T d parameters.
    """
    if "total_params" not in rows or "params" in rows:
        return None
    N = rows.total_params.astype(float)
    if not {*ATTENTION} <= {*rows.columns}:
        return N
    return N + 2 * rows[[*ATTENTION]].astype(float).prod(axis=1)


def _keep_rows(obs: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Rows of the table that became observations, with their N and D."""
    kept = runs.loc[(runs.status == "ok") & ~on_plateau(runs, find_plateaus(runs))]
    return kept.reset_index(drop=True).assign(N=obs.N, D=obs.D)


def _doubt_design(obs: pd.DataFrame) -> Iterator[str]:
    copies = obs.run_id[obs.duplicated(["N", "D", "L"], keep=False)].tolist()
    if copies:
        told = "have the same N, D and loss; a copy counts twice: best_of=[N, D] keeps one"
        yield f"run_id {few(copies)} {told}"
    log_N, log_D = (np.log(obs[symbol].to_numpy(float)) for symbol in "ND")
    if obs.C.max() <= 1.25 * obs.C.min():
        yield (
            f"all {len(obs)} runs cost about {obs.C.median():.3g} FLOPs; one budget says nothing "
            "about growth with compute: add runs at two more"
        )
    elif np.ptp(log_N) > 0 and np.ptp(log_D) > 0 and _is_straight(log_N, log_D):
        yield (
            f"D follows N in all {len(obs)} runs (D/N from {(obs.D / obs.N).min():.3g} to "
            f"{(obs.D / obs.N).max():.3g}); what size costs and what data cost cannot be told "
            "apart: train other D/N, for instance several sizes at one budget"
        )
    elif len(obs) >= MIN_LADDER and obs.budget.notna().all() and obs.budget.is_unique:
        yield (
            f"each of the {len(obs)} budgets has one run; the best size at a budget shows in "
            "several sizes of it: train more"
        )


def _is_straight(log_N: np.ndarray, log_D: np.ndarray) -> bool:
    slope, height = np.polyfit(log_N, log_D, 1)
    return len(log_N) > 3 and float(np.std(log_D - slope * log_N - height)) < STRAIGHT


def _doubt_rows(runs: pd.DataFrame, rows: pd.DataFrame) -> Iterator[Oddity]:
    finished, plateaus = runs.status == "ok", find_plateaus(runs)
    for C, std in plateaus.items():
        left = int((finished & (runs.flops_budget == C)).sum())
        yield Oddity(
            f"seeds at {C:.3g} FLOPs differ by {std:.1%} of the loss: some runs are on a plateau, "
            f"of which no law of N and D speaks; its {left} runs are left out"
        )
    held_out = [name for name in HELD_OUT if name in rows]
    for name in held_out if "total_params" in rows else ():  # of others' tables it may be a label
        if len(values := list_values(rows.dropna(subset=[name]), name)) > 1:
            yield Oddity(
                f"the runs have {name} {few(values)}, whose losses do not compare: keep one with "
                f"where={{{name}: {values[0]}}}",
                is_grave=True,
            )
    chain = find_chains(rows)
    if chain is not None:
        yield Oddity(
            f"rows of one {chain[0]!r} look like checkpoints of one run before the end of its "
            "schedule: they are no final losses, and are resampled together; keep the last of each "
            f"with best_of=[{chain[0]}], or map {chain[0]!r} to trunk_id",
            is_grave=True,
        )
    else:
        yield from _doubt_scatter(rows)
    if "epochs" in rows and (repeated := pd.Series(rows.epochs, dtype=float) > 1).any():
        yield Oddity(
            f"{repeated.sum()} runs saw their data up to {rows.epochs.max():.3g} times; a law of N "
            "and D takes repeated tokens as fresh: read the law of repeated data instead, or leave "
            "these runs out"
        )


def _doubt_scatter(rows: pd.DataFrame) -> Iterator[Oddity]:
    groups = rows.groupby(["N", "D"])
    apart = groups.loss.transform("max") / groups.loss.transform("min")
    if not (odd := apart > 1 + SCATTER).any():
        return
    column = _find_separator(rows.loc[odd])
    ratio = f"x{apart.max():.2f}" if apart.max() > 1.5 else f"{apart.max() - 1:.1%}"
    told = f"rows of one (N, D) differ in loss by up to {ratio}, far beyond the noise of seeds"
    if column is None:
        best = "keep the best of each with best_of=[N, D]"
        yield Oddity(f"{told}; no column tells them apart: {best}", is_grave=True)
    elif column == "seed":
        yield Oddity(f"{told}, though only their seed differs: some are on a plateau or have leapt")
    else:
        values = [*dict.fromkeys(rows.loc[odd, column])]
        text = pd.api.types.is_string_dtype(rows[column])
        one = f"where={{{column}: {values[0]}}} or " if text else ""
        keep = f"keep one with {one}best_of=[N, D]"
        yield Oddity(f"{told}; {column!r} tells them apart: {keep}", is_grave=True)


def _find_separator(rows: pd.DataFrame) -> str | None:
    """Column whose values tell all rows of one (N, D) apart: text first, seeds last."""
    found = [
        name
        for name in rows
        if name not in NOT_SPLIT and not rows.duplicated(["N", "D", name]).any()
    ]
    text = [name for name in found if pd.api.types.is_string_dtype(rows[name])]
    many = [name for name in text if rows[name].is_unique]  # a name, which tells nothing
    order = [n for n in text if n not in many] + [n for n in ("lr",) if n in found]
    order += [n for n in found if n not in {*text, "lr", "seed"}] + many
    return next(iter(order), "seed" if "seed" in found else None)
