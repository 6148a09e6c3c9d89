"""Loss laws as data: formula, parameters with their bounds, and the power terms they sum.

Adding a law is adding an entry to `LAWS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from scaling.laws.bits import rounding_cost, trained_in_bits
from scaling.laws.farseer import FARSEER, Local, farseer_loss
from scaling.laws.repeats import as_fresh, repeated_loss
from scaling.laws.steps import critical_batch, steps_and_batch


class Parameter(NamedTuple):
    """Bounds are in raw units; what may be anything above zero is fitted as its logarithm.

    `start` is where a law that is no sum of power terms looks for it first, and every law for what
    may change its sign. An exponent that varies has no bounds in raw units: it is that of models
    and data of one parameter and token.
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
        """
        if set(params) != set(self.params):
            raise ValueError(f"{self.formula} takes {[*self.params]}, got {[*params]}")
        if lacking := sorted(set(self.variables) - set(variables)):
            raise ValueError(f"{self.formula} needs {lacking}, got {[*variables]}")
        given = {name: np.asarray(variables[name], dtype=float) for name in self.variables}
        arrays = {name: np.asarray(value) for name, value in params.items()}
        return np.asarray(self.evaluate(arrays, given))

    def evaluate(self, params: Mapping[str, Any], variables: Mapping[str, Any]) -> Any:
        """`loss` of arrays, or of whatever NumPy's functions take for arrays."""
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


# ---------------------------------------------------------------- the table

_IRREDUCIBLE = Parameter("nats/token", 0.0, np.inf, "loss of an infinite model on infinite data")
_EXPONENT = Parameter("", 0.005, 3.0, "how fast the term falls")
_COEFFICIENT = Parameter("nats/token", 0.0, np.inf, "size of the term where its variable is 1")
_SCALE = Parameter("as the variable", 0.0, np.inf, "where the variable alone makes a loss of 1")
_REPEATS = Parameter(
    "passes", 0.0, np.inf, "passes after which repeating has lost most value", (0.3, 1e3)
)
_TOKENS = Parameter("tokens", 0.0, np.inf, "critical batch size at a loss of 1", (1e2, 1e10))
_SPEED = Parameter("", 0.05, 3.0, "inverse of the power at which the batch grows as L falls")
_VARIED = Parameter("", -np.inf, np.inf, "exponent where ln N = ln D = 0", (0.05, 1.5))
_SIGNED = Parameter("", -np.inf, np.inf, "exponent of either sign", (-0.3, 0.3))
_BEND = Parameter(
    "", -np.inf, np.inf, "change of an exponent per unit of ln N or ln D", (-0.1, 0.1)
)
_COST = Parameter("nats/token", 0.0, np.inf, "cost at no bits, N = D = 1", (1e-4, 1e2))
_BITS = Parameter("bits", 0.0, np.inf, "bits in which the cost falls e-fold", (0.2, 5.0))
_FREE = Parameter("", -np.inf, np.inf, "scale or offset of a power of N", (-1.0, 1.0))
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
        terms=((Term("E"),) if irreducible else ()) + (Term("A", {"alpha": (variable,)}),),
        source="Kaplan et al. 2020, arXiv:2001.08361, section 1.2, as A = X_c^alpha",
    )


LAWS = {
    "chinchilla": Law(
        formula="L(N, D) = E + A / N^alpha + B / D^beta",
        params=_SUM,
        terms=(Term("E"), Term("A", {"alpha": ("N",)}), Term("B", {"beta": ("D",)})),
        source="Hoffmann et al. 2022, arXiv:2203.15556, section 3.3",
    ),
    "chinchilla_tied": Law(
        formula="L(N, D) = E + A / N^alpha + B / D^alpha",
        params={name: _SUM[name] for name in ("E", "A", "B", "alpha")},
        terms=(Term("E"), Term("A", {"alpha": ("N",)}), Term("B", {"alpha": ("D",)})),
        source="Hoffmann et al. 2022 with beta = alpha, as in Muennighoff et al. 2023",
    ),
    "kaplan": Law(
        formula="L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D",
        params={"N_c": _SCALE, "D_c": _SCALE, "alpha_N": _EXPONENT, "alpha_D": _EXPONENT},
        terms=(Term("N_c", {"alpha_N": ("N",)}, True), Term("D_c", {"alpha_D": ("D",)}, True)),
        outer="alpha_D",
        source="Kaplan et al. 2020, arXiv:2001.08361, equation 1.5",
    ),
    "kaplan_general": Law(
        formula="L(N, D) = [(A / N^alpha)^(1/s) + (B / D^beta)^(1/s)]^s",
        params={name: _SUM[name] for name in ("A", "B", "alpha", "beta")} | {"s": _EXPONENT},
        terms=(Term("A", {"alpha": ("N",)}), Term("B", {"beta": ("D",)})),
        outer="s",
        source="Kaplan et al. 2020, arXiv:2001.08361, equation 1.5, where s = beta",
    ),
    "chinchilla_coupled": Law(
        formula="L(N, D) = E + A / N^alpha + B / (N^gamma D^beta)",
        params=_SUM | {"gamma": _SIGNED},
        terms=(
            Term("E"),
            Term("A", {"alpha": ("N",)}),
            Term("B", {"gamma": ("N",), "beta": ("D",)}),
        ),
        source="Hoffmann et al. 2022 with B ~ N^-gamma: to first order, what Farseer does to B",
    ),
    "chinchilla_bent": Law(
        formula="L(N, D) = E + A / N^alpha + B / (N^gamma D^(beta + delta ln N))",
        params=_SUM | {"beta": _VARIED, "gamma": _SIGNED, "delta": _BEND},
        terms=(
            Term("E"),
            Term("A", {"alpha": ("N",)}),
            Term("B", {"gamma": ("N",), "beta": ("D",), "delta": ("N", "D")}),
        ),
        source="Farseer's term in D to first order in ln N; gamma makes it free of the unit of D",
    ),
    "farseer": Law(
        formula=(
            "L(N, D) = exp(a_3 N^gamma + b_3) + exp(a_2 N^beta + b_2) / D^exp(a_1 N^alpha + b_1)"
        ),
        params={
            name: (_SIGNED if name in ("alpha", "beta", "gamma") else _FREE)
            for name in ("a_1", "b_1", "alpha", "a_2", "b_2", "beta", "a_3", "b_3", "gamma")
        },
        function=farseer_loss,
        local=FARSEER,
        variables=("N", "D"),
        simpler="chinchilla_bent",
        source="Li et al. 2025, arXiv:2506.10972 (Farseer), equation of L(N, D), D in tokens",
    ),
    "quadratic": Law(
        formula="L(N, D) = A / (N^(alpha + p ln N) D^(beta + q ln D + r ln N))",
        params={"A": _COEFFICIENT, "alpha": _VARIED, "beta": _VARIED, "p": _BEND, "q": _BEND}
        | {"r": _BEND},
        terms=(
            Term(
                "A",
                {"alpha": ("N",), "beta": ("D",), "p": ("N", "N"), "q": ("D", "D")}
                | {"r": ("N", "D")},
            ),
        ),
        source="second-order response surface of ln L (Box and Wilson 1951), no law of large N, D",
    ),
    "kaplan_steps": Law(
        formula="L(N, S_min) = (N_c / N)^alpha_N + (S_c / S_min)^alpha_S",
        params=_KAPLAN_STEPS,
        terms=(Term("N_c", {"alpha_N": ("N",)}, True), Term("S_c", {"alpha_S": ("S_min",)}, True)),
        source="Kaplan et al. 2020, arXiv:2001.08361, equation 1.6; S_min as `minimum_steps`",
    ),
    "kaplan_batch": Law(
        formula="L(N, S, batch) = (N_c / N)^alpha_N + (S_c (1 + B_crit(L) / batch) / S)^alpha_S",
        params=_KAPLAN_STEPS | _BATCH,
        function=steps_and_batch,
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
        function=repeated_loss,
        variables=("N", "D", "U"),
        simpler="chinchilla",
        simplified=as_fresh,
        scanned="R_D",
        source="Muennighoff et al. 2023, arXiv:2305.16264, section 3; U unique tokens, r repeats",
    ),
    "trained_in_bits": Law(
        formula="L(N, D, bits) = E + A / (N (1 - e^(-bits / gamma)))^alpha + B / D^beta",
        params=_SUM | {"gamma": _BITS},
        function=trained_in_bits,
        variables=("N", "D", "bits"),
        simpler="chinchilla",
        source="Kumar et al. 2024, arXiv:2411.04330, section 4, weights alone; fp32 has 32 bits",
    ),
    "rounding_cost": Law(
        formula="cost(N, D, bits) = C_T D^gamma_D / N^gamma_N e^(-bits / gamma)",
        params={"C_T": _COST, "gamma_N": _SIGNED, "gamma_D": _SIGNED, "gamma": _BITS},
        function=rounding_cost,
        variables=("N", "D", "bits"),
        target="cost",
        source="Kumar et al. 2024, arXiv:2411.04330, section 3: nats that rounding weights adds",
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
