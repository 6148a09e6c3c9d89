"""The fitted L(N, D): contours with the efficient frontier, and its IsoFLOP slices."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scaling.figures import paper
from scaling.figures.ticks import EVENLY
from scaling.fitting.result import Fit
from scaling.laws.frontier import FRONTIERS
from scaling.laws.table import LAWS

FIELD = "0.6"  # contours stand behind the runs
LEVELS = 0.02, 0.9  # shares of the panel where the loss is below the first level and the last
ROUND = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)  # levels of a decade, where losses differ by so much
EDGE = 0.06  # of the panel, where no label of a level stands


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
    paper.log_scale(left, "x", "C", *C_range)
    paper.log_scale(left, "y", "N", *N_range)
    paper.log_scale(right, "x", "N", *N_range)
    paper.log_scale(right, "y", "L", *paper.limits(obs.L, 1.05))
    lines = _draw_contours(left, fit, C_range, N_range)
    _draw_slices(left, right, fit, obs)
    if fit.law in FRONTIERS:
        _draw_frontier(left, right, fit, C_range)
    paper.draw_left_out(left, drawn, "C", "N")
    paper.draw_left_out(right, drawn, "N")
    _label_levels(left, lines)
    paper.legend_above(fig, columns=4)
    note = f"{paper.fit_name(fit)}: {LAWS[fit.law].formula}, {fit.n_runs} runs"
    return paper.finish(fig, convention, note, fit.reason, paper.interval_note(fit, shown="band"))


def _predicted(fit: Fit, C, N) -> np.ndarray:
    return LAWS[fit.law].loss(fit.params, N=N, D=fit.compute.tokens(C, N))


def _draw_contours(ax: Axes, fit: Fit, C_range, N_range) -> QuadContourSet:
    C, N = np.meshgrid(np.geomspace(*C_range, num=120), np.geomspace(*N_range, num=120))
    L = _predicted(fit, C, N)
    levels = _round_levels(*np.quantile(L, LEVELS))
    ax.plot([], [], color=FIELD, lw=0.7, label="fitted loss (nats/token)")
    return ax.contour(C, N, L, levels=levels, colors=FIELD, linewidths=0.7, zorder=1)


def _round_levels(low: float, high: float) -> np.ndarray:
    """Round losses in [low, high], evenly spaced unless they differ by much."""
    levels = np.asarray(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
    if high / low > EVENLY:
        levels = np.outer(10.0 ** np.arange(-3, 4), ROUND).ravel()
    return levels[(levels >= low) & (levels <= high)]


def _label_levels(ax: Axes, lines: QuadContourSet) -> None:
    """Write each level on its contour, where that is farthest from all that is drawn besides."""
    taken = np.concatenate([_places(ax, np.asarray(line.get_xydata())) for line in ax.get_lines()])
    for level, segments in zip(lines.levels, lines.allsegs, strict=True):
        vertices = np.concatenate(segments)
        places = _places(ax, vertices)
        inside = np.all((places > EDGE) & (places < 1 - EDGE), axis=1)
        if not inside.any():
            continue
        apart = np.linalg.norm(places[inside, None] - taken[None], axis=2).min(axis=1)
        best = np.flatnonzero(inside)[apart.argmax()]
        taken = np.concatenate([taken, places[[best]]])
        box = {"fc": "white", "ec": "none", "pad": 0.6}
        style = {"ha": "center", "va": "center", "fontsize": 7, "color": "0.35", "zorder": 1.2}
        x, y = vertices[best]
        ax.text(x, y, f"{level:g}", bbox=box, **style)


def _places(ax: Axes, points: np.ndarray) -> np.ndarray:
    """Shares of the panel, of points in its data, shape (n, 2)."""
    known = points[np.all(np.isfinite(points) & (points > 0), axis=1)]
    ends = np.log([ax.get_xlim(), ax.get_ylim()])
    return (np.log(known) - ends[:, 0]) / (ends[:, 1] - ends[:, 0])


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
    sampled = C[paper.is_inside(fit, C, N_opt)]
    left.plot(sampled, fit.N_opt(sampled).value, color="black", label="efficient frontier")
    right.plot(fit.N_opt(sampled).value, fit.L_opt(sampled).value, color="black")
