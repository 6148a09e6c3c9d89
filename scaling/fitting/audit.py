"""Extrapolation audit: leave out the largest budgets, refit, and predict them.

How well a law fits the runs it has seen says little; the audit ranks laws by how well they say what
larger runs will reach.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.errors import FitError
from scaling.fitting.estimate import LEVEL
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import Fit
from scaling.fitting.settings import DEFAULTS, FitSettings
from scaling.laws.table import get_law

AUDITED = ("chinchilla", "chinchilla_tied", "kaplan")
MIN_SHARE = 0.15  # of the runs is left out, in whole budgets from the largest down
MIN_HELD_OUT = 3
ROUNDING = 1e-9
RANKING = (  # columns
    *("law", "mean_abs_error", "bias", "max_abs_error", "as_good", "coverage", "level"),
    *("training_error", "n_params", "n_training", "n_held_out", "C_from", "C_to", "status"),
    "reason",
)


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
    data: Prepared,
    settings: FitSettings = DEFAULTS,
    *,
    laws: tuple[str, ...] = AUDITED,
    min_share: float = MIN_SHARE,
) -> Audit:
    """Fit every law to the smaller budgets and predict the runs of the largest.

    Parameters
    ----------
    data : Prepared
    settings : FitSettings
    laws : tuple of str
        Keys of `LAWS`. A law of C alone describes the compute-optimal frontier and is
        fitted to, and judged by, the best run of every budget.
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
    obs = data.obs
    held_out = _hold_out(obs, min_share)
    best = obs.loc[obs.groupby("budget").L.idxmin()]
    rows, predictions = [], []
    for law in laws:
        table = best if get_law(law).variables == ("C",) else obs
        hidden = table.index.isin(obs.index[held_out])
        training, test = table.loc[~hidden].reset_index(drop=True), table.loc[hidden]
        row = {"law": law, "n_params": len(get_law(law).params), "n_training": len(training)}
        row |= {"n_held_out": len(test), "C_from": test.C.min(), "C_to": test.C.max()}
        try:
            fit = fit_parametric(Prepared.of(training, data.convention), settings, law=law)
        except FitError as error:
            rows.append(row | {"status": "refused", "reason": str(error)})
            continue
        predictions.append(_predict(fit, test))
        rows.append(row | _score(predictions[-1], fit))
    ranking = (
        pd.DataFrame(rows)
        .reindex(columns=[*RANKING])
        .sort_values("mean_abs_error", ignore_index=True)
    )
    found = pd.concat(predictions, ignore_index=True) if predictions else pd.DataFrame()
    ranking["as_good"] = [_is_as_good(found, law, ranking.law.iloc[0]) for law in ranking.law]
    return Audit(ranking.fillna({"reason": ""}), found)


def _is_as_good(predictions: pd.DataFrame, law: str, best: str) -> bool:
    """Whether a t interval of the paired difference of absolute errors holds zero."""
    if predictions.empty or law == best:
        return not predictions.empty
    errors = predictions.pivot(index="run_id", columns="law", values="error").abs()
    if law not in errors or len(errors := errors[[law, best]].dropna()) < 2:
        return False
    from scipy.special import stdtrit  # here, so that `import scaling` stays fast

    worse = errors[law] - errors[best]
    margin = stdtrit(len(worse) - 1, (1 + LEVEL) / 2) * worse.std() / np.sqrt(len(worse))
    return bool(worse.mean() <= margin)


def _hold_out(obs: pd.DataFrame, min_share: float) -> np.ndarray:
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
        "training_error": float(np.sqrt(np.mean(np.square(fit.diagnosis.residuals)))),
        "status": fit.status,
        "reason": fit.reason,
    }
