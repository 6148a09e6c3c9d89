"""Approach 3: one loss law fitted to all runs at once, robustly."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from scaling.fitting.bootstrap import resample
from scaling.fitting.result import Bootstrap, Fit, FitError, sampled_ranges
from scaling.fitting.solver import Problem, Solution, solve
from scaling.frontier import fit_compute
from scaling.laws import Law, get_law
from scaling.runs import Convention

GRADUATION = (1000.0, 100.0, 30.0, 10.0, 3.0, 1.0)  # multiples of delta, from a cold start
WARM = (10.0, 3.0, 1.0)  # the same from the point estimate
START_EXPONENTS = (0.1, 0.3, 0.6, 1.0)
START_SHARES = (1.0, 4.0)  # parts of the typical loss, before they are made to sum to one
TERM_SHARE = (1e-4, 10.0)  # bounds of one term at the centre of the data, in typical losses
AGREE = 1e-6  # relative difference of objectives that count as one optimum
FLAT = 1e-9  # difference of mean abs(r) that does, where the objective itself is zero


def fit_parametric(
    obs: pd.DataFrame,
    *,
    law: str = "chinchilla",
    convention: Convention | None = None,
    huber_delta: float = 1e-3,
    n_bootstrap: int = 1000,
    kind: str | None = None,
    seed: int = 0,
    excluded: tuple[tuple[str, str], ...] = (),
) -> Fit:
    """Minimise the summed Huber loss of ln L over all runs, from many starts.

    sum_i weight_i * Huber(ln L_predicted(N_i, D_i) - ln L_i; delta)

    Parameters
    ----------
    obs : DataFrame, as `scaling.runs.observations` returns it
        Columns N (parameters), D (tokens), C (FLOPs), L (nats/token), budget, weight, cluster.
    law : str
        Key of `scaling.laws.LAWS` that is a sum of power terms.
    convention : Convention, optional
        Recorded with the fit; "as given" if omitted.
    huber_delta : float, > 0
        Half-width of the quadratic part, in ln L.
    n_bootstrap : int, >= 0
        Refits of the same objective, from the point estimate; 0 for the point estimate alone.
    kind : {"seed", "wild", "pairs"}, optional
        Kind of bootstrap; `scaling.fitting.bootstrap.default_kind` if omitted.
    seed : int
    excluded : tuple of (run_id, reason)
        Recorded with the fit.

    Returns
    -------
    Fit; "at_bound" when a term vanishes or an exponent ends on its bound, "not_converged" when the
        gradient is not zero.

    Raises
    ------
    ValueError
        The law is unknown or no sum of power terms, or huber_delta is not positive.
    FitError
        No more runs than parameters, or fewer than three values of N or D.

    References
    ----------
    Hoffmann et al. 2022, arXiv:2203.15556, section 3.3.

    Notes
    -----
    Hoffmann et al. minimise with L-BFGS from a grid of 4,500 starts, which stops early; here ln N,
    ln D and ln L are centred and a Newton method goes down a ladder of delta, so that most starts
    meet in one optimum.
    """
    form = get_law(law)
    if not form.terms:
        raise ValueError(f"law {law!r} is no sum of power terms and cannot be fitted this way")
    if not huber_delta > 0:
        raise ValueError(f"huber_delta must be positive, got {huber_delta}; 1e-3 is customary")
    _refuse_too_few(obs, form)
    scaled = _Scaled.of(obs, form)
    found = solve(scaled.problem, scaled.starts(), tuple(huber_delta * m for m in GRADUATION))
    best = int(np.argmin(found.objective))
    same = AGREE * found.objective[best] + FLAT * huber_delta * obs.weight.sum()
    agree = found.objective <= found.objective[best] + same
    theta = found.theta[best]
    status, reason = _status(scaled, found, best)
    draws, bootstrap = _refits(obs, scaled, theta, huber_delta, n_bootstrap, kind, seed)
    return Fit(
        method="parametric",
        law=law,
        params={name: float(v) for name, v in scaled.raw(theta[None]).iloc[0].items()},
        status=status,
        reason=reason,
        objective=float(found.objective[best]),
        objective_name=f"sum of Huber(ln L_predicted - ln L; delta={huber_delta:g})",
        n_runs=len(obs),
        excluded=excluded,
        convention=convention or Convention("as_given", "as_given"),
        compute=fit_compute(obs),
        sampled=sampled_ranges(obs),
        draws=draws,
        bootstrap=bootstrap,
        start_agreement=float(agree.mean()),
        gradient_norm=float(found.gradient[best]),
    )


@dataclass(frozen=True)
class _Scaled:
    """A law on centred logarithms; theta holds ln(coefficient) at the centre, and exponents."""

    law: Law
    centre: dict[str, float]
    problem: Problem

    @classmethod
    def of(cls, obs: pd.DataFrame, law: Law) -> "_Scaled":
        names = [*law.params]
        logs = {s: np.log(obs[s].to_numpy(float)) for s in [*_variables(law), "L"]}
        centre = {symbol: float(values.mean()) for symbol, values in logs.items()}
        design = np.zeros((len(law.terms), len(obs), len(names)))
        bounds = np.array([[p.lower, p.upper] for p in law.params.values()])
        for t, term in enumerate(law.terms):
            design[t, :, names.index(term.coefficient)] = 1.0
            bounds[names.index(term.coefficient)] = np.log(TERM_SHARE)
            if term.variable:
                centred = logs[term.variable] - centre[term.variable]
                design[t, :, names.index(term.exponent)] = -centred
        weights = obs.weight.to_numpy(float)
        problem = Problem(design, logs["L"] - centre["L"], weights, bounds[:, 0], bounds[:, 1])
        return cls(law, centre, problem)

    def starts(self) -> np.ndarray:
        """Every split of the loss among the terms, with every combination of exponents."""
        shares = np.array([*product(START_SHARES, repeat=len(self.law.terms))])
        shares = np.unique(shares / shares.sum(1, keepdims=True), axis=0)
        free = len(self.law.params) - len(self.law.terms)
        exponents = np.array([*product(START_EXPONENTS, repeat=free)])
        names, terms = [*self.law.params], self.law.terms
        starts = np.empty((len(shares), len(exponents), len(names)))
        coefficients = [names.index(term.coefficient) for term in terms]
        others = [i for i in range(len(names)) if i not in coefficients]
        starts[:, :, coefficients] = np.log(shares)[:, None, :]
        starts[:, :, others] = exponents[None, :, :]
        return starts.reshape(-1, len(names))

    def predict(self, theta: np.ndarray) -> np.ndarray:
        """Logarithm of the loss (nats/token), one per run."""
        return np.log(np.exp(self.problem.design @ theta).sum(0)) + self.centre["L"]

    def raw(self, theta: np.ndarray) -> pd.DataFrame:
        """Parameters in raw units, one row per row of theta."""
        columns = dict(zip(self.law.params, theta.T, strict=True))
        for term in self.law.terms:
            shift = columns[term.exponent] * self.centre[term.variable] if term.variable else 0.0
            columns[term.coefficient] = np.exp(columns[term.coefficient] + shift + self.centre["L"])
        return pd.DataFrame(columns)

    def on_bound(self, theta: np.ndarray) -> list[str]:
        """Names of the parameters that ended on a bound."""
        low, high = theta <= self.problem.lower + 1e-6, theta >= self.problem.upper - 1e-6
        return [name for name, hit in zip(self.law.params, low | high, strict=True) if hit]


def _variables(law: Law) -> list[str]:
    return [*dict.fromkeys(term.variable for term in law.terms if term.variable)]


def _refuse_too_few(obs: pd.DataFrame, law: Law) -> None:
    if len(obs) <= len(law.params):
        raise FitError(
            f"{len(law.params)} parameters of {law.formula} need more than {len(obs)} runs"
        )
    for symbol in _variables(law):
        if (values := len(np.unique(obs[symbol]))) < 3:
            raise FitError(
                f"{law.formula} needs at least 3 values of {symbol}, the runs have {values}; "
                f"train more values of {symbol}"
            )


def _status(scaled: _Scaled, found: Solution, best: int):
    if hit := scaled.on_bound(found.theta[best]):
        return "at_bound", f"{', '.join(hit)} ended on a bound: the runs do not identify it"
    if not found.converged[best]:
        return "not_converged", f"gradient {found.gradient[best]:.1e} is not zero"
    return "ok", ""


def _refits(obs, scaled: _Scaled, theta, delta, n, kind, seed) -> tuple[pd.DataFrame, Bootstrap]:
    if not n:
        return pd.DataFrame(), Bootstrap()
    rng = np.random.default_rng(seed)
    plan = resample(obs, scaled.predict(theta), len(theta), n, rng, kind)
    p = scaled.problem
    problem = Problem(p.design, plan.target - scaled.centre["L"], plan.weights, p.lower, p.upper)
    found = solve(problem, np.tile(theta, (n, 1)), tuple(delta * m for m in WARM))
    kept = found.converged
    return scaled.raw(found.theta[kept]), Bootstrap(plan.kind, n, int(kept.sum()), plan.noise)
