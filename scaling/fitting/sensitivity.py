"""How far an answer hangs on rows that nobody would miss."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from scaling.errors import FitError
from scaling.fitting.coordinates import coordinates
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import Fit
from scaling.fitting.settings import FitSettings
from scaling.fitting.solver import solve
from scaling.laws.frontier import optimum
from scaling.laws.table import get_law

SIXTH = 1 / 6
OUTLIERS = 3  # runs named, of
CANDIDATES = 64  # runs left out one by one: those of the largest residuals
TOLD = ("rows", "method", "n_runs", "C", "N_opt", "tokens_per_param", "status")
ALL = "all"
Refit = Callable[[Prepared, Fit], Fit]


def sensitivity_table(
    data: Prepared, fits: Iterable[Fit], refits: Mapping[str, Refit], settings: FitSettings
) -> pd.DataFrame:
    """Answers at the largest budget without a sixth of the rows, a budget, or single runs.

    Parameters
    ----------
    data : Prepared
    fits : iterable of Fit
    refits : dict, method -> function of other rows and the fit to all of them
    settings : FitSettings
        Those of the fits.

    Returns
    -------
    DataFrame with columns rows (which are left out), method, n_runs, C (FLOPs, the largest budget),
        N_opt, tokens_per_param, status. First of all rows; of the parametric fit also without each
        of the three runs that move N_opt most.
    """
    budgets = data.obs.budget.dropna()
    C = float(budgets.max() if len(budgets) else data.obs.C.max())
    found = []
    for fit in fits:
        if fit.method not in refits:
            continue
        found.append(_tell(ALL, fit, C))
        for rows, kept in _list_filters(data.obs):
            row = {"rows": rows, "method": fit.method, "n_runs": int(kept.sum()), "C": C}
            if not kept.any():
                found.append(row | {"status": "refused"})
                continue
            part = Prepared.of(data.obs.loc[kept].reset_index(drop=True), data.convention)
            try:
                found.append(_tell(rows, refits[fit.method](part, fit), C))
            except FitError:
                found.append(row | {"status": "refused"})
        if fit.method == "parametric" and fit.status != "not_identified":
            found += _find_outliers(data, fit, C, settings)
    return pd.DataFrame(found, columns=[*TOLD])


def _tell(rows: str, fit: Fit, C: float) -> dict:
    N, ratio = fit.N_opt(C), fit.tokens_per_param(C)
    row = {"rows": rows, "method": fit.method, "n_runs": fit.n_runs, "C": C}
    return row | {"N_opt": N.value, "tokens_per_param": ratio.value, "status": ratio.status}


def _list_filters(obs: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """What is left out, in words, and the rows that stay."""
    ratio = obs.D / obs.N
    yield "without the sixth of largest D/N", ratio <= ratio.quantile(1 - SIXTH)
    name, few = ("steps", obs.S) if "S" in obs else ("tokens", obs.D)
    yield f"without the sixth of fewest {name}", few >= few.quantile(SIXTH)
    budgets = obs.budget.fillna(obs.C)
    yield "without the smallest budget", budgets > budgets.min()
    yield "without the largest budget", budgets < budgets.max()


def _find_outliers(data: Prepared, fit: Fit, C: float, settings: FitSettings) -> Iterator[dict]:
    """The runs without which N_opt at C is farthest from what it is with them."""
    obs, law, criterion = data.obs, get_law(fit.law), settings.criterion
    where = coordinates(obs, law, criterion.residual, dict(fit.constraints))
    theta = where.theta(pd.DataFrame([dict(fit.params)]))[0]
    tried = np.argsort(-np.abs(fit.diagnosis.residuals), kind="stable")[:CANDIDATES]
    weights = np.tile(obs.weight.to_numpy(float), (len(tried), 1))
    weights[np.arange(len(tried)), tried] = 0.0
    problem = where.with_data(np.log(obs[law.target].to_numpy(float)), weights)
    starts = np.tile(theta, (len(tried), 1))
    without = solve(problem, starts, criterion.deltas(where.unit, warm=True))
    raw = {name: values.to_numpy() for name, values in where.raw(without.theta).items()}
    best = optimum(fit.law, raw, C, data.compute)
    moved = np.abs(np.log(best["N_opt"] / fit.N_opt(C).value))
    moved = np.where(without.converged & np.isfinite(moved), moved, -1.0)
    for i in np.argsort(-moved, kind="stable")[:OUTLIERS]:
        row = {"rows": f"without run {obs.run_id[tried[i]]}", "method": fit.method, "C": C}
        row |= {"n_runs": len(obs) - 1, "status": str(fit.N_opt(C).status)}
        yield row | {q: float(best[q][i]) for q in ("N_opt", "tokens_per_param")}
