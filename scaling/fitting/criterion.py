"""What a parametric fit minimises: which residual, under which robust loss."""

from dataclasses import dataclass

import numpy as np

LADDER = (np.inf, 100.0, 30.0, 10.0, 3.0, 1.0)  # multiples of delta, from a cold start
WARM = (3.0, 1.0)  # the same from the point estimate
L1_DELTA = 1e-9  # Huber loss this narrow stands for the sum of absolute residuals
RESIDUALS = {"log": "ln L_predicted - ln L", "linear": "L_predicted - L"}
LOSSES = ("huber", "l1", "mse")


def root_weights(weights: np.ndarray) -> np.ndarray | float:
    """Root of each weight over their mean, 1/sd up to a unit; exactly 1 where all are equal."""
    return np.sqrt(weights / weights.mean()) if np.ptp(weights) else 1.0


@dataclass(frozen=True)
class Criterion:
    """Sum over runs of loss(residual / sd), sd in units in which the mean of 1/sd^2 is one.

    Attributes
    ----------
    residual : {"log", "linear"}
        ln L_predicted - ln L, or L_predicted - L in nats/token.
    loss : {"huber", "l1", "mse"}
        r^2/2 for abs(r) <= delta, else delta*(abs(r) - delta/2); abs(r); r^2/2.
    huber_delta : float, > 0
        In the unit of the residual.
    """

    residual: str = "log"
    loss: str = "huber"
    huber_delta: float = 1e-3

    def __post_init__(self):
        if self.residual not in RESIDUALS:
            raise ValueError(f"residual={self.residual!r} is unknown; use one of {[*RESIDUALS]}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss={self.loss!r} is unknown; use one of {LOSSES}")
        if not 0 < self.huber_delta < np.inf:
            raise ValueError(
                f"huber_delta must be positive, got {self.huber_delta}; 1e-3 is customary"
            )

    @property
    def delta(self) -> float:
        """Half-width of the quadratic part, in the unit of the residual."""
        return {"huber": self.huber_delta, "l1": L1_DELTA, "mse": np.inf}[self.loss]

    def deltas(self, unit: float = 1.0, warm: bool = False) -> tuple[float, ...]:
        """Ladder of deltas for the solver, in residuals of this unit; shorter from a warm start."""
        if self.loss == "mse":
            return (np.inf,)
        if self.loss == "huber":
            steps = self.huber_delta * np.array(WARM if warm else LADDER)
        else:
            down = np.geomspace(1e-2, L1_DELTA, 15)
            steps = down if warm else np.array([np.inf, 0.1, *down])
        return tuple(float(step / unit) for step in steps)

    def sum(self, residuals: np.ndarray, weights: np.ndarray) -> float:
        """Sum over runs of loss(root * residual), root that of the weight over the mean weight.

        A weight is 1/variance: inside of the loss it makes every residual one of the same noise, so
        that absolute residuals count by 1/sd and squares by 1/variance, as is efficient for each.
        """
        size = np.abs(residuals * root_weights(weights))
        if self.loss == "l1":
            return float(size.sum())
        clipped = np.minimum(size, self.delta)
        return float((clipped * (size - 0.5 * clipped)).sum())

    def score(self, residuals: np.ndarray) -> np.ndarray:
        """Derivative of the loss in the residual."""
        return np.clip(residuals, -self.delta, self.delta)

    def describe(self) -> str:
        """The criterion as a line of text, as in "sum of Huber(ln L_predicted - ln L; ...)"."""
        r = RESIDUALS[self.residual]
        if self.loss == "huber":
            return f"sum of Huber({r}; delta={self.huber_delta:g})"
        return f"sum of abs({r})" if self.loss == "l1" else f"sum of ({r})^2 / 2"
