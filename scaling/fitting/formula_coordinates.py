"""Any other law as the solver sees it: logarithms of its scales, and plain exponents."""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from scaling.fitting.power_coordinates import TERM_SHARE, Coordinates, pose, spread_out, target_of
from scaling.fitting.predictors import Formula
from scaling.laws.law import Law

LOCAL_POWER = (-3.0, 3.0)  # bounds of a power of N in local coordinates


@dataclass(frozen=True)
class FormulaCoordinates(Coordinates):
    """Logarithms of the scales and plain exponents, or a law's own local coordinates.

    Attributes
    ----------
    centre : tuple of float
        Means of ln N and ln D, where the law is fitted in local coordinates; else empty.
    guesses : DataFrame
        Starting values of some entries of theta, one row per guess.
    """

    centre: tuple[float, ...] = ()
    guesses: pd.DataFrame = field(default_factory=pd.DataFrame)

    @classmethod
    def of(cls, obs: pd.DataFrame, law: Law, residual: str, constraints) -> "FormulaCoordinates":
        """Wrap the law's formula; `coordinates` documents the arguments."""
        free = [name for name in law.params if name not in constraints]
        scales = [law.params[name].is_scale for name in free]
        variables = {v: obs[v].to_numpy(float) for v in law.variables}
        log_L = target_of(obs, law)
        loss_centre = float(log_L.mean())
        local = law.local if law.local and {*constraints} <= {*law.local.same} else None
        centre = tuple(float(np.log(variables[v]).mean()) for v in "ND") if local else ()

        def predict(theta, kept):
            given = {
                name: np.exp(column) if scale else column
                for name, column, scale in zip(free, theta, scales, strict=True)
            }
            params = given | {n: given.get(to, to) for n, to in constraints.items()}
            at = {v: x[kept] for v, x in variables.items()}
            if local:
                return local.log_loss(params, at["N"], at["D"], centre) - loss_centre
            return np.log(law.evaluate(params, at)) - loss_centre

        bounds = [(-np.inf, np.inf) if law.params[n].is_scale else law.params[n][1:3] for n in free]
        if local:
            bounds = [LOCAL_POWER if n in local.same else (-np.inf, np.inf) for n in free]
        model = Formula(predict, np.arange(len(obs)))
        problem = pose(model, obs, log_L - loss_centre, bounds, residual)
        return cls(law, dict(constraints), free, problem, loss_centre, centre)

    def guessed_from(self, simpler: pd.DataFrame) -> "FormulaCoordinates":
        """Return the same coordinates, started at parameters of a simpler law."""
        if self.centre and self.law.local:
            return replace(self, guesses=self.law.local.guess(simpler, self.centre))
        logs = {str(n): np.log(x) for n, x in simpler.items() if self.law.params[str(n)].is_scale}
        return replace(self, guesses=simpler.assign(**logs))

    def on_bound(self, theta: np.ndarray) -> list[str]:
        """Names of the parameters that ended on a bound, or that the runs do not depend on."""
        idle = np.sqrt(np.diag(self.squared_jacobian(theta))) <= TERM_SHARE[0]
        hit = {*super().on_bound(theta), *np.array(self.free)[idle]}
        return [name for name in self.free if name in hit]

    def starts(self, n: int) -> np.ndarray:
        """Sobol points over the ranges in which the law's parameters are expected.

        What the guesses name starts there; of several, at the one that is nearest in the parameter
        that they scan.
        """
        u = spread_out(len(self.free), n)
        parameters = [self.law.params[name] for name in self.free]
        low, high = np.array([p.start for p in parameters]).T
        signed = np.array([p.is_signed for p in parameters])
        logs = np.log(np.where(signed, 1.0, [low, high]))
        logs = logs[0] + u * (logs[1] - logs[0])
        scales = [p.is_scale for p in parameters]
        starts = np.where(scales, logs, np.where(signed, low + u * (high - low), np.exp(logs)))
        nearest = np.arange(len(u)) % max(len(self.guesses), 1)
        if (scanned := self.law.scanned) in self.free and scanned in self.guesses:
            at = starts[:, [self.free.index(scanned)]]
            nearest = np.abs(at - self.guesses[scanned].to_numpy()).argmin(1)
        for k, name in enumerate(self.free):
            if name in self.guesses and name != self.law.scanned:
                starts[:, k] = self.guesses[name].to_numpy()[nearest]
        return starts

    def raw(self, theta: np.ndarray) -> pd.DataFrame:
        """Parameters of the law in raw units, one row per row of theta."""
        given = {
            name: np.exp(column) if self.law.params[name].is_scale else column
            for name, column in zip(self.free, theta.T, strict=True)
        }
        whole = np.ones(len(theta))
        tied = {
            name: (given[to] if isinstance(to, str) else to) * whole
            for name, to in self.constraints.items()
        }
        found = pd.DataFrame({name: (given | tied)[name] for name in self.law.params})
        return self.law.local.raw(found, self.centre) if self.centre and self.law.local else found

    def theta(self, params: pd.DataFrame) -> np.ndarray:
        """Inverse of `raw`."""
        if self.centre and self.law.local:
            params = self.law.local.theta(params, self.centre)
        columns = [
            np.log(params[name]) if self.law.params[name].is_scale else params[name]
            for name in self.free
        ]
        return np.stack([np.asarray(column, float) for column in columns], axis=1)
