"""What a plan becomes when weights have few bits, in training, in serving, or both."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling.fitting.result import Estimate, Fit, load_fit
from scaling.hardware.setup import PRECISION_BYTES
from scaling.laws.bits import effective_params
from scaling.planning.search import find_least
from scaling.planning.sources import LawSource

SHIPPED = {
    name: Path(__file__).with_name(f"{name}.json") for name in ("trained_in_bits", "rounding_cost")
}
FP32 = 32
MEASURED = (2, 8)  # bits
AROUND = np.log(1e3)  # of ln N on both sides of the optimum
FARTHEST = 100.0  # times the largest N and D of the laws' runs: beyond, there is no answer
RATIOS = (20, 100, 500, 2000)  # tokens per parameter of the table
TRAINING_BYTES = PRECISION_BYTES["fp32"].state  # a parameter: rounding keeps fp32 weights


@dataclass(frozen=True)
class BitsPlan:
    """The best model for C FLOPs whose weights have so many bits.

    L(N, D) of the plan's law with N_eff = N (1 - e^(-train_bits / gamma)) for N, and the cost of
    rounding to serve_bits added where these are fewer. Both laws are of small models
    (`results/precision`): status and notes say how far away from theirs this plan is.
    """

    train_bits: int  # 32: fp32
    serve_bits: int
    N: float  # parameters
    D: float  # tokens
    N_effective: float  # parameters
    loss: float  # nats/token, all in
    added_by_training: float  # nats/token over fp32 at this N and D
    added_by_rounding: Estimate  # nats/token
    served_bytes: float  # of the weights
    training_bytes: float  # of weights, gradients and optimizer
    turning_tokens: float  # D from which training on raises the served loss; NaN: never
    table: pd.DataFrame  # as `overtraining` returns it
    status: str
    notes: tuple[str, ...]


def plan_bits(law: LawSource, C: float, train_bits: int, serve_bits: int) -> BitsPlan:
    """Least loss at C FLOPs over N, weights of `train_bits` in training, `serve_bits` in serving.

    Raises
    ------
    ValueError
        Bits outside of what was measured, a law that knows the optimum only, or a budget whose
        optimum, or whose best model for these bits, is `FARTHEST` away from what was measured.
    """
    for name, bits in (("train_bits", train_bits), ("serve_bits", serve_bits)):
        if not MEASURED[0] <= bits <= MEASURED[1] and bits != FP32:
            raise ValueError(
                f"{name}={bits}: the laws of bits were measured from {MEASURED[0]} to "
                f"{MEASURED[1]} bits and for fp32, {FP32}"
            )
    best = law.point(C)
    law.loss(best["N_opt"], best["D_opt"])  # refuses a law that knows the optimum only
    trained, rounded = (load_fit(path) for path in SHIPPED.values())
    _refuse_far(best["N_opt"], best["D_opt"], trained, rounded)

    def tokens(N: float) -> float:
        return C / law.flops_per_token(N)

    def loss(N: float) -> float:
        return served_loss(law, N, tokens(N), train_bits, serve_bits, trained, rounded)

    middle = np.log(best["N_opt"])
    N = find_least(loss, middle - AROUND, middle + AROUND)
    D, gamma = tokens(N), trained.params["gamma"]
    _refuse_far(N, D, trained, rounded)
    N_effective = float(effective_params(N, train_bits, gamma))
    cost = _rounding(rounded, N, D, train_bits, serve_bits)
    plain = float(law.loss(N, D))
    found = {"N": N, "D": D, "bits": min(train_bits, serve_bits)}
    return BitsPlan(
        train_bits=train_bits,
        serve_bits=serve_bits,
        N=N,
        D=D,
        N_effective=N_effective,
        loss=loss(N),
        added_by_training=float(law.loss(N_effective, D)) - plain,
        added_by_rounding=cost,
        served_bytes=N * serve_bits / 8,
        training_bytes=N * TRAINING_BYTES,
        turning_tokens=turning_tokens(law, N, train_bits, serve_bits, rounded),
        table=overtraining(law, N, train_bits, serve_bits, trained, rounded),
        status=_judge(trained, rounded, found),
        notes=tuple(_note(trained, rounded, found, train_bits, serve_bits)),
    )


def served_loss(law: LawSource, N, D, train_bits, serve_bits, trained: Fit, rounded: Fit) -> float:
    """Loss (nats/token) of N parameters trained on D tokens, in and served in so many bits."""
    worth = float(effective_params(N, train_bits, trained.params["gamma"]))
    cost = float(_rounding(rounded, N, D, train_bits, serve_bits))
    return float(law.loss(worth, D)) + cost


def overtraining(
    law: LawSource, N: float, train_bits: int, serve_bits: int, trained: Fit, rounded: Fit
) -> pd.DataFrame:
    """What rounding costs the same model at more tokens per parameter.

    Returns
    -------
    DataFrame with columns ratio (D/N), D (tokens), cost (nats/token, of rounding), loss (served)
    """
    rows = []
    for ratio in RATIOS:
        D = ratio * N
        cost = float(_rounding(rounded, N, D, train_bits, serve_bits))
        loss = served_loss(law, N, D, train_bits, serve_bits, trained, rounded)
        rows.append({"ratio": ratio, "D": D, "cost": cost, "loss": loss})
    return pd.DataFrame(rows)


def turning_tokens(
    law: LawSource, N: float, train_bits: int, serve_bits: int, rounded: Fit
) -> float:
    """D at which the rounding cost grows as fast as training still gains; NaN if it never does.

    gamma_D cost(N, D) = beta B / D^beta, for L = E + A/N^alpha + B/D^beta.
    """
    p, q = law.fit.params, rounded.params
    if train_bits <= serve_bits or q["gamma_D"] <= 0 or not {"B", "alpha"} <= set(p):
        return float("nan")
    beta = p.get("beta", p["alpha"])
    at_one = q["C_T"] / N ** q["gamma_N"] * np.exp(-serve_bits / q["gamma"])
    return float((beta * p["B"] / (q["gamma_D"] * at_one)) ** (1 / (q["gamma_D"] + beta)))


def _rounding(rounded: Fit, N, D, train_bits: int, serve_bits: int) -> Estimate:
    if train_bits <= serve_bits:  # what was trained is what is served
        return Estimate(0.0, float("nan"), float("nan"), "ok")
    return rounded.loss(N=N, D=D, bits=float(serve_bits))


def _refuse_far(N: float, D: float, *laws: Fit) -> None:
    for symbol, what, value in (("N", "parameters", N), ("D", "tokens", D)):
        largest = max(law.sampled[symbol][1] for law in laws)
        if value > FARTHEST * largest:
            raise ValueError(
                f"what few bits cost was measured on up to {largest:.3g} {what}; this budget asks "
                f"for {value:.3g}, {value / largest:.2g} times as many, and no law says what bits "
                f"cost there (beyond {FARTHEST:g} times): leave train_bits and serve_bits out, or "
                "name a smaller budget"
            )


def _judge(trained: Fit, rounded: Fit, at: dict[str, Any]) -> str:
    """A law that its runs reject taints the plan; so does a place that they do not reach."""
    doubts = [fit.status for fit in (trained, rounded) if fit.status != "ok"]
    far = any(str(fit.loss(**at).status) == "extrapolated" for fit in (trained, rounded))
    return doubts[0] if doubts else "extrapolated" if far else "ok"


def _note(trained: Fit, rounded: Fit, at, train_bits: int, serve_bits: int) -> Iterable[str]:
    ends = [trained.sampled["N"], rounded.sampled["N"]]
    low, high = min(e[0] for e in ends), max(e[1] for e in ends)
    D = trained.sampled["D"][0], rounded.sampled["D"][1]
    told = (
        f"the laws of bits ({trained.law}: {trained.status}; {rounded.law}: {rounded.status}) are "
        f"of models of {low:,.0f} to {high:,.0f} parameters on {D[0]:.2g} to {D[1]:.2g} tokens of "
        "enwik8, vocabulary 1,024 (results/precision)"
    )
    yield told + (
        f"; this plan is {at['N'] / high:.2g} times larger: what its bits cost is an "
        "extrapolation that nothing here tests"
        if at["N"] > high
        else ""
    )
    if serve_bits < train_bits < FP32:
        yield (
            f"rounding from {train_bits} to {serve_bits} bits is charged as from fp32: measured "
            "were models trained in fp32 only"
        )
    if train_bits < FP32:
        yield (
            f"training in {train_bits} bits rounds fp32 weights in every pass: it saves no memory "
            f"while training, {TRAINING_BYTES} bytes a parameter"
        )
