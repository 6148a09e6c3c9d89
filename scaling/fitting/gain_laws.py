"""The gain between two parametric laws, each fitted to its own sweep."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from scaling.errors import FitError
from scaling.fitting.estimate import interval
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import SLACK, Fit
from scaling.fitting.settings import FitSettings
from scaling.laws.frontier import optimum

AROUND = 1e4  # times C, how far the compute of a is looked for
STEPS = 401  # of its logarithm


def compare_laws(
    a: Prepared, b: Prepared, C: Sequence[float], settings: FitSettings
) -> pd.DataFrame:
    """Gain of b over a by L(N, D) = E + A / N^alpha + B / D^beta, each sweep with its own five.

    Parameters
    ----------
    C : sequence of float, FLOPs
    settings : FitSettings
        Each sweep is resampled on its own.

    Returns
    -------
    DataFrame, one row per C: C, gain, gain_low, gain_high, status, reason. A law that is not ok is
        not quoted: NaN with its status and why. A gain is inf where a never gets there.
    """
    fits, why = [], []
    for i, (label, data) in enumerate((("a", a), ("b", b))):
        try:
            fit = fit_parametric(data, replace(settings, seed=settings.seed + i))
        except FitError as error:
            why.append((f"{label}: {error}", "not_identified"))
            continue
        fits.append(fit)
        if fit.status != "ok":
            why.append((f"{label}: {fit.reason or fit.status}", fit.status))
    budgets = np.asarray(sorted({float(c) for c in C}))
    table = pd.DataFrame({"C": budgets})
    if why:
        told, status = "; ".join(text for text, _ in why), why[0][1]
        return table.assign(
            gain=np.nan, gain_low=np.nan, gain_high=np.nan, status=status, reason=told
        )
    of_a, of_b = fits
    gain, drawn = law_gains(of_a, of_b, budgets), law_gains(of_a, of_b, budgets, drawn=True)
    low, high = interval(drawn, gain[0])
    sampled = [fit.sampled["C"] for fit in fits]
    least, most = max(s[0] for s in sampled) / SLACK, min(s[1] for s in sampled) * SLACK
    inside = (budgets >= least) & (budgets <= most)
    status = np.where(inside, "ok", "extrapolated")
    return table.assign(gain=gain[0], gain_low=low, gain_high=high, status=status, reason="")


def law_gains(a: Fit, b: Fit, C: np.ndarray, drawn: bool = False) -> np.ndarray:
    """Give C_a / C with L_a(C_a) = L_b(C), shape (sets, C): of the fits, or of their draws.

    By interpolation of ln C_a over L_a, between C / 1e4 and C 1e4; 0 or inf beyond.
    """
    n = min(len(a.draws), len(b.draws))
    log_C = np.log(C)
    grid = np.linspace(log_C.min() - np.log(AROUND), log_C.max() + np.log(AROUND), STEPS)
    losses = []
    for fit, x in ((a, grid), (b, log_C)):
        columns = {name: fit.draws[name].to_numpy(float)[:n, None] for name in fit.draws}
        params = columns if drawn else {k: np.atleast_2d(v) for k, v in fit.params.items()}
        losses.append(optimum(fit.law, params, np.exp(x)[None], fit.compute)["L_opt"])
    found = [
        np.interp(-theirs, -ours, grid, left=-np.inf, right=np.inf)
        for ours, theirs in zip(*losses, strict=True)
    ]
    return np.exp(np.array(found) - log_C)
