"""The same runs under every meaning of N: what tokens per parameter come to depends on it."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from scaling.errors import FitError
from scaling.fitting.criterion import Objective
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.result import Fit
from scaling.tables.observations import N_COLUMNS, Convention, observations

QUANTITIES = ("N_exponent", "N_opt", "tokens_per_param")


def convention_table(
    runs: pd.DataFrame,
    C: str,
    *,
    objective: Objective | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit by isoflop, isoflop_power and parametric under each N that the table tells apart.

    Parameters
    ----------
    runs : DataFrame, as `scaling.tables.runs.load_runs` returns it
    C : {"counted", "6ND", "as_given"}
        Meaning of C, the same in every row.
    objective, n_bootstrap, seed
        As in `scaling.fitting.report.fit_all`.

    Returns
    -------
    DataFrame with one row per N and method: N, method, C (FLOPs, the largest budget), N_exponent,
        N_opt (parameters) and tokens_per_param there, each with _low and _high, status, reason. A
        refused fit has status "refused" and NaN.
    """
    rows, seen = [], []
    for N, columns in N_COLUMNS.items():
        if not {*columns} <= {*runs.columns}:
            continue
        convention = Convention(N, C)
        obs, _ = observations(runs, convention)
        if any(obs.N.equals(known) for known in seen):  # without a head of its own, as the last
            continue
        seen.append(obs.N)
        budget = float(obs.budget.max())
        common = {"convention": convention, "n_bootstrap": n_bootstrap, "seed": seed}
        fits: dict[str, Callable[[], Fit]] = {
            "isoflop": lambda obs=obs, common=common: fit_isoflop(obs, **common),
            "isoflop_power": lambda obs=obs, common=common: fit_isoflop_power(obs, **common),
            "parametric": lambda obs=obs, common=common: fit_parametric(
                obs, objective=objective, **common
            ),
        }
        rows += [
            {"N": N, "method": method, "C": budget} | _found(fit, budget)
            for method, fit in fits.items()
        ]
    return pd.DataFrame(rows)


def _found(make: Callable[[], Fit], C: float) -> dict:
    try:
        fit = make()
    except FitError as error:
        nothing = {q + end: np.nan for q in QUANTITIES for end in ("", "_low", "_high")}
        return nothing | {"status": "refused", "reason": str(error)}
    found = {
        "N_exponent": fit.exponents()["N_exponent"],
        "N_opt": fit.N_opt(C),
        "tokens_per_param": fit.tokens_per_param(C),
    }
    row: dict = {}
    for name, number in found.items():
        row |= {name: number.value, f"{name}_low": number.low, f"{name}_high": number.high}
    return row | {"status": found["tokens_per_param"].status, "reason": fit.reason}
