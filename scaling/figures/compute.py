"""Training curves over compute, the envelope under them, and the sizes and tokens along it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from scaling.figures import paper
from scaling.figures.isoflop import draw_power_law
from scaling.fitting.result import Fit
from scaling.tables.observations import Convention
from scaling.tables.runs import curves_by_run

HEADROOM = 1.2  # curves begin far above the last losses; how much of that is shown


@paper.styled
def compute_figure(
    runs: pd.DataFrame,
    curves: pd.DataFrame | None = None,
    fit: Fit | None = None,
    *,
    convention: Convention | None = None,
    refusal: str = "",
) -> Figure:
    """One thin line per run, coloured by N, and the envelope; beside it N_opt(C) and D_opt(C).

    Parameters
    ----------
    runs : DataFrame, as `scaling.tables.runs.load_runs` returns it
    curves : DataFrame, as `scaling.tables.runs.load_curves` returns it, optional
        Smoothed training losses; final losses alone if omitted.
    fit : Fit of law "power_frontier", optional
        Its lowest losses and its power law L_opt(C).
    convention : Convention, optional
        Of N and C where there is no fit; the table's default if omitted.
    refusal : str
        Why there is no fit; written below, and the curves stand alone.

    References
    ----------
    Hoffmann et al. 2022, arXiv:2203.15556, figure 2.

    Notes
    -----
    The lowest loss at each C falls with the learning rate at the end of every run and leaps back
    to the next: drawn is the convex hull below, which only ends of runs touch.
    """
    drawn = paper.drawn_runs(runs, fit, convention=convention)
    fig = paper.paper_figure(paper.COLUMN + 0.5 if fit is None else paper.PAGE, 3.3)
    if fit is None:
        _draw_curves(fig, fig.add_subplot(), drawn, curves, [])
        paper.legend_above(fig)
        return paper.finish(fig, drawn.convention, f"no envelope: {refusal}" if refusal else "")
    left, *others = fig.subplots(1, 3, width_ratios=(1.3, 1, 1))
    _draw_curves(fig, left, drawn, curves, [*fit.minima.L] if len(fit.minima) else [])
    _draw_envelope(left, fit)
    for ax, symbol in zip(others, "ND", strict=True):
        if len(fit.minima):
            style = {"ms": 2.2, "mew": 0, "color": "0.55", "label": "where the loss is lowest"}
            ax.plot(fit.minima.C, fit.minima[symbol], "o", **style)
    paper.legend_above(fig, columns=3)
    for ax, symbol, exponent in zip(others, "ND", "ab", strict=True):
        lowest = fit.minima[symbol] if len(fit.minima) else ()
        draw_power_law(ax, fit, lowest, symbol, exponent, C=_along(fit))
        ax.set_xlabel("Compute C (FLOPs)")  # the panel is narrower than the longer name
    bands = paper.interval_note(fit, shown="bands")
    return paper.finish(fig, drawn.convention, f"{fit.method}: {fit.note}", bands)


def _draw_curves(fig: Figure, ax: Axes, drawn: paper.Drawn, curves, lowest: list) -> None:
    """The panel of losses, with the scale of N; `lowest` is what must stay in view besides."""
    obs, stopped, _ = drawn
    paths = _paths(pd.concat([obs, stopped]) if len(stopped) else obs, curves)
    sizes = drawn.limits("N", 1.05)
    norm = LogNorm(*sizes)
    low, high = paper.limits([*obs.L, *lowest, *(L.min() for _, _, _, L in paths)], 1.03)
    high *= HEADROOM if paths else 1.0
    in_view = [C[high >= L] for _, _, C, L in paths]
    paper.log_scale(ax, "x", "C", *paper.limits(np.concatenate([obs.C, *in_view])))
    paper.log_scale(ax, "y", "L", low, high)
    if paths:
        ax.set_ylabel("Loss (nats/token)")
        ax.plot([], [], color="0.4", lw=0.7, label="training loss (smoothed), a line per run")
    for run_id, N, C, L in paths:
        line = ":" if run_id in {*stopped.run_id} else "-"
        ax.plot(C, L, line, color=paper.SHADES(norm(N)), lw=0.5, alpha=0.8, gid=f"curve:{run_id}")
    kept = obs.loc[obs.status == "ok"]
    dots = {"s": 11, "edgecolors": "white", "linewidths": 0.4, "zorder": 3}
    label = "held-out loss at the end of a run"
    ax.scatter(kept.C, kept.L, c=kept.N, cmap=paper.SHADES, norm=norm, label=label, **dots)
    paper.draw_left_out(ax, drawn, "C")
    bar = fig.colorbar(ScalarMappable(norm, paper.SHADES), ax=ax, aspect=30, pad=0.02)
    paper.log_scale(bar.ax, "y", "N", *sizes)


def _paths(ends: pd.DataFrame, curves: pd.DataFrame | None) -> list[tuple]:
    """run_id, N, C and loss along every run; C is tokens times the run's FLOPs per token."""
    if curves is None:
        return []
    by_run = curves_by_run(curves)
    ends = ends.loc[ends.run_id.isin([*by_run])].dropna(subset=["N", "D", "C"])
    return [
        (run_id, N, by_run[run_id].tokens * C / D, by_run[run_id].loss)
        for run_id, N, D, C in zip(ends.run_id, ends.N, ends.D, ends.C, strict=True)
    ]


def _draw_envelope(ax: Axes, fit: Fit) -> None:
    C = _along(fit)
    if len(fit.minima):
        hull = _hull_below(np.log(fit.minima[["C", "L"]].to_numpy(float)))
        label = "lowest losses, from below"
        ax.plot(*np.exp(hull).T, color="black", lw=0.8, ls=(0, (4, 1)), zorder=4, label=label)
    exponent = paper.with_interval(fit.param("L_exponent"), decimals=3)
    floor = fit.params["L_floor"]
    law = f"L - {floor:.3g}" if floor else "L"
    label = f"{paper.fit_name(fit)}: ${law} \\propto C^{{c}}$, c = {exponent}"
    paper.draw_estimate(ax, C, fit.L_opt(C), "black", label, zorder=5)


def _along(fit: Fit) -> np.ndarray:
    ends = fit.minima.C if len(fit.minima) else fit.sampled["C"]
    return np.geomspace(*paper.limits(ends, 1.0), 50)


def _hull_below(points: np.ndarray) -> np.ndarray:
    """Corners of the convex line below points that are sorted by x, shape (n, 2)."""
    kept: list[np.ndarray] = []
    for point in points:
        while len(kept) > 1 and _turns_down(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    return np.array(kept)


def _turns_down(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> bool:
    (x, y), (u, v) = second - first, third - second
    return x * v <= y * u
