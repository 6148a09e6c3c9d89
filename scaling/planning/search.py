"""A positive number sought along its logarithm: where a function crosses zero, where it is least.

scipy.optimize is imported where it is used: it costs half a second, which nobody pays who only
reads a budget or a message of error.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

LOG_RANGE = (-30.0, 140.0)  # logarithms of what is searched, FLOPs or parameters


def find_crossing(excess: Callable[[float], float]) -> float:
    """The number at which a monotone function crosses zero; NaN if it never does."""
    from scipy.optimize import brentq

    ends = [excess(float(np.exp(end))) for end in LOG_RANGE]
    if not min(ends) < 0 < max(ends):
        return float("nan")
    found: Any = brentq(
        lambda log: excess(float(np.exp(log))), *LOG_RANGE, xtol=1e-13, maxiter=1000
    )
    return float(np.exp(found))


def find_least(cost: Callable[[float], float], log_low: float, log_high: float) -> float:
    """The number between two, given as logarithms, at which a function with one valley is least."""
    from scipy.optimize import minimize_scalar

    found: Any = minimize_scalar(
        lambda log: cost(float(np.exp(log))),
        bounds=(log_low, log_high),
        method="bounded",
        options={"xatol": 1e-10, "maxiter": 1000},
    )
    return float(np.exp(found.x))
