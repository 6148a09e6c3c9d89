"""Kaplan's three laws of one variable: L(C), L(D), L(N)."""

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
OTHER = {"N": "D", "D": "N"}
TERMS = {"N": ("A", "\\alpha"), "D": ("B", "\\beta"), "C": ("A", "\\alpha")}
GREEK = {"\\alpha": "α", "\\beta": "β"}
DARK = "#2b1a5a"


@paper.styled
def triptych_figure(
    runs: pd.DataFrame,
    LN: Fit | None = None,
    LD: Fit | None = None,
    LC: Fit | None = None,
    *,
    frontier: Fit | None = None,
    convention: Convention | None = None,
) -> Figure:
    """Loss against C, D and N, with each law and what it is conditional on.

    A loss depends on N and D both. Beside a law of D a run is therefore drawn without what the law
    of N takes from it, as L - A/N^alpha, and the other way round: a partial residual, which lies on
    the line where the joint law holds.

    Parameters
    ----------
    runs, convention : as in `scaling.figures.compute.compute_figure`
    LN, LD, LC : Fit of a law of one variable, optional
        Without one its panel shows the runs alone; without both L(N) and L(D) the other's panel
        shows whole losses.
    frontier : Fit of method "isoflop", optional
        Its minima are what L(C) goes through.

    References
    ----------
    Kaplan et al. 2020, arXiv:2001.08361, figure 1.
    """
    given = {"C": LC, "D": LD, "N": LN}
    laws = {symbol: law for symbol, law in given.items() if law is not None}
    drawn = paper.drawn_runs(runs, *laws.values(), convention=convention)
    fig = paper.paper_figure(paper.PAGE, 3.1)
    for ax, symbol in zip(fig.subplots(1, 3), given, strict=True):
        rest = _rest(laws, OTHER.get(symbol))
        ours = drawn._replace(obs=drawn.obs.assign(L=drawn.obs.L - rest(drawn.obs)))
        _draw_runs(ax, ours, symbol, laws.get(symbol))
        if _is_joint(laws) and symbol in OTHER:
            front, power = TERMS[OTHER[symbol]]
            ax.set_ylabel(f"Loss less ${front}/{OTHER[symbol]}^{power}$ (nats/token)")
        if symbol == "C" and frontier is not None:
            _draw_minima(ax, frontier)
    paper.legend_above(fig, columns=4)
    for ax, symbol in zip(fig.axes, given, strict=True):
        if symbol in laws:
            _draw_law(ax, laws[symbol], symbol)
    notes = [f"L({symbol}): {law.note}" for symbol, law in laws.items() if law.note]
    if not _is_joint(laws):
        notes.append("runs are conditional: each loss depends on the other two quantities as well")
    notes = ["; ".join(notes), paper.interval_note(*laws.values(), shown="bands")]
    return paper.finish(fig, drawn.convention, *notes)


def _is_joint(laws: dict[str, Fit]) -> bool:
    return all(symbol in laws and "E" in laws[symbol].params for symbol in OTHER)


def _rest(laws: dict[str, Fit], other: str | None):
    """A function of the runs: the joint law's term of the other quantity, nats/token."""
    if other is None or not _is_joint(laws):
        return lambda _: 0.0
    law = laws[other]
    return lambda obs: _loss(law, other, obs[other].to_numpy()).value - law.params["E"]


def _draw_runs(ax: Axes, drawn: paper.Drawn, symbol: str, law: Fit | None) -> None:
    lowest = drawn.obs.L.min() / FAR
    paper.log_scale(ax, "x", symbol, *drawn.limits(symbol))
    shown = [*drawn.obs.L, *(_ends(law, symbol, lowest) if law is not None else ())]
    paper.log_scale(ax, "y", "L", *paper.limits(shown, 1.05))
    rows = drawn.obs.loc[drawn.obs.status == "ok"]
    ax.plot(rows[symbol], rows.L, "o", ms=2.5, mew=0, color="0.6", label="runs")
    paper.draw_left_out(ax, drawn, symbol)


def _draw_minima(ax: Axes, frontier: Fit) -> None:
    found = frontier.minima.loc[frontier.minima.status == "ok"]
    style = {"color": "black", "ms": 3.5, "ls": "", "zorder": 3}
    ax.plot(found.budget, found.L_opt, "D", label="minimum of a budget's bowl", **style)


def _draw_law(ax: Axes, law: Fit, symbol: str) -> None:
    x = np.geomspace(*paper.limits(law.sampled[symbol], 1.0), 60)
    E = "E + " if "E" in law.params else ""
    name = paper.fit_name(law).replace(law.method, MEANING.get(law.method, law.method))
    front, power = TERMS[symbol]
    found = paper.with_interval(law.param("alpha"), decimals=2 if E else 3)
    label = f"{name}:\n{E}{front}/${symbol}^{{{power}}}$,\n{GREEK[power]} = {found}"
    paper.draw_estimate(ax, x, _loss(law, symbol, x), DARK, label)
    if E:
        floor = law.param("E")
        label = f"E = {paper.with_interval(floor)}"
        ax.axhline(floor.value, color="0.3", ls=":", lw=0.9, label=label)
    paper.legend_above(ax)


def _loss(law: Fit, symbol: str, values) -> Estimate:
    variables: dict[str, Any] = {symbol: values}
    return law.loss(**variables)


def _ends(law: Fit, symbol: str, lowest: float) -> list[float]:
    """What a law and its band say at the ends of the runs, and E, as far as worth drawing."""
    found = _loss(law, symbol, np.array(law.sampled[symbol]))
    numbers = (found.value, found.low, found.high, law.params.get("E", 0.0))
    ends = np.concatenate([np.ravel(number) for number in numbers])
    return [end for end in ends if lowest < end < FAR * np.max(found.value)]
