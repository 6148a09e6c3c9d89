"""What every estimator returns: a frozen fit that says how far to trust it."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from scaling.frontier import ComputeModel, exponents, optimum
from scaling.laws import LAWS
from scaling.runs import Convention

Status = Literal["ok", "at_bound", "not_converged", "no_minimum", "extrapolated"]
LEVEL = 0.9  # of every interval
SLACK = 1.02  # a budget this close to the sampled range counts as inside


class FitError(Exception):
    """No usable estimate exists: the data cannot identify the law."""


@dataclass(frozen=True)
class Estimate:
    """A value with its percentile interval; NaN ends where nothing was resampled.

    Attributes
    ----------
    value, low, high : float, or array where C is an array
    status : Status
        "extrapolated" outside of the sampled compute or sizes.
    level : float
    """

    value: Any
    low: Any
    high: Any
    status: str
    level: float = LEVEL

    def __repr__(self) -> str:
        if np.ndim(self.value):
            return f"Estimate({np.size(self.value)} values, status={self.status!r})"
        interval = f" [{self.low:.4g}, {self.high:.4g}]" if np.isfinite(self.low) else ""
        return f"{self.value:.4g}{interval}" + ("" if self.status == "ok" else f" ({self.status})")


@dataclass(frozen=True)
class Bootstrap:
    """How the draws were made.

    Attributes
    ----------
    kind : str
        "seed", "wild" or "pairs" (see `scaling.fitting.bootstrap`); "none" without draws.
    n : int
        Resamples asked for.
    converged : int
        Refits that reached an optimum; the others are no draws.
    noise : float
        Standard deviation of ln L between runs that differ in their seed only, as the fit
        estimates it.
    """

    kind: str = "none"
    n: int = 0
    converged: int = 0
    noise: float = float("nan")


@dataclass(frozen=True, eq=False)
class Fit:
    """One fitted law.

    Attributes
    ----------
    method : str
        parametric, isoflop, envelope, kaplan_LC, kaplan_LN or kaplan_LD.
    law : str
        Key of `scaling.laws.LAWS`, or "power_frontier" for power laws of N_opt, D_opt and L_opt.
    params : dict, name -> value in raw units
    status, reason : Status and, unless ok, why
    objective : float
        Value of what `objective_name` describes, at the optimum.
    n_runs : int
    excluded : tuple of (run_id, reason)
    convention : Convention
    compute : ComputeModel
    sampled : dict, "N", "D", "C" -> (smallest, largest)
    draws : DataFrame, one column per parameter, one row per converged refit
    bootstrap : Bootstrap
    start_agreement : float
        Share of starts that reached the optimum; NaN where nothing is started.
    gradient_norm : float
        Largest derivative of objective/delta per run at the optimum; NaN where solved directly.
    minima : DataFrame
        One row per budget for isoflop and per value of C for the envelope; empty otherwise.
    note : str
        What a reader must know of the method's conditions.
    """

    method: str
    law: str
    params: dict[str, float]
    status: Status
    objective: float
    objective_name: str
    n_runs: int
    convention: Convention
    compute: ComputeModel
    sampled: dict[str, tuple[float, float]]
    reason: str = ""
    excluded: tuple[tuple[str, str], ...] = ()
    draws: pd.DataFrame = field(default_factory=pd.DataFrame)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    start_agreement: float = float("nan")
    gradient_norm: float = float("nan")
    minima: pd.DataFrame = field(default_factory=pd.DataFrame)
    note: str = ""

    def N_opt(self, C) -> Estimate:
        """Compute-optimal parameters at C FLOPs; arrays of C give arrays."""
        return self._optimum("N_opt", C)

    def D_opt(self, C) -> Estimate:
        """Compute-optimal tokens at C FLOPs."""
        return self._optimum("D_opt", C)

    def L_opt(self, C) -> Estimate:
        """Loss (nats/token) of the compute-optimal model at C FLOPs."""
        return self._optimum("L_opt", C)

    def tokens_per_param(self, C) -> Estimate:
        """Tokens per parameter of the compute-optimal model at C FLOPs."""
        return self._optimum("tokens_per_param", C)

    def exponents(self) -> dict[str, Estimate]:
        """N_exponent a and D_exponent b of N_opt ~ C^a, D_opt ~ C^b."""
        values = exponents(self.law, self.params, self.compute)
        drawn = exponents(self.law, self._drawn(), self.compute) if len(self.draws) else {}
        return {
            name: Estimate(float(value), *interval(drawn.get(name)), self.status)
            for name, value in values.items()
        }

    def param(self, name: str) -> Estimate:
        """One parameter of the law with its interval."""
        if name not in self.params:
            raise ValueError(f"{self.law} has no parameter {name!r}; it has {[*self.params]}")
        drawn = self.draws.get(name, None)
        return Estimate(self.params[name], *interval(drawn), self.status)

    def loss(self, **variables) -> Estimate:
        """Expected loss (nats/token) at given N and D, or at the variable of the law."""
        law = LAWS.get(self.law)
        if law is None:
            raise ValueError(f"{self.law} predicts the optimum only; use L_opt(C)")
        value = law.loss(self.params, **variables)
        drawn = None
        if len(self.draws):
            columns = {name: values[:, None] for name, values in self._drawn().items()}
            rows = {symbol: np.atleast_1d(v)[None, :] for symbol, v in variables.items()}
            drawn = law.loss(columns, **rows)
        low, high = interval(drawn if np.ndim(value) or drawn is None else drawn[:, 0])
        inside = all(self._inside(symbol, v) for symbol, v in variables.items())
        return Estimate(value, low, high, self.status if inside else "extrapolated")

    def _optimum(self, quantity: str, C) -> Estimate:
        best = optimum(self.law, self.params, C, self.compute)
        drawn = None
        if len(self.draws):
            columns = {name: values[:, None] for name, values in self._drawn().items()}
            drawn = optimum(self.law, columns, np.atleast_1d(C)[None, :], self.compute)[quantity]
            drawn = drawn if np.ndim(C) else drawn[:, 0]
        value = best[quantity] if np.ndim(C) else float(best[quantity])
        inside = self._inside("C", C) and self._inside("N", best["N_opt"])
        status = self.status if inside or self.status != "ok" else "extrapolated"
        return Estimate(value, *interval(drawn), status)

    def _drawn(self) -> dict[str, np.ndarray]:
        return {name: self.draws[name].to_numpy(float) for name in self.params}

    def _inside(self, symbol: str, values) -> bool:
        low, high = self.sampled[symbol]
        return bool(np.all((values >= low / SLACK) & (values <= high * SLACK)))

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} {self.param(name)!r}" for name in self.params)
        lines = [
            f"{self.method} fit of {self.law}: {self.status}"
            + (f" ({self.reason})" if self.reason else ""),
            f"  {numbers}",
            f"  objective {self.objective:.10g} = {self.objective_name}",
            f"  {self.n_runs} runs, {len(self.excluded)} excluded; {self.convention.describe()}",
        ]
        if self.bootstrap.n:
            b = self.bootstrap
            lines.append(
                f"  {LEVEL:.0%} intervals: {b.kind} bootstrap, {b.converged} of {b.n} refits"
            )
        if np.isfinite(self.start_agreement):
            lines.append(f"  {self.start_agreement:.0%} of the starts agree")
        return "\n".join(lines + ([f"  note: {self.note}"] if self.note else []))


def interval(drawn) -> tuple[Any, Any]:
    """Equal-tailed percentile interval at `LEVEL` along the first axis; NaN without draws."""
    if drawn is None or not len(drawn):
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    ends, values = [tail, 1 - tail], np.asarray(drawn, float)
    low, high = np.quantile(values, ends, axis=0, method="inverted_cdf")  # works with inf
    return (low, high) if np.ndim(low) else (float(low), float(high))


def sampled_ranges(obs: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Smallest and largest N, D and C of the runs; C reaches to the planned budgets."""
    values = {symbol: obs[symbol].to_numpy(float) for symbol in "NDC"}
    values["C"] = np.append(values["C"], obs.budget.to_numpy(float))
    return {symbol: (float(v.min()), float(v.max())) for symbol, v in values.items()}
