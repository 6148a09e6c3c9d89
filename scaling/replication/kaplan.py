"""Where the .73 of Kaplan et al. 2020 comes from: printed, derived, and minimised numerically."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar, root_scalar

from scaling.laws import papers
from scaling.laws.papers import KAPLAN_CONSTANTS, PF_DAY, PUBLISHED_ALLOCATIONS, PUBLISHED_LAWS
from scaling.laws.table import LAWS, critical_batch
from scaling.replication.checks import Check, half_unit, rounding

ENTRY = "kaplan2020"
PREDICTED = {"alpha_C_min": 0.054, "N_exponent": 0.71}  # section 6.2, equations 6.4 and 6.6
STEPS_METHOD = "minimum of L(N, S_min) at C_min = 6 N B_crit(L) S_min"
AS_FITTED = "appendix A, as fitted"
FITTED = PUBLISHED_ALLOCATIONS["kaplan2020_N"]
SAME = 1e-5  # relative difference of a closed form and its numerical minimum
SIZES = (1e2, 1e17)  # parameters between which the minimum is sought
LOSSES = (1e-3, 1e6)  # nats/token between which the loss at a size is sought
BUDGETS = (1e-3 * PF_DAY, PF_DAY)  # FLOPs between which a numerical exponent is taken


def kaplan_checks() -> Iterator[Check]:
    """Sums of the printed exponents, their derivation from the laws, and numerical minima."""
    yield from _printed_sums()
    yield from _derived()
    yield from _at_the_critical_batch()
    yield from _without_steps()


def inverse_sum(*exponents: float) -> float:
    """1 / (1/x + 1/y + ...): the exponent of compute where it is a product of several powers."""
    return 1 / sum(1 / x for x in exponents)


def steps_frontier(C_min: float) -> dict[str, float]:
    """Least loss of L(N, S_min) under C_min = 6 N B_crit(L) S_min, by numerical minimisation.

    Parameters
    ----------
    C_min : float, FLOPs

    Returns
    -------
    dict with N (parameters), L (nats/token), B (tokens/step), S (steps)
    """
    law, batch = PUBLISHED_LAWS["kaplan2020_steps"], KAPLAN_CONSTANTS["B_crit(L)"]

    def steps(N: float, L: float) -> float:
        return C_min / (6 * N * critical_batch(L, **batch))

    def loss(log_N: float) -> float:
        N = np.exp(log_N)

        def excess(L: float) -> float:
            return float(LAWS[law.law].loss(law.params, N=N, S_min=steps(N, L))) - L

        return float(root_scalar(excess, bracket=LOSSES, xtol=1e-14).root)

    log_N = _minimum(loss)
    N, L = float(np.exp(log_N)), loss(log_N)
    return {"N": N, "L": L, "B": float(critical_batch(L, **batch)), "S": steps(N, L)}


def data_frontier(C: float) -> float:
    """Parameters of the least L(N, D) under C = 6ND, by numerical minimisation."""
    law = PUBLISHED_LAWS["kaplan2020"]

    def loss(log_N: float) -> float:
        N = np.exp(log_N)
        return float(LAWS[law.law].loss(law.params, N=N, D=C / (6 * N)))

    return float(np.exp(_minimum(loss)))


def _minimum(loss: Callable[[float], float]) -> float:
    found: Any = minimize_scalar(
        loss, bounds=tuple(np.log(SIZES)), method="bounded", options={"xatol": 1e-10}
    )
    return float(found.x)


def _slope(values: tuple[float, float]) -> float:
    """Exponent between the two `BUDGETS`."""
    return float(np.log(values[1] / values[0]) / np.log(BUDGETS[1] / BUDGETS[0]))


def _check(method: str, quantity: str, published: float, where: str, ours: float, **more) -> Check:
    source = f"{papers.KAPLAN}, {where}"
    return Check(ENTRY, method, quantity, published=published, source=source, ours=ours, **more)


def _judge(check: Check, note: str) -> Check:
    """Ours, as far as the rounding of its ingredients reaches, against the printed digits."""
    half = half_unit(check.published)
    is_same = check.low - half <= check.published <= check.high + half
    verdict = "agrees within rounding" if is_same else "more than rounding away"
    return replace(check, verdict=verdict, is_finding=not is_same, note="" if is_same else note)


def _printed_sums() -> Iterator[Check]:
    a = {key: PUBLISHED_ALLOCATIONS[f"kaplan2020_{key}"].exponent for key in "NBSD"}
    sums = (
        ("exponents of N_opt, B and S_min", 1.0, a["N"] + a["B"] + a["S"]),
        ("D_exponent = exponents of B and S_min", a["D"], a["B"] + a["S"]),
    )
    for quantity, published, ours in sums:
        ok = bool(np.isclose(ours, published))
        verdict = "consistent" if ok else "inconsistent"
        where = "appendix A: C_min = 6 N B S"
        yield _check("sum", quantity, published, where, ours, verdict=verdict, ok=ok)


def _derived() -> Iterator[Check]:
    """Equations 6.4 to 6.6 from the printed constants, rounding included."""
    steps, batch = KAPLAN_CONSTANTS["L(N,S_min)"], KAPLAN_CONSTANTS["B_crit(L)"]
    constants = steps["alpha_N"], steps["alpha_S"], batch["alpha_B"]
    printed = {key: PUBLISHED_ALLOCATIONS[f"kaplan2020_{key}"].exponent for key in "NBS"}
    section = "section 6.2, as predicted"
    shares = {key: _share(i) for i, key in enumerate("NSB")}
    rows = (
        ("alpha_C_min", PREDICTED["alpha_C_min"], section, inverse_sum),
        ("N_exponent", PREDICTED["N_exponent"], section, shares["N"]),
        ("N_exponent", printed["N"], AS_FITTED, shares["N"]),
        ("exponent of B", printed["B"], AS_FITTED, shares["B"]),
        ("exponent of S_min", printed["S"], AS_FITTED, shares["S"]),
    )
    method = "1/alpha_C_min = 1/alpha_N + 1/alpha_S + 1/alpha_B"
    note = "the printed constants of L(N, S_min) and B_crit(L) do not give it"
    for quantity, published, where, formula in rows:
        low, high = rounding(formula, *constants)
        ours = formula(*constants)
        check = _check(method, quantity, published, where, ours, low=low, high=high)
        yield _judge(check, note)


def _share(i: int) -> Callable[..., float]:
    """Exponent of C_min in the optimum of the i-th quantity."""
    return lambda *exponents: inverse_sum(*exponents) / exponents[i]


def _at_the_critical_batch() -> Iterator[Check]:
    """The numerical minimum: the closed form is right, the printed coefficient is another fit."""
    low, high = (steps_frontier(C) for C in BUDGETS)
    slope = _slope((low["N"], high["N"]))
    steps, batch = KAPLAN_CONSTANTS["L(N,S_min)"], KAPLAN_CONSTANTS["B_crit(L)"]
    closed = _share(0)(steps["alpha_N"], steps["alpha_S"], batch["alpha_B"])
    yield _numerical(STEPS_METHOD, closed, slope, "closed form of section 6")
    yield _against_the_fit(
        STEPS_METHOD,
        slope,
        "the printed frontier is a fit to the best runs, not the optimum of the printed laws",
    )
    printed, quantity = float(FITTED.at(PF_DAY)), "N_opt at 1 PF-day"
    yield _check(
        STEPS_METHOD,
        quantity,
        printed,
        AS_FITTED,
        high["N"],
        verdict=f"ours is {high['N'] / printed:.2f} times it",
        is_finding=True,
        note=f"loss {high['L']:.3f} at batches of {high['B']:.2e} tokens and {high['S']:.0f} steps",
    )


def _without_steps() -> Iterator[Check]:
    """L(N, D) under 6ND: what the law of converged models asks for."""
    constants = KAPLAN_CONSTANTS["L(N,D)"]
    closed = constants["alpha_D"] / (constants["alpha_N"] + constants["alpha_D"])
    slope = _slope((data_frontier(BUDGETS[0]), data_frontier(BUDGETS[1])))
    method = "minimum of L(N, D) at C = 6ND"
    yield _numerical(method, closed, slope, "alpha_D / (alpha_N + alpha_D) of equation 1.5")
    note = "L(N, D) is of runs that end at their best step, C_min counts critical batches"
    yield _against_the_fit(method, slope, note)


def _numerical(method: str, closed: float, slope: float, where: str) -> Check:
    ok = bool(abs(slope / closed - 1) <= SAME)
    verdict = "the closed form" if ok else "not the closed form"
    return _check(method, "N_exponent", closed, where, slope, verdict=verdict, ok=ok)


def _against_the_fit(method: str, slope: float, note: str) -> Check:
    """The exponent of a minimum against that of the printed frontier, which is above it."""
    known = {"verdict": f"ours is {1 - slope / FITTED.exponent:.1%} lower", "is_finding": True}
    return _check(method, "N_exponent", FITTED.exponent, AS_FITTED, slope, note=note, **known)
