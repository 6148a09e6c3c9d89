"""A number with its interval, and how far to trust it."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from scaling.quantities import LEVEL

Status = Literal[
    "ok",
    "at_bound",
    "not_converged",
    "no_minimum",
    "extrapolated",
    "not_identified",  # the runs cannot tell the parameters apart
    "rejected",  # they reject the law: see `scaling.fitting.diagnosis`
]
POINT = 1e-12  # relative width of an interval that is none


@dataclass(frozen=True)
class Estimate:
    """A value with its percentile interval; NaN ends where nothing was resampled.

    Attributes
    ----------
    value, low, high : float, or array where C is an array
    status : Status, or array of them
        "extrapolated" outside of the sampled compute or sizes.
    level : float
    """

    value: Any
    low: Any
    high: Any
    status: Any
    level: float = LEVEL

    @classmethod
    def of(cls, value, drawn, status) -> "Estimate":
        """Value with the interval of its draws, which reaches to it; NaN where all are one."""
        low, high = interval(drawn)
        low, high = np.minimum(low, value), np.maximum(high, value)
        with np.errstate(invalid="ignore"):  # draws may all be infinite
            known = high - low > POINT * np.abs(value)
        low, high = np.where(known, low, np.nan), np.where(known, high, np.nan)
        if np.ndim(value):
            return cls(value, low, high, status)
        return cls(value, float(low), float(high), status)

    def __float__(self) -> float:
        return float(self.value)

    def __repr__(self) -> str:
        if np.ndim(self.value):
            found = ", ".join(dict.fromkeys(np.ravel(self.status).tolist()))
            return f"Estimate({np.size(self.value)} values, status={found!r})"
        interval = f" [{self.low:.4g}, {self.high:.4g}]" if np.isfinite(self.low) else ""
        return f"{self.value:.4g}{interval}" + ("" if self.status == "ok" else f" ({self.status})")


def interval(drawn) -> tuple[Any, Any]:
    """Equal-tailed percentile interval at `LEVEL` along the first axis; NaN without draws."""
    if drawn is None or not len(drawn):
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    ends, values = [tail, 1 - tail], np.asarray(drawn, float)
    low, high = np.quantile(values, ends, axis=0, method="inverted_cdf")  # works with inf
    return (low, high) if np.ndim(low) else (float(low), float(high))
