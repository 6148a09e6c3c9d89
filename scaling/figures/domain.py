"""Training for a domain: what mixing costs, what repeats are worth, what a limit on data moves."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling.figures import paper
from scaling.laws.repeats import effective
from scaling.tables.observations import Convention

CONVENTION = Convention("total", "counted")
OPTIONS = {"unlimited": "-", "repeated": "--", "one_pass": ":"}  # of a plan for limited data
STYLES = ("-", "--", ":")
NAMES = {"unlimited": "no limit", "repeated": "repeated", "one_pass": "every token once"}


@paper.styled
def mixing_figure(mixed: pd.DataFrame, others: pd.DataFrame) -> Figure:
    """Loss on the domain against loss on general text, one line a size.

    Parameters
    ----------
    mixed : DataFrame with columns N, share (of the domain), general, domain (nats/token)
    others : DataFrame with columns N, name, general, domain
        What was trained otherwise on as many tokens, a marker a name.
    """
    sizes = sorted(mixed.N.unique())
    fig = paper.paper_figure(paper.PAGE, 3.0)
    colours = paper.SHADES(np.linspace(0, 1, len(sizes)))
    panels = np.atleast_1d(fig.subplots(1, len(sizes)))
    for ax, N, colour in zip(panels, sizes, colours, strict=True):
        rows = mixed.loc[mixed.N == N].sort_values("share")
        ax.plot(rows.general, rows.domain, "o-", color=colour)
        for row in rows.itertuples():
            ax.annotate(f"{row.share:.0%}", (row.general, row.domain), (-3, -9), size=7,
                        ha="right", textcoords="offset points")  # fmt: skip
        own = others.loc[others.N == N]
        kinds = zip(own.groupby("name", sort=False), paper.MARKERS[1:], strict=False)
        for (name, points), marker in kinds:
            ax.plot(points.general, points.domain, marker, mfc="none", color="0.25", label=name)
        ax.set_title(f"N = {paper.suffixed(N)}", fontsize=8, loc="left")
        ax.set_xlabel("General loss (nats/token)")
        ax.margins(0.16)
    fig.axes[0].set_ylabel("Domain loss (nats/token)")
    fig.axes[0].plot([], [], "o-", color="0.35", label="mixed from the start")
    paper.legend_above(fig, columns=3)
    return paper.finish(fig, CONVENTION, "percentages: share of the domain in the training tokens")


@paper.styled
def repeats_figure(
    runs: pd.DataFrame, laws: pd.DataFrame, worth: pd.DataFrame, R_D: Mapping[str, float]
) -> Figure:
    """Losses on new and on repeated tokens, a panel a size; at last what repeats are worth.

    Parameters
    ----------
    runs : DataFrame with columns N, D, kind (new, repeated), loss (nats/token)
    laws : DataFrame with columns N, D, name, loss
        Lines through the panels.
    worth : DataFrame with columns N, passes, worth
        New tokens that end at the loss of the repeated ones, over the unique tokens.
    R_D : dict, name of a law -> its R_D; worth is 1 + R_D (1 - e^(-(passes - 1) / R_D))
    """
    sizes = sorted(runs.N.unique())
    fig = paper.paper_figure(paper.PAGE, 4.9)
    panels = fig.subplots(2, 2).ravel()
    colours = paper.SHADES(np.linspace(0, 1, len(sizes)))
    styles = dict(zip(R_D, STYLES, strict=False))
    for ax, N, colour in zip(panels[:3], sizes, colours, strict=False):
        own = runs.loc[runs.N == N]
        for kind, face in (("new", colour), ("repeated", "none")):
            rows = own.loc[own.kind == kind]
            ax.plot(rows["D"], rows.loss, "o", color=colour, mfc=face)
        for name, line in laws.loc[laws.N == N].groupby("name", sort=False):
            ax.plot(line["D"], line.loss, styles[name], color="0.35", lw=0.9)
        paper.log_scale(ax, "x", "D", *paper.limits(own["D"], 1.3))
        ax.set_title(f"N = {paper.suffixed(N)}", fontsize=8, loc="left")
        ax.set_ylabel("Domain loss (nats/token)")
    for face, label in (("0.35", "new tokens"), ("none", "repeated tokens")):
        panels[0].plot([], [], "o", color="0.35", mfc=face, label=label)
    for name, style in styles.items():
        label = f"{name}, R_D {R_D[name]:.3g}"
        panels[0].plot([], [], style, color="0.35", lw=0.9, label=label)
    _draw_worth(panels[3], worth, R_D, sizes, colours)
    paper.legend_above(fig, columns=3)
    return paper.finish(fig, CONVENTION)


def _draw_worth(ax, worth, R_D, sizes, colours) -> None:
    passes = np.geomspace(1, worth.passes.max(), 60)
    ax.plot(passes, passes, color="0.7", lw=0.8)
    ax.annotate("new tokens", (passes[-1], passes[-1]), (-4, 0), size=7, ha="right",
                textcoords="offset points", color="0.35")  # fmt: skip
    for R, style in zip(R_D.values(), STYLES, strict=False):
        ax.plot(passes, effective(1, passes - 1, R), style, color="0.35", lw=0.9)
    for N, colour, marker in zip(sizes, colours, paper.MARKERS, strict=False):
        rows = worth.loc[worth.N == N]
        if rows.empty:
            continue
        label = f"N = {paper.suffixed(N)}"
        ax.plot(rows.passes, rows.worth, marker, color=colour, mfc="none", label=label)
    ax.set(xscale="log", yscale="log", xlabel="Passes over the same tokens")
    ax.set_ylabel("Worth / unique tokens")
    ticks = [1, 2, 4, 8, 16, 32]
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_ticks([], minor=True)


@paper.styled
def limit_figure(plans: pd.DataFrame, limit: float, trained: pd.DataFrame) -> Figure:
    """N and D that a law asks for against C, with and without a limit on unique tokens.

    Parameters
    ----------
    plans : DataFrame with columns option (a key of OPTIONS), C (FLOPs), N, D
    limit : float
        Unique tokens.
    trained : DataFrame with columns C, N, D
        Runs, as grey dots.
    """
    fig = paper.paper_figure(paper.PAGE, 3.0)
    for ax, symbol in zip(fig.subplots(1, 2), "ND", strict=True):
        shown = plans.loc[plans.option.isin([*OPTIONS])]
        ax.plot(trained["C"], trained[symbol], "o", color="0.75", ms=2.5, label="runs")
        for option, style in OPTIONS.items():
            rows = shown.loc[shown.option == option].sort_values("C")
            ax.plot(rows["C"], rows[symbol], style, color="black", label=NAMES[option])
        paper.log_scale(ax, "x", "C", *paper.limits([*shown["C"], *trained["C"]], 1.1))
        values = [*shown[symbol], *trained[symbol]]
        paper.log_scale(ax, "y", symbol, *paper.limits(values, 1.2))
        if symbol == "D":
            ax.axhline(limit, color="0.6", lw=0.7)
    paper.legend_above(fig, columns=4)
    note = f"limit: {paper.suffixed(limit)} unique tokens (grey line)"
    return paper.finish(fig, CONVENTION, note)
