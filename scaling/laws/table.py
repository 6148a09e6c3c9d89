"""Loss laws as data: formula, parameters with their bounds, and the power terms they sum.

Adding a law is adding an entry to `LAWS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Parameter(NamedTuple):
    """Bounds are in raw units; what may be anything above zero is fitted as its logarithm.

    `start` is where a law that is no sum of power terms looks for it first.
    """

    unit: str
    lower: float
    upper: float
    meaning: str
    start: tuple[float, float] = (0.05, 1.0)

    @property
    def is_scale(self) -> bool:
        """Whether the parameter is a positive size of any magnitude, rather than an exponent."""
        return self.lower == 0 and self.upper == np.inf


class Term(NamedTuple):
    """coefficient / variable^exponent, or (coefficient / variable)^exponent for Kaplan's X_c.

    Without a variable, the coefficient alone.
    """

    coefficient: str
    variable: str = ""
    exponent: str = ""
    is_ratio: bool = False


@dataclass(frozen=True)
class Law:
    """A loss law: L = (sum over terms of term^(1/s))^s, a plain sum unless `outer` names s.

    Attributes
    ----------
    formula : str
    params : dict, name -> Parameter
    terms : tuple of Term
        What the law sums; empty if it is no sum of power terms.
    outer : str
        Name of the parameter s; empty for s = 1.
    function : callable or None
        The law as a function of its variables and parameters, if it is no sum of power terms. It
        must take complex numbers: the solver differentiates it by complex steps.
    variables : tuple of str
        Symbols of the columns that the law reads.
    target : str
        Symbol of the column that it predicts.
    simpler : str
        Law whose fit to the same runs gives starting values of the parameters that both have.
    source : str
    """

    formula: str
    params: dict[str, Parameter]
    source: str
    terms: tuple[Term, ...] = ()
    outer: str = ""
    function: Callable[..., Any] | None = None
    variables: tuple[str, ...] = ()
    target: str = "L"
    simpler: str = ""

    def __post_init__(self):
        if not self.variables:
            named = dict.fromkeys(term.variable for term in self.terms if term.variable)
            object.__setattr__(self, "variables", tuple(named))

    def loss(self, params: Mapping[str, Any], **variables) -> np.ndarray:
        """Loss (nats/token) at the given variables, for instance N=..., D=...

        Raises
        ------
        ValueError
            A parameter of the law is missing or unknown, or a variable of it is not given.
        """
        if set(params) != set(self.params):
            raise ValueError(f"{self.formula} takes {[*self.params]}, got {[*params]}")
        if lacking := sorted(set(self.variables) - set(variables)):
            raise ValueError(f"{self.formula} needs {lacking}, got {[*variables]}")
        given = {name: np.asarray(variables[name], dtype=float) for name in self.variables}
        if self.function is not None:
            return np.asarray(self.function(**given, **params))
        s = params[self.outer] if self.outer else 1.0
        terms = [_term(term, params, given, s) for term in self.terms]
        return np.asarray(sum(terms) ** s if self.outer else sum(terms))


def _term(term: Term, params, variables, s) -> np.ndarray:
    coefficient = np.asarray(params[term.coefficient])
    if not term.variable:
        return coefficient ** (1.0 / s)
    exponent = np.asarray(params[term.exponent])
    if term.is_ratio:
        return (coefficient / variables[term.variable]) ** (exponent / s)
    return (coefficient * variables[term.variable] ** -exponent) ** (1.0 / s)


# ---------------------------------------------------------------- laws that are no sums


def base_params(U, *, A, B, alpha, beta):
    """Parameters for which U tokens are compute-optimal under 6ND: G (G U)^(beta/alpha).

    G = (alpha A / (beta B))^(1 / (alpha + beta)); Muennighoff et al. 2023, section 3.1.
    """
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    return G * (G * U) ** (beta / alpha)


def effective(unique, repeats, decay):
    """What `unique` tokens (or parameters) are worth after `repeats` further passes.

    unique * (1 + decay * (1 - exp(-repeats / decay))); Muennighoff et al. 2023, equation 5.
    """
    return unique * (1 + decay * (1 - np.exp(-repeats / decay)))


def _repeated(N, D, U, *, E, A, B, alpha, beta, R_D, R_N):
    U_D = np.minimum(D, U)
    base = base_params(U_D, A=A, B=B, alpha=alpha, beta=beta)
    U_N = np.where(np.real(base) > N, N, base)
    D_effective = effective(U_D, D / U_D - 1, R_D)
    N_effective = effective(U_N, N / U_N - 1, R_N)
    return E + A / N_effective**alpha + B / D_effective**beta


def critical_batch(L, *, B_star, alpha_B):
    """Critical batch size in tokens at loss L: B_star / L^(1/alpha_B).

    References
    ----------
    Kaplan et al. 2020, arXiv:2001.08361, equation 1.4.
    """
    return B_star / L ** (1 / alpha_B)


def minimum_steps(S, batch, L, *, B_star, alpha_B):
    """Fewest steps that reach loss L, from S steps at a batch size in tokens: S/(1 + B_crit/B).

    References
    ----------
    Kaplan et al. 2020, arXiv:2001.08361, equation 5.4; McCandlish et al. 2018, arXiv:1812.06162.
    """
    return S / (1 + critical_batch(L, B_star=B_star, alpha_B=alpha_B) / batch)


def minimum_compute(C, batch, L, *, B_star, alpha_B):
    """Least compute that reaches loss L, at a small batch: C/(1 + B/B_crit); equation 5.5."""
    return C / (1 + batch / critical_batch(L, B_star=B_star, alpha_B=alpha_B))


def _steps_and_batch(N, S, batch, L, *, N_c, S_c, alpha_N, alpha_S, B_star, alpha_B):
    S_min = minimum_steps(S, batch, L, B_star=B_star, alpha_B=alpha_B)
    return (N_c / N) ** alpha_N + (S_c / S_min) ** alpha_S


# ---------------------------------------------------------------- the table

_IRREDUCIBLE = Parameter("nats/token", 0.0, np.inf, "loss of an infinite model on infinite data")
_EXPONENT = Parameter("", 0.005, 3.0, "how fast the term falls")
_COEFFICIENT = Parameter("nats/token", 0.0, np.inf, "size of the term where its variable is 1")
_SCALE = Parameter("as the variable", 0.0, np.inf, "where the variable alone makes a loss of 1")
_REPEATS = Parameter(
    "passes", 0.0, np.inf, "passes after which repeating has lost most value", (1.0, 100.0)
)
_TOKENS = Parameter("tokens", 0.0, np.inf, "critical batch size at a loss of 1", (1e2, 1e10))
_SPEED = Parameter("", 0.05, 3.0, "inverse of the power at which the batch grows as L falls")
_SUM = {
    "E": _IRREDUCIBLE,
    "A": _COEFFICIENT,
    "B": _COEFFICIENT,
    "alpha": _EXPONENT,
    "beta": _EXPONENT,
}
_KAPLAN_STEPS = {"N_c": _SCALE, "S_c": _SCALE, "alpha_N": _EXPONENT, "alpha_S": _EXPONENT}
_BATCH = {"B_star": _TOKENS, "alpha_B": _SPEED}


def _power_law(variable: str, irreducible: bool) -> Law:
    E = {"E": _IRREDUCIBLE} if irreducible else {}
    return Law(
        formula=f"L({variable}) = " + ("E + " if irreducible else "") + f"A / {variable}^alpha",
        params=E | {"A": _COEFFICIENT, "alpha": _EXPONENT},
        terms=((Term("E"),) if irreducible else ()) + (Term("A", variable, "alpha"),),
        source="Kaplan et al. 2020, arXiv:2001.08361, section 1.2, as A = X_c^alpha",
    )


LAWS = {
    "chinchilla": Law(
        formula="L(N, D) = E + A / N^alpha + B / D^beta",
        params=_SUM,
        terms=(Term("E"), Term("A", "N", "alpha"), Term("B", "D", "beta")),
        source="Hoffmann et al. 2022, arXiv:2203.15556, section 3.3",
    ),
    "chinchilla_tied": Law(
        formula="L(N, D) = E + A / N^alpha + B / D^alpha",
        params={name: _SUM[name] for name in ("E", "A", "B", "alpha")},
        terms=(Term("E"), Term("A", "N", "alpha"), Term("B", "D", "alpha")),
        source="Hoffmann et al. 2022 with beta = alpha, as in Muennighoff et al. 2023",
    ),
    "kaplan": Law(
        formula="L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D",
        params={"N_c": _SCALE, "D_c": _SCALE, "alpha_N": _EXPONENT, "alpha_D": _EXPONENT},
        terms=(Term("N_c", "N", "alpha_N", True), Term("D_c", "D", "alpha_D", True)),
        outer="alpha_D",
        source="Kaplan et al. 2020, arXiv:2001.08361, equation 1.5",
    ),
    "kaplan_steps": Law(
        formula="L(N, S_min) = (N_c / N)^alpha_N + (S_c / S_min)^alpha_S",
        params=_KAPLAN_STEPS,
        terms=(Term("N_c", "N", "alpha_N", True), Term("S_c", "S_min", "alpha_S", True)),
        source="Kaplan et al. 2020, arXiv:2001.08361, equation 1.6; S_min as `minimum_steps`",
    ),
    "kaplan_batch": Law(
        formula="L(N, S, batch) = (N_c / N)^alpha_N + (S_c (1 + B_crit(L) / batch) / S)^alpha_S",
        params=_KAPLAN_STEPS | _BATCH,
        function=_steps_and_batch,
        variables=("N", "S", "batch", "L"),
        simpler="kaplan_steps",
        source="Kaplan et al. 2020, equations 1.4, 1.6 and 5.4, B_crit at the loss reached",
    ),
    "critical_batch": Law(
        formula="B_crit(L) = B_star / L^(1 / alpha_B)",
        params=_BATCH,
        function=critical_batch,
        variables=("L",),
        target="B_crit",
        source="Kaplan et al. 2020, arXiv:2001.08361, equation 1.4",
    ),
    "repeated": Law(
        formula="L(N, D, U) = E + A / N'^alpha + B / D'^beta, X' = U_X (1 + R_X (1 - e^(-r/R_X)))",
        params=_SUM | {"R_D": _REPEATS, "R_N": _REPEATS},
        function=_repeated,
        variables=("N", "D", "U"),
        simpler="chinchilla",
        source="Muennighoff et al. 2023, arXiv:2305.16264, section 3; U unique tokens, r repeats",
    ),
} | {
    f"power_{variable}{suffix}": _power_law(variable, irreducible=bool(suffix))
    for variable in "NDC"
    for suffix in ("", "_E")
}


def get_law(name: str) -> Law:
    """The law of this name; ValueError lists the known ones."""
    if name not in LAWS:
        raise ValueError(f"law {name!r} is unknown; use one of {[*LAWS]}")
    return LAWS[name]
