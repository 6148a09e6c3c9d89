"""What one sweep gains over another: both lines of the lowest loss, and the gain, over compute."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.figures import paper
from scaling.figures.ticks import RoundTicks
from scaling.fitting.estimate import Estimate
from scaling.fitting.gain import Comparison
from scaling.quantities import LEVEL

COLOURS = ("0.35", "#1f77b4")  # of a and b
MARKS = ("s", "o")
AHEAD = 2.0  # times the largest budget, how far the lines are drawn where nothing more is asked


@paper.styled
def gain_figure(found: Comparison, names: tuple[str, str] = ("a", "b"), reach: float = 0) -> Figure:
    """Two panels: L_opt(C) of both sweeps with the minima of bowls, and the gain of b over a.

    Parameters
    ----------
    found : Comparison
    names : of a and b
    reach : float, FLOPs
        How far to extrapolate; twice the largest budget at least.
    """
    fig = paper.paper_figure(paper.PAGE, 3.0)
    left, right = fig.subplots(1, 2)
    budgets = found.budgets
    ends = budgets.min() / 1.3, max(budgets.max() * AHEAD, reach * 1.15)
    C = np.geomspace(*ends, 200)
    inside = (budgets.min() <= C) & (budgets.max() >= C)
    for which, name, colour, mark in zip("ab", names, COLOURS, MARKS, strict=True):
        _draw_losses(left, found, which, name, C, inside, (colour, mark))
    _draw_gain(right, found, C, inside)
    for ax in (left, right):
        paper.log_scale(ax, "x", "C", *ends)
    drawn = [found.points[[f"loss_{s}_low", f"loss_{s}_high"]].to_numpy() for s in "ab"]
    drawn += [np.exp(found.lines.log_loss(which, np.log(C))[0]) for which in "ab"]
    losses = np.concatenate([values.ravel() for values in drawn])
    paper.log_scale(left, "y", "L", *paper.limits(losses, 1.01))
    right.set_ylabel("Compute-equivalent gain")
    paper.legend_above(left)
    paper.legend_above(right)
    status = "" if found.status == "ok" else f"{found.status}: {found.reason}"
    gain = f"gain: how many times the compute {names[0]} needs to reach the loss of {names[1]}"
    bands = f"bands and bars: {LEVEL:.0%} intervals; dotted: beyond the common budgets"
    return paper.finish(fig, found.a.data.convention, gain, bands, status)


def _draw_losses(ax: Axes, found: Comparison, which: str, name: str, C, inside, style) -> None:
    colour, mark = style
    rows = found.points[found.points.status == "ok"]
    value, low, high = (rows[f"loss_{which}{end}"] for end in ("", "_low", "_high"))
    bars = np.nan_to_num([value - low, high - value])
    look = {"color": colour, "ms": 4, "capsize": 2, "elinewidth": 0.8, "ls": ""}
    ax.errorbar(rows.budget, value, bars, marker=mark, label=f"{name}: minima of bowls", **look)
    line = np.exp(found.lines.log_loss(which, np.log(C))[0])
    ax.plot(C[inside], line[inside], color=colour)
    for beyond in (rows.budget.min() >= C, rows.budget.max() <= C):
        ax.plot(C[beyond], line[beyond], ":", color=colour)


def _draw_gain(ax: Axes, found: Comparison, C: np.ndarray, inside: np.ndarray) -> None:
    colour, rows = COLOURS[1], found.points[found.points.status == "ok"]
    gain: Estimate = found.gain_at(C)
    ax.axhline(1, color="0.6", lw=0.8, zorder=0)
    if found.status == "ok":
        ax.fill_between(C, gain.low, gain.high, color=colour, alpha=0.15, lw=0)
        ax.fill_between(C, gain.low, gain.high, where=list(inside), color=colour, alpha=0.15, lw=0)
        ax.plot(C[inside], gain.value[inside], color=colour, label="line, exponents free")
        for beyond in (rows.budget.min() >= C, rows.budget.max() <= C):
            ax.plot(C[beyond], gain.value[beyond], ":", color=colour)
        label = f"one for all budgets: {paper.with_interval(found.gain, 3)}"
        ax.axhline(found.gain.value, color="black", ls="--", lw=0.8, label=label)
    bars = np.nan_to_num([rows.gain - rows.gain_low, rows.gain_high - rows.gain])
    look = {"capsize": 2, "elinewidth": 0.8, "ls": "", "marker": "o", "ms": 4}
    ax.errorbar(rows.budget, rows.gain, bars, color=colour, label="each budget's own", **look)
    seen = [*rows.gain_low.dropna(), *rows.gain_high.dropna(), *rows.gain, 1.0]
    if found.status == "ok":
        seen += [*gain.value]
    low, high = min(seen), max(seen)
    ax.set_yscale("log")
    room = (high / low) ** 0.12
    ax.yaxis.set_major_locator(RoundTicks("{:g}".format))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_yticks([], minor=True)
    ax.set_ylim(low / room, high * room)
