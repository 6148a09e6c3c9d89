"""What the figures share: a style for print, log axes with readable ticks, legends, footers, runs.

Every figure carries the convention of its N and C in the footer. A run that did not finish stands
at the upper edge, and one that the fits leave out is a grey ring.
"""

import re
import textwrap
from collections.abc import Iterable
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from scaling.figures.ticks import MARKUP, SIZE, RoundTicks, powers_of_ten, suffixed
from scaling.fitting.bowl import MAX_SPREAD
from scaling.fitting.result import LEVEL, SLACK, Estimate, Fit
from scaling.tables.observations import Convention, count_compute, default_convention, observations

COLUMN, PAGE = 3.5, 7.1  # inches: one column and the full width of a two-column page
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.labelspacing": 0.3,
    "legend.columnspacing": 1.2,
}
styled = rc_context(STYLE)  # decorates what draws a figure
LABELS = {
    "C": "Training compute C (FLOPs)",
    "N": "Parameters N",
    "D": "Training tokens D",
    "L": "Held-out loss (nats/token)",
    "D/N": "Tokens per parameter D/N",
}
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\")  # of bars, which colour alone parts in no grey
SHADES = ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.78, 256)))  # none too pale
MARKERS = "osD^vP*X"
STOPPED = {"diverged": "x", "failed": "+"}
EDGE = 0.97  # height of stopped runs in the panel
MOST_BUDGETS = 10  # in a legend


class Drawn(NamedTuple):
    """The runs of a figure, in the symbols of its fits."""

    obs: pd.DataFrame  # finished ones; status "ok", or "excluded" where a fit leaves the run out
    stopped: pd.DataFrame  # run_id, N, D, C and status, as far as the table has them
    convention: Convention

    def limits(self, symbol: str, pad: float = 1.15) -> tuple[float, float]:
        """What an axis of N, D or C must reach."""
        return limits([*self.obs[symbol], *self.stopped[symbol]], pad)


class Group(NamedTuple):
    """The runs of one budget (FLOPs), and how to draw them."""

    budget: float
    rows: pd.DataFrame
    colour: tuple
    marker: str
    label: str


def paper_figure(width: float, height: float) -> Figure:
    """Make an empty figure of this size in inches."""
    return Figure(figsize=(width, height), dpi=200, layout="constrained")


def limits(values, pad: float = 1.15) -> tuple[float, float]:
    """Smallest and largest finite positive value, `pad` times further out."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values) & (values > 0)]
    return float(values.min() / pad), float(values.max() * pad)


def log_scale(ax: Axes, side: str, symbol: str, low: float, high: float) -> None:
    """Make side x or y of a panel the logarithmic axis of a quantity."""
    ax.set(**{f"{side}scale": "log", f"{side}lim": (low, high), f"{side}label": LABELS[symbol]})
    axis = ax.xaxis if side == "x" else ax.yaxis
    write = {"C": powers_of_ten, "N": suffixed, "D": suffixed}.get(symbol, "{:g}".format)
    axis.set_major_locator(RoundTicks(write))
    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
    minor = LogLocator(subs=[*range(2, 10)]) if high / low < 1e6 else FixedLocator([])
    axis.set_minor_locator(minor)
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(which="both", labelsize=SIZE, width=0.6)


def with_interval(number: Estimate, decimals: int = 2) -> str:
    """A number and, if there is one, its interval."""
    ends = [f"{end:.{decimals}f}" for end in (number.low, number.high) if np.isfinite(end)]
    return f"{number.value:.{decimals}f}" + (f" [{', '.join(ends)}]" if ends else "")


def fit_name(fit: Fit) -> str:
    """The method, and the status if it is not ok."""
    return fit.method + ("" if fit.status == "ok" else f" ({fit.status})")


def legend_above(target: Axes | Figure, columns: int = 1) -> None:
    """Legend where it hides nothing: over the figure for all panels, or over one panel.

    That of a panel leaves out what the figure's already says. There are at most `columns`
    columns, fewer where the labels are long.
    """
    panels = target.axes if isinstance(target, Figure) else [target]
    entries = {
        label: handle
        for ax in panels
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    if isinstance(target, Figure):
        longest = max(len(MARKUP.sub("", label)) for label in entries) * 4.0 + 30  # points
        fitting = max(1, int(target.get_figwidth() * 72 / longest))
        place = {"loc": "outside upper left", "ncols": min(columns, fitting)}
    else:
        for text in (text for legend in target.figure.legends for text in legend.get_texts()):
            entries.pop(text.get_text(), None)
        place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.02)}
        place |= {"borderaxespad": 0.0, "borderpad": 0.0, "handlelength": 1.4, "fontsize": 7}
    if entries:
        target.legend([*entries.values()], [*entries], **place)


def finish(fig: Figure, convention: Convention, *notes: str) -> Figure:
    """Write below the figure what its N and C mean, if it has them, and the notes not empty."""
    width, notes = int(fig.get_figwidth() * 19), tuple(filter(None, notes))
    told = " ".join([*_texts(fig), *notes])
    symbols = [symbol for symbol in "NC" if re.search(rf"\b{symbol}\b", told)]
    lines = textwrap.wrap(convention.describe(symbols), width)
    for note in notes:
        lines += textwrap.wrap(note, width, max_lines=3, placeholder=" ...")
    fig.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7, color="0.25")
    return fig


def _texts(fig: Figure) -> list[str]:
    """Labels and titles of all panels, and what the legends say."""
    legends = [*fig.legends, *(ax.get_legend() for ax in fig.axes)]
    texts = [text.get_text() for legend in legends if legend for text in legend.get_texts()]
    for ax in fig.axes:
        texts += [ax.get_xlabel(), ax.get_ylabel(), ax.get_title("left")]
    return texts


def interval_note(*fits: Fit, shown: str = "bands and bars") -> str:
    """What bands and bars are, if there are any."""
    kinds = dict.fromkeys(fit.bootstrap.kind for fit in fits if fit.bootstrap.n)
    return f"{shown}: {LEVEL:.0%} intervals, {'/'.join(kinds)} bootstrap" if kinds else ""


def one_convention(*fits: Fit, default: Convention | None = None) -> Convention:
    """The convention of all fits, or the default without one; ValueError if they differ."""
    conventions = {fit.convention for fit in fits} or {default or Convention()}
    if len(conventions) > 1:
        raise ValueError(
            f"one figure cannot hold two conventions: {[c.describe() for c in conventions]}; "
            "fit all methods under one"
        )
    return conventions.pop()


def drawn_runs(
    runs: pd.DataFrame, *fits: Fit | None, convention: Convention | None = None
) -> Drawn:
    """Finished runs and stopped ones; ValueError where none has finished."""
    if not (runs.status == "ok").any():
        raise ValueError("no run has finished: there is nothing to draw")
    present = [fit for fit in fits if fit is not None]
    convention = one_convention(*present, default=convention or default_convention(runs))
    obs, _ = observations(runs, convention)
    left_out = {run_id for fit in present for run_id, _ in fit.excluded}
    obs["status"] = np.where(obs.run_id.isin(left_out), "excluded", "ok")
    rows = runs.loc[runs.status != "ok"]
    N, C = count_compute(rows, convention)
    known = {"run_id": rows.run_id, "N": N, "D": rows.tokens, "C": C, "status": rows.status}
    return Drawn(obs, pd.DataFrame(known), convention)


def draw_left_out(ax: Axes, drawn: Drawn, x: str, y: str = "L") -> None:
    """Excluded runs as grey rings, stopped ones at the upper edge (at their y if they have it)."""
    obs, stopped, _ = drawn
    excluded = obs.loc[obs.status == "excluded"]
    if len(excluded):
        label = f"excluded from the fit ({len(excluded)})"
        ax.plot(excluded[x], excluded[y], "o", mec="0.5", mfc="none", mew=0.9, label=label)
    for status, marker in STOPPED.items():
        rows = stopped.loc[stopped.status == status]
        if rows.empty:
            continue
        shown = rows.loc[rows[x] > 0]
        heights, place = np.full(len(shown), EDGE), ax.get_xaxis_transform()
        if y in rows:
            heights, place = shown[y], ax.transData
        style = {"color": "black", "ms": 5, "mew": 1.2, "ls": "", "transform": place}
        ax.plot(shown[x], heights, marker=marker, label=f"{status} ({len(rows)})", **style)


def budget_groups(
    obs: pd.DataFrame, among: Iterable[float] = ()
) -> tuple[list[Group], pd.DataFrame]:
    """Runs that a fit uses by budget, and those of no group of 3 sizes at about one C.

    A budget looks the same wherever it is drawn with the same others `among` which it is.
    """
    used = obs.loc[obs.status == "ok"]
    by_budget = used.groupby("budget")
    spread = by_budget.C.transform("max") / by_budget.C.transform("min")
    grouped = (by_budget.N.transform("nunique") > 2) & (spread <= MAX_SPREAD)
    budgets = sorted({*used.budget[grouped], *among})
    shades = SHADES(np.linspace(0, 1, len(budgets))) if len(budgets) > 1 else SHADES([0.4])
    every = -(-len(budgets) // MOST_BUDGETS) if budgets else 1
    groups = []
    for i, (budget, marker) in enumerate(zip(budgets, cycle(MARKERS), strict=False)):
        label = ("" if i % every == 0 else "_") + f"C = {powers_of_ten(budget)}"
        rows = used.loc[grouped & (used.budget == budget)].sort_values("N")
        if len(rows):
            groups.append(Group(budget, rows, tuple(shades[i]), marker, label))
    return groups, used.loc[~grouped]


def draw_ungrouped(ax: Axes, rows: pd.DataFrame, x: str, y: str) -> None:
    """Runs of no budget as grey dots."""
    if len(rows):
        label = f"runs of no IsoFLOP group ({len(rows)})"
        ax.plot(rows[x], rows[y], "o", ms=2.5, color="0.6", zorder=1.5, label=label)


def draw_estimate(ax: Axes, x: np.ndarray, number: Estimate, color, label: str, **line) -> None:
    """A curve and the band of its interval."""
    ax.plot(x, number.value, color=color, label=label, **line)
    if np.all(np.isfinite(number.low)):
        ax.fill_between(x, number.low, number.high, color=color, alpha=0.18, lw=0, zorder=1)


def hatched(number: int) -> dict[str, Any]:
    """How the bars of a kind are filled: white lines that are told apart in grey."""
    return {"hatch": HATCHES[number % len(HATCHES)], "edgecolor": "white", "linewidth": 0}


def is_inside(fit: Fit, C: np.ndarray, found: Estimate) -> np.ndarray:
    """Where an optimum is no extrapolation; a status that stands for all C does not tell."""
    low, high = fit.sampled["C"]
    return (found.status != "extrapolated") & (low / SLACK <= C) & (high * SLACK >= C)


def draw_bar(ax: Axes, bowl: dict, quantity: str, **mark) -> list[float]:
    """Draw and return a minimum with its interval, if any; hollow where the fit refuses it."""
    face = mark["color"] if bowl["status"] == "ok" else "none"
    value, *ends = (bowl.get(f"{quantity}{end}", np.nan) for end in ("", "_low", "_high"))
    error = np.abs(np.subtract(ends, value))[:, None] if np.all(np.isfinite(ends)) else None
    style = {"capsize": 2, "elinewidth": 0.8, "ls": "", "mfc": face} | mark
    ax.errorbar([bowl["budget"]], [value], error, **style)
    return [value, *ends]
