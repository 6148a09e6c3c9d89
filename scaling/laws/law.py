"""What a loss law is: formula, parameters with their bounds, and the power terms it sums.

Examples
--------
For the other examples:

>>> from scaling.laws.table import LAWS
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from scaling.laws.farseer import Local


class Parameter(NamedTuple):
    """A parameter: its unit, its bounds in raw units, what it means and where to look for it.

    What may be anything above zero is fitted as its logarithm. `start` is where a law that is no
    sum of power terms looks for it first, and every law for what may change its sign. An exponent
    that varies has no bounds in raw units: it is that of models and data of one parameter and
    token.

    Examples
    --------
    >>> E, alpha = (LAWS["chinchilla"].params[name] for name in ("E", "alpha"))
    >>> E.unit, E.is_scale, (alpha.lower, alpha.upper), alpha.is_scale
    ('nats/token', True, (0.005, 3.0), False)
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

    @property
    def is_signed(self) -> bool:
        """Whether it may lie on either side of zero."""
        return self.start[0] < 0


class Term(NamedTuple):
    """coefficient / variable^exponent, or (coefficient / variable)^exponent for Kaplan's X_c.

    `powers` says of what each exponent is a power: of a variable, or of a second one raised to the
    logarithm of the first, so that ("N", "D") is D^(exponent ln N). Without powers, the coefficient
    alone.

    Examples
    --------
    >>> LAWS["chinchilla"].terms[1]
    Term(coefficient='A', powers={'alpha': ('N',)}, is_ratio=False)
    """

    coefficient: str
    powers: Mapping[str, tuple[str, ...]] = MappingProxyType({})
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
        may use arithmetic, powers, exp, log and minimum: the solver passes jets through it.
    variables : tuple of str
        Symbols of the columns that the law reads.
    target : str
        Symbol of the column that it predicts.
    simpler : str
        Law whose fit to the same runs gives starting values of the parameters that both have.
    simplified : callable or None
        Variables as the simpler law takes them, from those of this law and `scanned`.
    scanned : str
        Parameter at several values of which the simpler law is fitted; none if empty.
    local : Local or None
        Coordinates in which it is fitted, where its own parameters are too far from the data.
    source : str

    Examples
    --------
    >>> kaplan = LAWS["kaplan"]
    >>> print(kaplan.formula)
    L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D
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
    simplified: Callable[..., Mapping[str, Any]] | None = None
    scanned: str = ""
    local: Local | None = None

    def __post_init__(self):
        if not self.variables:
            named = dict.fromkeys(
                variable
                for term in self.terms
                for variables in term.powers.values()
                for variable in variables
            )
            object.__setattr__(self, "variables", tuple(named))

    def loss(self, params: Mapping[str, Any], **variables) -> np.ndarray:
        """Loss (nats/token) at the given variables, for instance N=..., D=...

        Raises
        ------
        ValueError
            A parameter of the law is missing or unknown, or a variable of it is not given.

        Examples
        --------
        >>> law = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
        >>> print(f"{LAWS['chinchilla'].loss(law, N=70e9, D=1.4e12):.3f}")  # Chinchilla's
        1.937
        """
        if set(params) != set(self.params):
            raise ValueError(f"{self.formula} takes {[*self.params]}, got {[*params]}")
        if lacking := sorted(set(self.variables) - set(variables)):
            raise ValueError(f"{self.formula} needs {lacking}, got {[*variables]}")
        given = {name: np.asarray(variables[name], dtype=float) for name in self.variables}
        arrays = {name: np.asarray(value) for name, value in params.items()}
        return np.asarray(self.evaluate(arrays, given))

    def evaluate(self, params: Mapping[str, Any], variables: Mapping[str, Any]) -> Any:
        """`loss` of arrays, or of whatever NumPy's functions take for arrays.

        Examples
        --------
        >>> law = {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103}
        >>> print(f"{kaplan.evaluate(law, {'N': 175e9, 'D': 300e9}):.2f}")  # GPT-3's
        1.66
        """
        if self.function is not None:
            return self.function(**variables, **params)
        s = params[self.outer] if self.outer else 1.0
        terms = [_term(term, params, variables, s) for term in self.terms]
        return sum(terms) ** s if self.outer else sum(terms)


def _term(term: Term, params, variables, s):
    value = params[term.coefficient]
    for name, (*others, variable) in term.powers.items():
        exponent = params[name]
        if term.is_ratio:
            return (value / variables[variable]) ** (exponent / s)
        for other in others:
            exponent = exponent * np.log(variables[other])
        value = value * variables[variable] ** -exponent
    return value ** (1.0 / s)
