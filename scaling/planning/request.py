"""What somebody has and asks of the planner, read and checked once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scaling.planning.budgets import Budget, parse_budget
from scaling.planning.departures import FACTORS
from scaling.planning.given import Given, read_given
from scaling.planning.placement import DEFAULT_DEVICE
from scaling.planning.serving import Serving, read_devices, read_seconds, read_size
from scaling.planning.sources import LawLike, LawSource, get_source
from scaling.quantities import PARAMETERS, TOKENS, parse_quantity, positive_quantity

MOST_FLOPS = 1e50
SERVING = ("latency", "serve_on", "serve_sequences", "serve_context", "kv_share")
Quantity = str | float  # "709B" or 709e9


@dataclass(frozen=True, eq=False)
class PlanRequest:
    """What `scaling.make_plan` was asked, in numbers: FLOPs, tokens and parameters."""

    budget: Budget  # of infinite FLOPs where a loss to reach is all there is
    law: LawSource
    target_loss: float | None = None  # nats/token
    serve_params: float | None = None  # a size to serve, at most ...
    size_is_fixed: bool = False  # ... or exactly
    serving: Serving | None = None  # what devices ask of the size
    data_limit: float | None = None
    inference_tokens: float | None = None
    train_bits: int | None = None
    serve_bits: int | None = None
    model: tuple[float, float] | None = None
    architecture: Given | None = None
    tokens: float | None = None  # of the architecture; None: what the budget buys
    batch_tokens: float | None = None  # of a step; None: by the rule of the recipe
    utilisation: float | None = None  # for the hours of other devices than the budget's
    devices: Mapping | None = None
    kept_share: float | None = None  # of raw text, by curation
    repeat: bool = True
    seq_len: int | None = None
    vocab_size: int | None = None
    ffn: str = "gelu"
    tied: bool = True
    factors: Iterable[float] = FACTORS
    compare: bool = False


def read_request(
    budget: Quantity | Budget | None = None,
    law: LawLike = "besiroglu2024",
    *,
    price_per_hour: float | None = None,
    device: str | None = None,
    precision: str | None = None,
    **options: Any,
) -> PlanRequest:
    """Read what a person wrote; parameters and errors as in `scaling.make_plan`."""
    if budget is None and options.get("target_loss") is None:
        raise ValueError(
            "budget must be given, as budget=5.76e23 or budget='512 A100 for 30 days', or a "
            "target_loss to reach for the least compute"
        )
    spent = parse_budget(
        "1" if budget is None else budget,
        options.get("utilisation"),
        price_per_hour,
        options.get("devices"),
        device=device,
        precision=precision,
    )
    if budget is None:
        spent = replace(spent, flops=np.inf, text=f"target_loss={options['target_loss']}")
    given = {name for name in READERS if options.get(name) is not None}
    if np.inf > spent.flops > MOST_FLOPS and given & {"data_limit", "inference_tokens"}:
        raise ValueError(
            f"budget {spent.text!r} is {spent.flops:.3g} FLOPs, beyond {MOST_FLOPS:g}: too much to "
            "weigh against data_limit or inference_tokens; name a smaller one"
        )
    read = {name: READERS[name](options[name]) for name in given}
    reading = {name: options.pop(name, None) for name in ("columns", "where", "best_of")}
    if "serve_params" in read:
        read["serve_params"], read["size_is_fixed"] = read["serve_params"]
    where = {name: options.pop(name, None) for name in SERVING}
    read["serving"] = _read_serving(where, spent, options)
    return PlanRequest(spent, get_source(law, **reading), **options | read)


def _read_serving(asked: dict[str, Any], budget: Budget, options: dict) -> Serving | None:
    """Where and how a model is served; None where nothing there bounds its size."""
    given = {name: value for name, value in asked.items() if value is not None}
    if not given.keys() & {"latency", "serve_sequences"}:
        if idle := sorted(given):
            raise ValueError(f"{', '.join(idle)}: give latency or serve_sequences as well")
        return None
    device = given.get("serve_on", budget.device or DEFAULT_DEVICE)
    limits = {
        name: positive_quantity(given[f"serve_{name}"], f"serve_{name}", TOKENS)
        for name in ("context", "sequences")
        if f"serve_{name}" in given
    }
    if "latency" in given:
        limits["latency"] = read_seconds(given["latency"])
    if "kv_share" in given:
        limits["kv_share"] = _read_share(given["kv_share"], "kv_share", 0.125)
    bits = options.get("serve_bits") or options.get("train_bits") or Serving.bits
    return Serving(*read_devices(device, options.get("devices")), bits=bits, **limits)


def _read_demand(text: Quantity) -> float:
    tokens = parse_quantity(text, "inference_tokens", TOKENS)
    if not (tokens >= 0 and np.isfinite(tokens)):
        raise ValueError(f"inference_tokens must be zero or more, and finite, got {tokens:g}")
    return tokens


def _read_model(model: tuple[Quantity, Quantity]) -> tuple[float, float]:
    N = positive_quantity(model[0], "your model: N", PARAMETERS)
    return N, positive_quantity(model[1], "your model: D", TOKENS)


def _read_share(share: float, name: str = "kept_share", example: float = 0.02) -> float:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ValueError(f"{name}={share!r} must be a share in (0, 1], such as {example:g}")
    return float(share)


READERS = {
    "kept_share": _read_share,
    "data_limit": lambda text: positive_quantity(text, "data_limit", TOKENS),
    "inference_tokens": _read_demand,
    "model": _read_model,
    "target_loss": lambda loss: positive_quantity(loss, "target_loss", ("nats/token", "nats")),
    "serve_params": read_size,
    "architecture": read_given,
    "tokens": lambda text: positive_quantity(text, "tokens", TOKENS),
    "batch_tokens": lambda text: positive_quantity(text, "batch_tokens", TOKENS),
}
