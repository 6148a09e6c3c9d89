"""Kaplan's three laws of one variable: L(N), L(D), L(C)."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.figures import paper
from scaling.fitting.result import Estimate, Fit
from scaling.tables.observations import Convention

FAR = 3.0  # a limit this many times below all runs is out of view
MEANING = {
    "kaplan_LN": "joint law, D → ∞",
    "kaplan_LD": "joint law, N → ∞",
    "kaplan_LC": "frontier",
}


@paper.styled
def triptych_figure(
    runs: pd.DataFrame,
    LN: Fit | None = None,
    LD: Fit | None = None,
    LC: Fit | None = None,
    *,
    convention: Convention | None = None,
) -> Figure:
    """Loss against N, D and C, with each law and what it is conditional on.

    Parameters
    ----------
    runs, convention : as in `scaling.figures.compute.compute_figure`
    LN, LD, LC : Fit of a law of one variable, optional
        Without one its panel shows the runs alone.

    References
    ----------
    Kaplan et al. 2020, arXiv:2001.08361, figure 1.
    """
    given = {"N": LN, "D": LD, "C": LC}
    laws = {symbol: law for symbol, law in given.items() if law is not None}
    obs, _, convention = drawn = paper.drawn_runs(runs, *laws.values(), convention=convention)
    low, high = paper.limits([*obs.L, *_floors(laws, obs.L.min() / FAR)], 1.05)
    fig = paper.paper_figure(paper.PAGE, 3.1)
    for ax, symbol in zip(fig.subplots(1, 3, sharey=True), given, strict=True):
        paper.log_scale(ax, "x", symbol, *drawn.limits(symbol), 0.27 if symbol == "C" else 0.17)
        paper.log_scale(ax, "y", "L", low, high, gap=0.12)
        ax.yaxis.label.set_visible(symbol == "N")
        rows = obs.loc[obs.status == "ok"]
        ax.plot(rows[symbol], rows.L, "o", ms=2.5, color="0.6", label="runs")
        paper.draw_left_out(ax, drawn, symbol)
    paper.legend_above(fig, columns=4)
    for ax, symbol in zip(fig.axes, given, strict=True):
        if symbol in laws:
            _draw_law(ax, laws[symbol], symbol)
    notes = [f"L({symbol}): {law.note}" for symbol, law in laws.items() if law.note]
    conditional = "runs are conditional: each loss depends on the other two quantities as well"
    notes = ["; ".join([*notes, conditional]), paper.interval_note(*laws.values())]
    return paper.finish(fig, convention, *notes)


def _draw_law(ax: Axes, law: Fit, symbol: str) -> None:
    x = np.geomspace(*paper.limits(law.sampled[symbol], 1.0), 60)
    E = "E + " if "E" in law.params else ""
    name = paper.fit_name(law).replace(law.method, MEANING.get(law.method, law.method))
    alpha = paper.with_interval(law.param("alpha"), decimals=2 if E else 3)
    label = f"{name}:\n{E}A/${symbol}^{{\\alpha}}$, α = {alpha}"
    paper.draw_estimate(ax, x, _loss(law, symbol, x), "#2b1a5a", label)
    if E:
        floor = law.param("E")
        label = f"E = {paper.with_interval(floor)}"
        ax.axhline(floor.value, color="0.3", ls=":", lw=0.9, label=label)
    paper.legend_above(ax)


def _loss(law: Fit, symbol: str, values) -> Estimate:
    variables: dict[str, Any] = {symbol: values}
    return law.loss(**variables)


def _floors(laws: dict[str, Fit], lowest: float) -> list[float]:
    """What laws say at the largest scale, and their E, as far as worth drawing."""
    ends = [float(_loss(law, symbol, law.sampled[symbol][1])) for symbol, law in laws.items()]
    E = [law.params["E"] for law in laws.values() if "E" in law.params]
    return [floor for floor in ends + E if floor > lowest]
