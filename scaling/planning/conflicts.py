"""Constraints that no model satisfies: which conflict, and the nearest values that do not."""

from dataclasses import replace

import numpy as np

from scaling.planning.allocation import Goals, limit_data, search, surface_for, write_amount
from scaling.planning.search import find_crossing
from scaling.planning.sources import LawSource
from scaling.planning.surface import Surface
from scaling.quantities import format_quantity

HUGE = np.exp(300.0)  # parameters or tokens: as good as infinitely many


def refuse_sizes(goals: Goals) -> None:
    """Raise ValueError where a fixed size is beyond what latency or memory allow."""
    low, high = goals.sizes
    if low <= high:
        return
    serving = goals.serving
    assert serving is not None
    told = []
    for name, bound in serving.largest().items():
        if bound < low:
            asked, needed = serving.compare(name, low)
            told.append(
                f"{name}: {write_amount(name, asked)} allows {format_quantity(bound)} parameters, "
                f"this size takes {write_amount(name, needed)}"
            )
    raise ValueError(
        f"serve_params={format_quantity(goals.size)} conflicts with {'; '.join(told)} on "
        f"{serving.n_devices} {serving.device.name}"
    )


def least_loss(law: LawSource, goals: Goals) -> float:
    """The loss that no model under the constraints, but for the target, goes below."""
    if np.isfinite(goals.budget):
        open_goals = replace(goals, target=None, served=0.0)
        N, D, _ = search(law, open_goals, saturated=False)
        return float(surface_for(law, open_goals, D).loss(N, D))
    surface = Surface(law) if goals.data_limit is None else limit_data(law, goals)
    return float(surface.loss(min(goals.sizes[1], HUGE), HUGE))


def explain(law: LawSource, goals: Goals) -> str:
    """Which constraints conflict with the target, and the nearest values that do not."""
    target = goals.target
    assert target is not None
    best = least_loss(law, goals)
    E = float(law.fit.params["E"])
    if target <= E:
        return (
            f"target_loss={target:g} cannot be reached: {law.name!r} has {E:.4g} nats/token left "
            "for an infinite model on infinite data"
        )
    freed = _freed(goals)
    ways = [
        f"{name}={_nearest(law, goals, free, name)}"
        for name, free in freed.items()
        if least_loss(law, free) < target
    ]
    return (
        f"target_loss={target:g} conflicts with {', '.join(freed)}: together they allow a loss of "
        f"{best:.5g} nats/token at least; the nearest that can be is "
        + " or ".join([f"target_loss={np.ceil(best * 1e4) / 1e4:g}", *ways])
    )


def _freed(goals: Goals) -> dict[str, Goals]:
    """The goals without one of their constraints, by its name."""
    freed = {}
    if np.isfinite(goals.budget):
        freed["budget"] = replace(goals, budget=np.inf)
    if goals.data_limit is not None:
        freed["data_limit"] = replace(goals, data_limit=None)
    high = goals.sizes[1]
    if np.isfinite(high):
        bounds = {"serve_params": goals.size} | (goals.serving.largest() if goals.serving else {})
        tightest = min(bounds, key=lambda name: bounds[name])
        freed[tightest] = replace(goals, size=np.inf, fixed=False, serving=None)
    return freed


def _nearest(law: LawSource, goals: Goals, free: Goals, name: str) -> str:
    """The value of a freed constraint at which the target can just be reached."""
    target = goals.target
    assert target is not None

    def slack(changed: Goals) -> float:
        return least_loss(law, changed) - target

    if name == "budget":
        N, D, _ = search(law, replace(free, served=0.0))
        return f"{1.001 * float(Surface(law).total(N, D)):.4g}"
    if name == "data_limit":
        least = find_crossing(
            lambda U: slack(replace(goals, data_limit=float(U))), np.log(1e3), np.log(1e18)
        )
        return format_quantity(1.001 * float(least), 4)
    size = find_crossing(lambda N: slack(replace(free, size=float(N))), np.log(1e3), np.log(1e16))
    if name in ("latency", "memory"):
        serving = goals.serving
        assert serving is not None
        return write_amount(name, serving.compare(name, 1.001 * float(size))[1])
    return format_quantity(1.001 * float(size), 4)
