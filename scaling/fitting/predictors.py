"""Predictions that the solver can differentiate: sums of power terms, and any other formula."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, Protocol

import numpy as np

from scaling.laws.jets import Jet


class Predictor(Protocol):
    """A prediction f(theta), one per row, that can contract its derivatives over the rows."""

    coefficients: np.ndarray  # which entries of theta are logarithms of a term's size

    @property
    def rows(self) -> int:
        """Rows predicted."""
        ...

    def forward(self, theta: np.ndarray) -> tuple[np.ndarray, Any]:
        """F, shape (batch, rows), and what `contract` needs to know of it."""
        ...

    def contract(
        self, state: Any, squared: np.ndarray, linear: np.ndarray, exact: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sum over rows of linear*df, and of squared*df df' plus, if exact, linear*d2f."""
        ...

    def subset(self, kept: np.ndarray) -> "Predictor":
        """Predict these rows only."""
        ...


class PowerSum:
    """F = s log(sum_t exp(design_t @ theta + offset_t)), s a number or an entry of theta.

    Parameters
    ----------
    design : array, shape (terms, rows, parameters)
    offset : array, shape (terms, rows), optional
    outer : int, optional
        Index of s in theta; its columns of `design` are zero.
    power : float
        What s is otherwise.
    """

    def __init__(
        self,
        design: np.ndarray,
        offset: np.ndarray | None = None,
        outer: int | None = None,
        power: float = 1.0,
    ):
        self.design, self.outer, self.power = design, outer, power
        self.offset = np.zeros(design.shape[:2]) if offset is None else offset
        terms, self.rows, self.p = design.shape
        self.used = [np.flatnonzero(X.any(0)) for X in design]
        self.columns = [
            np.ascontiguousarray(X[:, u]) for X, u in zip(design, self.used, strict=True)
        ]
        self.constant = [
            bool(np.ptp(X, axis=0).max() == 0 and np.ptp(o) == 0)
            for X, o in zip(design, self.offset, strict=True)
        ]
        sizes = [
            (column == 1).all(1).any() and column.any(1).sum() == 1
            for column in design.transpose(2, 0, 1)
        ]
        self.coefficients = np.array(sizes) & (outer is None and power == 1)
        self.pairs = [*self._pairs(combinations_with_replacement(range(terms), 2))]

    def subset(self, kept: np.ndarray) -> "PowerSum":
        """Predict these rows only."""
        return PowerSum(self.design[:, kept], self.offset[:, kept], self.outer, self.power)

    def _pairs(self, pairs) -> Iterator[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]]:
        for t, u in pairs:
            outer = self.design[t][:, :, None] * self.design[u][:, None, :]
            outer = outer if t == u else outer + outer.transpose(0, 2, 1)
            i, j = np.nonzero(np.triu(outer.any(0)))
            yield t, u, i, j, np.ascontiguousarray(outer[:, i, j])

    def forward(self, theta):
        """F, shape (batch, rows), and the share of every term in its sum."""
        shares = []
        for X, used, offset, constant in zip(
            self.columns, self.used, self.offset, self.constant, strict=True
        ):
            rows = slice(1) if constant else slice(None)
            shares.append(np.exp(theta[:, used] @ X[rows].T + offset[rows]))
        total = sum(shares[1:], shares[0])
        g = np.log(total)
        for share in shares:
            share /= total if share.shape == total.shape else 1.0
        shares = [q if q.shape == total.shape else q / total for q in shares]
        s = self.power if self.outer is None else theta[:, [self.outer]]
        return np.broadcast_to(s * g, (len(theta), self.rows)), (g, shares, s)

    def contract(self, state, squared, linear, exact=True):
        """Sum over rows of linear*df, and of squared*df df' plus, if exact, linear*d2f."""
        g, shares, s = state
        batch = len(linear)
        slope, hessian = np.zeros((batch, self.p)), np.zeros((batch, self.p, self.p))
        first = s * linear
        core = s * s * squared - first if exact else s * s * squared
        weighted = [core * q for q in shares]
        direct = [first * q for q in shares]
        for used, X, mass in zip(self.used, self.columns, direct, strict=True):
            slope[:, used] += mass @ X
        for t, u, i, j, outer in self.pairs:
            mix = weighted[t] * shares[u]
            entries = (mix + direct[t] if t == u and exact else mix) @ outer
            hessian[:, i, j] += entries
            hessian[:, j, i] += np.where(i == j, 0.0, entries)
        if self.outer is not None:
            cross = np.zeros_like(slope)
            mixed = squared * s * g + linear if exact else squared * s * g
            for used, X, q in zip(self.used, self.columns, shares, strict=True):
                cross[:, used] += (mixed * q) @ X
            cross[:, self.outer] = (squared * g * g).sum(1)
            hessian[:, self.outer, :] = hessian[:, :, self.outer] = cross
            slope[:, self.outer] = (linear * g).sum(1)
        return slope, hessian


@dataclass(frozen=True)
class Formula:
    """F from any formula that arrays and jets go through.

    Attributes
    ----------
    function : callable
        theta, one column of shape (batch, 1) per parameter, and which rows -> f, (batch, rows).
    kept : array of int
        The rows to predict.
    """

    function: Callable[[Any, np.ndarray], Any]
    kept: np.ndarray

    coefficients = np.zeros(1, bool)

    @property
    def rows(self) -> int:
        """Rows predicted."""
        return len(self.kept)

    def subset(self, kept: np.ndarray) -> "Formula":
        """Predict these rows only."""
        return Formula(self.function, self.kept[kept])

    def forward(self, theta):
        """F, shape (batch, rows), and theta."""
        shape = len(theta), self.rows
        return np.broadcast_to(self.function(_columns(theta), self.kept), shape), theta

    def contract(self, state, squared, linear, exact=True):
        """Sum over rows of linear*df, and of squared*df df' plus, if exact, linear*d2f."""
        theta, (batch, p) = state, state.shape
        found = self.function(Jet.seed(_columns(theta), exact), self.kept)
        slope, hessian = np.zeros((batch, p)), np.zeros((batch, p, p))
        names = np.array([*found.slopes])
        first = self._stack(found.slopes.values(), batch)
        slope[:, names] = np.matmul(first, linear[:, :, None])[:, :, 0]
        hessian[:, names[:, None], names] = (first * squared[:, None]) @ first.transpose(0, 2, 1)
        if found.bends:
            j, k = np.array([*found.bends]).T
            bend = np.matmul(self._stack(found.bends.values(), batch), linear[:, :, None])[:, :, 0]
            hessian[:, j, k] += bend
            hessian[:, k, j] += np.where(j == k, 0.0, bend)
        return slope, hessian

    def _stack(self, arrays: Collection[Any], batch: int) -> np.ndarray:
        """Arrays that broadcast to (batch, rows), as one of shape (batch, arrays, rows)."""
        stacked = np.empty((batch, len(arrays), self.rows))
        for k, array in enumerate(arrays):
            stacked[:, k] = array
        return stacked


def _columns(theta: np.ndarray) -> np.ndarray:
    return theta.T[:, :, None]
