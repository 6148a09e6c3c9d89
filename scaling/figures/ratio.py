"""Tokens per parameter of compute-optimal models, by every method."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.figures import paper
from scaling.fitting.result import Fit
from scaling.laws.frontier import FRONTIERS
from scaling.laws.papers import TOKENS_PER_PARAM_RULE

LOOKS = {
    "parametric": ("#2b1a5a", "s"),
    "isoflop": ("#1c7f86", ""),
    "isoflop_power": ("#6fb36b", "v"),
    "envelope": ("#c2981c", "^"),
}
MINIMA = {"ok": "minimum of a budget", "extrapolated": "minimum outside the sizes"}


@paper.styled
def ratio_figure(fits: Iterable[Fit], *, reach: float = 10.0) -> Figure:
    """Tokens per parameter of the compute-optimal model against C, by every method.

    The minima of an isoflop fit are drawn with their intervals, extrapolations dashed. ValueError
    where no fit has a frontier, or where conventions differ.

    Parameters
    ----------
    fits : iterable of Fit
        Those without a compute-optimal frontier are left out.
    reach : float, >= 1
        How far beyond the sampled compute to draw, as a factor.
    """
    fits = [fit for fit in fits if fit.law in FRONTIERS]
    if not fits:
        raise ValueError("tokens per parameter need a parametric, isoflop or envelope fit")
    convention = paper.one_convention(*fits)
    sampled = [end for fit in fits for end in fit.sampled["C"]]
    C = np.unique([*np.geomspace(min(sampled) / 1.5, max(sampled) * reach, 60), *sampled])
    fig = paper.paper_figure(paper.COLUMN, 3.4)
    ax = fig.add_subplot()
    shown = [TOKENS_PER_PARAM_RULE]
    for fit in fits:
        shown += _draw_method(ax, fit, C)
    ax.plot([], [], color="0.4", ls="--", lw=0.9, label="extrapolated")
    rule = {"color": "black", "ls": (0, (6, 3)), "lw": 0.8}
    ax.axhline(TOKENS_PER_PARAM_RULE, label="20 tokens per parameter", **rule)
    paper.log_scale(ax, "x", "C", *paper.limits(C, 1.0), gap=0.19)
    paper.log_scale(ax, "y", "D/N", *paper.limits(shown, 1.3))
    paper.legend_above(fig, columns=2)
    return paper.finish(fig, convention, paper.interval_note(*fits))


def _draw_method(ax: Axes, fit: Fit, C: np.ndarray) -> list[float]:
    """Draw a method; return the values that must stay in view."""
    colour, marker = LOOKS.get(fit.method, ("0.3", "D"))
    ratio = fit.tokens_per_param(C)
    outside = ratio.status == "extrapolated"
    inside = np.where(outside, np.nan, ratio.value)
    ax.plot(C, ratio.value, "--", color=colour, lw=0.9, alpha=0.7)
    ax.plot(C, inside, color=colour, marker=marker, markevery=8, ms=3.5, label=paper.fit_name(fit))
    if np.all(np.isfinite(ratio.low)):
        ax.fill_between(C, ratio.low, ratio.high, where=~outside, color=colour, alpha=0.25, lw=0)
        ax.fill_between(C, ratio.low, ratio.high, color=colour, alpha=0.08, lw=0)
    shown = [*ratio.value]
    for bowl in fit.minima.to_dict("records") if fit.method == "isoflop" else ():
        if np.isfinite(bowl["tokens_per_param"]):
            mark = {"color": colour, "marker": "o", "label": MINIMA[bowl["status"]]}
            ends = paper.draw_bar(ax, bowl, "tokens_per_param", **mark)
            shown += ends if bowl["status"] == "ok" else []
    return shown
