"""The cells of a sweep before it is trained: all of them, and in a few lines."""

import pandas as pd

from scaling.pages.answer import Answer
from scaling.pages.text import Column, Section, make_section, shown
from scaling.quantities import count, format_quantity

CELLS = (
    *(shown("budget", write=".3g"), shown("shape"), shown("total_params", "N", format_quantity)),
    shown("tokens", "D", format_quantity),
    Column("D/N", lambda row: f"{row['tokens'] / row['total_params']:.1f}"),
    *(shown("steps"), shown("batch_tokens", "batch"), shown("lr", write=".3g")),
    shown("run_id", "run id"),
)


def cells_section(rows: pd.DataFrame) -> Section:
    """Every planned cell; the frame has a row of the runs table for each, and its budget, shape."""
    return make_section("The cells", rows, CELLS)


def tell_planned(rows: pd.DataFrame, told: str, rest: str) -> Answer:
    """What `told` says of all cells, and the sizes of each budget; `rest` says where they go."""
    sizes = rows.assign(ratio=rows.tokens / rows.total_params, budget=rows.budget.fillna(0.0))
    each = []
    for budget, some in sizes.groupby("budget"):
        ends = {n: some[n].agg(["min", "max"]).tolist() for n in ("total_params", "ratio")}
        N, D_over_N = (" to ".join(map(format_quantity, pair)) for pair in ends.values())
        head = f"{budget:.3g} FLOPs: " if budget else ""
        each.append(f"{head}{count(len(some), 'cell')}, N {N}, {D_over_N} tokens per parameter")
    return Answer((told, *each), rest=(rest,))
