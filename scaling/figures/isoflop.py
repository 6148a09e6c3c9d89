"""IsoFLOP bowls with their minima, and the power laws through these."""

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.figures import paper
from scaling.fitting.result import Fit
from scaling.tables.observations import Convention

NEAR = 2.0  # a minimum further outside of the sizes than this factor is not drawn


@rc_context(paper.STYLE)
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
    obs, stopped, convention = paper.drawn_runs(runs, fit, convention=convention)
    fig = paper.paper_figure(paper.COLUMN if fit is None else paper.PAGE, 3.3)
    axes = fig.subplots(1, 1 if fit is None else 3, squeeze=False)[0]
    bowls = {} if fit is None else {row["budget"]: row for row in fit.minima.to_dict("records")}
    groups, others = paper.budget_groups(obs)
    for group in groups:
        draw_bowl(axes[0], group, bowls.get(group.budget))
    paper.draw_ungrouped(axes[0], others, "N", "L")
    if any(bowl["status"] == "ok" for bowl in bowls.values()):
        axes[0].plot([], [], "*", mfc="white", mec="black", mew=0.8, ms=8, label="minimum")
    bowl_axes(axes[0], [*obs.N, *stopped.N, *(b["N_opt"] for b in bowls.values() if near(b, obs))])
    paper.draw_left_out(axes[0], obs, stopped, "N")
    paper.legend_above(fig, columns=2 if fit is None else 5)
    if fit is None:
        return paper.finish(fig, convention, f"no fit: {refusal}" if refusal else "")
    found = [(group, bowls[group.budget]) for group in groups if near(bowls[group.budget], obs)]
    for ax, symbol, exponent in ((axes[1], "N", "a"), (axes[2], "D", "b")):
        draw_power_law(ax, fit, found, symbol, exponent)
    left_out = f"minima left out: {fit.reason}" if fit.reason else ""
    return paper.finish(fig, convention, paper.interval_note(fit), left_out)


def near(bowl: dict, obs: pd.DataFrame) -> bool:
    """Tell whether there is a minimum, not far outside of the sampled sizes."""
    return obs.N.min() / NEAR < bowl["N_opt"] < obs.N.max() * NEAR


def bowl_axes(ax: Axes, sizes: list[float]) -> None:
    """Axes of a panel of bowls: N on a log scale around these sizes, loss beside it."""
    paper.log_scale(ax, "x", "N", *paper.limits(sizes, 1.3), gap=0.16)
    ax.set_ylabel(paper.LABELS["L"])
    ax.margins(y=0.08)
    ax.tick_params(labelsize=8, width=0.6)


def draw_bowl(ax: Axes, group: paper.Group, bowl: dict | None) -> None:
    """Runs of a budget, their parabola and its minimum; hollow where the fit refuses it."""
    good = bowl is None or bowl["status"] == "ok"
    style = {"color": group.colour, "mfc": group.colour if good else "none", "mew": 0.8}
    label = group.label if good or bowl is None else f"{group.label}: {bowl['status']}"
    ax.plot(group.rows.N, group.rows.L, group.marker, label=label, **style)
    if bowl is None or not near(bowl, group.rows):
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


def draw_power_law(ax: Axes, fit: Fit, found: list, symbol: str, exponent: str) -> None:
    """Draw N_opt or D_opt against C, through the minima with their intervals."""
    quantity = f"{symbol}_opt"
    C = np.geomspace(*paper.limits(fit.sampled["C"], 1.2), 50)
    law = getattr(fit, quantity)(C)
    value = paper.with_interval(fit.exponents()[f"{symbol}_exponent"])
    power = f"${symbol}_\\mathrm{{opt}} \\propto C^{{{exponent}}}$"
    paper.draw_estimate(
        ax, C, law, "0.25", f"{paper.fit_name(fit)}: {power},\n{exponent} = {value}"
    )
    shown = [*law.value]
    for group, bowl in found:
        paper.draw_bar(ax, bowl, quantity, color=group.colour, marker=group.marker)
        shown += [bowl[quantity], *paper.interval_ends(bowl, quantity)]
    paper.log_scale(ax, "x", "C", *paper.limits(C, 1.0), gap=0.27)
    paper.log_scale(ax, "y", symbol, *paper.limits(shown, 1.15))
    ax.set_ylabel(f"{paper.LABELS[symbol]}$_\\mathrm{{opt}}$")
    paper.legend_above(ax)
