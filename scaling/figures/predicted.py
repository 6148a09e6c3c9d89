"""What laws said of larger budgets before these were trained, beside what came."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from scaling.figures import paper
from scaling.laws.papers import TOKENS_PER_PARAM_RULE
from scaling.tables.observations import N_MEANING, Convention

RATIO = "tokens_per_param"
APART = 0.045  # of a panel's height, between two names at the end of their lines
ROOM = 14.0  # times the largest budget, for the names
LOOKS = {  # of a law whose fit is doubtful or not: its line, and its name
    True: ({"color": "0.6", "ls": (0, (4, 2))}, "0.35"),
    False: ({"color": "#1c7f86", "ls": "-"}, "#1c7f86"),
}


@paper.styled
def predicted_figure(predictions: pd.DataFrame, minima: pd.DataFrame) -> Figure:
    """Tokens per parameter against C, a panel for every N: lines foretold, bars found.

    Parameters
    ----------
    predictions : DataFrame with columns method, N, C (FLOPs), tokens_per_param, fit_status
        One row per law, meaning of N and budget. A law that its runs reject, or that ends at a
        bound, is dashed and grey.
    minima : DataFrame with columns N, budget (FLOPs), tokens_per_param with _low and _high, status
        Of bowls. Those of budgets that were predicted are stars, earlier ones dots.
    """
    meanings = [*predictions.N.unique()]
    fig = paper.paper_figure(paper.PAGE, 3.9)
    axes = fig.subplots(1, len(meanings), squeeze=False)[0]
    for ax, N in zip(axes, meanings, strict=True):
        rows, bowls = (table.loc[table.N == N] for table in (predictions, minima))
        found = _draw_found(ax, bowls, predictions.C.min())
        C = np.array([*predictions.C, *bowls.budget])
        values = [*rows[RATIO], *found, TOKENS_PER_PARAM_RULE]
        low, high = paper.limits(values, 1.15)
        places = _draw_lines(ax, rows, APART * np.log(high / low))
        low, high = paper.limits([*values, *places], 1.15)
        rule = {"color": "black", "lw": 0.8, "ls": ":", "label": "20 tokens per parameter"}
        ax.plot([C.min() / 1.4, C.max()], [TOKENS_PER_PARAM_RULE] * 2, **rule)
        paper.log_scale(ax, "x", "C", C.min() / 1.4, C.max() * ROOM)
        paper.log_scale(ax, "y", "D/N", low, high)
        ax.set_title(f"N: {N.replace('_', ' ')}", fontsize=8, loc="left")
    paper.legend_above(fig, columns=5)
    others = (f"{N.replace('_', ' ')}: {N_MEANING[N]}" for N in meanings[1:])
    return paper.finish(fig, Convention(meanings[0], "counted"), *others, "bars: 90% intervals")


def _draw_lines(ax: Axes, rows: pd.DataFrame, apart: float) -> np.ndarray:
    """A line for every law, named at its end; names that would touch are moved apart, to these."""
    ends = {}
    for method, points in rows.sort_values("C").groupby("method"):
        known = points.loc[np.isfinite(points[RATIO])]
        if len(known) < 2:
            continue
        doubtful = bool((known.fit_status != "ok").all())
        line, ink = LOOKS[doubtful]
        label = "predicted, by a fit that is not ok" if doubtful else "predicted"
        ax.plot(known.C, known[RATIO], lw=0.9, label=label, **line)
        ends[method] = (known.C.iloc[-1], known[RATIO].iloc[-1], ink)
    order = sorted(ends, key=lambda method: ends[method][1])
    places = np.exp(space_apart(np.log([ends[method][1] for method in order]), apart))
    for method, place in zip(order, places, strict=True):
        C, value, ink = ends[method]
        ax.plot([C, C * 1.22], [value, place], color="0.8", lw=0.5)
        name = str(method).replace("_", " ")
        ax.text(C * 1.27, place, name, color=ink, fontsize=6, va="center")
    return places


def _draw_found(ax: Axes, bowls: pd.DataFrame, first: float) -> list[float]:
    """A bar for every bowl that has a minimum; stars from the first predicted budget on."""
    seen = []
    for bowl in bowls.loc[bowls.status == "ok"].to_dict("records"):
        new = bowl["budget"] > 0.99 * first
        look = {"marker": "*", "ms": 8, "label": "found later"} if new else {"marker": "o", "ms": 3}
        style = {"color": "black", "zorder": 4, "label": "found before"} | look
        seen += [end for end in paper.draw_bar(ax, bowl, RATIO, **style) if np.isfinite(end)]
    return seen


def space_apart(values: np.ndarray, least: float) -> np.ndarray:
    """The nearest rising places that are at least so far apart, for values that rise.

    Least squares: places less their spacing must not fall.

    Examples
    --------
    >>> space_apart(np.array([0.0, 0.1, 3.0]), 1.0).round(2).tolist()
    [-0.45, 0.55, 3.0]
    """
    steps = least * np.arange(len(values))
    return isotonic_regression(np.asarray(values, float) - steps).x + steps
