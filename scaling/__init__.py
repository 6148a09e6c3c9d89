"""A laboratory for scaling laws of language models.

`load_runs` reads a runs table, `fit_law` fits one law to it, `fit_all` every method; training
grids is the work of `python -m scaling.sweep`. Nothing here imports torch.
"""

from scaling.fitting.report import Report, fit_all, fit_law, fits_table, optima_table
from scaling.fitting.result import Estimate, Fit, FitError
from scaling.runs import Convention, load_curves, load_runs

__all__ = [
    "Convention",
    "Estimate",
    "Fit",
    "FitError",
    "Report",
    "fit_all",
    "fit_law",
    "fits_table",
    "load_curves",
    "load_runs",
    "optima_table",
]
