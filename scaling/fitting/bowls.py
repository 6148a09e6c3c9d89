"""What every kind of IsoFLOP bowl shares: budgets, verdicts on minima, power laws through them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from scaling.errors import FitError
from scaling.fitting.bootstrap import resample
from scaling.fitting.estimate import interval
from scaling.fitting.lines import power_laws
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import Bootstrap, Fit
from scaling.fitting.settings import FitSettings
from scaling.laws.frontier import QUANTITIES

OWN = 3  # coefficients of one budget's bowl
MIN_SIZES = OWN + 1  # three determine a bowl; the fourth can contradict it
MAX_SPREAD = 1.5  # largest C over smallest C that still is one budget


@dataclass(frozen=True)
class BudgetRuns:
    """The runs of one budget (FLOPs): their places in obs, logarithms, and why not to fit them."""

    budget: float
    rows: np.ndarray
    log_N: np.ndarray
    log_D: np.ndarray
    log_C: np.ndarray
    refusal: str

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "BudgetRuns":
        """Runs of one budget; refused with too few sizes, or where C is not one value."""
        log_N, log_D, log_C = (np.log(rows[symbol].to_numpy(float)) for symbol in "NDC")
        sizes, spread = len(np.unique(log_N)), float(np.exp(np.ptp(log_C)))
        refusal = ""
        if sizes < MIN_SIZES:
            refusal = f"{sizes} sizes, a bowl needs {MIN_SIZES}"
        elif spread > MAX_SPREAD:
            refusal = f"C varies x{spread:.3g} within the budget, more than x{MAX_SPREAD:g}"
        places = rows.index.to_numpy()
        return cls(float(rows.budget.iloc[0]), places, log_N, log_D, log_C, refusal)

    def log_tokens(self, log_N: np.ndarray) -> np.ndarray:
        """Logarithm of the tokens that spend the budget at N; C/D interpolated between the runs."""
        order = np.argsort(self.log_N)
        per_token = (self.log_C - self.log_D)[order]
        return np.log(self.budget) - np.interp(log_N, self.log_N[order], per_token)


@dataclass(frozen=True)
class Bowl:
    """Minima of one budget's bowl, one entry per data set; NaN where there is none.

    Attributes
    ----------
    log_N, log_D, log_L : array, shape (sets,)
    curvature : array, shape (sets,), nats/token
        Half of the second derivative of the loss in ln N at the minimum.
    log_fitted : array, shape (sets, runs)
        What the bowl says of each run at that run's own C.
    """

    log_N: np.ndarray
    log_D: np.ndarray
    log_L: np.ndarray
    curvature: np.ndarray
    log_fitted: np.ndarray

    @classmethod
    def absent(cls, sets: int) -> "Bowl":
        """No minimum in any data set."""
        nothing = np.full(sets, np.nan)
        return cls(nothing, nothing, nothing, nothing, nothing[:, None])

    def optima(self) -> dict[str, np.ndarray]:
        """Optima in raw units under the names of the minima table."""
        logs = (self.log_N, self.log_D, self.log_L, self.log_D - self.log_N)
        with np.errstate(over="ignore"):  # a minimum that a resample leaves open is infinite
            return dict(zip(QUANTITIES, map(np.exp, logs), strict=True))


@dataclass(frozen=True)
class Bowls:
    """One bowl per budget; how many parameters all share, and those by name, shape (sets,)."""

    each: list[Bowl]
    n_shared: int = 0
    shared: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class BowlKind:
    """A kind of bowl.

    Attributes
    ----------
    method : str
    name : str
        What a sentence calls one such bowl.
    no_minimum : str
        Why one has no minimum.
    refit : callable
        Runs by budget, log_L and weights, both of shape (sets or 1, rows) -> Bowls.
    remark : str
        What to know of the shared parameters.
    """

    method: str
    name: str
    no_minimum: str
    refit: Callable[[list[BudgetRuns], np.ndarray, np.ndarray], Bowls]
    remark: str = ""


def fit_bowls(data: Prepared, settings: FitSettings, kind: BowlKind) -> Fit:
    """Fit one bowl per budget, then N_opt, D_opt and L_opt over C through their minima.

    Parameters
    ----------
    data : Prepared
    settings : FitSettings
        All bowls and lines are refitted; by seed noise unless told otherwise, for pairs leave out
        whole sizes of a bowl.
    kind : BowlKind

    Returns
    -------
    Fit of law "power_frontier". `minima` has one row per budget: budget (FLOPs), N_opt, D_opt,
        L_opt, tokens_per_param, their _low and _high if resampled, n_runs, curvature, status,
        reason. A bowl without a minimum is "no_minimum", one with it outside of the sampled sizes
        "extrapolated"; neither enters the power laws.

    Raises
    ------
    FitError
        Fewer than two budgets with an interior minimum, with the reason of each; or no more runs
        than coefficients.
    """
    obs = data.obs
    budgets = [BudgetRuns.of(rows) for _, rows in obs.groupby("budget")]
    log_L, weights = np.log(obs.L.to_numpy(float))[None], obs.weight.to_numpy(float)[None]
    bowls = kind.refit(budgets, log_L, weights)
    fitted = [(b, bowl) for b, bowl in zip(budgets, bowls.each, strict=True) if _is_fitted(b, bowl)]
    rows = [_judge(b, bowl, kind) for b, bowl in zip(budgets, bowls.each, strict=True)]
    minima = pd.DataFrame(rows)
    usable = (minima.status == "ok").to_numpy()
    spare = sum(len(b.rows) - OWN for b, _ in fitted) - bowls.n_shared  # degrees of freedom
    if usable.sum() < 2:
        raise FitError(
            f"{kind.method} needs 2 budgets with an interior minimum, {usable.sum()} of "
            f"{len(minima)} have one: {_list_refusals(minima)}"
        )
    if spare < 1:
        raise FitError(
            f"{kind.method} fits {OWN * len(fitted) + bowls.n_shared} coefficients ({OWN} per "
            f"budget, {bowls.n_shared} shared) to {sum(len(b.rows) for b, _ in fitted)} runs; "
            "train more sizes"
        )
    log_C = np.log(minima.budget.to_numpy(float)[usable])
    log_fitted = log_L[0].copy()  # without a bowl, what was measured
    for b, bowl in fitted:
        log_fitted[b.rows] = bowl.log_fitted[0]
    draws, drawn, bootstrap = pd.DataFrame(), None, Bootstrap()
    if n := settings.bootstrap:
        rng = np.random.default_rng(settings.seed)
        plan = resample(obs, log_fitted, len(obs) - spare, n, rng, settings.kind or "seed")
        drawn = kind.refit(budgets, np.atleast_2d(plan.target), np.atleast_2d(plan.weights))
        draws = _power_laws(drawn, usable, log_C).dropna(ignore_index=True)
        bootstrap = Bootstrap(plan.kind, n, len(draws), plan.noise)
        minima = _with_intervals(minima, drawn)
    residuals = obs.L.to_numpy(float) - np.exp(log_fitted)
    return data.fit(
        method=kind.method,
        law="power_frontier",
        params=_power_laws(bowls, usable, log_C).iloc[0].to_dict(),
        status="ok",
        reason=_list_refusals(minima),
        objective=float((weights[0] * residuals**2).sum()),
        objective_name=f"sum of (L_{kind.name} - L)^2, (nats/token)^2, over budgets with a bowl",
        n_runs=int(minima.n_runs[usable].sum()),
        draws=draws,
        bootstrap=bootstrap,
        minima=minima,
        note=_describe_shared(bowls, drawn, kind),
    )


def _is_fitted(runs: BudgetRuns, bowl: Bowl) -> bool:
    """Whether there is a bowl, with or without a minimum."""
    return not runs.refusal and bool(np.isfinite(bowl.log_fitted[0]).all())


def _judge(runs: BudgetRuns, bowl: Bowl, kind: BowlKind) -> dict:
    optima = {name: float(values[0]) for name, values in bowl.optima().items()}
    sizes = {"n_runs": len(runs.rows), "curvature": float(bowl.curvature[0])}
    status, reason = "ok", ""
    if runs.refusal or not np.isfinite(bowl.log_N[0]):
        status, reason = "no_minimum", runs.refusal or kind.no_minimum
    elif not runs.log_N.min() < bowl.log_N[0] < runs.log_N.max():
        side = "below" if bowl.log_N[0] <= runs.log_N.min() else "above"
        status = "extrapolated"
        reason = f"the minimum lies {side} the sampled sizes; train such sizes"
    return {"budget": runs.budget} | optima | sizes | {"status": status, "reason": reason}


def _list_refusals(minima: pd.DataFrame) -> str:
    refused = minima[minima.status != "ok"]
    rows = zip(refused.budget, refused.reason, strict=True)
    return "; ".join(f"{budget:.3g} FLOPs: {reason}" for budget, reason in rows)


def _power_laws(bowls: Bowls, usable: np.ndarray, log_C: np.ndarray) -> pd.DataFrame:
    kept = [bowl for bowl, use in zip(bowls.each, usable, strict=True) if use]
    optima = {s: np.stack([getattr(b, f"log_{s}") for b in kept], axis=1) for s in "NDL"}
    return pd.DataFrame(power_laws(log_C, optima, float(log_C.mean())))


def _with_intervals(minima: pd.DataFrame, drawn: Bowls) -> pd.DataFrame:
    for i, bowl in enumerate(drawn.each):
        for name, sample in bowl.optima().items():
            low, high = interval(sample[np.isfinite(sample)])
            minima.loc[i, [f"{name}_low", f"{name}_high"]] = low, high
    return minima


def _describe_shared(bowls: Bowls, drawn: Bowls | None, kind: BowlKind) -> str:
    numbers = []
    for name, (value, *_) in bowls.shared.items():
        ends = "[{:.3g}, {:.3g}]".format(*interval(drawn.shared[name])) if drawn else ""
        numbers.append(f"{name} {value:.3g} {ends}".strip())
    told = f"shared by all budgets: {', '.join(numbers)}" if numbers else ""
    return "; ".join(filter(None, [told, kind.remark]))
