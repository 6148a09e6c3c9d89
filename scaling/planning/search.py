"""A positive number sought along its logarithm: where a function crosses zero, where it is least.

scipy.optimize would do the same, but importing it takes longer than all of a plan.
"""

from collections.abc import Callable

import numpy as np

LOG_RANGE = (-30.0, 140.0)  # logarithms of what is searched, FLOPs or parameters
CLOSE = 1e-13  # of a crossing, in logarithms
VALLEY = 1e-9  # of a least value: nearer, its neighbours are equal in double precision
GOLDEN = (5**0.5 - 1) / 2


def find_crossing(excess: Callable[[float], float]) -> float:
    """The number at which a monotone function crosses zero; NaN if it never does.

    Regula falsi after Illinois: the end that stays twice counts half, and a step of bisection
    where the interval does not halve.
    """
    (a, b), (at_a, at_b) = LOG_RANGE, (excess(float(np.exp(end))) for end in LOG_RANGE)
    if not min(at_a, at_b) < 0 < max(at_a, at_b):
        return float("nan")
    while b - a > CLOSE * max(1.0, abs(a), abs(b)):
        before = b - a
        for middle in ((a * at_b - b * at_a) / (at_b - at_a), (a + b) / 2):
            value = excess(float(np.exp(middle)))
            if value == 0:
                return float(np.exp(middle))
            if (value < 0) == (at_a < 0):
                a, at_a, at_b = middle, value, at_b / 2
            else:
                b, at_b, at_a = middle, value, at_a / 2
            if b - a < before / 2:
                break
    return float(np.exp((a + b) / 2))


def find_least(cost: Callable[[float], float], log_low: float, log_high: float) -> float:
    """The number between two, given as logarithms, at which a function with one valley is least.

    By golden sections, one call for each.
    """
    low, high = log_low, log_high
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = cost(float(np.exp(left))), cost(float(np.exp(right)))
    while high - low > VALLEY:
        if at_left < at_right or np.isnan(at_right):
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = cost(float(np.exp(left)))
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = cost(float(np.exp(right)))
    return float(np.exp((low + high) / 2))
