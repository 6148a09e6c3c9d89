"""Two sweeps of which one gains over the other as it is told, for tests of comparisons."""

import numpy as np
import pandas as pd

from scaling.fitting.gain import compare_sweeps
from scaling.fitting.paired import Sweep
from scaling.fitting.prepared import prepare
from scaling.fitting.settings import FitSettings
from scaling.tables.comparable import match_cells
from scaling.tables.runs import load_runs

BUDGETS = (2e11, 4e11, 8e11, 1.6e12)
A, B, ALPHA, BETA = 20.0, 30.0, 0.2, 0.22  # and no floor, so that lines are straight
CROSSED = 1e12  # where a gain that grows is the one told


def lowest(N, D):
    return A / N**ALPHA + B / D**BETA


def optimum(C):
    """N of the lowest loss at C = 6ND, in closed form."""
    G = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))
    return G * (C / 6) ** (BETA / (ALPHA + BETA))


def sweep(gain=1.0, growth=0.0, noise=0.0, seed=0, seeds=(0,), shared=0.0, budgets=BUDGETS):
    """A runs table whose L_opt(C) is that of gain = 1 at gain (C / CROSSED)^growth times C.

    Of the variance of ln L, noise^2, the share `shared` is what all sweeps have in common.
    """
    both, own, rows = np.random.default_rng(1000 + seed), np.random.default_rng(seed), []
    if gain != 1.0 or growth:
        own = np.random.default_rng(2000 + seed)
    for C in budgets:
        g = gain * (C / CROSSED) ** growth
        for width, factor in enumerate(np.geomspace(1 / 2.6, 2.6, 5)):
            for s in seeds:
                N = np.round(optimum(C) * factor)
                D = C / 6 / N
                shock = np.sqrt(shared) * both.normal() + np.sqrt(1 - shared) * own.normal()
                loss = lowest(N * np.sqrt(g), D * np.sqrt(g)) * np.exp(noise * shock)
                row = {"total_params": N, "tokens": D, "flops": 6 * N * D, "flops_budget": C}
                cell = {"width": 8 * (width + 1), "n_layers": 2, "seed": s, "loss": loss}
                same = {"n_heads": 1, "lr": 0.01, "batch_tokens": 512, "precision": "fp32"}
                names = {"data": "enwik8", "vocab_size": 1024, "objective": "clm", "seq_len": 128}
                rows.append(row | cell | same | names)
    table = pd.DataFrame(rows)
    return load_runs(table.assign(run_id=[f"r{i}" for i in range(len(table))]))


def compared(a, b, bootstrap=200, seed=0):
    """Compare without the parametric laws, which take most of the time."""
    sweeps = [Sweep.of(prepare(runs)) for runs in (a, b)]
    return compare_sweeps(*sweeps, match_cells(a, b), FitSettings(bootstrap=bootstrap, seed=seed))
