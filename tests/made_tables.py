"""A table of runs of one known law, for tests of how tables arrive."""

import numpy as np
import pandas as pd

from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import prepare
from scaling.fitting.settings import FitSettings

E, A, B, ALPHA, BETA = 1.7, 420.0, 1500.0, 0.33, 0.36
BUDGETS = (1e18, 8e18, 6.4e19)
C_TOLD = 6.4e19


def true_loss(N, D):
    return E + A / N**ALPHA + B / D**BETA


def true_optimum(C):
    """N_opt and L_opt in closed form."""
    G = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))
    N = G * (C / 6) ** (BETA / (ALPHA + BETA))
    return N, true_loss(N, C / 6 / N)


def made(sizes=5, span=3.0):
    """Runs on bowls: N, D, C, loss; noise-free, so that a fit finds the law."""
    C, factor = (g.ravel() for g in np.meshgrid(BUDGETS, np.geomspace(1 / span, span, sizes)))
    N = np.round(true_optimum(C)[0] * factor)
    D = np.round(C / 6 / N)
    return pd.DataFrame({"N": N.astype(int), "D": D.astype(int), "C": C, "loss": true_loss(N, D)})


def answer(table, C=C_TOLD, **reading):
    """N_opt and L_opt of a parametric fit."""
    fit = fit_parametric(prepare(table, **reading), FitSettings(bootstrap=0))
    return float(fit.N_opt(C).value), float(fit.L_opt(C).value)
