"""The loss laws, as data.

Adding a law is adding an entry to `LAWS`.
"""

import numpy as np

from scaling.laws.bits import rounding_cost, trained_in_bits
from scaling.laws.farseer import FARSEER, farseer_loss
from scaling.laws.law import Law, Parameter, Term
from scaling.laws.repeats import as_fresh, repeated_loss
from scaling.laws.steps import critical_batch, steps_and_batch

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
    """The law of this name; ValueError lists the known ones.

    Examples
    --------
    >>> get_law("chinchilla").source
    'Hoffmann et al. 2022, arXiv:2203.15556, section 3.3'
    """
    if name not in LAWS:
        raise ValueError(f"law {name!r} is unknown; use one of {[*LAWS]}")
    return LAWS[name]
