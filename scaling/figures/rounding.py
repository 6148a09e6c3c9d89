"""What bits cost: weights beside the numbers of each format, and losses against bits, D/N."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.figures import paper
from scaling.fitting.result import Fit
from scaling.tables.observations import Convention

MANY = 4096  # numbers within the weights, from which ticks are one bar
FP32 = 32  # bits
BEYOND = 12  # where fp32 stands on an axis of bits
CONVENTION = Convention("total", "counted")


@paper.styled
def weights_figure(weights: np.ndarray, grids: Mapping[str, np.ndarray], name: str) -> Figure:
    """Histogram of a matrix, and below it every number that each format can store.

    Parameters
    ----------
    weights : array
    grids : format -> numbers that it can store, its scale included
    name : str
        Of the matrix, for the footer.
    """
    weights = np.ravel(weights)
    fig = paper.paper_figure(paper.PAGE, 2.0 + 0.22 * len(grids))
    above, below = fig.subplots(2, 1, sharex=True, height_ratios=(1.6, 0.2 * len(grids)))
    above.hist(weights, bins=81, color="#9db8e8", lw=0)
    above.set_ylabel("Weights")
    top = 1.001 * float(np.abs(weights).max())
    for i, numbers in enumerate(grids.values()):
        inside = numbers[np.abs(numbers) <= top]
        if len(inside) > MANY:
            below.fill_between([-top, top], -i - 0.32, -i + 0.32, color="0.45", lw=0)
        else:
            below.vlines(inside, -i - 0.32, -i + 0.32, color="black", lw=0.5)
    below.set_yticks([-i for i in range(len(grids))], [*grids])
    below.tick_params(axis="y", length=0)
    below.set_xlabel("Weight")
    below.spines["left"].set_visible(False)
    note = (
        f"{name}, {len(weights):,} weights; ticks: the numbers of each format, scaled so that its\n"
    )
    note += "largest is the largest weight (8 bits and fewer); grey: closer than the eye can part"
    fig.supxlabel(note, x=0.01, ha="left", fontsize=7, color="0.25")
    return fig


@paper.styled
def trained_bits_figure(runs: pd.DataFrame, fit: Fit | None) -> Figure:
    """Held-out loss against the bits of the weights in training, one line a size, one panel a D/N.

    Panels are those of D/N at which weights were rounded.

    Parameters
    ----------
    runs : DataFrame with columns N, D, bits (32: fp32), ratio (planned D/N), L
    fit : Fit of "trained_in_bits", or None
    """
    ratios = sorted(runs.ratio[runs.bits < FP32].unique())
    fig = paper.paper_figure(paper.PAGE, 3.0)
    panels = np.atleast_1d(fig.subplots(1, len(ratios), sharey=True))
    sizes = sorted(runs.N.unique())
    colours = paper.SHADES(np.linspace(0, 1, len(sizes)))
    for ax, ratio in zip(panels, ratios, strict=True):
        for N, colour, marker in zip(sizes, colours, paper.MARKERS, strict=False):
            rows = runs.loc[(runs.ratio == ratio) & (runs.N == N)]
            if rows.empty:
                continue
            label = f"N = {paper.suffixed(N)}"
            ax.plot(_place(rows.bits), rows.L, marker, color=colour, label=label, mfc="none")
            if fit is not None:
                bits = np.append(np.linspace(2, 8, 61), FP32)
                found = fit.loss(N=N, D=float(rows["D"].mean()), bits=bits)
                paper.draw_estimate(ax, _place(bits), found, colour, "")
        _bits_axis(ax, [*sorted(runs.bits.unique())])
        ax.set_title(f"D/N = {ratio:g}", fontsize=8, loc="left")
    panels[0].set_ylabel(paper.LABELS["L"])
    paper.legend_above(fig, columns=4)
    line = "" if fit is None else f"lines: trained_in_bits ({fit.status})"
    bands = paper.interval_note(*[fit] if fit else [], shown="bands")
    return paper.finish(fig, CONVENTION, line, bands)


@paper.styled
def rounding_figure(costs: pd.DataFrame, fit: Fit | None) -> Figure:
    """What rounding after training adds, against D/N, one panel a number of bits.

    Parameters
    ----------
    costs : DataFrame with columns N, D, bits, cost, cost_std (nats/token)
    fit : Fit of "rounding_cost", or None
    """
    several = sorted(costs.bits.unique())
    fig = paper.paper_figure(paper.PAGE, 2.9)
    panels = np.atleast_1d(fig.subplots(1, len(several), sharey=True))
    sizes = sorted(costs.N.unique())
    colours = paper.SHADES(np.linspace(0, 1, len(sizes)))
    shown = costs.loc[costs.cost > 0]
    for ax, bits in zip(panels, several, strict=True):
        for N, colour, marker in zip(sizes, colours, paper.MARKERS, strict=False):
            rows = shown.loc[(shown.bits == bits) & (shown.N == N)].sort_values("D")
            style = {"color": colour, "mfc": "none", "capsize": 2, "elinewidth": 0.8}
            label = f"N = {paper.suffixed(N)}"
            ends = 2 * rows.cost_std
            ax.errorbar(rows["D"] / N, rows.cost, ends, fmt=marker, label=label, **style)
            if fit is not None and len(rows):
                D = np.geomspace(rows["D"].min(), rows["D"].max(), 40)
                found = fit.loss(N=N, D=D, bits=float(bits))
                paper.draw_estimate(ax, D / N, found, colour, "")
        low, high = paper.limits(costs["D"] / costs.N, 1.3)
        paper.log_scale(ax, "x", "D/N", low, high)
        ax.set(yscale="log", title="", ylim=paper.limits(shown.cost, 1.6), xlabel="D/N")
        ax.set_title(f"{bits:g} bits", fontsize=8, loc="left")
    panels[0].set_ylabel("Added loss (nats/token)")
    paper.legend_above(fig, columns=4)
    line = "" if fit is None else f"lines: rounding_cost ({fit.status})"
    notes = line, "bars: two standard errors over windows; costs below zero are not on a log axis"
    return paper.finish(fig, CONVENTION, *notes)


def _place(bits) -> np.ndarray:
    """Bits on the axis; fp32 beside the others."""
    return np.where(np.asarray(bits, float) == FP32, BEYOND, bits)


def _bits_axis(ax: Axes, bits: list[float]) -> None:
    names = ["fp32" if b == FP32 else f"{b:g}" for b in bits]
    ax.set_xticks(_place(bits), names)
    ax.set_xlabel("Bits of a weight")
