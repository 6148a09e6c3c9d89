"""One figure of a report or of a fit, as a notebook shows it: `report.plot("isoflop")`."""

import functools

import pandas as pd
from matplotlib.figure import Figure

from scaling.figures.compute import compute_figure
from scaling.figures.contour import contour_figure
from scaling.figures.every import FIGURES, all_figures
from scaling.figures.isoflop import isoflop_figure
from scaling.figures.ratio import ratio_figure
from scaling.figures.saving import draw_png
from scaling.fitting.report import Report
from scaling.fitting.result import Fit
from scaling.tables.runs import load_runs

DPI = 110  # of a screen; `scaling.figures.saving` writes for print


def plot_report(report: Report, name: str = "isoflop") -> Figure:
    """Draw one figure of a report: compute, isoflop, contour, triptych or ratio.

    Raises
    ------
    ValueError
        There is no such figure, or the fits do not allow it, and why.
    """
    if report.runs is None:
        raise ValueError("this report came without its runs; make it by fit_all(runs)")
    if name not in FIGURES:
        raise ValueError(f"there is no figure {name!r}; choose one of {[*FIGURES]}")
    figures, skipped = all_figures(report.runs, report.curves, report, [name])
    if name in skipped:
        raise ValueError(f"figure {name!r} cannot be drawn: {skipped[name]}")
    return _show_itself(figures[name])


def plot_fit(fit: Fit, runs=None) -> Figure:
    """Draw a fit over the runs that it was made from; without them its optima alone.

    Parameters
    ----------
    fit : Fit
    runs : as `scaling.load_runs` takes them, optional
        A parametric fit is drawn as contours with them, an isoflop fit as bowls, an envelope as
        curves of loss against compute; any other as tokens per parameter against compute.

    Raises
    ------
    ValueError
        The fit has no compute-optimal frontier.
    """
    return _show_itself(_draw_fit(fit, None if runs is None else load_runs(runs)))


def _draw_fit(fit: Fit, runs: pd.DataFrame | None) -> Figure:
    if runs is None or fit.method not in ("parametric", "isoflop", "envelope"):
        return ratio_figure([fit])
    if fit.method == "parametric":
        return contour_figure(runs, fit)
    return isoflop_figure(runs, fit) if fit.method == "isoflop" else compute_figure(runs, fit=fit)


def _show_itself(figure: Figure) -> Figure:
    """A figure that notebooks show though no pyplot knows it."""
    vars(figure)["_repr_png_"] = functools.partial(draw_png, figure, DPI)
    return figure
