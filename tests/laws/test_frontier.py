import numpy as np
import pandas as pd
import pytest

from scaling.laws.compute import ComputeModel, fit_compute
from scaling.laws.frontier import (
    exponents,
    optimum,
    search_optimum,
)
from scaling.laws.table import LAWS

N_GRID = np.geomspace(2e4, 5e5, 12)
COMPUTES = {
    "6ND": ComputeModel(),
    "power": ComputeModel(kappa=30.0, gamma=0.9),
    "strongly bent": ComputeModel(30.0, 0.7, bend=0.2, centre=1e5, sizes=(1e4, 1e6)),
    "bent the other way": ComputeModel(30.0, 0.9, bend=-0.03, centre=1e5, sizes=(1e4, 1e6)),
    "bent": ComputeModel(30.0, 0.8, bend=0.05, centre=1e5, sizes=(1e4, 1e6)),
}


def table(per_token, N=N_GRID):
    return pd.DataFrame({"N": N, "D": 1e6, "C": per_token * 1e6})


@pytest.mark.parametrize("compute", COMPUTES.values(), ids=COMPUTES)
@pytest.mark.parametrize("C", [1e11, 1e15, 1e21])
def test_no_neighbour_on_the_isoflop_curve_is_better(surface, compute, C):
    best = optimum("chinchilla", surface, C, compute)
    N = best["N_opt"] * np.exp([-1e-3, 0.0, 1e-3])
    low, at, high = LAWS["chinchilla"].loss(surface, N=N, D=compute.tokens(C, N))
    assert low > at < high
    assert at == pytest.approx(best["L_opt"], rel=1e-12)
    assert (high - low) / (high + low - 2 * at) == pytest.approx(0, abs=2e-2)


@pytest.mark.parametrize("compute", COMPUTES.values(), ids=COMPUTES)
def test_budget_is_spent_exactly(surface, compute):
    C = np.geomspace(1e9, 1e25, 9)
    found = optimum("chinchilla", surface, C, compute)
    N, D = found["N_opt"], found["D_opt"]
    np.testing.assert_allclose(compute.tokens(C, N), D, rtol=1e-10)
    np.testing.assert_allclose(found["tokens_per_param"], D / N, rtol=1e-12)


def test_unrounded_hoffmann_gives_its_known_ratio():
    params = {"E": 1.693367, "A": 406.401, "B": 410.7228, "alpha": 0.339171, "beta": 0.284908}
    rounded = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
    ours, theirs = (optimum("chinchilla", p, 5.76e23) for p in (params, rounded))
    assert ours["tokens_per_param"] == pytest.approx(58.9, abs=0.05)
    assert theirs["tokens_per_param"] == pytest.approx(92.6, abs=0.05)


@pytest.mark.parametrize("compute", [COMPUTES["6ND"], COMPUTES["power"]], ids=["6ND", "power"])
def test_exponents_are_the_slopes_of_the_frontier(surface, compute):
    C = np.array([1e20, 1e21])
    found, curves = (
        exponents("chinchilla", surface, compute),
        optimum("chinchilla", surface, C, compute),
    )
    for name, curve in (("N_exponent", "N_opt"), ("D_exponent", "D_opt")):
        slope = np.diff(np.log(curves[curve]))[0] / np.log(10)
        assert found[name] == pytest.approx(slope, rel=1e-9)


def test_a_tied_exponent_is_an_equal_one(surface):
    tied = {name: value for name, value in surface.items() if name != "beta"}
    equal = tied | {"beta": tied["alpha"]}
    assert optimum("chinchilla_tied", tied, 1e20) == optimum("chinchilla", equal, 1e20)


def test_6ND_is_recognised_and_known_curves_are_recovered():
    assert fit_compute(table(6 * N_GRID)) == ComputeModel()
    power = fit_compute(table(30 * N_GRID**0.9))
    assert (power.kappa, power.gamma) == pytest.approx((30.0, 0.9), rel=1e-9)
    assert power.bend == pytest.approx(0, abs=1e-9)
    assert power.rms < 1e-10


def test_head_and_attention_bend_the_curve():
    per_token = 6 * N_GRID + 190 * np.sqrt(N_GRID)
    found = fit_compute(table(per_token))
    assert found.gamma < 1
    assert found.rms < 2e-3
    np.testing.assert_allclose(1e12 / found.tokens(1e12, N_GRID), per_token, rtol=5e-3)


@pytest.mark.parametrize("sizes, bend", [(1, 0.0), (2, 0.0), (3, 0.0)])
def test_few_sizes_do_not_bend(sizes, bend):
    found = fit_compute(table(7 * N_GRID[:sizes], N_GRID[:sizes]))
    assert (found.bend, found.gamma) == (bend, pytest.approx(1.0))
    assert found.kappa == pytest.approx(7.0)


def test_errors_name_what_is_wrong(surface):
    with pytest.raises(ValueError, match="law 'kaplan_steps' has no compute-optimal frontier"):
        optimum("kaplan_steps", {}, 1e20)
    with pytest.raises(ValueError, match="law 'repeated' has no compute-optimal frontier"):
        exponents("repeated", {})
    with pytest.raises(ValueError, match="the frontier of kaplan is no power of C: say at which C"):
        exponents("kaplan", {})
    with pytest.raises(ValueError, match="C must be positive FLOPs, got -1"):
        optimum("chinchilla", surface, -1)


@pytest.mark.parametrize("C", [1e12, 1e14, 1e16, 1e18, 1e21, 1e24])
def test_large_models_cost_6N(surface, C):
    """The optimum under a cost per token that is the dearer of a flat tangent and 6N, by search."""
    compute = ComputeModel(60.0, 0.85, 0.01, 1e5, (2e4, 5e5))
    N = np.geomspace(1e1, 1e14, 500_001)
    height = np.maximum(compute.uncrossed(np.log(N))[0], np.where(N > 5e5, np.log(6 * N), 0))
    loss = LAWS["chinchilla"].loss(surface, N=N, D=C / np.exp(height))
    found = optimum("chinchilla", surface, C, compute)
    assert found["N_opt"] == pytest.approx(N[np.argmin(loss)], rel=1e-4)
    assert found["L_opt"] == pytest.approx(loss.min(), rel=1e-9)
    assert found["D_opt"] == pytest.approx(compute.tokens(C, found["N_opt"]), rel=1e-12)


def test_only_a_tangent_that_falls_below_6N_crosses_it():
    flat = ComputeModel(60.0, 0.85, 0.0, 1e5, (2e4, 5e5))
    at = flat.crossing
    assert flat.tangent(at)[0] == pytest.approx(np.log(6) + at)
    assert flat.tangent(at + 3)[0] == pytest.approx(np.log(6) + at + 3)
    assert flat.tangent(at + 3)[1] == 1.0
    for other in (
        ComputeModel(),
        ComputeModel(60.0, 0.85),
        ComputeModel(9.0, 1.02, 0, 1e5, (2e4, 5e5)),
    ):
        assert other.crossing == np.inf
    below = ComputeModel(2.0, 0.9, 0.0, 1e5, (2e4, 5e5))  # counted otherwise: never 6N
    assert below.crossing == np.inf


SEARCHED = {
    "kaplan": {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
    "chinchilla_bent": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34}
    | {"beta": 0.1, "gamma": -0.2, "delta": 0.009},
}


@pytest.mark.parametrize("compute", COMPUTES.values(), ids=COMPUTES)
def test_the_search_finds_what_is_known_in_closed_form(surface, compute):
    C = np.geomspace(1e12, 1e22, 5)
    draws = {name: value * np.array([[1.0], [1.01]]) for name, value in surface.items()}
    known = optimum("chinchilla", draws, C[None], compute)
    found = search_optimum("chinchilla", draws, C[None], compute)
    np.testing.assert_allclose(found["N"], known["N_opt"], rtol=1e-8)
    np.testing.assert_allclose(found["L"], known["L_opt"], rtol=1e-12)


@pytest.mark.parametrize("law", SEARCHED)
@pytest.mark.parametrize("compute", COMPUTES.values(), ids=COMPUTES)
def test_no_neighbour_of_a_searched_optimum_is_better(law, compute):
    for C in (1e17, 1e21):
        best = optimum(law, SEARCHED[law], C, compute)
        N = best["N_opt"] * np.exp([-1e-3, 0.0, 1e-3])
        low, at, high = LAWS[law].loss(SEARCHED[law], N=N, D=compute.tokens(C, N))
        assert low > at < high
    slope = exponents(law, SEARCHED[law], compute, 1e20)
    ends = optimum(law, SEARCHED[law], np.array([0.9e20, 1.1e20]), compute)["N_opt"]
    by_hand = np.diff(np.log(ends))[0] / np.log(11 / 9)
    assert slope["N_exponent"] == pytest.approx(by_hand, rel=1e-3)


def test_kaplan_has_the_exponent_of_its_own_formula():
    found = exponents("kaplan", SEARCHED["kaplan"], C=1e21)
    assert found["N_exponent"] == pytest.approx(1 / (1 + 0.076 / 0.103), abs=1e-6)


def test_a_loss_without_a_minimum_has_no_optimum():
    endless = {"E": 1.0, "A": 100.0, "B": 1e-9, "alpha": 0.3, "beta": 0.1, "gamma": 0.5}
    assert np.isnan(optimum("chinchilla_coupled", endless, 1e20)["N_opt"])
