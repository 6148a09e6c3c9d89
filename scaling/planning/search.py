"""A positive number sought along its logarithm: where a function crosses zero, where it is least.

Functions may answer in arrays, a problem an element: all are searched at once. Without scipy, whose
import would cost a plan half a second.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

LOG_RANGE = (-30.0, 140.0)  # logarithms of what is searched, FLOPs or parameters
SETTLED = 1e-13  # of a logarithm
GOLDEN = (5**0.5 - 1) / 2
NARROW = 1e-10  # bracket of a minimum, in logarithms


def find_crossing(
    excess: Callable[[Any], Any], log_low: Any = LOG_RANGE[0], log_high: Any = LOG_RANGE[1]
) -> Any:
    """The number at which a monotone function crosses zero; NaN if it never does.

    Inverse quadratic interpolation where it is safe, else bisection.

    References
    ----------
    Chandrupatla 1997, Advances in Engineering Software 28, 145.
    """

    def at(log: Any) -> Any:
        return excess(np.exp(log))

    a, b = (np.asarray(end, float)[()] for end in (log_low, log_high))
    with np.errstate(all="ignore"):  # infinities and NaN of one element stop no other
        f_a, f_b = at(a), at(b)
        crosses = np.sign(f_a) * np.sign(f_b) <= 0
        t: Any = 0.5
        best = a
        for _ in range(200):
            x = a + t * (b - a)
            f = at(x)
            same = np.sign(f) == np.sign(f_a)
            c, f_c = np.where(same, a, b), np.where(same, f_a, f_b)
            b, f_b = np.where(same, b, a), np.where(same, f_b, f_a)
            a, f_a = x, f
            best = np.where(np.abs(f_a) < np.abs(f_b), a, b)
            limit = SETTLED / np.abs(b - c)
            if np.all((np.abs(b - a) < SETTLED) | (limit > 0.5) | (f_a == 0) | ~crosses):
                break
            xi, phi = (a - b) / (c - b), (f_a - f_b) / (f_c - f_b)
            inner = f_a / (f_b - f_a) * f_c / (f_b - f_c)
            outer = (c - a) / (b - a) * f_a / (f_c - f_a) * f_b / (f_c - f_b)
            safe = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
            t = np.where(safe, inner + outer, 0.5)
            t = np.clip(np.where(np.isfinite(t), t, 0.5), limit, 1 - limit)
        return np.where(crosses, np.exp(best), np.nan)[()]


def find_least(cost: Callable[[Any], Any], log_low: Any, log_high: Any) -> Any:
    """The number between two, given as logarithms, at which a function with one valley is least.

    By golden sections.
    """
    low, high = (np.asarray(end, float)[()] for end in (log_low, log_high))
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    with np.errstate(all="ignore"):
        at_left, at_right = cost(np.exp(left)), cost(np.exp(right))
        while np.any(high - low > NARROW):
            is_left = at_left < at_right
            low, high = np.where(is_left, low, left), np.where(is_left, right, high)
            kept, at_kept = np.where(is_left, left, right), np.where(is_left, at_left, at_right)
            new = np.where(is_left, high - GOLDEN * (high - low), low + GOLDEN * (high - low))[()]
            at_new = cost(np.exp(new))
            left, right = np.where(is_left, new, kept), np.where(is_left, kept, new)
            at_left, at_right = (
                np.where(is_left, at_new, at_kept),
                np.where(is_left, at_kept, at_new),
            )
    return np.exp((low + high) / 2)[()]
