"""The cheapest model of a given loss when it must also serve tokens."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from scaling.planning.sources import LawLike, LawSource, get_source
from scaling.quantities import format_quantity

FORWARD_SHARE = 1 / 3  # a forward pass is a third of a training step: 2N of 6N
UPWARDS = np.log(1e3)  # of ln N above the optimum: serving only makes the best model smaller
FINE = {"xatol": 1e-10, "maxiter": 1000}
FACTORS = (0.25, 0.5, 0.75, 1.0, 2.0)  # of N_opt


@dataclass(frozen=True)
class InferencePlan:
    """The cheapest model of a given loss when it must also serve tokens.

    Attributes
    ----------
    inference_tokens : float, tokens
        Read and written over the model's life.
    loss : float, nats/token
    N, D : float, parameters and tokens
        Of the cheapest model.
    training_flops, inference_flops, total_flops : float, FLOPs
        6ND, 2 N inference_tokens, and their sum; a law whose runs count FLOPs takes its own per
        token in place of 6N, and a third of it.
    optimal_total_flops : float, FLOPs
        The same sum for the compute-optimal model of this loss.
    saving : float
        1 - total_flops / optimal_total_flops.
    table : DataFrame
        As `equal_loss` returns it.
    """

    inference_tokens: float
    loss: float
    N: float
    D: float
    training_flops: float
    inference_flops: float
    total_flops: float
    optimal_total_flops: float
    saving: float
    table: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Everything by name; the table as a list of rows."""
        return asdict(self) | {"table": self.table.to_dict("records")}

    def __repr__(self) -> str:
        return (
            f"serving {format_quantity(self.inference_tokens)} tokens: "
            f"{format_quantity(self.N)} on {format_quantity(self.D)} tokens reaches the same loss "
            f"for {self.total_flops:.3g} FLOPs in all, "
            f"{max(self.saving, 0.0):.1%} less than the optimum"
        )


def plan_inference(law: LawLike, C: float, inference_tokens: float) -> InferencePlan:
    """Least 6ND + 2 N D_inf at the loss that is compute-optimal at C.

    Parameters
    ----------
    law : LawLike; with a loss for every N and D
    C : float, FLOPs
        Its optimum sets the loss.
    inference_tokens : float, tokens, >= 0

    Raises
    ------
    ValueError
        The law knows the optimum only, or the demand is negative.

    References
    ----------
    Sardana et al. 2024, arXiv:2401.00448, equation 3; their approximations 6ND and 2ND.
    """
    if not (inference_tokens >= 0 and np.isfinite(inference_tokens)):
        raise ValueError(
            f"inference_tokens must be zero or more, and finite, got {inference_tokens:g}"
        )
    law = get_source(law)
    N_opt, D_opt, loss = _optimum(law, C)
    N = _cheapest(law, N_opt, loss, inference_tokens)
    D = float(tokens_for_loss(law, N, loss))
    training, total = law.flops_per_token(N) * D, _total(law, N, D, inference_tokens)
    optimal = _total(law, N_opt, D_opt, inference_tokens)
    return InferencePlan(
        inference_tokens=inference_tokens,
        loss=loss,
        N=N,
        D=D,
        training_flops=training,
        inference_flops=total - training,
        total_flops=total,
        optimal_total_flops=optimal,
        saving=1 - total / optimal,
        table=equal_loss(law, C, inference_tokens),
    )


def equal_loss(
    law: LawLike, C: float, inference_tokens: float, factors: Iterable[float] = FACTORS
) -> pd.DataFrame:
    """Cost of smaller and larger models trained until they reach the optimum's loss.

    Returns
    -------
    DataFrame with columns factor (of N_opt), N, D (tokens needed; NaN where the model is too small
        for the loss), training_flops (6ND), inference_flops (2 N D_inf), total_flops, over (total
        over that of the optimum)
    """
    law = get_source(law)
    N_opt, D_opt, loss = _optimum(law, C)
    table = pd.DataFrame({"factor": [*factors]}, dtype=float)
    table["N"] = N_opt * table.factor
    table["D"] = tokens_for_loss(law, table.N.to_numpy(), loss)
    per_token = np.array([law.flops_per_token(N) for N in table.N])
    table["training_flops"] = per_token * table.D
    table["inference_flops"] = FORWARD_SHARE * per_token * inference_tokens
    table["total_flops"] = table.training_flops + table.inference_flops
    return table.assign(over=table.total_flops / _total(law, N_opt, D_opt, inference_tokens))


def tokens_for_loss(law: LawSource, N, loss: float):
    """Tokens on which N parameters reach a loss: (B / (loss - E - A/N^alpha))^(1/beta), or NaN."""
    p = law.fit.params
    left = loss - p["E"] - p["A"] / np.asarray(N, float) ** p["alpha"]
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        D = (p["B"] / left) ** (1 / p.get("beta", p["alpha"]))
    return np.where(left > 0, D, np.nan) if np.ndim(N) else (float(D) if left > 0 else np.nan)


def _smallest(law: LawSource, loss: float) -> float:
    """Parameters below which no amount of data reaches the loss, and a hair more."""
    p = law.fit.params
    return (p["A"] / (loss - p["E"])) ** (1 / p["alpha"]) * (1 + 1e-9)


def _cheapest(law: LawSource, N_opt: float, loss: float, inference_tokens: float) -> float:
    """Parameters of the least total cost: between too few for the loss and UPWARDS."""

    def log_total(log_N: float) -> float:
        N = float(np.exp(log_N))
        return float(np.log(_total(law, N, tokens_for_loss(law, N, loss), inference_tokens)))

    ends = np.log(_smallest(law, loss)), np.log(N_opt) + UPWARDS
    found: Any = minimize_scalar(log_total, bounds=ends, method="bounded", options=FINE)
    return float(np.exp(found.x))


def _optimum(law: LawSource, C: float) -> tuple[float, float, float]:
    best = law.point(C)
    law.loss(best["N_opt"], best["D_opt"])  # refuses a law that knows the optimum only
    return best["N_opt"], best["D_opt"], best["L_opt"]


def _total(law: LawSource, N: float, D: Any, inference_tokens: float) -> float:
    return law.flops_per_token(N) * (D + FORWARD_SHARE * inference_tokens)
