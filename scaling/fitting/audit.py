"""Extrapolation audit: leave out the largest budgets, refit, and predict them.

How well a law fits the runs it has seen says little; the audit ranks laws by how well they say what
larger runs will reach.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from scaling.errors import FitError
from scaling.fitting.criterion import Objective
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.result import LEVEL, Fit
from scaling.laws.table import get_law
from scaling.tables.observations import Convention

AUDITED = ("chinchilla", "chinchilla_tied", "kaplan")
MIN_SHARE = 0.15  # of the runs is left out, in whole budgets from the largest down
MIN_HELD_OUT = 3
ROUNDING = 1e-9


@dataclass(frozen=True)
class Audit:
    """What each law says of budgets that it has not seen.

    Attributes
    ----------
    ranking : DataFrame
        One row per law, the best first: law, mean_abs_error, bias, max_abs_error (of
        L_predicted/L - 1), as_good (whether its errors cannot be told from the best law's, paired
        by run, at `level`), coverage (share of the held-out losses inside of their prediction
        interval), level, training_error (root mean square of ln L_predicted - ln L), n_params,
        n_training, n_held_out, C_from and C_to (FLOPs, of the held-out runs), status, reason.
    predictions : DataFrame
        One row per law and held-out run: law, run_id, N, D, C, L, predicted, low, high, error,
        held.
    """

    ranking: pd.DataFrame
    predictions: pd.DataFrame

    @property
    def recommended(self) -> str | None:
        """The law with the smallest held-out error; None if no fit is "ok".

        Laws of C alone are judged by fewer runs than the others and do not compete with them.
        """
        most = self.ranking.n_held_out == self.ranking.n_held_out.max()
        good = self.ranking[most & (self.ranking.status == "ok")]
        return None if good.empty else str(good.law.iloc[0])

    def __repr__(self) -> str:
        columns = ["law", "mean_abs_error", "bias", "coverage", "training_error", "status"]
        return f"recommended: {self.recommended}\n{self.ranking[columns].to_string(index=False)}"


def audit_laws(
    obs: pd.DataFrame,
    *,
    laws: tuple[str, ...] = AUDITED,
    objective: Objective | None = None,
    convention: Convention | None = None,
    min_share: float = MIN_SHARE,
    n_bootstrap: int = 1000,
    kind: str | None = None,
    seed: int = 0,
) -> Audit:
    """Fit every law to the smaller budgets and predict the runs of the largest.

    Parameters
    ----------
    obs : DataFrame, as `scaling.tables.observations.observations` returns it
    laws : tuple of str
        Keys of `LAWS`. A law of C alone describes the compute-optimal frontier and is
        fitted to, and judged by, the best run of every budget.
    objective, convention, n_bootstrap, kind, seed
        As in `scaling.fitting.parametric.fit_parametric`.
    min_share : float, in (0, 1)
        Whole budgets are left out, from the largest down, until at least this share of the runs
        and 3 runs are.

    Returns
    -------
    Audit; a law that cannot be fitted without the largest budgets has status "refused".

    Raises
    ------
    FitError
        Nothing would be left to fit.
    """
    held_out = _largest(obs, min_share)
    rows, predictions = [], []
    for law in laws:
        table = _best_of_each_budget(obs) if get_law(law).variables == ("C",) else obs
        hidden = table.index.isin(obs.index[held_out])
        training, test = table.loc[~hidden].reset_index(drop=True), table.loc[hidden]
        row = {"law": law, "n_params": len(get_law(law).params), "n_training": len(training)}
        row |= {"n_held_out": len(test), "C_from": test.C.min(), "C_to": test.C.max()}
        try:
            fit = fit_parametric(
                training,
                law=law,
                objective=objective,
                convention=convention,
                n_bootstrap=n_bootstrap,
                kind=kind,
                seed=seed,
            )
        except FitError as error:
            rows.append(row | {"status": "refused", "reason": str(error)})
            continue
        predicted = _predict(fit, test)
        predictions.append(predicted)
        rows.append(row | _score(predicted, fit))
    order = ["law", "mean_abs_error", "bias", "max_abs_error", "coverage", "level"]
    order += ["training_error", *(c for c in rows[0] if c not in ("law", "status", "reason"))]
    ranking = pd.DataFrame(rows).reindex(columns=[*dict.fromkeys(order), "status", "reason"])
    ranking = ranking.sort_values("mean_abs_error", ignore_index=True)
    found = pd.concat(predictions, ignore_index=True) if predictions else pd.DataFrame()
    as_good = [_as_good(found, law, ranking.law.iloc[0]) for law in ranking.law]
    ranking.insert(4, "as_good", as_good)
    return Audit(ranking.fillna({"reason": ""}), found)


def _as_good(predictions: pd.DataFrame, law: str, best: str) -> bool:
    """Whether a t interval of the paired difference of absolute errors holds zero."""
    if predictions.empty or law == best:
        return not predictions.empty
    errors = predictions.pivot(index="run_id", columns="law", values="error").abs()
    if law not in errors or len(errors := errors[[law, best]].dropna()) < 2:
        return False
    worse = errors[law] - errors[best]
    margin = student_t.ppf((1 + LEVEL) / 2, len(worse) - 1) * worse.std() / np.sqrt(len(worse))
    return bool(worse.mean() <= margin)


def _largest(obs: pd.DataFrame, min_share: float) -> np.ndarray:
    """Mask of the runs of the largest budgets; one of no budget goes by its own C."""
    least = max(MIN_HELD_OUT, min_share * len(obs))
    budgets = obs.budget.fillna(obs.C)
    ordered = np.sort(obs.budget.dropna().unique())[::-1]
    for budget in ordered:
        mask = (budgets >= budget * (1 - ROUNDING)).to_numpy()
        if mask.sum() >= least:
            break
    else:
        mask = np.ones(len(obs), bool)
    if mask.all():
        raise FitError(
            f"the audit leaves out at least {least:.3g} of {len(obs)} runs, in whole budgets; "
            f"there are {len(ordered)} budgets: train smaller ones"
        )
    return mask


def _best_of_each_budget(obs: pd.DataFrame) -> pd.DataFrame:
    return obs.loc[obs.groupby("budget").L.idxmin()]


def _predict(fit: Fit, runs: pd.DataFrame) -> pd.DataFrame:
    variables = {v: runs[v].to_numpy(float) for v in get_law(fit.law).variables}
    loss = fit.loss(prediction=bool(len(fit.draws)), **variables)
    found = runs[["run_id", "N", "D", "C", "L"]].reset_index(drop=True)
    found.insert(0, "law", fit.law)
    found["predicted"], found["low"], found["high"] = loss.value, loss.low, loss.high
    found["error"] = found.predicted / found.L - 1
    return found.assign(held=found.L.between(found.low, found.high))


def _score(predicted: pd.DataFrame, fit: Fit) -> dict:
    return {
        "mean_abs_error": predicted.error.abs().mean(),
        "bias": predicted.error.mean(),
        "max_abs_error": predicted.error.abs().max(),
        "coverage": predicted.held.mean() if len(fit.draws) else np.nan,
        "level": LEVEL,
        "training_error": float(np.sqrt(np.mean(np.square(fit.residuals)))),
        "status": fit.status,
        "reason": fit.reason,
    }
