"""The figures of the course, drawn from the tables of `scaling.course.tables`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.course.number import bits_figure
from scaling.figures import paper
from scaling.files import read_table
from scaling.hardware.devices import GB
from scaling.tables.observations import Convention

SIX_ND = Convention("total", "6ND")
LINES = {  # label, colour, dashes; told apart in grey by both
    "kaplan2020": ("Kaplan et al. 2020 (N without embeddings)", "black", (0, (6, 2))),
    "hoffmann2022_envelope": ("Hoffmann et al. 2022, approach 1", "#2b1a5a", "-"),
    "hoffmann2022_isoflop": ("Hoffmann et al. 2022, approach 2", "#1c7f86", (0, (4, 1, 1, 1))),
    "hoffmann2022": ("Hoffmann et al. 2022, approach 3", "#6fb36b", "-"),
}
PARTS = {
    "weights": "weights, 2 bytes",
    "gradients": "gradients, 2 bytes",
    "moments": "Adam's moments, 8 bytes",
    "master": "fp32 weights, 4 bytes",
}
OPTIMA = {"besiroglu2024": ("D", "#1c7f86"), "hoffmann2022": ("^", "#6fb36b")}
TOKENS = ["D", "D_for_N", "D_for_N_low", "D_for_N_high"]
# Where the name of a model begins (or ends, left of its point), in points from it, by the chart.
PLACES = read_table(Path(__file__).with_name("label_places.csv")).set_index("model")
BESIDE = (6.0, 0.0)  # where nothing else is said
PAPER = {"fc": "white", "ec": "none", "pad": 0.8}  # behind what crosses a line
NEAR = 8  # points between a name and its point that need no line
FAMILIES = {"encoder": "s", "encoder-decoder": "^", "decoder": "o"}


def course_figures(tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Draw every figure from what `scaling.course.tables.course_tables` returns."""
    return {
        "tokens": tokens_figure(tables["tokens"]),
        "number": bits_figure(tables["number"]),
        "pf_days": pf_days_figure(tables["pf_days"]),
        "memory": memory_figure(tables["memory"]),
        "known_models": known_models_figure(tables["lines"], tables["known_models"]),
        "crossing": crossing_figure(tables["lines"], tables["crossings"]),
        "models_by_date": models_by_date_figure(tables["models_by_date"]),
    }


def _note(ax: Axes, text: str, point: tuple, offset: tuple, **style: Any) -> None:
    """Write beside a point, `offset` points away from it."""
    ax.annotate(text, point, offset, textcoords="offset points", fontsize=7, **style)


def _name(ax: Axes, text: str, point: tuple, offset: tuple, **style: Any) -> None:
    """Write a name beside its point, and lead from one to the other where it stands apart."""
    apart = max(map(abs, offset)) > NEAR
    line = {"arrowstyle": "-", "lw": 0.5, "color": "0.5", "shrinkA": 0, "shrinkB": 2.5}
    line |= {"relpos": (0.0 if offset[0] > 0 else 1.0, 0.5)}
    style |= {"arrowprops": line} if apart else {}
    side = "left" if offset[0] > 0 else "right"
    _note(ax, text, point, offset, ha=side, va="center", **style)


def _find_place(model: str, chart: str) -> tuple[float, float]:
    """Where a name stands in a chart of N or D against compute, or of dates."""
    place = PLACES.reindex([model])[[f"{chart}_x", f"{chart}_y"]].iloc[0]
    return BESIDE if place.isna().any() else (place.iloc[0], place.iloc[1])


@paper.styled
def tokens_figure(table: pd.DataFrame) -> Figure:
    """Tokens that models saw, and those for which their size is compute-optimal."""
    models = [*dict.fromkeys(table.model)]
    fig = paper.paper_figure(paper.COLUMN, 1.5 + 0.4 * len(models))
    ax = fig.add_subplot()
    heights = {model: -i for i, model in enumerate(models)}
    lanes = np.linspace(0.22, -0.22, table.yardstick.nunique())
    for lane, (yardstick, rows) in zip(lanes, table.groupby("yardstick", sort=False), strict=True):
        marker, colour = OPTIMA.get(str(yardstick), ("o", "black"))
        y = rows.model.map(heights) + lane
        ax.hlines(y, rows.D, rows.D_for_N, color="0.75", lw=0.8, zorder=1)
        style = {"ls": "", "mfc": "white", "mew": 1.1, "ms": 4.5, "zorder": 4}
        label = f"optimal by {yardstick}"
        ends = np.abs(rows[["D_for_N_low", "D_for_N_high"]].T.to_numpy() - rows.D_for_N.to_numpy())
        if np.isfinite(ends).any():
            ax.errorbar(rows.D_for_N, y, xerr=ends, fmt="none", color=colour, capsize=2, zorder=3)
        ax.plot(rows.D_for_N, y, marker, color=colour, label=label, **style)
    seen = table.drop_duplicates("model")
    y = seen.model.map(heights)
    ax.vlines(seen.D, y - 0.32, y + 0.32, color="black", lw=2.2, label="seen in training")
    paper.log_scale(ax, "x", "D", *paper.limits(table[TOKENS], 1.4))
    labels = [f"{m}\n{paper.suffixed(N)}" for m, N in zip(seen.model, seen.N, strict=True)]
    ax.set_yticks([*heights.values()], labels)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-len(models) + 0.5, 0.5)
    paper.legend_above(fig, columns=2)
    return paper.finish(fig, SIX_ND, "below the names: N; bars: 90% bootstrap intervals")


@paper.styled
def pf_days_figure(table: pd.DataFrame) -> Figure:
    """PF-days of pretraining: computed bars, printed marks."""
    fig = paper.paper_figure(paper.COLUMN, 4.2)
    ax = fig.add_subplot()
    families = [*dict.fromkeys(table.family)]
    shades = paper.SHADES(np.linspace(0.0, 1.0, len(families)))
    order = table.assign(family=pd.Categorical(table.family, families))
    order = order.sort_values(["family", "pf_days"])
    y = pd.Series(-np.arange(len(order)), index=order.index)
    for i, (family, shade) in enumerate(zip(families, shades, strict=True)):
        rows = order[order.family == family]
        times = "3ND" if (rows.flops_per_param_token == 3).all() else "6ND"
        bars = {"color": shade, "label": f"{family}, {times}"} | paper.hatched(i)
        ax.barh(y[rows.index], rows.pf_days, 0.7, **bars)
    ax.plot(order.printed_pf_days, y, "|", color="black", ms=9, mew=1.4, label="table D.1")
    for place, value in zip(y, order.pf_days, strict=True):
        text = f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
        _note(ax, text, (value, place), (5, 0), va="center")
    paper.log_scale(ax, "x", "D", 1.0, table.pf_days.max() * 4)
    ax.set_xlabel("Compute of pretraining (PF-days)")
    ax.set_yticks(y, order.model)
    ax.tick_params(axis="y", length=0, labelsize=7)
    ax.set_ylim(y.min() - 0.6, 0.6)
    paper.legend_above(fig, columns=2)
    note = "1 PF-day = 8.64e19 FLOPs; T5: a token passes half of the parameters"
    return paper.finish(fig, SIX_ND, note)


@paper.styled
def known_models_figure(lines: pd.DataFrame, models: pd.DataFrame) -> Figure:
    """N and D against compute: the lines of Kaplan and Hoffmann, the known models as points.

    Beyond the models' compute nothing is drawn.
    """
    fig = paper.paper_figure(paper.PAGE, 3.9)
    panels = fig.subplots(1, 2)
    C = paper.limits(models.C, 2.0)
    shown = lines.loc[lines.C.between(C[0] / 1.5, C[1] * 1.5)]
    drawn = lines.loc[lines.C.between(*C)]
    for ax, symbol in zip(panels, "ND", strict=True):
        _draw_lines(ax, shown, symbol)
        for row in models.to_dict("records"):
            _draw_model(ax, row, symbol)
        paper.log_scale(ax, "x", "C", *C)
        paper.log_scale(
            ax, "y", symbol, *paper.limits([*models[symbol], *drawn[f"{symbol}_opt"]], 1.2)
        )
    paper.legend_above(fig, columns=4)
    return paper.finish(fig, SIX_ND, "points: N and D as reported, at 6ND")


def _draw_lines(ax: Axes, lines: pd.DataFrame, symbol: str) -> None:
    for law, rows in lines.groupby("law", sort=False):
        label, colour, dashes = LINES[str(law)]
        ax.plot(rows.C, rows[f"{symbol}_opt"], ls=dashes, color=colour, label=label)


def _draw_model(ax: Axes, row: dict, symbol: str) -> None:
    ours = row["model"] == "BloombergGPT"
    style = {"marker": "*", "ms": 9} if ours else {"marker": "o", "ms": 4}
    place = _find_place(row["model"], symbol)
    point = (row["C"], row[symbol])
    ax.plot(*point, color="black", mec="white", mew=0.5, zorder=4, **style)
    style = {"weight": "bold" if ours else "normal", "gid": f"model:{row['model']}", "zorder": 5}
    _name(ax, row["model"], point, place, **style)


@paper.styled
def crossing_figure(lines: pd.DataFrame, crossings: pd.DataFrame) -> Figure:
    """N_opt and D_opt by Kaplan and by Hoffmann, and where they part; Kaplan's are marked."""
    fig = paper.paper_figure(paper.PAGE, 3.5)
    marked = crossings[crossings.law == "kaplan2020"]
    for ax, symbol in zip(fig.subplots(1, 2), "ND", strict=True):
        _draw_lines(ax, lines, symbol)
        label = "Kaplan and Hoffmann ask for the same"
        style = {"mfc": "white", "mec": "black", "mew": 1.0, "ms": 5, "ls": "", "zorder": 4}
        ax.plot(marked.C, marked[symbol], "o", label=label, **style)
        first = marked.iloc[0]
        C = paper.powers_of_ten(float(f"{first.C:.1e}"))
        text = f"{paper.suffixed(first[symbol])} at {C} FLOPs"
        offset = (14, -24) if symbol == "N" else (20, -26)
        line = {"arrowstyle": "-", "lw": 0.6, "shrinkB": 4}
        _note(ax, text, (first.C, first[symbol]), offset, arrowprops=line)
        paper.log_scale(ax, "x", "C", *paper.limits(lines.C, 1.0))
        paper.log_scale(ax, "y", symbol, *paper.limits(lines[f"{symbol}_opt"], 1.5))
    paper.legend_above(fig, columns=3)
    return paper.finish(fig, SIX_ND, "annotated: Kaplan against approach 1")


@paper.styled
def memory_figure(table: pd.DataFrame) -> Figure:
    """Bytes on one device by what is sharded: weights, gradients, Adam's states."""
    fig = paper.paper_figure(paper.COLUMN, 3.3)
    ax = fig.add_subplot()
    y, left = -np.arange(len(table)), np.zeros(len(table))
    shades = paper.SHADES(np.linspace(0, 1, 4))
    for i, ((part, label), shade) in enumerate(zip(PARTS.items(), shades, strict=True)):
        size = table[part] / GB
        ax.barh(y, size, 0.68, left=left, color=shade, label=label, **paper.hatched(i))
        left = left + size
    for place, row in zip(y, table.to_dict("records"), strict=True):
        text = f"{row['total'] / GB:.3g} GB"
        text += f", 1/{row['over']:.2g}" if row["over"] > 1 else ""
        _note(ax, text, (row["total"] / GB, place), (4, 0), va="center", bbox=PAPER)
    device = table.device_bytes.iloc[0] / GB
    ax.axvline(device, color="black", ls=(0, (6, 3)), lw=0.8, label=f"a device of {device:g} GB")
    ax.set_yticks(y, table.stage)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 1.25 * table.total.max() / GB)  # the rest is for the numbers
    ax.set_xlabel("Memory on each device (GB)")
    paper.legend_above(fig, columns=2)
    params = paper.suffixed(table.params.iloc[0])
    note = f"{params} parameters on {table.n_devices.iloc[0]} devices, bf16 mixed precision; "
    return paper.finish(fig, SIX_ND, note + "without activations, which no stage shards")


@paper.styled
def models_by_date_figure(table: pd.DataFrame) -> Figure:
    """Sizes of known models by date; filled where none before was as large."""
    fig = paper.paper_figure(paper.PAGE, 3.9)
    ax = fig.add_subplot()
    for (family, marker), shade in zip(
        FAMILIES.items(), paper.SHADES([0.0, 0.5, 1.0]), strict=True
    ):
        rows = table.loc[table.family == family]
        style = {"ls": "", "marker": marker, "color": shade, "ms": 5, "zorder": 3}
        ax.plot(rows.year, rows.N, mfc="white", **style)
        new = rows.loc[rows.largest]
        ax.plot(new.year, new.N, label=family, **style)
    records = table.loc[table.largest]
    ax.step(records.year, records.N, where="post", color="0.75", lw=0.8, label="the largest so far")
    for row in table.to_dict("records"):
        place = _find_place(row["model"], "date")
        _name(ax, row["model"], (row["year"], row["N"]), place, zorder=5)
    paper.log_scale(ax, "y", "N", *paper.limits(table.N, 2.0))
    ax.set_xlim(table.year.min() - 0.35, table.year.max() + 0.35)
    ax.set_xlabel("Year")
    paper.legend_above(fig, columns=4)
    return paper.finish(fig, SIX_ND, "N as reported; hollow: not the largest of its day")
