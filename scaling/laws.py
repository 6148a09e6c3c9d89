"""Loss laws as data: formula, parameters with their bounds, and the power terms they sum.

Adding a law is adding an entry to `LAWS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Parameter(NamedTuple):
    """Bounds are in raw units; a coefficient is fitted as its logarithm."""

    unit: str
    lower: float
    upper: float
    meaning: str


class Term(NamedTuple):
    """coefficient * variable**-exponent; without a variable, the coefficient alone."""

    coefficient: str
    variable: str = ""
    exponent: str = ""


@dataclass(frozen=True)
class Law:
    """A loss law.

    Attributes
    ----------
    formula : str
    params : dict, name -> Parameter
    terms : tuple of Term
        The law as a sum of power terms, which is what the solver fits; empty if it is none.
    formula_of : callable or None
        The law as a function of the variables and the parameters, if it is no sum of power terms.
    source : str
    """

    formula: str
    params: dict[str, Parameter]
    terms: tuple[Term, ...]
    source: str
    formula_of: Callable[..., np.ndarray] | None = None

    def loss(self, params: Mapping[str, Any], **variables) -> np.ndarray:
        """Loss (nats/token) at the given variables, for instance N=..., D=...

        Raises
        ------
        ValueError
            A parameter of the law is missing or unknown, or a variable of it is not given.
        """
        if set(params) != set(self.params):
            raise ValueError(f"{self.formula} takes {[*self.params]}, got {[*params]}")
        if self.formula_of is not None:
            return self.formula_of(**variables, **params)
        if lacking := sorted({t.variable for t in self.terms if t.variable} - set(variables)):
            raise ValueError(f"{self.formula} needs {lacking}, got {[*variables]}")
        return np.asarray(sum(_term(t, params, variables) for t in self.terms))


def _term(term: Term, params, variables) -> np.ndarray:
    if not term.variable:
        return np.asarray(params[term.coefficient])
    variable = np.asarray(variables[term.variable], dtype=float)
    return params[term.coefficient] * variable ** -params[term.exponent]


def _kaplan(N, D, *, N_c, D_c, alpha_N, alpha_D):
    return ((N_c / N) ** (alpha_N / alpha_D) + D_c / D) ** alpha_D


_IRREDUCIBLE = Parameter("nats/token", 0.0, np.inf, "loss of an infinite model on infinite data")
_EXPONENT = Parameter("", 0.005, 3.0, "how fast the term falls")
_COEFFICIENT = Parameter("nats/token", 0.0, np.inf, "size of the term where its variable is 1")
_SCALE = Parameter("as the variable", 0.0, np.inf, "where the variable alone makes a loss of 1")


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
        params={
            "E": _IRREDUCIBLE,
            "A": _COEFFICIENT,
            "B": _COEFFICIENT,
            "alpha": _EXPONENT,
            "beta": _EXPONENT,
        },
        terms=(Term("E"), Term("A", "N", "alpha"), Term("B", "D", "beta")),
        source="Hoffmann et al. 2022, arXiv:2203.15556, section 3.3",
    ),
    "chinchilla_tied": Law(
        formula="L(N, D) = E + A / N^alpha + B / D^alpha",
        params={"E": _IRREDUCIBLE, "A": _COEFFICIENT, "B": _COEFFICIENT, "alpha": _EXPONENT},
        terms=(Term("E"), Term("A", "N", "alpha"), Term("B", "D", "alpha")),
        source="Hoffmann et al. 2022 with beta = alpha, as in Muennighoff et al. 2023",
    ),
    "kaplan": Law(
        formula="L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D",
        params={"N_c": _SCALE, "D_c": _SCALE, "alpha_N": _EXPONENT, "alpha_D": _EXPONENT},
        terms=(),
        source="Kaplan et al. 2020, arXiv:2001.08361, equation 1.5",
        formula_of=_kaplan,
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
