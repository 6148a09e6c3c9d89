"""A laboratory for scaling laws of language models.

`load_runs` reads a runs table, by path or by the name of a published one; `fit_law` fits one law to
it, `fit_all` every method, `profile_law` follows one parameter, `load_fit` reads a saved fit,
`make_plan` turns a budget and a law into what to train, `compare_runs` says what compute one sweep
saves over another.
Training grids is the work of `python -m scaling.sweep`. Nothing here imports torch.

Examples
--------
Three budgets of five sizes each, on a law that is known; `runs`, `fit`, `report` and `plan` of the
other examples:

>>> import pandas as pd
>>> import scaling
>>> sizes = (3e7, 5e7, 9e7, 1.6e8, 3e8)
>>> cells = [(C, N * (C / 1e18) ** 0.5) for C in (1e17, 1e18, 1e19) for N in sizes]
>>> table = pd.DataFrame(cells, columns=["flops_budget", "N"])
>>> table["D"] = table.flops_budget / (6 * table.N)
>>> table["loss"] = 1.7 + 400 / table.N**0.34 + 400 / table.D**0.3
>>> runs = scaling.load_runs(table)
>>> fit = scaling.fit_law(runs, bootstrap=100)
>>> round(fit.params["alpha"], 6), fit.status
(0.34, 'ok')
>>> fit.N_opt(1e19), fit.tokens_per_param(1e19), fit.L_opt(1e21)
(4.231e+08, 9.311, 2.178 (extrapolated))
>>> report = scaling.fit_all(runs, bootstrap=0, audit=False)
>>> plan = scaling.make_plan("1e21", law=fit)
"""

from scaling.errors import FitError
from scaling.fitting.audit import Audit
from scaling.fitting.estimate import Estimate
from scaling.fitting.gain import Comparison, compare_runs
from scaling.fitting.optima import disagreement_table, fits_table, optima_table
from scaling.fitting.profile import Profile
from scaling.fitting.report import Report, fit_all, fit_law, profile_law
from scaling.fitting.result import Fit, load_fit
from scaling.planning.plan import Plan, make_plan
from scaling.tables.observations import Convention, RunsWarning
from scaling.tables.runs import load_curves, load_runs


def _show_card(value) -> str:
    """Show it in a notebook; pages are imported only there."""
    from scaling.pages.html.card import show_card

    return show_card(value)


def _plot_fit(self: Fit, runs=None):
    """Draw the fit over its runs, or its optima alone; see `scaling.figures.plotting.plot_fit`.

    Examples
    --------
    >>> figure = fit.plot()  # of matplotlib; a notebook shows it, .savefig("fit.png") writes it
    >>> figure.axes[0].get_xlabel()
    'Training compute C (FLOPs)'
    """
    from scaling.figures.plotting import plot_fit

    return plot_fit(self, runs)


def _plot_report(self: Report, name: str = "isoflop"):
    """Draw one figure of the report; see `scaling.figures.plotting.plot_report`.

    Examples
    --------
    >>> report.plot("isoflop").axes[0].get_xlabel()
    'Parameters N'
    """
    from scaling.figures.plotting import plot_report

    return plot_report(self, name)


for _kind in (Fit, Report, Plan):  # a fit knows no page: here both are known
    _kind._repr_html_ = _show_card  # pyright: ignore[reportAttributeAccessIssue]
for _kind, _plot in ((Fit, _plot_fit), (Report, _plot_report)):
    _kind.plot = _plot  # pyright: ignore[reportAttributeAccessIssue]

__all__ = [
    "Audit",
    "Comparison",
    "Convention",
    "Estimate",
    "Fit",
    "FitError",
    "Plan",
    "Profile",
    "Report",
    "RunsWarning",
    "compare_runs",
    "disagreement_table",
    "fit_all",
    "fit_law",
    "fits_table",
    "load_curves",
    "load_fit",
    "load_runs",
    "make_plan",
    "optima_table",
    "profile_law",
]
