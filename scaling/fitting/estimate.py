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

    Examples
    --------
    >>> estimate = scaling.Estimate(20.1, 17.3, 24.0, "extrapolated")
    >>> estimate
    20.1 [17.3, 24] (extrapolated)
    >>> float(estimate), estimate.level
    (20.1, 0.9)
    """

    value: Any
    low: Any
    high: Any
    status: Any
    level: float = LEVEL

    @classmethod
    def of(cls, value, drawn, status) -> "Estimate":
        """Value with the interval of its draws; NaN where that has no width or excludes it.

        Examples
        --------
        >>> scaling.Estimate.of(20.1, [24.0, 19.0, 17.3, 21.2], "ok")
        20.1 [17.3, 24]
        >>> scaling.Estimate.of(20.1, None, "ok")
        20.1
        """
        return cls(value, *interval(drawn, value), status)

    def __float__(self) -> float:
        return float(self.value)

    def __repr__(self) -> str:
        if np.ndim(self.value):
            found = ", ".join(dict.fromkeys(np.ravel(self.status).tolist()))
            return f"Estimate({np.size(self.value)} values, status={found!r})"
        interval = f" [{self.low:.4g}, {self.high:.4g}]" if np.isfinite(self.low) else ""
        return f"{self.value:.4g}{interval}" + ("" if self.status == "ok" else f" ({self.status})")


def interval(drawn, value: Any = None) -> tuple[Any, Any]:
    """Equal-tailed percentile interval at `LEVEL` along the first axis; NaN without draws.

    Given the value that it belongs to, it is NaN also where it has no width or excludes that value:
    such an interval tells of a fault of the resampling, not of the uncertainty.
    """
    if drawn is None or not len(drawn):
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    ends, values = [tail, 1 - tail], np.asarray(drawn, float)
    low, high = np.quantile(values, ends, axis=0, method="inverted_cdf")  # works with inf
    if value is not None:
        with np.errstate(invalid="ignore"):  # draws may all be infinite
            wide = high - low > POINT * np.abs(value)
        sound = wide & (low <= value) & (value <= high)
        low, high = np.where(sound, low, np.nan), np.where(sound, high, np.nan)
    return (low, high) if np.ndim(low) else (float(low), float(high))
