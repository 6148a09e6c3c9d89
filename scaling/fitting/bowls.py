"""What every kind of IsoFLOP bowl shares: budgets, verdicts on minima, power laws through them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from scaling.errors import FitError
from scaling.fitting.bootstrap import Resamples, resample
from scaling.fitting.lines import power_laws
from scaling.fitting.result import Bootstrap, Fit, interval, sampled_ranges
from scaling.laws.frontier import fit_compute
from scaling.tables.observations import Convention

OWN = 3  # coefficients of one budget's bowl
MIN_SIZES = OWN + 1  # three determine a bowl; the fourth can contradict it
MAX_SPREAD = 1.5  # largest C over smallest C that still is one budget


@dataclass(frozen=True)
class Group:
    """The runs of one budget (FLOPs): their places in obs, logarithms, and why not to fit them."""

    budget: float
    rows: np.ndarray
    log_N: np.ndarray
    log_D: np.ndarray
    log_C: np.ndarray
    refusal: str

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "Group":
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
        with np.errstate(over="ignore"):  # a minimum that a resample leaves open is infinite
            return {
                "N_opt": np.exp(self.log_N),
                "D_opt": np.exp(self.log_D),
                "L_opt": np.exp(self.log_L),
                "tokens_per_param": np.exp(self.log_D - self.log_N),
            }


@dataclass(frozen=True)
class Bowls:
    """One bowl per group, and what they share.

    Attributes
    ----------
    each : list of Bowl
    n_shared : int
        Parameters fitted to all groups together.
    shared : dict, name -> array, shape (sets,)
        Their values, and what is derived of them.
    """

    each: list[Bowl]
    n_shared: int = 0
    shared: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Shape:
    """A kind of bowl.

    Attributes
    ----------
    method : str
    name : str
        What a sentence calls one such bowl.
    no_minimum : str
        Why one has no minimum.
    refit : callable
        groups, log_L and weights, both of shape (sets or 1, rows) -> Bowls.
    remark : str
        What to know of the shared parameters.
    """

    method: str
    name: str
    no_minimum: str
    refit: Callable[[list[Group], np.ndarray, np.ndarray], Bowls]
    remark: str = ""


def fit_bowls(
    obs: pd.DataFrame,
    shape: Shape,
    convention: Convention | None,
    n_bootstrap: int,
    kind: str | None,
    seed: int,
    excluded: tuple[tuple[str, str], ...],
) -> Fit:
    """Fit one bowl of the given shape per budget, and power laws through their minima.

    Raises
    ------
    FitError
        Fewer than two budgets with an interior minimum, with the reason of each; or no more runs
        than coefficients.
    """
    groups = [Group.of(rows) for _, rows in obs.groupby("budget")]
    log_L, weights = np.log(obs.L.to_numpy(float))[None], obs.weight.to_numpy(float)[None]
    bowls = shape.refit(groups, log_L, weights)
    minima = pd.DataFrame([_verdict(g, b, shape) for g, b in _pairs(groups, bowls)])
    usable = (minima.status == "ok").to_numpy()
    _refuse_too_few(minima, groups, bowls, shape)
    log_C = np.log(minima.budget.to_numpy(float)[usable])
    params = _power_laws(bowls, usable, log_C).iloc[0].to_dict()
    log_fitted = _log_fitted(log_L[0], groups, bowls)
    draws, drawn, bootstrap = pd.DataFrame(), None, Bootstrap()
    if n_bootstrap:
        rng = np.random.default_rng(seed)
        plan = _plan(obs, log_fitted, len(obs) - _spare(groups, bowls), n_bootstrap, rng, kind)
        drawn = shape.refit(groups, np.atleast_2d(plan.target), np.atleast_2d(plan.weights))
        draws = _power_laws(drawn, usable, log_C).dropna(ignore_index=True)
        bootstrap = Bootstrap(plan.kind, n_bootstrap, len(draws), plan.noise)
    residuals = obs.L.to_numpy(float) - np.exp(log_fitted)
    return Fit(
        method=shape.method,
        law="power_frontier",
        params=params,
        status="ok",
        reason=_refusals(minima),
        objective=float((weights[0] * residuals**2).sum()),
        objective_name=f"sum of (L_{shape.name} - L)^2, (nats/token)^2, over budgets with a bowl",
        n_runs=int(minima.n_runs[usable].sum()),
        excluded=excluded,
        convention=convention or Convention("as_given", "as_given"),
        compute=fit_compute(obs),
        sampled=sampled_ranges(obs),
        draws=draws,
        bootstrap=bootstrap,
        minima=_with_intervals(minima, drawn),
        note=_note(bowls, drawn, shape),
    )


def _pairs(groups: list[Group], bowls: Bowls):
    return zip(groups, bowls.each, strict=True)


def _verdict(group: Group, bowl: Bowl, shape: Shape) -> dict:
    row = {"budget": group.budget}
    row |= {name: float(values[0]) for name, values in bowl.optima().items()}
    row |= {"n_runs": len(group.rows), "curvature": float(bowl.curvature[0])}
    if group.refusal:
        return row | {"status": "no_minimum", "reason": group.refusal}
    if not np.isfinite(bowl.log_N[0]):
        return row | {"status": "no_minimum", "reason": shape.no_minimum}
    low, high = group.log_N.min(), group.log_N.max()
    if low < bowl.log_N[0] < high:
        return row | {"status": "ok", "reason": ""}
    side = "below" if bowl.log_N[0] <= low else "above"
    reason = f"the minimum lies {side} the sampled sizes; train such sizes"
    return row | {"status": "extrapolated", "reason": reason}


def _refusals(minima: pd.DataFrame) -> str:
    refused = minima[minima.status != "ok"]
    rows = zip(refused.budget, refused.reason, strict=True)
    return "; ".join(f"{budget:.3g} FLOPs: {reason}" for budget, reason in rows)


def _fitted(groups: list[Group], bowls: Bowls) -> list[tuple[Group, Bowl]]:
    """Groups that have a bowl, with or without a minimum."""
    pairs = _pairs(groups, bowls)
    return [(g, b) for g, b in pairs if not g.refusal and np.isfinite(b.log_fitted[0]).all()]


def _spare(groups: list[Group], bowls: Bowls) -> int:
    """Degrees of freedom that the bowls leave."""
    return sum(len(g.rows) - OWN for g, _ in _fitted(groups, bowls)) - bowls.n_shared


def _refuse_too_few(minima: pd.DataFrame, groups: list[Group], bowls: Bowls, shape: Shape) -> None:
    usable = int((minima.status == "ok").sum())
    if usable < 2:
        raise FitError(
            f"{shape.method} needs 2 budgets with an interior minimum, {usable} of {len(minima)} "
            f"have one: {_refusals(minima)}"
        )
    if _spare(groups, bowls) < 1:
        fitted = [len(g.rows) for g, _ in _fitted(groups, bowls)]
        raise FitError(
            f"{shape.method} fits {OWN * len(fitted) + bowls.n_shared} coefficients ({OWN} per "
            f"budget, {bowls.n_shared} shared) to {sum(fitted)} runs; train more sizes"
        )


def _power_laws(bowls: Bowls, usable: np.ndarray, log_C: np.ndarray) -> pd.DataFrame:
    kept = [bowl for bowl, use in zip(bowls.each, usable, strict=True) if use]
    optima = {s: np.stack([getattr(b, f"log_{s}") for b in kept], axis=1) for s in "NDL"}
    return pd.DataFrame(power_laws(log_C, optima, float(log_C.mean())))


def _log_fitted(log_L: np.ndarray, groups: list[Group], bowls: Bowls) -> np.ndarray:
    """Logarithm of what the bowls say of every run; without a bowl, what was measured."""
    fitted = log_L.copy()
    for group, bowl in _fitted(groups, bowls):
        fitted[group.rows] = bowl.log_fitted[0]
    return fitted


def _plan(obs: pd.DataFrame, log_fitted, n_params, n, rng, kind) -> Resamples:
    return resample(obs, log_fitted, n_params, n, rng, kind or "seed")


def _with_intervals(minima: pd.DataFrame, drawn: Bowls | None) -> pd.DataFrame:
    for i, bowl in enumerate(drawn.each if drawn else []):
        for name, sample in bowl.optima().items():
            low, high = interval(sample[np.isfinite(sample)])
            minima.loc[i, [f"{name}_low", f"{name}_high"]] = low, high
    return minima


def _note(bowls: Bowls, drawn: Bowls | None, shape: Shape) -> str:
    if not bowls.shared:
        return shape.remark
    numbers = []
    for name, (value, *_) in bowls.shared.items():
        ends = "[{:.3g}, {:.3g}]".format(*interval(drawn.shared[name])) if drawn else ""
        numbers.append(f"{name} {value:.3g} {ends}".strip())
    return f"shared by all budgets: {', '.join(numbers)}" + f"; {shape.remark}" * bool(shape.remark)
