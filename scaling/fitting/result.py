"""What every estimator returns: a frozen fit that says how far to trust it."""

import json
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from scaling.files import write_text
from scaling.laws.frontier import ComputeModel, exponents, optimum
from scaling.laws.table import LAWS
from scaling.tables.observations import Convention

Status = Literal["ok", "at_bound", "not_converged", "no_minimum", "extrapolated"]
LEVEL = 0.9  # of every interval
VARIABLES = tuple(dict.fromkeys(v for law in LAWS.values() for v in (*law.variables, "C")))
SLACK = 1.02  # a budget this close to the sampled range counts as inside
FORMAT = "scaling fit 1"  # of the JSON file; raised when an older reader would misread it


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

    def __float__(self) -> float:
        return float(self.value)

    def __repr__(self) -> str:
        if np.ndim(self.value):
            return f"Estimate({np.size(self.value)} values, status={self.status!r})"
        interval = f" [{self.low:.4g}, {self.high:.4g}]" if np.isfinite(self.low) else ""
        return f"{self.value:.4g}{interval}" + ("" if self.status == "ok" else f" ({self.status})")


class Params(dict):
    """Parameters by name, as floats; printed with their intervals."""

    def __init__(self, values, draws: pd.DataFrame):
        super().__init__(values)
        self._draws = draws

    def __repr__(self) -> str:
        return ", ".join(
            f"{name} {Estimate(value, *interval(self._draws.get(name)), 'ok')!r}"
            for name, value in self.items()
        )


@dataclass(frozen=True)
class Data:
    """What a fit was made from.

    Attributes
    ----------
    source : str
        File, registry name or "DataFrame".
    sha256 : str
        Of N, D, C, L and weight of the fitted rows, in the order of the table.
    filter : str
        Which rows its reader left out, in words.
    """

    source: str = ""
    sha256: str = ""
    filter: str = ""


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
        Key of `LAWS`, or "power_frontier" for power laws of N_opt, D_opt and L_opt.
    params : dict, name -> value in raw units
    status, reason : Status and, unless ok, why
    objective : float
        Value of what `objective_name` describes, at the optimum.
    constraints : dict, parameter -> value, or -> the parameter that it equals
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
    data : Data
    bounds_hit : tuple of str
        Parameters that ended on a bound.
    residuals : tuple of float
        ln L_predicted - ln L of the runs, times the root of their weight over the mean weight.
    version : str
        Of this package.
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
    constraints: dict[str, float | str] = field(default_factory=dict)
    excluded: tuple[tuple[str, str], ...] = ()
    draws: pd.DataFrame = field(default_factory=pd.DataFrame)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    start_agreement: float = float("nan")
    gradient_norm: float = float("nan")
    minima: pd.DataFrame = field(default_factory=pd.DataFrame)
    note: str = ""
    data: Data = field(default_factory=Data)
    bounds_hit: tuple[str, ...] = ()
    residuals: tuple[float, ...] = ()
    version: str = field(default_factory=lambda: metadata.version("scaling-laboratory"))

    def __post_init__(self):
        object.__setattr__(self, "params", Params(self.params, self.draws))

    def N_opt(self, C) -> Estimate:
        """Compute-optimal parameters at C FLOPs; arrays of C give arrays."""
        return self._optimum("N_opt", C)

    def D_opt(self, C) -> Estimate:
        """Compute-optimal tokens at C FLOPs."""
        return self._optimum("D_opt", C)

    def L_opt(self, C, *, prediction: bool = False) -> Estimate:
        """Loss (nats/token) of the compute-optimal model at C FLOPs.

        The interval is that of the law; with `prediction`, that of one more run.
        """
        return self._optimum("L_opt", C, prediction)

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

    def loss(self, *, prediction: bool = False, **variables: Any) -> Estimate:
        """Expected loss (nats/token) at given N and D, or at the variables of the law.

        Parameters
        ----------
        prediction : bool
            Give the interval of one more run, with its noise, instead of that of the law.
        **variables : float or array
            N=..., D=...

        Raises
        ------
        ValueError
            The method predicts the optimum only, or keeps no residuals to predict with.
        """
        law = LAWS.get(self.law)
        if law is None:
            raise ValueError(f"{self.law} predicts the optimum only; use L_opt(C)")
        value = law.loss(self.params, **variables)
        drawn = None
        if len(self.draws):
            columns = {name: values[:, None] for name, values in self._drawn().items()}
            rows = {symbol: np.atleast_1d(v)[None, :] for symbol, v in variables.items()}
            drawn = law.loss(columns, **rows)
        inside = all(self._inside(symbol, v) for symbol, v in variables.items())
        value = value if np.ndim(value) else float(value)
        return self._estimate(value, drawn, inside, prediction)

    def _optimum(self, quantity: str, C, prediction: bool = False) -> Estimate:
        best = optimum(self.law, self.params, C, self.compute)
        drawn = None
        if len(self.draws):
            columns = {name: values[:, None] for name, values in self._drawn().items()}
            drawn = optimum(self.law, columns, np.atleast_1d(C)[None, :], self.compute)[quantity]
        value = best[quantity] if np.ndim(C) else float(best[quantity])
        inside = self._inside("C", C) and self._inside("N", best["N_opt"])
        return self._estimate(value, drawn, inside, prediction)

    def _estimate(self, value, drawn, inside: bool, prediction: bool) -> Estimate:
        if drawn is not None:
            drawn = drawn * self._noise(drawn.shape) if prediction else drawn
            drawn = drawn if np.ndim(value) else drawn[:, 0]
        status = self.status if inside or self.status != "ok" else "extrapolated"
        return Estimate(value, *interval(drawn), status)

    def _noise(self, shape) -> np.ndarray:
        """Factors by which single runs miss the law: its residuals, at their unbiased size."""
        if not self.residuals:
            raise ValueError(
                f"a {self.method} fit keeps no residuals to predict a run with; use parametric"
            )
        spare = max(len(self.residuals) - len(self.params), 1)
        size = np.sqrt(len(self.residuals) / spare)
        picked = np.random.default_rng(0).choice(self.residuals, shape)
        return np.exp(-size * picked)

    def _drawn(self) -> dict[str, np.ndarray]:
        return {name: self.draws[name].to_numpy(float) for name in self.params}

    def _inside(self, symbol: str, values) -> bool:
        low, high = self.sampled.get(symbol, (-np.inf, np.inf))
        return bool(np.all((values >= low / SLACK) & (values <= high * SLACK)))

    def save(self, path: str | Path) -> None:
        """Write the fit as JSON: everything, draws included; `load_fit` reads it back exactly."""
        parts = {"format": FORMAT} | {name: _plain(value) for name, value in vars(self).items()}
        lines = [f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in parts.items()]
        write_text(Path(path), "{\n" + ",\n".join(lines) + "\n}\n")

    def __repr__(self) -> str:
        lines = [
            f"{self.method} fit of {self.law}: {self.status}"
            + (f" ({self.reason})" if self.reason else ""),
            f"  {self.params!r}",
            f"  objective {self.objective:.10g} = {self.objective_name}",
            f"  {self.n_runs} runs, {len(self.excluded)} excluded; {self.convention.describe()}",
            *(f"  fixed: {name} = {to}" for name, to in self.constraints.items()),
        ]
        if self.bootstrap.n:
            b = self.bootstrap
            lines.append(
                f"  {LEVEL:.0%} intervals: {b.kind} bootstrap, {b.converged} of {b.n} refits"
            )
        if np.isfinite(self.start_agreement):
            lines.append(f"  {self.start_agreement:.0%} of the starts agree")
        return "\n".join(lines + ([f"  note: {self.note}"] if self.note else []))


def load_fit(path: str | Path) -> Fit:
    """Read a fit that `Fit.save` wrote.

    Raises
    ------
    ValueError
        There is no such file, or it is no fit of this format.
    """
    if not Path(path).is_file():
        raise ValueError(f"there is no fit at {path}; give the path of a file that Fit.save wrote")
    try:
        parts = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error
    if not isinstance(parts, dict) or parts.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is no fit of format {FORMAT!r}; write it again with Fit.save")
    parts = {name: _unplain(value) for name, value in parts.items()}
    for name, kind in (("convention", Convention), ("data", Data), ("bootstrap", Bootstrap)):
        parts[name] = kind(**parts[name])
    compute = parts["compute"]
    parts["compute"] = ComputeModel(**(compute | {"sizes": tuple(compute["sizes"])}))
    parts["sampled"] = {symbol: tuple(ends) for symbol, ends in parts["sampled"].items()}
    parts["excluded"] = tuple(tuple(pair) for pair in parts["excluded"])
    for name in ("bounds_hit", "residuals"):
        parts[name] = tuple(parts[name])
    for name in ("draws", "minima"):
        parts[name] = pd.DataFrame(parts[name])
    return Fit(**parts)


def _plain(value: Any) -> Any:
    """JSON's types; numbers that JSON lacks as a dict with their name."""
    if isinstance(value, pd.DataFrame):
        return {name: _plain(column.tolist()) for name, column in value.items()}
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Convention | Data | Bootstrap | ComputeModel):
        return _plain(asdict(value))
    if isinstance(value, float) and not np.isfinite(value):
        return {"number": str(value)}
    return value.item() if isinstance(value, np.generic) else value


def _unplain(value: Any) -> Any:
    if isinstance(value, dict):
        if [*value] == ["number"]:
            return float(value["number"])
        return {name: _unplain(v) for name, v in value.items()}
    return [_unplain(v) for v in value] if isinstance(value, list) else value


def interval(drawn) -> tuple[Any, Any]:
    """Equal-tailed percentile interval at `LEVEL` along the first axis; NaN without draws."""
    if drawn is None or not len(drawn):
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    ends, values = [tail, 1 - tail], np.asarray(drawn, float)
    low, high = np.quantile(values, ends, axis=0, method="inverted_cdf")  # works with inf
    return (low, high) if np.ndim(low) else (float(low), float(high))


def sampled_ranges(obs: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Smallest and largest of every variable of the runs; C reaches to the planned budgets."""
    values = {symbol: obs[symbol].to_numpy(float) for symbol in VARIABLES if symbol in obs}
    if "C" in values and "budget" in obs:
        values["C"] = np.append(values["C"], obs.budget.dropna().to_numpy(float))
    return {symbol: (float(v.min()), float(v.max())) for symbol, v in values.items()}
