"""The answer of a plan: a size and its tokens under all constraints, and what holds it there."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scaling.fitting.estimate import Estimate
from scaling.planning.allocation import TIGHT, Goals, search, surface_for
from scaling.planning.conflicts import explain, refuse_sizes
from scaling.planning.search import find_crossing
from scaling.planning.sources import SOURCES, LawSource
from scaling.planning.surface import LENDER, Surface, is_sum


@dataclass(frozen=True)
class Constraint:
    """One constraint of a plan: what was asked, what the plan takes of it, whether it holds it."""

    name: str  # budget, target, data, size, latency, memory, serving
    asked: float  # FLOPs, nats/token, tokens, parameters, seconds, bytes, tokens
    taken: float
    status: str  # "active": without it the plan would be another; "slack"


@dataclass(frozen=True)
class Answer:
    """What to train under all constraints, with the intervals of the law's draws.

    Estimates of N (parameters), D (tokens), training and total (FLOPs, the second with serving) and
    loss (nats/token).
    """

    N: Estimate
    D: Estimate
    training: Estimate
    total: Estimate
    loss: Estimate
    constraints: tuple[Constraint, ...]
    unreachable: float = 0.0  # share of the law's draws in which no model does what is asked
    lender: str = ""  # the law that answered in the place of the asked one

    @property
    def binding(self) -> tuple[str, ...]:
        """Names of the active constraints."""
        return tuple(part.name for part in self.constraints if part.status == "active")


def solve(law: LawSource, goals: Goals) -> Answer:
    """Search as `scaling.planning.allocation.search` does, with intervals and statuses.

    A law that is no sum of two powers answers from its frontier; where data are short, the law that
    lends the value of repeats answers in its place.

    Raises
    ------
    ValueError
        Constraints that no model satisfies: which conflict, and the nearest values that do not; a
        law that is no sum of two powers where more is asked than a budget or a target.
    """
    refuse_sizes(goals)
    if not is_sum(law):
        return _read_frontier(law, goals)
    N, D, saturated = search(law, goals)
    if not np.isfinite(D):
        raise ValueError(explain(law, goals))
    surface, drawn = surface_for(law, goals, D), {}
    found = _weigh(surface, goals, N, D)
    unreachable = 0.0
    if len(law.fit.draws):
        sizes = search(law, goals, drawn=True, saturated=saturated)
        is_reached = np.isfinite(sizes[1])
        unreachable = 1 - float(is_reached.mean())
        drawn = _weigh(replace(surface, drawn=True), goals, *sizes[:2])
        drawn = {name: values[is_reached] for name, values in drawn.items()}
    at = law.loss(N, D).status
    status = "extrapolated" if at == "ok" and law.status(found["training"]) != "ok" else at
    estimates = {
        name: Estimate.of(float(value), drawn.get(name), status) for name, value in found.items()
    }
    told = tuple(_judge(law, goals, N, D, found["training"], found["loss"]))
    return Answer(**estimates, constraints=told, unreachable=unreachable, lender="")


def _weigh(surface: Surface, goals: Goals, N: Any, D: Any) -> dict[str, Any]:
    """What N and D come to, by the names of an `Answer`."""
    with np.errstate(invalid="ignore"):  # draws that reach nothing
        found = {"N": N, "D": D, "training": surface.total(N, D)}
        return found | {"total": surface.total(N, D, goals.served), "loss": surface.loss(N, D)}


def _read_frontier(law: LawSource, goals: Goals) -> Answer:
    C, target = goals.budget, goals.target
    if target is not None:
        C = float(find_crossing(lambda C: law.point(C)["L_opt"] - target))
        if not goals.budget * (1 + TIGHT) >= C:
            bought = f": its budget buys {law.L_opt(goals.budget).value:.4g}" if C == C else ""
            raise ValueError(f"target_loss={target:g} cannot be reached by {law.name!r}{bought}")
    N, D, (low, high) = law.N_opt(C), law.D_opt(C), goals.sizes
    if goals.served > 0 or not low <= float(N) <= high:
        Surface(law)  # refuses: says what the law lacks
    if goals.data_limit is not None and goals.data_limit < float(D):
        if target is not None:
            Surface(law)  # refuses: a loss of this law means nothing to the lender
        return replace(solve(SOURCES[LENDER](), goals), lender=LENDER)
    spent = Estimate(C, np.nan, np.nan, law.status(C))
    told = tuple(_judge(law, goals, float(N), float(D), C, float(law.L_opt(C))))
    return Answer(N, D, spent, spent, law.L_opt(C), told)


def _judge(
    law: LawSource, goals: Goals, N: float, D: float, training: float, loss: float
) -> Iterator[Constraint]:
    """Every constraint that was asked for, and whether it holds the plan where it is."""

    def hold(name: str, asked: float, taken: float, is_active: bool) -> Constraint:
        return Constraint(name, float(asked), float(taken), "active" if is_active else "slack")

    def without(**free: Any) -> tuple[Any, Any]:
        """N and D, were a constraint not there; a law of the optimum has none that binds."""
        return search(law, replace(goals, **free))[:2] if is_sum(law) else (N, D)

    low, high = goals.sizes
    is_largest = high > low and high * (1 - TIGHT) <= N
    if np.isfinite(goals.budget):
        yield hold("budget", goals.budget, training, training >= goals.budget * (1 - TIGHT))
    if goals.target is not None:
        yield hold("target", goals.target, loss, True)
    if (limit := goals.data_limit) is not None:
        yield hold("data", limit, min(D, limit), not without(data_limit=None)[1] <= limit)
    if np.isfinite(size := goals.size):
        yield hold("size", size, N, goals.fixed or (is_largest and size * (1 - TIGHT) <= N))
    if (serving := goals.serving) is not None:
        for name, bound in serving.largest().items():
            asked, taken = serving.compare(name, N)
            yield hold(name, asked, taken, is_largest and bound * (1 - TIGHT) <= N)
    if goals.served > 0:
        yield hold(
            "serving", goals.served, goals.served, abs(without(served=0.0)[0] / N - 1) > TIGHT
        )
