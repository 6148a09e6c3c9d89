"""IsoFLOP bowls with their minima, and the power laws through these."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.figures import paper
from scaling.fitting.result import Fit
from scaling.tables.observations import Convention

SEEDS = "marks: means over seeds; thin lines: their range"
NEAR = 2.0  # a minimum further outside of the sizes than this factor is not drawn


@paper.styled
def isoflop_figure(
    runs: pd.DataFrame,
    fit: Fit | None = None,
    *,
    convention: Convention | None = None,
    refusal: str = "",
) -> Figure:
    """IsoFLOP bowls with their minima; beside them N_opt(C) and D_opt(C) as power laws.

    Parameters
    ----------
    runs, convention, refusal : as in `scaling.figures.compute.compute_figure`
    fit : Fit of method "isoflop", optional
        Bowls whose minimum it refuses are hollow and say why; without a fit only the runs are
        drawn.
    """
    drawn = paper.drawn_runs(runs, fit, convention=convention)
    fig = paper.paper_figure(paper.COLUMN if fit is None else paper.PAGE, 3.3)
    axes = fig.subplots(1, 1 if fit is None else 3, squeeze=False)[0]
    found = draw_bowls(axes[0], drawn, fit)
    if fit is not None and (fit.minima.status == "ok").any():
        axes[0].plot([], [], "*", mfc="white", mec="black", mew=0.8, ms=8, label="minimum")
    scale_bowls(axes[0], drawn, [bowl["N_opt"] for _, bowl in found])
    paper.legend_above(fig, columns=2 if fit is None else 5)
    if fit is None:
        return paper.finish(fig, drawn.convention, f"no fit: {refusal}" if refusal else "")
    for ax, symbol, exponent in ((axes[1], "N", "a"), (axes[2], "D", "b")):
        draw_power_law(ax, fit, draw_minima(ax, found, symbol), symbol, exponent)
    left_out = f"minima left out: {fit.reason}" if fit.reason else ""
    seeds = SEEDS if drawn.obs.duplicated(["budget", "N"]).any() else ""
    return paper.finish(fig, drawn.convention, paper.interval_note(fit), left_out, seeds)


def draw_bowls(
    ax: Axes, drawn: paper.Drawn, fit: Fit | None, among: Iterable[float] = ()
) -> list[tuple[paper.Group, dict]]:
    """Bowls by budget; return those whose minimum is not far outside of the sampled sizes."""
    obs, found = drawn.obs, []
    minima = {} if fit is None else {row["budget"]: row for row in fit.minima.to_dict("records")}
    groups, others = paper.budget_groups(obs, among)
    for group in groups:
        bowl = minima.get(group.budget)
        _draw_bowl(ax, group, bowl)
        if bowl is not None and _is_near(bowl, obs):
            found.append((group, bowl))
    paper.draw_ungrouped(ax, others, "N", "L")
    return found


def scale_bowls(ax: Axes, drawn: paper.Drawn, more: Iterable[float] = ()) -> None:
    """Axes of a panel of bowls: all N, and more, on a log scale, loss beside it."""
    sizes = [*drawn.obs.N, *drawn.stopped.N, *more]
    paper.log_scale(ax, "x", "N", *paper.limits(sizes, 1.3))
    ax.set_ylabel(paper.LABELS["L"])
    ax.margins(y=0.08)
    ax.tick_params(labelsize=8, width=0.6)
    paper.draw_left_out(ax, drawn, "N")


def _is_near(bowl: dict, obs: pd.DataFrame) -> bool:
    return obs.N.min() / NEAR < bowl["N_opt"] < obs.N.max() * NEAR


def _draw_bowl(ax: Axes, group: paper.Group, bowl: dict | None) -> None:
    """Runs of a budget, their parabola and its minimum; hollow where the fit refuses it.

    Where seeds are repeated a mark is their mean, in ln L as it is fitted, and a line their range.
    """
    good = bowl is None or bowl["status"] == "ok"
    style = {"color": group.colour, "mfc": group.colour if good else "none", "mew": 0.8}
    label = group.label if good or bowl is None else f"{group.label}: {bowl['status']}"
    by_size = np.log(group.rows.L).groupby(group.rows.N)
    middle, low, high = (np.exp(found) for found in (by_size.mean(), by_size.min(), by_size.max()))
    ax.vlines(middle.index, low, high, color=group.colour, lw=0.6, zorder=1.5)
    ax.plot(middle.index, middle, group.marker, label=label, **style)
    if bowl is None or not _is_near(bowl, group.rows):
        return
    low, high, N_opt = group.rows.N.min(), group.rows.N.max(), bowl["N_opt"]
    for start, end, line in (
        (low, high, "-"),
        (min(low, N_opt), low, "--"),
        (high, max(high, N_opt), "--"),
    ):
        N = np.geomspace(start, end, 60)
        L = bowl["L_opt"] + bowl["curvature"] * np.log(N / N_opt) ** 2
        ax.plot(N, L, line, color=group.colour, lw=1.0)
    star = {"mec": "black", "mew": 0.8, "ms": 8, "zorder": 4, "mfc": style["mfc"]}
    ax.plot([N_opt], [bowl["L_opt"]], "*", gid=f"minimum:{group.budget:g}", **star)


def draw_minima(ax: Axes, found: list, symbol: str) -> list[float]:
    """Draw N_opt or D_opt of each budget with its interval; return all that must stay in view."""
    shown = []
    for group, bowl in found:
        style = {"color": group.colour, "marker": group.marker}
        shown += paper.draw_bar(ax, bowl, f"{symbol}_opt", **style)
    return shown


def draw_power_law(
    ax: Axes, fit: Fit, shown: Iterable[float], symbol: str, exponent: str, C=None
) -> None:
    """Draw N_opt or D_opt against C, with room for what is `shown` besides."""
    quantity = f"{symbol}_opt"
    C = np.geomspace(*paper.limits(fit.sampled["C"] if C is None else C, 1.2), 50)
    law = getattr(fit, quantity)(C)
    value = paper.with_interval(fit.exponents()[f"{symbol}_exponent"])
    power = f"${symbol}_\\mathrm{{opt}} \\propto C^{{{exponent}}}$"
    label = f"{paper.fit_name(fit)}: {power},\n{exponent} = {value}"
    paper.draw_estimate(ax, C, law, "0.25", label)
    paper.log_scale(ax, "x", "C", *paper.limits(C, 1.0))
    paper.log_scale(ax, "y", symbol, *paper.limits([*law.value, *shown], 1.15))
    ax.set_ylabel(f"{paper.LABELS[symbol]}$_\\mathrm{{opt}}$")
    paper.legend_above(ax)
