"""What a plan may take and must reach, and the one search for a size and its tokens under it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scaling.planning.search import find_crossing
from scaling.planning.serving import Serving
from scaling.planning.sources import LawSource
from scaling.planning.surface import WITHIN, Surface, limited, read_decays
from scaling.quantities import format_quantity

TIGHT = 1e-6  # relative distance from a bound that holds a plan


@dataclass(frozen=True)
class Goals:
    """What a plan may take and must reach; infinite or None: no such constraint."""

    budget: float = np.inf  # training FLOPs, at most
    target: float | None = None  # nats/token to reach, for the fewest FLOPs in all
    data_limit: float | None = None  # unique tokens
    repeat: bool = True  # whether they may be seen again
    size: float = np.inf  # parameters, at most ...
    fixed: bool = False  # ... or exactly
    serving: Serving | None = None  # devices, for latency and memory
    served: float = 0.0  # tokens read and written over the model's life

    @property
    def sizes(self) -> tuple[float, float]:
        """Fewest and most parameters allowed."""
        bounds = self.serving.largest() if self.serving else {}
        largest = min([self.size, *bounds.values()])
        return (self.size if self.fixed else 0.0), largest

    @property
    def asks_more(self) -> bool:
        """Whether there is more than a budget, data and a demand."""
        return self.target is not None or np.isfinite(self.sizes[1])


def search(
    law: LawSource, goals: Goals, *, drawn: bool = False, saturated: bool | None = None
) -> tuple[Any, Any, bool]:
    """N and D of least loss within the budget, or of fewest FLOPs in all that reach the target.

    With a demand to serve, of all models of one loss the one whose training and serving take the
    fewest FLOPs. Tokens beyond the data are repeated where that is allowed. Where data or size
    bind and far less than the budget comes within 0.001 nats of what it buys, that is the answer.

    Parameters
    ----------
    law : LawSource; a sum of two powers
    goals : Goals
    drawn : bool
        Answer for every draw of the law, in arrays.
    saturated : bool, optional
        Whether compute is left over, if that is settled.

    Returns
    -------
    N, D : float or array; NaN where no model does what is asked
    saturated : bool
    """
    N, D, left = _search_on(Surface(law, drawn=drawn), goals, saturated)
    if goals.data_limit is None or np.all(goals.data_limit >= D):
        return N, D, left
    n, d, left = _search_on(replace(limit_data(law, goals), drawn=drawn), goals, saturated)
    is_short = ~(goals.data_limit >= D)
    return np.where(is_short, n, N)[()], np.where(is_short, d, D)[()], left


def surface_for(law: LawSource, goals: Goals, D: float) -> Surface:
    """The law's surface; where D is more than there is, with what repeats are worth."""
    is_enough = goals.data_limit is None or goals.data_limit * (1 - TIGHT) > D
    return Surface(law) if is_enough else limit_data(law, goals)


def limit_data(law: LawSource, goals: Goals) -> Surface:
    """The law's surface with so many unique tokens."""
    assert goals.data_limit is not None
    return limited(law, goals.data_limit, read_decays(law)[0], repeat=goals.repeat)


def _search_on(surface: Surface, goals: Goals, saturated: bool | None) -> tuple[Any, Any, bool]:
    if goals.target is not None:
        return *_reach(surface, goals, goals.target), False
    within = goals.sizes
    N = np.clip(surface.spend(goals.budget, goals.served)[0], *within)
    D = goals.budget / surface.per_token(N)
    if not (np.isfinite(surface.limit) or np.isfinite(within[1])):
        return N, D, False
    n = np.clip(surface.spend(goals.budget)[0], *within)
    loss = surface.loss(n, goals.budget / surface.per_token(n))
    left = (
        bool(surface.is_saturated(goals.budget, loss, within)) if saturated is None else saturated
    )
    return (*_reach(surface, goals, loss + WITHIN), True) if left else (N, D, False)


def _reach(surface: Surface, goals: Goals, loss: Any) -> tuple[Any, Any]:
    """N and D that reach a loss for the fewest FLOPs in all, training within the budget."""
    within = goals.sizes
    N, D = surface.cheapest(loss, goals.served, within)
    if not np.isfinite(goals.budget):
        return N, D
    largest, most = surface.cheapest(loss, 0.0, within)
    allowed = goals.budget * (1 + 1e-9)

    def excess(size: Any) -> Any:
        training = surface.total(size, surface.tokens_for_loss(size, loss))
        return np.log(training) - np.log(goals.budget)

    with np.errstate(invalid="ignore"):
        fits, best = surface.total(N, D) <= allowed, surface.total(largest, most) <= allowed
        if np.all(fits | ~best):
            return np.where(fits, N, np.nan)[()], np.where(fits, D, np.nan)[()]
        edge = find_crossing(excess, np.log(N), np.log(largest))
        N = np.where(fits, N, np.where(best, edge, np.nan))[()]
        return N, surface.tokens_for_loss(N, loss)


def write_amount(name: str, value: float) -> str:
    """An amount of a constraint for people."""
    if name == "latency":
        return f"{1e3 * value:.3g} ms"
    if name == "memory":
        return f"{value / 1e9:.3g} GB"
    if name == "target":
        return f"{value:.4g} nats/token"
    if name == "budget":
        return f"{value:.3g} FLOPs"
    return format_quantity(value)
