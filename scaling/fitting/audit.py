"""Extrapolation audit: every larger budget is predicted from the smaller ones, by every law.

How well a law fits the runs it has seen says little; the audit ranks laws by how well they say what
larger runs will reach, and measures how much wider than claimed their intervals have to be.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from scaling.errors import FitError
from scaling.fitting.coordinates import coordinates
from scaling.fitting.estimate import LEVEL
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import Fit
from scaling.fitting.settings import DEFAULTS, FitSettings
from scaling.laws.law import Law
from scaling.laws.table import LAWS, get_law

FIRST = 2  # budgets that the first origin has seen
MAX_ORIGINS = 9  # of tables with more budgets, spread evenly
AHEAD = 4.4  # farthest C predicted, in largest budgets seen: x4, and what clusters of C spread
SPARE = 3  # runs that an origin has seen, more than parameters
PAST = 2  # origins that make an inflation known
STARTS = 32  # of the law's fit to the last origin; the others start from there
STEP = 1e-5  # of the central differences in the solver's coordinates
ROUNDING = 1e-9
QUANTILE = NormalDist().inv_cdf((1 + LEVEL) / 2)  # of an interval's half width, in sd
EXACT = 1e-9  # spread or error of ln L that is rounding
COMPETING = ("ok", "rejected")  # status of laws that may be recommended
RANKING = (  # columns
    *("law", "rms_error", "mean_abs_error", "bias", "max_abs_error", "as_good"),
    *("claimed", "coverage", "level", "inflation", "training_error", "n_params", "n_origins"),
    *("n_training", "n_held_out", "C_from", "C_to", "status", "reason"),
)


def list_audited() -> tuple[str, ...]:
    """Laws of N and D alone."""
    found = (name for name, law in LAWS.items() if {*law.variables} == {"N", "D"})
    return tuple(name for name in found if LAWS[name].target == "L")


@dataclass(frozen=True)
class Audit:
    """What each law says of budgets that it has not seen.

    Attributes
    ----------
    ranking : DataFrame
        One row per law, the best first: law, rms_error, mean_abs_error, bias (of L_predicted/L - 1,
        every budget of every origin counted once), max_abs_error, as_good (whether its errors
        cannot be told from the best law's, paired by budget, at `level`), claimed and coverage
        (shares of held-out losses inside of their prediction interval as the fit claims it, and
        widened where the inflation was known), level, inflation (what all origins say
        of intervals beyond the largest budget), training_error (root mean square of ln L_predicted
        - ln L at the last origin), n_params, n_origins, n_training (runs of the last origin),
        n_held_out (runs that were predicted), C_from and C_to (FLOPs, of these), status and reason
        (of the fit at the last origin).
    predictions : DataFrame
        One row per law, origin and held-out run: law, origin (FLOPs, the largest budget seen),
        budget, run_id, N, D, C, L, predicted, low, high, inflation (what earlier origins said),
        error, z (ln L_predicted - ln L in its claimed standard deviations), held.

    Examples
    --------
    `runs` of help(scaling) come from a Chinchilla law; the largest of three budgets is held out:

    >>> from scaling.fitting.audit import audit_laws
    >>> from scaling.fitting.prepared import prepare
    >>> audit = audit_laws(prepare(runs), laws=("chinchilla", "kaplan"))
    >>> audit.recommended, audit.rivals
    ('chinchilla', ())
    >>> audit.ranking.set_index("law").rms_error.map("{:.2%}".format).to_dict()
    {'chinchilla': '0.00%', 'kaplan': '4.70%'}
    """

    ranking: pd.DataFrame
    predictions: pd.DataFrame

    @property
    def recommended(self) -> str | None:
        """The law with the smallest error on budgets it has not seen; None if no fit has any.

        A law whose last fit is at a bound, unidentified or not converged does not compete, nor does
        one that predicted fewer runs than the others.
        """
        most = self.ranking.n_held_out == self.ranking.n_held_out.max()
        good = self.ranking[most & self.ranking.status.isin(COMPETING)]
        return None if good.empty else str(good.law.iloc[0])

    @property
    def rivals(self) -> tuple[str, ...]:
        """Laws that compete with the recommended one, and whose errors are no larger in doubt."""
        known = self.ranking.set_index("law")
        if self.recommended is None or not known.as_good[self.recommended]:
            return ()
        as_good = known.index[known.as_good & known.status.isin(COMPETING)]
        return tuple(law for law in as_good if law != self.recommended)

    def inflation(self, law: str) -> float:
        """By how much intervals of the law's predictions have to be wider; 1 if unknown.

        Examples
        --------
        >>> audit.inflation("chinchilla")  # unknown: it takes two origins that have been judged
        1.0
        """
        known = self.ranking.inflation[self.ranking.law == law].dropna()
        return float(known.iloc[0]) if len(known) else 1.0

    def __repr__(self) -> str:
        if self.recommended is None:
            return f"Audit of {len(self.ranking)} laws: none predicts larger budgets from smaller"
        best = self.ranking[self.ranking.law == self.recommended].iloc[0]
        return (
            f"Audit of {len(self.ranking)} laws: {best.law} predicts larger budgets best, rms "
            f"error {best.rms_error:.2%} over {best.n_held_out:.0f} held-out runs\n"
            f"  intervals held {best.claimed:.0%} of these as claimed at {best.level:.0%}; beyond "
            f"the runs they are x{self.inflation(best.law):.2f} wider\n"
            f"  as good: {', '.join(self.rivals) or 'none'}; .ranking has all"
        )


def audit_laws(
    data: Prepared, settings: FitSettings = DEFAULTS, *, laws: tuple[str, ...] | None = None
) -> Audit:
    """Fit every law to the budgets up to each origin, and predict those up to x4 beyond.

    Parameters
    ----------
    data : Prepared
    settings : FitSettings
        Its criterion; nothing is resampled.
    laws : tuple of str, optional
        Keys of `LAWS`; all laws of N and D if omitted. A law of C alone describes the
        compute-optimal frontier and is fitted to, and judged by, the best run of every budget.

    Returns
    -------
    Audit; a law with too many parameters for every origin has status "refused".

    Raises
    ------
    FitError
        Fewer than three budgets.

    Notes
    -----
    An interval claims the variance of single runs around the fit and that of the parameters
    (linearised). It is multiplied by max(1, rms of z over the earlier origins), where those have
    predicted runs that this origin has seen; two such origins are needed. Runs of one budget share
    its errors: they count as one.
    """
    obs = data.obs.assign(budget=data.obs.budget.fillna(data.obs.C))
    best = obs.loc[obs.groupby("budget").L.idxmin()]
    origins = _list_origins(data.obs)
    rows, predictions = [], []
    for law in list_audited() if laws is None else laws:
        table = best if get_law(law).variables == ("C",) else obs
        row = {"law": law, "n_params": len(get_law(law).params), "level": LEVEL}
        try:
            found = _roll(data, table.reset_index(drop=True), law, origins, settings)
        except FitError as error:
            rows.append(row | {"status": "refused", "reason": str(error)})
            continue
        predictions.append(found.predictions)
        rows.append(row | _score(found.predictions) | _describe(found.last))
    found = pd.concat(predictions, ignore_index=True) if predictions else pd.DataFrame()
    ranking = pd.DataFrame(rows).reindex(columns=[*RANKING])
    told_apart = ranking.rms_error.clip(lower=EXACT)  # below it the simpler law is the better
    order = ranking.assign(told_apart=told_apart).sort_values(["told_apart", "n_params"]).index
    ranking = ranking.loc[order].reset_index(drop=True)
    ranking["as_good"] = [_is_as_good(found, law, ranking.law.iloc[0]) for law in ranking.law]
    return Audit(ranking.fillna({"reason": ""}), found)


def _list_origins(obs: pd.DataFrame) -> np.ndarray:
    """Largest budgets seen (FLOPs), from the last origin down."""
    budgets = np.sort(obs.budget.dropna().unique())
    if len(budgets) <= FIRST:
        raise FitError(
            f"the audit predicts a budget from {FIRST} smaller ones; there are {len(budgets)} "
            "budgets: train more"
        )
    origins = budgets[FIRST - 1 : -1]
    if len(origins) > MAX_ORIGINS:
        origins = origins[np.linspace(0, len(origins) - 1, MAX_ORIGINS).round().astype(int)]
    return origins[::-1]


@dataclass(frozen=True)
class _Rolled:
    predictions: pd.DataFrame
    last: Fit


def _roll(data: Prepared, table, law: str, origins, settings: FitSettings) -> _Rolled:
    """Predict from every origin; each fit starts from that of the next larger one."""
    quiet = FitSettings(settings.criterion, bootstrap=0)
    found, last, starts = [], None, STARTS
    for origin in origins:
        seen = (table.budget <= origin * (1 + ROUNDING)).to_numpy()
        budgets = np.sort(table.budget[~seen].unique())
        reach = max(AHEAD * origin, budgets[0]) * (1 + ROUNDING)
        training = table.loc[seen].reset_index(drop=True)
        if last is not None and len(training) < len(get_law(law).params) + SPARE:
            break
        try:
            fit = fit_parametric(
                Prepared.of(training, data.convention), quiet, law=law, n_starts=starts
            )
            test = table.loc[~seen & (table.budget <= reach).to_numpy()]
            found.append(_predict(fit, training, test).assign(origin=origin))
        except FitError:
            if last is None:
                raise
            break
        last = last or fit
        starts = pd.DataFrame([dict(fit.params)])
    assert last is not None
    return _Rolled(_inflate(pd.concat(found[::-1], ignore_index=True)), last)


def _predict(fit: Fit, training, test) -> pd.DataFrame:
    """Predicted losses with the standard deviation that the fit claims; FitError without any."""
    law = get_law(fit.law)
    found = test[["budget", "run_id", "N", "D", "C", "L"]].reset_index(drop=True)
    found.insert(0, "law", fit.law)
    where = coordinates(training, law, "log", None)
    theta = where.theta(pd.DataFrame([dict(fit.params)]))[0]
    steps = np.concatenate([[theta], *(theta + s * STEP * np.eye(len(theta)) for s in (1, -1))])
    raw = {name: values.to_numpy()[:, None] for name, values in where.raw(steps).items()}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        log_seen, log_new = (_log_loss(law, raw, rows) for rows in (training, test))
    if not (np.isfinite(log_seen).all() and np.isfinite(log_new).all()):
        raise FitError(f"{law.formula} as fitted gives no finite loss for larger budgets")
    residuals = np.array(fit.diagnosis.residuals)
    noise = float((residuals**2).sum()) / max(len(residuals) - len(theta), 1)
    J, J_new = (_slopes(log_L, len(theta)) for log_L in (log_seen, log_new))
    spread = J_new @ np.linalg.pinv(J) * np.sqrt(noise)
    found["predicted"] = np.exp(log_new[0])
    found["sd"] = np.maximum(np.sqrt(noise + (spread**2).sum(1)), EXACT)
    found["error"] = found.predicted / found.L - 1
    return found.assign(z=(log_new[0] - np.log(found.L)) / found.sd)


def _log_loss(law: Law, raw, rows: pd.DataFrame) -> np.ndarray:
    return np.log(law.loss(raw, **{v: rows[v].to_numpy(float)[None] for v in law.variables}))


def _slopes(log_L: np.ndarray, p: int) -> np.ndarray:
    """Jacobian, shape (rows, parameters), from what was predicted on either side."""
    return ((log_L[1 : p + 1] - log_L[p + 1 :]) / (2 * STEP)).T


def _inflate(predictions: pd.DataFrame) -> pd.DataFrame:
    """Intervals, as wide as the earlier origins' errors on runs seen by now."""
    parts = []
    for origin in np.unique(predictions.origin):
        rows = predictions.loc[predictions.origin == origin]
        seen = predictions.budget <= origin * (1 + ROUNDING)
        factor = _measure_inflation(predictions.loc[seen & (predictions.origin < origin)])
        reach = QUANTILE * rows.sd * (1.0 if np.isnan(factor) else factor)
        with np.errstate(over="ignore"):  # a law that says nothing of these runs
            ends = {"low": rows.predicted * np.exp(-reach), "high": rows.predicted * np.exp(reach)}
        parts.append(rows.assign(**ends, inflation=factor))
    found = pd.concat(parts, ignore_index=True)
    return found.assign(held=found.L.between(found.low, found.high)).drop(columns="sd")


def _measure_inflation(predictions: pd.DataFrame) -> float:
    """max(1, rms of z), every budget of every origin counted once; NaN from too few origins."""
    if predictions.origin.nunique() < PAST:
        return float("nan")
    return max(1.0, float(np.sqrt(_by_budget(predictions, predictions.z**2).mean())))


def _by_budget(predictions: pd.DataFrame, values: pd.Series) -> pd.Series:
    keys = [predictions.origin, predictions.budget]
    return pd.Series(values.groupby(keys).mean())


def _score(predicted: pd.DataFrame) -> dict:
    error = predicted.error
    return {
        "rms_error": float(np.sqrt(_by_budget(predicted, error**2).mean())),
        "mean_abs_error": _by_budget(predicted, error.abs()).mean(),
        "bias": _by_budget(predicted, error).mean(),
        "max_abs_error": error.abs().max(),
        "claimed": _by_budget(predicted, (predicted.z.abs() <= QUANTILE).astype(float)).mean(),
        "coverage": _by_budget(predicted, predicted.held.astype(float)).mean(),
        "inflation": _measure_inflation(predicted),
        "n_origins": predicted.origin.nunique(),
        "n_held_out": predicted.run_id.nunique(),
        "C_from": predicted.C.min(),
        "C_to": predicted.C.max(),
    }


def _describe(fit: Fit) -> dict:
    return {
        "training_error": float(np.sqrt(np.mean(np.square(fit.diagnosis.residuals)))),
        "n_training": fit.n_runs,
        "status": fit.status,
        "reason": fit.reason,
    }


def _is_as_good(predictions: pd.DataFrame, law: str, best: str) -> bool:
    """Whether a t interval of the paired difference of absolute errors, by budget, holds zero."""
    if predictions.empty or law == best:
        return not predictions.empty
    rows = predictions[predictions.law.isin([law, best])]
    keys = [rows.law, rows.origin, rows.budget]
    paired = rows.error.abs().groupby(keys).mean().unstack("law").dropna(axis=0)
    if law not in paired or len(paired := paired.groupby("budget").mean()) < 2:
        return False
    from scipy.special import stdtrit  # here, so that `import scaling` stays fast

    worse = paired[law] - paired[best]
    margin = stdtrit(len(worse) - 1, (1 + LEVEL) / 2) * worse.std() / np.sqrt(len(worse))
    return bool(worse.mean() <= margin)
