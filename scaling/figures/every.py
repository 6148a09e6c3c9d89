"""Every figure that a report of fits allows."""

from collections.abc import Callable

import pandas as pd
from matplotlib.figure import Figure

from scaling.figures.compute import compute_figure
from scaling.figures.contour import contour_figure
from scaling.figures.isoflop import isoflop_figure
from scaling.figures.ratio import ratio_figure
from scaling.figures.triptych import triptych_figure
from scaling.fitting.bowl import MIN_SIZES
from scaling.fitting.report import Report
from scaling.laws.frontier import FRONTIERS
from scaling.tables.observations import observations


def all_figures(
    runs: pd.DataFrame, curves: pd.DataFrame | None, report: Report
) -> tuple[dict[str, Figure], dict[str, str]]:
    """Draw what the fits allow; a refused method never stops the others.

    Parameters
    ----------
    runs, curves : DataFrames that `scaling.fitting.report.fit_all` took
    report : Report

    Returns
    -------
    figures : dict, name -> Figure, of compute, isoflop, contour, triptych, ratio
    skipped : dict, name -> reason
    """
    fits, refusals = {fit.method: fit for fit in report.fits}, dict(report.refusals)
    shared = {"convention": report.convention}

    def with_fit(method: str) -> dict:
        return shared | {"fit": fits.get(method), "refusal": refusals.get(method, "")}

    kaplan = [fits.get(f"kaplan_{variables}") for variables in ("LN", "LD", "LC")]
    drawings: dict[str, Callable[[], Figure]] = {
        "compute": lambda: compute_figure(runs, curves, **with_fit("envelope")),
        "isoflop": lambda: isoflop_figure(runs, **with_fit("isoflop")),
        "contour": lambda: contour_figure(runs, fits["parametric"]),
        "triptych": lambda: triptych_figure(runs, *kaplan, **shared),
        "ratio": lambda: ratio_figure(report.fits),
    }
    skipped = _skipped(runs, report)
    return {name: draw() for name, draw in drawings.items() if name not in skipped}, skipped


def _skipped(runs: pd.DataFrame, report: Report) -> dict[str, str]:
    """Figures that nothing can be drawn in, and why."""
    if not (runs.status == "ok").any():
        names = ("compute", "isoflop", "contour", "triptych", "ratio")
        return dict.fromkeys(names, "no run has finished")
    fitted, refusals = {fit.method for fit in report.fits}, dict(report.refusals)
    obs, _ = observations(runs, report.convention)
    skipped = {}
    if "isoflop" not in fitted and obs.groupby("budget").N.nunique().max() < MIN_SIZES:
        skipped["isoflop"] = refusals["isoflop"]
    if "parametric" not in fitted:
        skipped["contour"] = refusals["parametric"]
    if not {"kaplan_LN", "kaplan_LD", "kaplan_LC"} & fitted:
        skipped["triptych"] = f"{refusals['kaplan_LN']}; {refusals['kaplan_LC']}"
    if not any(fit.law in FRONTIERS for fit in report.fits):
        methods = ("parametric", "isoflop", "isoflop_power", "envelope")
        skipped["ratio"] = "; ".join(f"{method}: {refusals[method]}" for method in methods)
    return skipped
