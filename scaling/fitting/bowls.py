"""What every kind of IsoFLOP bowl shares: verdicts on minima, and the curves through them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from scaling.errors import FitError
from scaling.fitting.bootstrap import measure_residuals, resample
from scaling.fitting.bowl import OWN, WINDOW, Bowl, BudgetRuns
from scaling.fitting.diagnosis import Diagnosis, lack_of_fit
from scaling.fitting.estimate import Estimate, interval
from scaling.fitting.lines import power_laws, weigh
from scaling.fitting.origin import Bootstrap
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import Fit
from scaling.fitting.settings import FitSettings
from scaling.quantities import count

DOUBT = 3.0  # times the noise that a bowl may lie below all of its runs
BENT_FROM = 5  # minima from which on the curve through them may bend
REACH = 2.0  # times the largest budget, up to where it does


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
    bias : callable, optional
        Of the same arguments -> list of Bowl, one per budget: how far minima of such bowls are off.
    """

    method: str
    name: str
    no_minimum: str
    refit: Callable[[list[BudgetRuns], np.ndarray, np.ndarray], Bowls]
    remark: str = ""
    bias: Callable[[list[BudgetRuns], np.ndarray, np.ndarray], list[Bowl]] | None = None


def fit_bowls(data: Prepared, settings: FitSettings, kind: BowlKind) -> Fit:
    """Fit one bowl per budget, then curves of N_opt, D_opt and L_opt over C through their minima.

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
        "extrapolated", as is one that lies below all of its runs by more than their noise;
        none of them enters the power laws.

    Raises
    ------
    FitError
        Fewer than two budgets with an interior minimum, with the reason of each; or no more runs
        than coefficients.

    Notes
    -----
    From 5 minima on ln N_opt and ln D_opt are parabolas in ln C, always: on the reference's design
    the 90 % interval of power bowls holds N_opt of truths that are not the law in 69, 54 and 48 %
    of cases at the largest budget, x2 and x8 with a straight line, in 88, 87 and 69 % where the
    interval of the curvature decides, and in 90, 88 and 75 % so. From x2 beyond the budgets on the
    tangent holds as much as the parabola, and is narrower.

    Minima weigh by 1 / variance, see `scaling.fitting.lines.weigh`, all at the median curvature: a
    bowl that noise makes steep is no more precise for it. A known bias of the minima is in the
    intervals, not in the values: it is itself uncertain by about its half, hence four shares of it
    in the draws.
    """
    obs = data.obs
    log_L, weights = np.log(obs.L.to_numpy(float)), obs.weight.to_numpy(float)
    budgets, bowls, said, spare = fit_once(obs, kind)
    fitted = [b for b in budgets if np.isfinite(said[b.rows]).all()]
    log_fitted = np.where(np.isfinite(said), said, log_L)  # without a bowl, what was measured
    noise = measure_residuals(log_L - log_fitted, weights, spare)
    doubt = DOUBT * (data.noise.std if data.noise else noise)
    rows = [
        _judge(b, bowl, kind, log_L, doubt) for b, bowl in zip(budgets, bowls.each, strict=True)
    ]
    minima = pd.DataFrame(rows)
    usable = (minima.status == "ok").to_numpy()
    _refuse_too_few(minima, fitted, spare, bowls.n_shared, kind)
    curve = _Curve.of(bowls, minima.budget.to_numpy(float)[usable], usable, noise)
    bootstrap, drawn = _resample(data, settings, kind, budgets, log_fitted, spare)
    draws = pd.DataFrame()
    if drawn:
        draws = curve.through(drawn).dropna(ignore_index=True)
        bootstrap = replace(bootstrap, converged=len(draws))
        minima = _with_intervals(minima, drawn)
    lack = _test_bowls(data, fitted, log_fitted, spare)
    rejection = lack.describe() if lack and lack.rejected else ""
    residuals = obs.L.to_numpy(float) - np.exp(log_fitted)
    params = curve.through(bowls).iloc[0].to_dict()
    cut = sum(b.cut for b in budgets)
    closed = minima.budget[usable]  # what no bowl reaches was not sampled
    reached = {"C": (float(closed.min()), float(closed.max()))}
    notes = [
        _describe_shared(bowls, drawn, kind),
        _describe_curvature(params, draws),
        f"{count(cut, 'run')} beyond x{WINDOW:g} of the lowest run of a wide budget left out"
        if cut
        else "",
    ]
    return replace(data, sampled={**data.sampled, **reached}).fit(
        method=kind.method,
        law="power_frontier",
        params=params,
        status="rejected" if rejection else "ok",
        reason="; ".join(filter(None, [rejection, _list_refusals(minima)])),
        objective=float((weights * residuals**2).sum()),
        objective_name=f"sum of (L_{kind.name} - L)^2, (nats/token)^2, over budgets with a bowl",
        n_runs=int(minima.n_runs[usable].sum()),
        draws=draws,
        bootstrap=bootstrap,
        minima=minima,
        note="; ".join(filter(None, notes)),
        diagnosis=Diagnosis(lack_of_fit=lack),
    )


def fit_once(obs: pd.DataFrame, kind: BowlKind) -> tuple[list[BudgetRuns], Bowls, np.ndarray, int]:
    """Bowls of the runs as they are; `obs` as in `Prepared`, with L, weight and budget.

    Returns
    -------
    runs by budget; their bowls; what these say of ln L of every run, NaN where none does; degrees
        of freedom that they leave
    """
    budgets, log_said = BudgetRuns.split(obs), np.full(len(obs), np.nan)
    log_L, weights = np.log(obs.L.to_numpy(float))[None], obs.weight.to_numpy(float)[None]
    bowls = kind.refit(budgets, log_L, weights)
    spare = -bowls.n_shared
    for runs, bowl in zip(budgets, bowls.each, strict=True):
        if not runs.refusal and np.isfinite(bowl.log_fitted[0]).all():
            log_said[runs.rows] = bowl.log_fitted[0]
            spare += len(runs.rows) - OWN
    return budgets, bowls, log_said, spare


def _test_bowls(data: Prepared, fitted: list, log_fitted: np.ndarray, spare: int):
    """Lack of fit of all bowls together."""
    rows = np.concatenate([b.rows for b in fitted])
    obs = data.obs.iloc[rows]
    residuals = log_fitted[rows] - np.log(obs.L.to_numpy(float))
    return lack_of_fit(residuals, obs, len(rows) - spare, data.noise)


def _resample(
    data: Prepared,
    settings: FitSettings,
    kind: BowlKind,
    budgets: list[BudgetRuns],
    log_fitted: np.ndarray,
    spare: int,
) -> tuple[Bootstrap, Bowls | None]:
    """Bowls of resampled data, their minima less shares of the kind's bias."""
    obs, n = data.obs, settings.bootstrap
    if not n:
        return Bootstrap(), None
    rng, used = np.random.default_rng(settings.seed), len(data.obs) - spare
    plan = resample(obs, log_fitted, used, n, rng, settings.kind or "seed", data.noise)
    drawn = kind.refit(budgets, np.atleast_2d(plan.target), np.atleast_2d(plan.weights))
    if kind.bias:
        log_L, weights = (obs[name].to_numpy(float)[None] for name in ("L", "weight"))
        biases = kind.bias(budgets, np.log(log_L), weights)
        moved = [bowl.move_by(bias) for bowl, bias in zip(drawn.each, biases, strict=True)]
        drawn = replace(drawn, each=moved)
    return Bootstrap(plan.kind, n, 0, plan.noise), drawn


def _refuse_too_few(minima: pd.DataFrame, fitted: list, spare: int, shared: int, kind) -> None:
    interior = int((minima.status == "ok").sum())
    if interior < 2:
        raise FitError(
            f"{kind.method} needs 2 budgets with an interior minimum, {interior} of "
            f"{len(minima)} have one: {_list_refusals(minima) or 'train at more budgets'}"
        )
    if spare < 1:
        raise FitError(
            f"{kind.method} fits {OWN * len(fitted) + shared} coefficients ({OWN} per "
            f"budget, {shared} shared) to {sum(len(b.rows) for b in fitted)} runs; "
            "train more sizes"
        )


def _judge(runs: BudgetRuns, bowl: Bowl, kind: BowlKind, log_L: np.ndarray, doubt: float) -> dict:
    optima = {name: float(values[0]) for name, values in bowl.optima().items()}
    sizes = {"n_runs": len(runs.rows), "curvature": float(bowl.curvature[0])}
    status, reason = "ok", ""
    if runs.refusal or not np.isfinite(bowl.log_N[0]):
        status, reason = "no_minimum", runs.refusal or kind.no_minimum
    elif not runs.log_N.min() < bowl.log_N[0] < runs.log_N.max():
        side = "below" if bowl.log_N[0] <= runs.log_N.min() else "above"
        status = "extrapolated"
        reason = f"the minimum lies {side} the sampled sizes; train such sizes"
    elif (below := log_L[runs.rows].min() - bowl.log_fitted[0].min()) > doubt:
        status = "extrapolated"
        reason = (
            f"the {kind.name} lies {below:.2%} of the loss below every run, more than noise of "
            f"{doubt / DOUBT:.2%} allows; train sizes nearer to the lowest"
        )
    return {"budget": runs.budget} | optima | sizes | {"status": status, "reason": reason}


def _list_refusals(minima: pd.DataFrame) -> str:
    alike = minima[minima.status != "ok"].groupby("reason", sort=False).budget
    told = ((", ".join(f"{budget:.3g}" for budget in budgets), why) for why, budgets in alike)
    return "; ".join(f"{budgets} FLOPs: {why}" for budgets, why in told)


@dataclass(frozen=True)
class _Curve:
    """How minima become power laws: which budgets, their ln C and weights, up to where they bend.

    An edge of None stands for straight lines.
    """

    usable: np.ndarray
    log_C: np.ndarray
    weights: np.ndarray
    edge: float | None

    @classmethod
    def of(cls, bowls: Bowls, budgets: np.ndarray, usable: np.ndarray, noise: float) -> "_Curve":
        """Of the usable minima, of budgets in FLOPs, at a noise of ln L."""
        edge = float(REACH * budgets.max()) if len(budgets) >= BENT_FROM else None
        kept = [bowl for bowl, use in zip(bowls.each, usable, strict=True) if use]
        log_C, log_N = np.log(budgets), np.array([bowl.log_N[0] for bowl in kept])
        depth = np.array([bowl.curvature[0] / np.exp(bowl.log_L[0]) for bowl in kept])
        std = noise * np.array([bowl.spread for bowl in kept]) * depth / np.median(depth)
        return cls(usable, log_C, weigh(log_C - log_C.mean(), log_N, std, edge is not None), edge)

    def through(self, bowls: Bowls) -> pd.DataFrame:
        """Parameters of law "power_frontier", one row per data set."""
        kept = [bowl for bowl, use in zip(bowls.each, self.usable, strict=True) if use]
        optima = {s: np.stack([getattr(b, f"log_{s}") for b in kept], axis=1) for s in "NDL"}
        middle = float(self.log_C.mean())
        return pd.DataFrame(power_laws(self.log_C, optima, middle, self.weights, self.edge))


def _with_intervals(minima: pd.DataFrame, drawn: Bowls) -> pd.DataFrame:
    for i, bowl in enumerate(drawn.each):
        for name, sample in bowl.optima().items():
            low, high = interval(sample[np.isfinite(sample)], minima.loc[i, name])
            minima.loc[i, [f"{name}_low", f"{name}_high"]] = low, high
    return minima


def _describe_shared(bowls: Bowls, drawn: Bowls | None, kind: BowlKind) -> str:
    numbers = []
    for name, (value, *_) in bowls.shared.items():
        ends = "[{:.3g}, {:.3g}]".format(*interval(drawn.shared[name])) if drawn else ""
        numbers.append(f"{name} {value:.3g} {ends}".strip())
    told = f"shared by all budgets: {', '.join(numbers)}" if numbers else ""
    return "; ".join(filter(None, [told, kind.remark]))


def _describe_curvature(params: dict, draws: pd.DataFrame) -> str:
    if "N_curvature" not in params:
        return f"N_opt(C) is straight: it may bend from {BENT_FROM} minima on"
    found = Estimate(params["N_curvature"], *interval(draws.get("N_curvature")), "ok")
    return f"ln N_opt bends by {found!r} per (ln C)^2, up to {params['C_edge']:.3g} FLOPs"
