"""A sum of two powers with perhaps a limit on data: which N and D a budget or a loss asks for."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from scaling.laws.frontier import optimum
from scaling.laws.papers import MUENNIGHOFF
from scaling.laws.repeats import base_params, effective, needed
from scaling.planning.search import find_crossing, find_least
from scaling.planning.sources import SOURCES, LawSource

LENDER = "muennighoff2023"  # of what repeats are worth, to laws that do not say
SUM = {"E", "A", "B", "alpha", "beta"}  # all that the parameters of a sum may be
FORWARD_SHARE = 1 / 3  # a forward pass is a third of a training step: 2N of 6N
WITHIN = 1e-3  # nats/token that nobody would pay much for
SATURATED = 2.0  # times less compute comes so near: then compute is not what binds
UPWARDS = np.log(1e6)  # of ln N above the smallest that reaches a loss, searched
WORTHLESS = 1e-9  # decay of repeats that are not allowed


@dataclass(frozen=True)
class Surface:
    """L(N, D) = E + A/N'^alpha + B/D'^beta, where X' is what X is worth with so many unique tokens.

    Without a limit X' = X. With one, tokens beyond it and parameters beyond those for which it is
    compute-optimal lose value as Muennighoff et al. 2023 say (arXiv:2305.16264, section 3).

    Raises
    ------
    ValueError
        A law that is no sum of two powers.
    """

    law: LawSource
    limit: float = np.inf  # unique tokens
    decays: tuple[float, float] = (1.0, 1.0)  # R_N, R_D
    drawn: bool = False  # every answer is an array, an element a draw of the law

    def __post_init__(self):
        """Refuse other laws; see Raises of the class."""
        if not is_sum(self.law):
            raise ValueError(f"law {self.law.name!r} {describe_lack(self.law)}")

    @cached_property
    def E(self) -> Any:
        """The irreducible loss."""
        return self._take("E")

    @cached_property
    def powers(self) -> dict[str, Any]:
        """A, B, alpha and beta."""
        found = {name: self._take(name) for name in ("A", "B", "alpha")}
        has_beta = "beta" in self.law.fit.params
        return found | {"beta": self._take("beta") if has_beta else found["alpha"]}

    def _take(self, name: str) -> Any:
        fit = self.law.fit
        return fit.draws[name].to_numpy(float) if self.drawn else fit.params[name]

    @cached_property
    def base(self) -> Any:
        """Parameters for which the limit is compute-optimal; infinite without one."""
        return base_params(self.limit, **self.powers) if np.isfinite(self.limit) else np.inf

    def loss(self, N: Any, D: Any) -> Any:
        """Nats/token of N parameters on D tokens."""
        p, (R_N, R_D) = self.powers, self.decays
        parameters, tokens = _worth(N, self.base, R_N), _worth(D, self.limit, R_D)
        return self.E + p["A"] / parameters ** p["alpha"] + p["B"] / tokens ** p["beta"]

    def tokens_for_loss(self, N: Any, loss: Any) -> Any:
        """Tokens on which N parameters reach a loss; NaN where none do."""
        p, (R_N, R_D) = self.powers, self.decays
        parameters = _worth(N, self.base, R_N)
        left = loss - self.E - p["A"] / parameters ** p["alpha"]
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            worth = np.where(left > 0, (p["B"] / left) ** (1 / p["beta"]), np.nan)
        return needed(self.limit, worth, R_D)[()]

    def per_token(self, N: Any) -> Any:
        """Training FLOPs per token, as the law counts them."""
        return np.exp(self.law.fit.compute.tangent(np.log(N))[0])[()]

    def total(self, N: Any, D: Any, served: float = 0.0) -> Any:
        """FLOPs of training on D tokens and of serving others."""
        return self.per_token(N) * (D + FORWARD_SHARE * served)

    def cheapest(
        self, loss: Any, served: float = 0.0, within: tuple[float, float] = (0.0, np.inf)
    ) -> tuple[Any, Any]:
        """N, between two sizes, and D of least `total` that reach a loss; NaN where none do.

        Sardana et al. 2024, equation 3.
        """

        def log_total(N: Any) -> Any:
            return np.log(self.total(N, self.tokens_for_loss(N, loss), served))

        with np.errstate(divide="ignore"):
            low, high = np.log(np.maximum(self._smallest(loss), within[0])), np.log(within[1])
        N = find_least(log_total, low, np.minimum(low + UPWARDS, np.maximum(high, low)))
        N = np.where(low <= high, N, np.nan)[()]
        return N, self.tokens_for_loss(N, loss)

    def spend(self, C: float, served: float = 0.0) -> tuple[Any, Any]:
        """N and D that train for C FLOPs and reach their loss for the least `total`.

        The gradients of loss and total are parallel there: with k FLOPs per token, slope kappa =
        d ln k / d ln N, (dL/d ln N) / (dL/d ln D) = kappa (1 + served / (3 D)). Without a demand it
        is the least loss that C buys.
        """
        p, (R_N, R_D) = self.powers, self.decays
        if not served and np.isinf(self.limit):  # has a closed form, at any C
            fit = self.law.fit
            best = optimum("chinchilla", {"E": self.E} | p, C, fit.compute)
            return best["N_opt"], best["D_opt"]

        def excess(N: Any) -> Any:
            D = C / self.per_token(N)
            slope = self.law.fit.compute.tangent(np.log(N))[1]
            gain = _log_gain(N, self.base, R_N, p["A"], p["alpha"])
            gain = gain - _log_gain(D, self.limit, R_D, p["B"], p["beta"])
            return gain - np.log(slope) - np.log1p(FORWARD_SHARE * served / D)

        N = find_crossing(excess)
        return N, C / self.per_token(N)

    def is_saturated(self, C: float, loss: Any, within: tuple[float, float] = (0.0, np.inf)) -> Any:
        """Whether far less than C comes within `WITHIN` of a loss."""
        return SATURATED * self.total(*self.cheapest(loss + WITHIN, within=within)) <= C

    def _smallest(self, loss: Any) -> Any:
        """Parameters below which no amount of data reaches the loss, and a hair more."""
        p, (R_N, R_D) = self.powers, self.decays
        least = p["B"] / (self.limit * (1 + R_D)) ** p["beta"]
        with np.errstate(invalid="ignore", divide="ignore"):
            left = np.asarray(loss - self.E - least)
            worth = np.where(left > 0, (p["A"] / left) ** (1 / p["alpha"]), np.nan)
        return needed(self.base, worth, R_N) * (1 + 1e-9)


def limited(law: LawSource, limit: float, decays: dict[str, float], *, repeat: bool) -> Surface:
    """The surface of a law when there are so many unique tokens."""
    return Surface(law, limit, (decays["R_N"], decays["R_D"] if repeat else WORTHLESS))


def read_decays(law: LawSource) -> tuple[dict[str, float], str]:
    """R_N and R_D of a law, and whose they are."""
    if law.repeats:
        return law.repeats, "the law's own"
    return SOURCES[LENDER]().repeats or {}, MUENNIGHOFF


def is_sum(law: LawSource) -> bool:
    """Whether a law is a sum of two powers, as a `Surface` takes it."""
    return law.has_surface and {*law.fit.params} <= SUM


def describe_lack(law: LawSource) -> str:
    """What a law without a `Surface` lacks."""
    return "is no sum of two powers" if law.has_surface else "has no loss for every N and D"


def _worth(amount: Any, unique: float, decay: float) -> Any:
    fresh = np.minimum(amount, unique)
    return effective(fresh, amount / fresh - 1, decay)


def _log_gain(amount: Any, unique: Any, decay: float, factor: Any, power: Any) -> Any:
    """ln(-dL / d ln X) of the term factor / X'^power; in logarithms, so that it never vanishes."""
    passed = np.maximum(amount / unique - 1, 0.0) / decay
    steepness = np.log(power * factor) - (power + 1) * np.log(_worth(amount, unique, decay))
    return steepness + np.log(amount) - passed
