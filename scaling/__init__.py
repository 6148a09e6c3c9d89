"""A laboratory for scaling laws of language models.

`load_runs` reads a runs table, by path or by the name of a published one; `fit_law` fits one law to
it, `fit_all` every method, `profile_law` follows one parameter, `load_fit` reads a saved fit.
Training grids is the work of `python -m scaling.sweep`. Nothing here imports torch.
"""

from scaling.fitting.audit import Audit
from scaling.fitting.profile import Profile
from scaling.fitting.report import (
    Report,
    disagreement_table,
    fit_all,
    fit_law,
    fits_table,
    optima_table,
    profile_law,
)
from scaling.fitting.result import Estimate, Fit, FitError, load_fit
from scaling.observations import Convention, RunsWarning
from scaling.runs import load_curves, load_runs

__all__ = [
    "Audit",
    "Convention",
    "Estimate",
    "Fit",
    "FitError",
    "Profile",
    "Report",
    "RunsWarning",
    "disagreement_table",
    "fit_all",
    "fit_law",
    "fits_table",
    "load_curves",
    "load_fit",
    "load_runs",
    "optima_table",
    "profile_law",
]
