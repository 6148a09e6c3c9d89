"""What somebody has and asks of the planner, read and checked once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.planning.budgets import Budget, parse_budget
from scaling.planning.departures import FACTORS
from scaling.planning.given import Given, read_given
from scaling.planning.sources import LawLike, LawSource, get_source
from scaling.quantities import PARAMETERS, TOKENS, parse_quantity, positive_quantity

MOST_FLOPS = 1e50
Quantity = str | float  # "709B" or 709e9


@dataclass(frozen=True, eq=False)
class PlanRequest:
    """What `scaling.make_plan` was asked, in numbers: FLOPs, tokens and parameters."""

    budget: Budget
    law: LawSource
    data_limit: float | None = None
    inference_tokens: float | None = None
    train_bits: int | None = None
    serve_bits: int | None = None
    model: tuple[float, float] | None = None
    architecture: Given | None = None
    tokens: float | None = None  # of the architecture; None: what the budget buys
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
    budget: Quantity | Budget,
    law: LawLike = "besiroglu2024",
    *,
    price_per_hour: float | None = None,
    device: str | None = None,
    precision: str | None = None,
    **options: Any,
) -> PlanRequest:
    """Read what a person wrote; parameters and errors as in `scaling.make_plan`."""
    spent = parse_budget(
        budget,
        options.get("utilisation"),
        price_per_hour,
        options.get("devices"),
        device=device,
        precision=precision,
    )
    given = {name for name in READERS if options.get(name) is not None}
    if spent.flops > MOST_FLOPS and given & {"data_limit", "inference_tokens"}:
        raise ValueError(
            f"budget {spent.text!r} is {spent.flops:.3g} FLOPs, beyond {MOST_FLOPS:g}: too much to "
            "weigh against data_limit or inference_tokens; name a smaller one"
        )
    read = {name: READERS[name](options[name]) for name in given}
    reading = {name: options.pop(name, None) for name in ("columns", "where", "best_of")}
    return PlanRequest(spent, get_source(law, **reading), **options | read)


def _read_demand(text: Quantity) -> float:
    tokens = parse_quantity(text, "inference_tokens", TOKENS)
    if not (tokens >= 0 and np.isfinite(tokens)):
        raise ValueError(f"inference_tokens must be zero or more, and finite, got {tokens:g}")
    return tokens


def _read_model(model: tuple[Quantity, Quantity]) -> tuple[float, float]:
    N = positive_quantity(model[0], "your model: N", PARAMETERS)
    return N, positive_quantity(model[1], "your model: D", TOKENS)


def _read_share(share: float) -> float:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ValueError(f"kept_share={share!r} must be a share in (0, 1], such as 0.02")
    return float(share)


READERS = {
    "kept_share": _read_share,
    "data_limit": lambda text: positive_quantity(text, "data_limit", TOKENS),
    "inference_tokens": _read_demand,
    "model": _read_model,
    "architecture": read_given,
    "tokens": lambda text: positive_quantity(text, "tokens", TOKENS),
}
