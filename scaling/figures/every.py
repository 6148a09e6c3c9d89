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
        "triptych": lambda: triptych_figure(runs, *kaplan, frontier=fits.get("isoflop"), **shared),
        "ratio": lambda: ratio_figure(report.fits),
    }
    if not (runs.status == "ok").any():
        return {}, dict.fromkeys(drawings, "no run has finished")
    obs, _ = observations(runs, report.convention)
    skipped = {}
    if "isoflop" not in fits and obs.groupby("budget").N.nunique().max() < MIN_SIZES:
        skipped["isoflop"] = refusals["isoflop"]
    if "parametric" not in fits:
        skipped["contour"] = refusals["parametric"]
    if not any(kaplan):
        skipped["triptych"] = f"{refusals['kaplan_LN']}; {refusals['kaplan_LC']}"
    if not any(fit.law in FRONTIERS for fit in report.fits):
        methods = ("parametric", "isoflop", "isoflop_power", "envelope")
        skipped["ratio"] = "; ".join(f"{method}: {refusals[method]}" for method in methods)
    return {name: draw() for name, draw in drawings.items() if name not in skipped}, skipped
