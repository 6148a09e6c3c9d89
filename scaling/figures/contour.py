"""The fitted L(N, D): contours with the efficient frontier, and its IsoFLOP slices."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.figures import paper
from scaling.fitting.result import Fit
from scaling.laws.frontier import FRONTIERS
from scaling.laws.table import LAWS

FIELD = "0.6"  # contours stand behind the runs
LEVELS = np.linspace(0.03, 0.9, 9)  # shares of the panel where the loss is lower


@paper.styled
def contour_figure(runs: pd.DataFrame, fit: Fit) -> Figure:
    """Contours of the fitted loss over C and N with the efficient frontier, and IsoFLOP slices.

    `fit` is of a law of N and D; ValueError for another one.

    References
    ----------
    Hoffmann et al. 2022, arXiv:2203.15556, figure 4.
    """
    if fit.law.startswith("power_"):
        raise ValueError(f"contours need a law of N and D, got {fit.law!r}; use a parametric fit")
    obs, _, convention = drawn = paper.drawn_runs(runs, fit)
    fig = paper.paper_figure(paper.PAGE, 3.5)
    left, right = fig.subplots(1, 2)
    C_range, N_range = drawn.limits("C", 1.5), drawn.limits("N", 1.5)
    paper.log_scale(left, "x", "C", *C_range, gap=0.15)
    paper.log_scale(left, "y", "N", *N_range)
    paper.log_scale(right, "x", "N", *N_range, gap=0.11)
    paper.log_scale(right, "y", "L", *paper.limits(obs.L, 1.05))
    _draw_contours(left, fit, C_range, N_range)
    _draw_slices(left, right, fit, obs)
    if fit.law in FRONTIERS:
        _draw_frontier(left, right, fit, C_range)
    paper.draw_left_out(left, drawn, "C", "N")
    paper.draw_left_out(right, drawn, "N")
    paper.legend_above(fig, columns=4)
    note = f"{paper.fit_name(fit)}: {LAWS[fit.law].formula}, {fit.n_runs} runs"
    return paper.finish(fig, convention, note, fit.reason, paper.interval_note(fit))


def _predicted(fit: Fit, C, N) -> np.ndarray:
    return LAWS[fit.law].loss(fit.params, N=N, D=fit.compute.tokens(C, N))


def _draw_contours(ax: Axes, fit: Fit, C_range, N_range) -> None:
    C, N = np.meshgrid(np.geomspace(*C_range, num=120), np.geomspace(*N_range, num=120))
    L = _predicted(fit, C, N)
    levels = np.unique([float(f"{level:.3g}") for level in np.quantile(L, LEVELS)])
    lines = ax.contour(C, N, L, levels=levels, colors=FIELD, linewidths=0.7, zorder=1)
    ax.clabel(lines, fmt="%g", fontsize=7, inline_spacing=2)
    ax.plot([], [], color=FIELD, lw=0.7, label="fitted loss (nats/token)")


def _draw_slices(left: Axes, right: Axes, fit: Fit, obs: pd.DataFrame) -> None:
    groups, others = paper.budget_groups(obs)
    for budget, rows, colour, marker, name in groups:
        dots = {"color": colour, "marker": marker, "ls": "", "ms": 4.5, "mec": "white", "mew": 0.4}
        left.plot(rows.C, rows.N, label=name, **dots)
        right.plot(rows.N, rows.L, **dots)
        N = np.geomspace(rows.N.min() / 1.2, rows.N.max() * 1.2, 80)
        right.plot(N, _predicted(fit, budget, N), color=colour, lw=0.9)
    paper.draw_ungrouped(left, others, "C", "N")
    paper.draw_ungrouped(right, others, "N", "L")


def _draw_frontier(left: Axes, right: Axes, fit: Fit, C_range) -> None:
    C = np.geomspace(*C_range, num=60)
    N_opt = fit.N_opt(C)
    paper.draw_estimate(left, C, N_opt, "black", "_frontier", ls="--", lw=0.8)
    sampled = C[N_opt.status != "extrapolated"]
    left.plot(sampled, fit.N_opt(sampled).value, color="black", label="efficient frontier")
    right.plot(fit.N_opt(sampled).value, fit.L_opt(sampled).value, color="black")
