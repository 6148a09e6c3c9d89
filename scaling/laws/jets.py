"""Numbers that carry their derivatives: any formula, differentiated twice in one pass."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

Pair = tuple[int, int]  # of parameters, the smaller index first


class Jet(NDArrayOperatorsMixin):
    """An array with its first and second derivatives in those parameters that it depends on.

    Arithmetic, powers, exp, log and minimum take it as they take an array.

    Parameters
    ----------
    value : array
    slopes : dict, parameter -> array
    bends : dict, pair of parameters -> array, or None where second derivatives are not asked for

    Examples
    --------
    The derivatives of x^2 y at x = 3, y = 2:

    >>> x, y = Jet.seed(np.array([3.0, 2.0]), exact=True)
    >>> z = x**2 * y
    >>> print(z.value, *z.slopes.values(), *z.bends.values())  # 2xy, x^2; 2y, 2x
    18.0 12.0 9.0 4.0 6.0
    """

    def __init__(self, value: Any, slopes: dict[int, Any], bends: dict[Pair, Any] | None) -> None:
        self.value, self.slopes, self.bends = value, slopes, bends

    @classmethod
    def seed(cls, columns: np.ndarray, exact: bool) -> "list[Jet]":
        """The parameters themselves, one per row of columns.

        Examples
        --------
        >>> log_C = np.log(Jet.seed(np.array([[1e18, 1e21]]), exact=False)[0])
        >>> print(log_C.value.round(2), log_C.slopes[0])  # 1 / C
        [41.45 48.35] [1.e-18 1.e-21]
        """
        return [cls(value, {k: 1.0}, {} if exact else None) for k, value in enumerate(columns)]

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        """Apply a function of NumPy; those that are not known here are refused."""
        if method != "__call__" or options or ufunc not in RULES:
            return NotImplemented
        return RULES[ufunc](*inputs)

    def through(self, value, first, second) -> "Jet":
        """A function of this: its value and its derivatives in it.

        Examples
        --------
        The sine, which no rule here knows:

        >>> sine = x.through(np.sin(3.0), np.cos(3.0), -np.sin(3.0))
        >>> print(f"{sine.slopes[0]:.4f} {sine.bends[0, 0]:.4f}")
        -0.9900 -0.1411
        """
        slopes = {k: first * slope for k, slope in self.slopes.items()}
        if self.bends is None:
            return Jet(value, slopes, None)
        bends = {pair: first * bend for pair, bend in self.bends.items()}
        for j, k in self._pairs():
            _add(bends, (j, k), second * self.slopes[j] * self.slopes[k])
        return Jet(value, slopes, bends)

    def scaled(self, factor) -> "Jet":
        """Multiply by what depends on no parameter.

        Examples
        --------
        >>> print((x * x).scaled(0.5).slopes[0])
        3.0
        """
        bends = None if self.bends is None else {p: factor * b for p, b in self.bends.items()}
        return Jet(self.value * factor, {k: factor * s for k, s in self.slopes.items()}, bends)

    def _pairs(self) -> Iterator[Pair]:
        names = sorted(self.slopes)
        return ((j, k) for i, j in enumerate(names) for k in names[i:])


def _add(into: dict, key, term) -> None:
    into[key] = into[key] + term if key in into else term


def _sum(a, b) -> Jet:
    if not isinstance(a, Jet):
        return _sum(b, a)
    if not isinstance(b, Jet):
        return Jet(a.value + b, a.slopes, a.bends)
    slopes, bends = dict(a.slopes), None if a.bends is None else dict(a.bends)
    for k, slope in b.slopes.items():
        _add(slopes, k, slope)
    if bends is not None:
        for pair, bend in (b.bends or {}).items():
            _add(bends, pair, bend)
    return Jet(a.value + b.value, slopes, bends)


def _product(a, b) -> Jet:
    if not isinstance(a, Jet):
        return b.scaled(a)
    if not isinstance(b, Jet):
        return a.scaled(b)
    found = _sum(a.scaled(b.value), b.scaled(a.value))
    if found.bends is not None:
        for j, one in a.slopes.items():
            for k, other in b.slopes.items():
                mixed = one * other
                _add(found.bends, (min(j, k), max(j, k)), 2 * mixed if j == k else mixed)
    return Jet(a.value * b.value, found.slopes, found.bends)


def _inverse(a: Jet) -> Jet:
    inverse = 1.0 / a.value
    return a.through(inverse, -(inverse**2), 2 * inverse**3)


def _exp(a: Jet) -> Jet:
    value = np.exp(a.value)
    return a.through(value, value, value)


def _log(a: Jet) -> Jet:
    inverse = 1.0 / a.value
    return a.through(np.log(a.value), inverse, -(inverse**2))


def _power(a, b) -> Jet:
    if isinstance(b, Jet):
        return _exp(_product(b, np.log(a)))
    first = b * a.value ** (b - 1)
    return a.through(a.value**b, first, (b - 1) * first / a.value)


def _quotient(a, b) -> Jet:
    return _product(a, _inverse(b)) if isinstance(b, Jet) else a.scaled(1.0 / b)


def _minimum(a, b) -> Jet:
    if not isinstance(a, Jet):
        return _minimum(b, a)
    if isinstance(b, Jet):
        return _sum(a, _minimum(_sum(b, a.scaled(-1.0)), 0.0))
    below = np.where(a.value < b, 1.0, 0.0)
    return a.through(np.minimum(a.value, b), below, 0.0)


RULES: dict[np.ufunc, Callable[..., Jet]] = {
    np.add: _sum,
    np.subtract: lambda a, b: _sum(a, _product(b, -1.0) if isinstance(b, Jet) else -b),
    np.multiply: _product,
    np.divide: _quotient,
    np.power: _power,
    np.negative: lambda a: a.scaled(-1.0),
    np.exp: _exp,
    np.log: _log,
    np.minimum: _minimum,
}
