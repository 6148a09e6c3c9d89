"""What every estimator returns: a frozen fit that says how far to trust it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling.fitting.diagnosis import Diagnosis, LackOfFit
from scaling.fitting.estimate import LEVEL, Estimate, Status
from scaling.fitting.frozen import Frozen
from scaling.fitting.origin import Bootstrap, Data, read_version
from scaling.fitting.serial import read_parts, structure, unstructure, write_parts
from scaling.laws.compute import ComputeModel
from scaling.laws.frontier import FRONTIERS, exponents, optimum
from scaling.laws.table import LAWS
from scaling.tables.observations import Convention

SLACK = 1.02  # a budget this close to the sampled range counts as inside
INFLATED = "intervals x{:.2f} wider, as the law's earlier extrapolations missed"
FORMAT = "scaling fit 1"  # of the JSON file; raised when an older reader would misread it


@dataclass(frozen=True, eq=False)
class Fit:
    """One fitted law.

    Attributes
    ----------
    method : str
        parametric, isoflop, isoflop_power, envelope, kaplan_LC, kaplan_LN, kaplan_LD, repeated.
    law : str
        Key of `LAWS`, or "power_frontier" for power laws of N_opt, D_opt and L_opt.
    params : mapping, name -> value in raw units
    status, reason : Status and, unless ok, why
    objective : float
        Value of what `objective_name` describes, at the optimum.
    constraints : mapping, parameter -> value, or -> the parameter that it equals
    n_runs : int
    excluded : tuple of (run_id, reason)
    convention : Convention
    compute : ComputeModel
    sampled : mapping, "N", "D", "C" -> (smallest, largest)
    draws : DataFrame, one column per parameter, one row per converged refit
        A copy for readers: what becomes of it changes no answer of the fit.
    bootstrap : Bootstrap
    minima : DataFrame
        One row per budget for isoflop and per value of C for the envelope; empty otherwise.
    note : str
        What a reader must know of the method's conditions.
    data : Data
    diagnosis : Diagnosis
    inflation : float, >= 1
        By how much the law's earlier predictions of larger budgets missed more than their spread
        said (`scaling.fitting.audit`); intervals of predictions are that much wider. 1 if unknown.
    version : str
        Of this package.

    Examples
    --------
    `fit` of help(scaling) knows the law that made its runs, and where they lie:

    >>> fit.method, fit.law, fit.status, fit.n_runs
    ('parametric', 'chinchilla', 'ok', 15)
    >>> [f"{C:.0e}" for C in fit.sampled["C"]]
    ['1e+17', '1e+19']
    >>> fit.convention.describe()
    'N: parameters as the table gives them; C: 6*N*D FLOPs'
    """

    method: str
    law: str
    params: Mapping[str, float]
    status: Status
    objective: float
    objective_name: str
    n_runs: int
    convention: Convention
    compute: ComputeModel
    sampled: Mapping[str, tuple[float, float]]
    reason: str = ""
    constraints: Mapping[str, float | str] = field(default_factory=dict)
    excluded: tuple[tuple[str, str], ...] = ()
    draws: pd.DataFrame = field(default_factory=pd.DataFrame)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    minima: pd.DataFrame = field(default_factory=pd.DataFrame)
    note: str = ""
    data: Data = field(default_factory=Data)
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    inflation: float = 1.0
    version: str = field(default_factory=read_version)
    _drawn: dict[str, np.ndarray] = field(init=False, repr=False)

    def __post_init__(self):
        drawn = {name: self.draws[name].to_numpy(float, copy=True) for name in self.draws}
        frozen = {name: Frozen(getattr(self, name)) for name in ("constraints", "sampled")}
        frozen["params"] = Frozen(self.params, drawn)
        for name, value in (frozen | {"_drawn": drawn if len(self.draws) else {}}).items():
            object.__setattr__(self, name, value)

    @property
    def lack_of_fit(self) -> LackOfFit | None:
        """Whether the runs reject the law; None if that was not tested."""
        return self.diagnosis.lack_of_fit

    def N_opt(self, C) -> Estimate:
        """Compute-optimal parameters at C FLOPs; arrays of C give arrays.

        Examples
        --------
        >>> fit.N_opt(1e19), fit.N_opt(1e20)
        (4.231e+08, 1.245e+09 (extrapolated))
        """
        return self._optimum("N_opt", C)

    def D_opt(self, C) -> Estimate:
        """Compute-optimal tokens at C FLOPs.

        Examples
        --------
        >>> fit.D_opt(1e19)
        3.939e+09
        """
        return self._optimum("D_opt", C)

    def L_opt(self, C, *, prediction: bool = False) -> Estimate:
        """Loss (nats/token) of the compute-optimal model at C FLOPs.

        The interval is that of the law; with `prediction`, that of one more run.

        Examples
        --------
        >>> fit.L_opt(1e18), fit.L_opt(1e19)
        (3.137, 2.696)
        """
        return self._optimum("L_opt", C, prediction)

    def tokens_per_param(self, C) -> Estimate:
        """Tokens per parameter of the compute-optimal model at C FLOPs.

        Examples
        --------
        >>> fit.tokens_per_param([1e17, 1e19]).value.round(1).tolist()
        [7.0, 9.3]
        """
        return self._optimum("tokens_per_param", C)

    def exponents(self) -> dict[str, Estimate]:
        """N_exponent a and D_exponent b of N_opt ~ C^a, D_opt ~ C^b.

        Where these change with C, at the geometric middle of the sampled compute.

        Examples
        --------
        beta / (alpha + beta) and alpha / (alpha + beta), of 0.34 and 0.3:

        >>> fit.exponents()
        {'N_exponent': 0.4688, 'D_exponent': 0.5312}
        """
        C = float(np.exp(np.mean(np.log(self.sampled["C"])))) if "C" in self.sampled else None
        values = exponents(self.law, self.params, self.compute, C)
        drawn = exponents(self.law, self._drawn, self.compute, C) if self._drawn else {}
        return {
            name: Estimate.of(float(value), drawn.get(name), self.status)
            for name, value in values.items()
        }

    def param(self, name: str) -> Estimate:
        """One parameter of the law with its interval.

        Examples
        --------
        >>> fit.param("alpha"), fit.param("E")
        (0.34, 1.7)
        """
        if name not in self.params:
            raise ValueError(f"{self.law} has no parameter {name!r}; it has {[*self.params]}")
        return Estimate.of(self.params[name], self._drawn.get(name), self.status)

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

        Examples
        --------
        >>> fit.loss(N=1e8, D=1e10), fit.loss(N=70e9, D=1.4e12)
        (2.862, 1.873 (extrapolated))
        """
        if self.law not in LAWS:
            raise ValueError(f"{self.law} predicts the optimum only; use L_opt(C)")
        rows = {symbol: np.atleast_1d(v)[None, :] for symbol, v in variables.items()}
        value = LAWS[self.law].loss(self.params, **variables)
        drawn = LAWS[self.law].loss(self._columns(), **rows) if self._drawn else None
        inside = np.broadcast_arrays(*(self._inside(s, v) for s, v in variables.items()))
        return self._estimate(value, drawn, np.all(inside, axis=0), prediction)

    def _optimum(self, quantity: str, C, prediction: bool = False) -> Estimate:
        best, drawn = optimum(self.law, self.params, C, self.compute), None
        if self._drawn:
            row = np.atleast_1d(C)[None, :]
            drawn = optimum(self.law, self._columns(), row, self.compute)[quantity]
        inside = self._inside("C", C) & self._inside("N", best["N_opt"])
        found = self._estimate(best[quantity], drawn, inside, prediction)
        there = [(best[name] > 0) & (best[name] < np.inf) for name in ("N_opt", "D_opt")]
        if not np.any(lacking := ~np.all(there, axis=0)):
            return found
        status = np.where(lacking & (self.status == "ok"), "no_minimum", found.status)
        return replace(found, status=status if np.ndim(C) else str(status))

    def _columns(self) -> dict[str, np.ndarray]:
        """Draws of the parameters, to broadcast against a row of C, N or D."""
        return {name: self._drawn[name][:, None] for name in self.params}

    def _estimate(self, value, drawn, inside, prediction: bool) -> Estimate:
        status = np.where(inside | (self.status != "ok"), self.status, "extrapolated")
        if drawn is not None and prediction:
            drawn = value * (drawn * self._noise(drawn.shape) / value) ** self.inflation
        if np.ndim(value):
            return Estimate.of(value, drawn, status)
        return Estimate.of(float(value), None if drawn is None else drawn[:, 0], str(status))

    def _noise(self, shape) -> np.ndarray:
        """Factors by which single runs miss the law: its residuals, at their unbiased size."""
        residuals = self.diagnosis.residuals
        if not residuals:
            raise ValueError(
                f"a {self.method} fit keeps no residuals to predict a run with; use parametric"
            )
        size = np.sqrt(len(residuals) / max(len(residuals) - len(self.params), 1))
        return np.exp(-size * np.random.default_rng(0).choice(residuals, shape))

    def _inside(self, symbol: str, values) -> np.ndarray:
        low, high = self.sampled.get(symbol, (-np.inf, np.inf))
        return (np.asarray(values) >= low / SLACK) & (np.asarray(values) <= high * SLACK)

    def save(self, path: str | Path) -> None:
        """Write the fit as JSON: everything, draws included; `load_fit` reads it back exactly.

        Examples
        --------
        >>> fit.save("fit.json")
        >>> scaling.load_fit("fit.json").params == fit.params
        True
        """
        parts = {"format": FORMAT} | unstructure(self)
        parts |= parts.pop("diagnosis")
        write_parts(Path(path), parts)

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
        if self.lack_of_fit is not None:
            lines.append(f"  lack of fit: {self.lack_of_fit.describe()}")
        if self.inflation > 1:
            lines.append(f"  predictions: {INFLATED.format(self.inflation)}")
        if np.isfinite(self.diagnosis.start_agreement):
            lines.append(f"  {self.diagnosis.start_agreement:.0%} of the starts agree")
        return "\n".join(lines + ([f"  note: {self.note}"] if self.note else []))


def load_fit(path: str | Path) -> Fit:
    """Read a fit that `Fit.save` wrote.

    Raises
    ------
    ValueError
        There is no such file, or it is no fit of this format, or says what no fit can.

    Examples
    --------
    >>> scaling.fit_law(runs, bootstrap=0).save("fit.json")  # `runs` of help(scaling)
    >>> scaling.load_fit("fit.json").N_opt(1e19)
    4.231e+08
    """
    if not Path(path).is_file():
        raise ValueError(f"there is no fit at {path}; give the path of a file that Fit.save wrote")
    parts = read_parts(Path(path))
    if parts.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is no fit of format {FORMAT!r}; write it again with Fit.save")
    parts["diagnosis"] = {f.name: parts.pop(f.name) for f in fields(Diagnosis) if f.name in parts}
    try:
        fit = structure(parts, Fit)
        _refuse_nonsense(fit)
    except ValueError as error:
        raise ValueError(f"{path} is no fit that can be used: {error}; fit again") from None
    return fit


def _refuse_nonsense(fit: Fit) -> None:
    """Refuse what no fit says, whoever wrote it."""
    if fit.law not in LAWS and fit.law not in FRONTIERS:
        raise ValueError(f"law {fit.law!r} is unknown")
    known = LAWS[fit.law].params if fit.law in LAWS else {}
    if known and {*fit.params} != {*known}:
        raise ValueError(f"{fit.law} has parameters {[*known]}, not {[*fit.params]}")
    for name, value in fit.params.items():
        free = name in known and name not in fit.constraints
        low, high = known[name][1:3] if free else (-np.inf, np.inf)
        if not (np.isfinite(value) and low / SLACK <= value <= high * SLACK):
            raise ValueError(f"parameter {name} is {value}")
    if len(fit.draws) and not {*fit.params} <= {*fit.draws}:
        raise ValueError(f"the draws lack a parameter of {[*fit.params]}")
    if not all(pd.api.types.is_numeric_dtype(fit.draws[name]) for name in fit.draws):
        raise ValueError("a draw is no number")
    curve, (low, high) = fit.compute, fit.compute.sizes
    finite = np.isfinite([curve.kappa, curve.gamma, curve.bend, curve.centre, low, high]).all()
    if not (finite and min(curve.kappa, curve.centre, low) > 0 and low <= high):
        raise ValueError(f"the compute per token is {curve}")
    for name, (low, high) in fit.sampled.items():
        if not 0 < low <= high < np.inf:
            raise ValueError(f"{name} was sampled from {low} to {high}")
    if fit.n_runs < 1 or not fit.inflation >= 1:
        raise ValueError(f"{fit.n_runs} runs, intervals x{fit.inflation}")
