"""Loss against compute: training curves, final losses and the envelope under them."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from scaling.figures import paper
from scaling.fitting.result import Fit
from scaling.tables.observations import Convention

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
    """Loss against compute: one thin line per run, coloured by N, and the envelope.

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
        Why there is no fit; written below.
    """
    obs, stopped, convention = drawn = paper.drawn_runs(runs, fit, convention=convention)
    paths = _paths(pd.concat([obs, stopped]) if len(stopped) else obs, curves)
    fig = paper.paper_figure(paper.COLUMN, 3.7)
    ax = fig.add_subplot()
    sizes = drawn.limits("N", 1.05)
    norm = LogNorm(*sizes)
    low, high = paper.limits(obs.L, 1.03)
    high *= HEADROOM if paths else 1.0
    in_view = [C[high >= L] for _, _, C, L in paths]
    paper.log_scale(ax, "x", "C", *paper.limits(np.concatenate([obs.C, *in_view])), gap=0.19)
    paper.log_scale(ax, "y", "L", low, high)
    if paths:
        ax.set_ylabel("Loss (nats/token)")
        ax.plot([], [], color="0.4", lw=0.7, label="training loss (smoothed), a line per run")
    for run_id, N, C, L in paths:
        line = ":" if run_id in {*stopped.run_id} else "-"
        ax.plot(C, L, line, color=paper.SHADES(norm(N)), lw=0.7, alpha=0.8, gid=f"curve:{run_id}")
    kept = obs.loc[obs.status == "ok"]
    dots = {"s": 14, "edgecolors": "white", "linewidths": 0.4, "zorder": 3}
    label = "held-out loss at the end of a run"
    ax.scatter(kept.C, kept.L, c=kept.N, cmap=paper.SHADES, norm=norm, label=label, **dots)
    paper.draw_left_out(ax, drawn, "C")
    notes = [f"no envelope: {refusal}" if refusal else ""]
    if fit is not None:
        _draw_envelope(ax, fit)
        notes = [f"{fit.method}: {fit.note}", paper.interval_note(fit)]
    bar = fig.colorbar(ScalarMappable(norm, paper.SHADES), ax=ax, aspect=30, pad=0.02)
    paper.log_scale(bar.ax, "y", "N", *sizes)
    paper.legend_above(fig)
    return paper.finish(fig, convention, *notes)


def _paths(ends: pd.DataFrame, curves: pd.DataFrame | None) -> list[tuple]:
    """run_id, N, C and loss along every run; C is tokens times the run's FLOPs per token."""
    if curves is None:
        return []
    known = curves.loc[(curves.tokens > 0) & (curves.loss > 0) & np.isfinite(curves.loss)]
    by_run = dict(iter(known.sort_values("tokens").groupby("run_id")))
    ends = ends.loc[ends.run_id.isin([*by_run])].dropna(subset=["N", "D", "C"])
    return [
        (run_id, N, by_run[run_id].tokens * C / D, by_run[run_id].loss)
        for run_id, N, D, C in zip(ends.run_id, ends.N, ends.D, ends.C, strict=True)
    ]


def _draw_envelope(ax: Axes, fit: Fit) -> None:
    C = np.geomspace(*paper.limits(fit.minima.C if len(fit.minima) else fit.sampled["C"], 1.0), 50)
    if len(fit.minima):
        marks = {"color": "black", "ms": 1.8, "mew": 0, "zorder": 4}
        ax.plot(fit.minima.C, fit.minima.L, "o", label="lowest loss at each C", **marks)
    exponent = paper.with_interval(fit.param("L_exponent"), decimals=3)
    floor = fit.params["L_floor"]
    law = f"L - {floor:.3g}" if floor else "L"
    label = f"{paper.fit_name(fit)}: ${law} \\propto C^{{c}}$, c = {exponent}"
    paper.draw_estimate(ax, C, fit.L_opt(C), "black", label, zorder=5)
