"""Which two runs tables may be compared, and which of their runs are the same cell."""

from collections.abc import Iterator

import pandas as pd

from scaling.tables.observations import OUTCOMES, Convention, list_values

HELD_OUT = ("data", "vocab_size", "objective", "seq_len")  # what a loss in nats/token belongs to
CELLS = (  # columns that name a cell, the first that both tables have
    ("flops_budget", "width", "n_layers", "seed"),
    ("flops_budget", "total_params", "seed"),
    ("flops_budget", "total_params"),
    ("flops_budget", "params", "seed"),
    ("flops_budget", "params"),
)


def refuse_incomparable(a: pd.DataFrame, b: pd.DataFrame) -> tuple[str, ...]:
    """Refuse two tables whose losses do not compare; return what of it the tables do not say.

    Parameters
    ----------
    a, b : DataFrame, as `scaling.tables.runs.load_runs` returns it

    Raises
    ------
    ValueError
        Names the column and both values; or a table holds several values of it.
    """
    unsaid = []
    for name in HELD_OUT:
        found = [list_values(runs, name) for runs in (a, b)]
        for label, values in zip("ab", found, strict=True):
            if len(values) > 1:
                raise ValueError(
                    f"{label} holds runs of {name} {values}, whose losses do not compare; choose "
                    f"one: 'where={{{name}: {values[0]}}}'"
                )
        if not all(found):
            unsaid.append(name)
        elif found[0] != found[1]:
            raise ValueError(
                f"a has {name}={found[0][0]} and b {name}={found[1][0]}: a loss in nats/token "
                "belongs to its text, tokenizer, objective and context; compare sweeps that share "
                "all of them"
            )
    return tuple(unsaid)


def refuse_conventions(a: Convention, b: Convention) -> None:
    """Raise ValueError if a budget means one thing in a and another in b."""
    if a != b:
        raise ValueError(
            f"a has {a.describe()} and b {b.describe()}: the same budget means two things; choose "
            "one for both with fit.N and fit.C, or map the columns alike"
        )


def match_cells(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Pair the finished runs of two sweeps that are the same cell.

    A cell is a budget, a width and depth (elsewhere an N) and a seed, the data order of which is
    the same. One that occurs twice in a table, as with two rates, is no pair.

    Returns
    -------
    DataFrame with columns a, b (run ids), one row per pair; empty where nothing pairs.
    """
    nothing = pd.DataFrame({"a": [], "b": []}, dtype=str)
    names = next((list(cell) for cell in CELLS if {*cell} <= {*a.columns} & {*b.columns}), None)
    if names is None:
        return nothing
    sides = []
    for runs in (a, b):
        kept = runs.loc[(runs.status == "ok") & runs[names].notna().all(axis=1)]
        sides.append(kept.loc[~kept.duplicated(names, keep=False), [*names, "run_id"]])
    both = sides[0].merge(sides[1], on=names, suffixes=("_a", "_b"))
    return both[["run_id_a", "run_id_b"]].set_axis(["a", "b"], axis=1) if len(both) else nothing


def list_differences(a: pd.DataFrame, b: pd.DataFrame, pairs: pd.DataFrame) -> Iterator[str]:
    """Say in which columns the runs of pairs differ, and how far numbers do; outcomes left out."""
    sides = [
        runs.set_index("run_id").loc[pairs[label]].reset_index(drop=True)
        for label, runs in (("a", a), ("b", b))
    ]
    for name in dict.fromkeys([*a.columns, *b.columns]):
        if name in OUTCOMES or not len(pairs):
            continue
        one, other = (side[name] if name in side else pd.Series(dtype=float) for side in sides)
        if not len(one) or not len(other):
            yield f"{name} (of {'b' if len(other) else 'a'} only)"
        elif pd.api.types.is_numeric_dtype(one) and pd.api.types.is_numeric_dtype(other):
            ratio = (other / one).dropna()
            if len(ratio) and (abs(ratio - 1) > 1e-9).any():
                low, high = ratio.min(), ratio.max()
                told = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
                yield f"{name} (b/a {told})"
        elif (one.astype(str) != other.astype(str)).any():
            yield f"{name} ({one.iloc[0]} / {other.iloc[0]})"
