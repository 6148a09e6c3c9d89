"""Tokens per parameter of compute-optimal models, by every method."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.figures import paper
from scaling.fitting.result import Fit
from scaling.laws.frontier import FRONTIERS
from scaling.laws.papers import TOKENS_PER_PARAM_RULE

LOOKS = {  # colour, marker and line of a method
    "parametric": ("#2b1a5a", "s", "-"),
    "isoflop": ("#1c7f86", "o", (0, (5, 1))),
    "isoflop_power": ("#6fb36b", "v", "-"),
    "envelope": ("#c2981c", "^", (0, (5, 1, 1, 1))),
}
OTHERS = ("0.3", "D", "-")
BESIDE = 0.028  # of ln(reach), between the bars of two methods at one budget
FAR = 4.0  # a bar's end this many times from all values is out of view
MOST = 10  # budgets with bars


@paper.styled
def ratio_figure(fits: Iterable[Fit], *, reach: float = 10.0) -> Figure:
    """Tokens per parameter of the compute-optimal model against C, by every method.

    Bars are intervals at the budgets, side by side; the minima of bowls have their own. ValueError
    where no fit has a frontier, or where conventions differ.

    Parameters
    ----------
    fits : iterable of Fit
        Those without a compute-optimal frontier are left out.
    reach : float, >= 1
        How far beyond the sampled compute to draw, as a factor; there bars stand once more.
    """
    fits = [fit for fit in fits if fit.law in FRONTIERS]
    if not fits:
        raise ValueError("tokens per parameter need a parametric, isoflop or envelope fit")
    convention = paper.one_convention(*fits)
    sampled = [end for fit in fits for end in fit.sampled["C"]]
    low, high = min(sampled), max(sampled)
    C = np.unique([*np.geomspace(low, high * reach, 60), *sampled])
    at = np.append(_budgets(fits, low, high), high * reach)
    fig = paper.paper_figure(paper.PAGE, 3.2)
    ax = fig.add_subplot()
    bowls = [fit for fit in fits if fit.method == "isoflop" and len(fit.minima)]
    lanes = np.arange(len(fits) + len(bowls)) - (len(fits) + len(bowls) - 1) / 2
    aside = np.exp(lanes * BESIDE * np.log(max(reach, 2.0)))
    values, ends = [TOKENS_PER_PARAM_RULE], []
    for fit, step in zip(fits, aside, strict=False):
        shown = _draw_method(ax, fit, C, at, step)
        values, ends = values + shown[0], ends + shown[1]
    for fit in bowls:
        shown = _draw_minima(ax, fit, aside[-1])
        values, ends = values + shown[0], ends + shown[1]
    ax.plot([], [], color="0.4", ls=":", lw=1.0, label="extrapolated")
    rule = {"color": "black", "ls": (0, (6, 3)), "lw": 0.8}
    ax.axhline(TOKENS_PER_PARAM_RULE, label="20 tokens per parameter", **rule)
    paper.log_scale(ax, "x", "C", *paper.limits(C, 1.3))
    near = np.clip(ends, min(values) / FAR, max(values) * FAR) if ends else []
    paper.log_scale(ax, "y", "D/N", *paper.limits([*values, *near], 1.15))
    paper.legend_above(fig, columns=4)
    return paper.finish(fig, convention, paper.interval_note(*fits, shown="bars"))


def _budgets(fits: list[Fit], low: float, high: float) -> np.ndarray:
    """Where bars stand: at the budgets of bowls, or evenly over the sampled compute."""
    for fit in fits:
        if "budget" in fit.minima:
            budgets = fit.minima.budget.to_numpy(float)
            return budgets[:: -(-len(budgets) // MOST)]
    return np.geomspace(low, high, 5)


def _draw_method(ax: Axes, fit: Fit, C, at, aside: float) -> tuple[list[float], list[float]]:
    """Draw a method; return the values that must stay in view, and the ends of its bars."""
    colour, marker, line = LOOKS.get(fit.method, OTHERS)
    ratio, bars = fit.tokens_per_param(C), fit.tokens_per_param(at)
    inside = np.where(paper.is_inside(fit, C, ratio), ratio.value, np.nan)
    ax.plot(C, ratio.value, ":", color=colour, lw=1.0)
    look = {"marker": marker, "markevery": [], "ms": 3.5, "label": paper.fit_name(fit)}
    ax.plot(C, inside, color=colour, ls=line, **look)
    error = np.abs([bars.value - bars.low, bars.high - bars.value])
    known = np.isfinite(bars.value)
    style = {"color": colour, "ms": 3.5, "mec": "white", "mew": 0.4, "capsize": 1.5}
    style |= {"elinewidth": 0.9, "ls": "", "zorder": 3}
    error = error[:, known] if np.all(np.isfinite(error[:, known])) else None
    ax.errorbar(at[known] * aside, bars.value[known], error, marker=marker, **style)
    ends = [*bars.low[known], *bars.high[known]] if error is not None else []
    return [*ratio.value[np.isfinite(ratio.value)]], ends


def _draw_minima(ax: Axes, fit: Fit, aside: float) -> tuple[list[float], list[float]]:
    values, ends = [], []
    for bowl in fit.minima.to_dict("records"):
        if np.isfinite(bowl["tokens_per_param"]):
            good = bowl["status"] == "ok"
            label = "minimum of a budget" if good else "minimum outside the sizes"
            style = {"color": "black", "mfc": "white", "ms": 3.5, "marker": "o" if good else "x"}
            moved = bowl | {"budget": bowl["budget"] * aside}
            value, *own = paper.draw_bar(ax, moved, "tokens_per_param", label=label, **style)
            values, ends = [*values, value], ends + (own if good else [])
    return values, ends
