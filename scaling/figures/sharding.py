"""Models spread over devices: who holds what, memory by sharding factor, speed against ranks."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator

from scaling.figures import paper

PARTS = {"parameters": "#2b1a5a", "gradients": "#1c7f86", "optimizer states": "#8fca5c"}
PALE = 0.45  # opacity of a gradient that is not summed yet
GB = 1e9  # bytes
LANE, BOX = 0.3, 0.22  # of a device's height


@paper.styled
def layout_figure(layout: pd.DataFrame) -> Figure:
    """Boxes per device: the shards of a layer that it holds before, during and after the layer.

    Parameters
    ----------
    layout : DataFrame, as `scaling.hardware.layout.layout_table` returns it
    """
    strategies, moments = ([*dict.fromkeys(layout[c])] for c in ("strategy", "moment"))
    fig = paper.paper_figure(paper.PAGE, 0.6 + 0.85 * len(strategies))
    panels = fig.subplots(len(strategies), len(moments), squeeze=False)
    for i, j in np.ndindex(panels.shape):
        strategy, moment = strategies[i], moments[j]
        rows = layout.loc[(layout.strategy == strategy) & (layout.moment == moment)]
        ax = cast(Axes, panels[i, j])
        _draw_devices(ax, rows)
        if j == 0:
            ax.set_ylabel(str(strategy).replace(", ", "\n"), fontsize=7)
        if i == 0:
            ax.set_title(f"{moment} the layer", fontsize=8, loc="left")
    kinds = [Patch(color=colour, label=part) for part, colour in PARTS.items()]
    own = Patch(color=PARTS["gradients"], alpha=PALE, lw=0, label="gradients, own batch only")
    empty = Patch(fc="white", ec="0.75", label="lies elsewhere, or not at all")
    fig.legend(handles=[*kinds, own, empty], loc="outside upper left", ncols=5, fontsize=7)
    note = "One layer in four shards on four devices (0 to 3), in the backward pass."
    fig.supxlabel(note, x=0.01, ha="left", fontsize=7, color="0.25")
    return fig


def _draw_devices(ax: Axes, rows: pd.DataFrame) -> None:
    shards, devices = rows.shard.nunique(), rows.device.nunique()
    lanes = {part: 2 - i for i, part in enumerate(PARTS)}
    for row in rows.to_dict("records"):
        held, colour = row["held"], PARTS[row["part"]]
        corner = row["device"] + 0.06 + 0.88 * row["shard"] / shards, LANE * lanes[row["part"]]
        fill = {"fc": colour, "alpha": PALE if held == "own" else 1.0} if held else {"fc": "white"}
        edge = {"ec": "white" if held else "0.75", "lw": 0.5}
        ax.add_patch(Rectangle(corner, 0.88 / shards, BOX, **fill, **edge))
    ax.set(xlim=(0, devices), ylim=(-0.05, 3 * LANE), yticks=[])
    ax.set_xticks(np.arange(devices) + 0.5, [str(d) for d in range(devices)], fontsize=7)
    ax.tick_params(length=0, pad=1)
    ax.spines[["left", "bottom"]].set_visible(False)


@paper.styled
def factor_figure(lines: pd.DataFrame, points: pd.DataFrame, device_bytes: float) -> Figure:
    """Peak bytes on a rank against the sharding factor: computed lines, simulated points.

    Parameters
    ----------
    lines, points : DataFrames with columns model, factor, peak (bytes)
    device_bytes : float; of a device, drawn across
    """
    fig = paper.paper_figure(paper.PAGE, 3.4)
    ax = fig.add_subplot()
    models = [*dict.fromkeys(lines.model)]
    shades = paper.SHADES(np.linspace(0, 1, len(models)))
    for model, colour, marker in zip(models, shades, paper.MARKERS, strict=False):
        line, own = lines[lines.model == model], points[points.model == model]
        ax.plot(line.factor, line.peak / GB, color=colour, label=f"{model}, computed", zorder=2)
        style = {"ls": "", "mec": "white", "mew": 0.5, "ms": 5.5, "zorder": 3}
        label = f"{model}, simulated"
        ax.plot(own.factor, own.peak / GB, marker, color=colour, label=label, **style)
    ax.axhline(device_bytes / GB, color="black", ls=(0, (6, 3)), lw=0.8)
    text = f"a device of {device_bytes / GB:g} GB"
    ax.text(lines.factor.max(), device_bytes / GB * 1.05, text, fontsize=7, ha="right")
    ax.set(xscale="log", yscale="log", ylabel="Peak memory of a step (GB)")
    ax.set_xlabel("Sharding factor: ranks that share one copy (1 = DDP's replicas)")
    _name_ticks(ax, lines.factor)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    paper.legend_above(fig, columns=4)
    return fig


def _name_ticks(ax: Axes, values: Sequence[float] | pd.Series) -> None:
    ticks = sorted({*values})
    ax.set_xticks(ticks, [f"{int(tick)}" for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())


@paper.styled
def speed_figure(table: pd.DataFrame, predicted: pd.DataFrame, reported: float) -> Figure:
    """Speed of a rank by size and strategy here; of a GPU against their number, as predicted.

    Parameters
    ----------
    table : DataFrame with columns model, ranks, strategy, flops_per_s and its _low and _high
    predicted : DataFrame with columns n_sequences, ranks, relative_low, relative_high
        Speed over that of the fewest ranks, without and with all overlap.
    reported : float; relative speed at the most ranks, as published
    """
    fig = paper.paper_figure(paper.PAGE, 3.0)
    left, right = fig.subplots(1, 2, width_ratios=(1.6, 1))
    groups = [*dict.fromkeys(zip(table.model, table.ranks, strict=True))]
    strategies = [*dict.fromkeys(table.strategy)]
    shades = paper.SHADES(np.linspace(0, 1, len(strategies)))
    for i, (strategy, colour) in enumerate(zip(strategies, shades, strict=True)):
        rows = table[table.strategy == strategy]
        places = [groups.index(key) for key in zip(rows.model, rows.ranks, strict=True)]
        x = np.array(places) + (i - (len(strategies) - 1) / 2) * 0.27
        ends = np.abs(rows[["flops_per_s_low", "flops_per_s_high"]].T - rows.flops_per_s) / GB
        bars = {"yerr": ends.to_numpy(), "error_kw": {"lw": 0.7, "capsize": 1.5}}
        bars |= paper.hatched(i)
        left.bar(x, rows.flops_per_s / GB, 0.25, color=colour, label=strategy, **bars)
    left.set_xticks(
        range(len(groups)), [f"{model.split()[-1]}\nx{ranks}" for model, ranks in groups]
    )
    left.tick_params(axis="x", length=0, labelsize=6.5)
    left.set_ylabel("Speed of a rank (GFLOP/s), here")
    left.set_xlabel("Parameters of the T5, and ranks")
    for (n, rows), colour in zip(predicted.groupby("n_sequences"), shades, strict=False):
        label = f"{n:g} windows, predicted: no to all overlap"
        right.fill_between(
            rows.ranks, rows.relative_low, rows.relative_high, color=colour, alpha=0.4, label=label
        )
    style = {"color": "black", "ls": "--", "marker": "o", "lw": 0.8}
    ends = predicted.ranks.min(), predicted.ranks.max()
    right.plot(ends, (1.0, reported), label="reported by Zhao et al. 2023, ends", **style)
    right.set(xscale="log", ylim=(0, 1.1), xlabel="GPUs", ylabel="Speed of a GPU, over 8 GPUs")
    _name_ticks(right, predicted.ranks)
    right.tick_params(axis="x", labelsize=6.5)
    paper.legend_above(fig, columns=3)
    return fig
