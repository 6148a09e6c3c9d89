import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.laws.jets import Jet
from scaling.laws.papers import MUENNIGHOFF_CHECKS, PUBLISHED_LAWS
from scaling.laws.repeats import effective
from scaling.laws.steps import critical_batch, minimum_compute, minimum_steps
from scaling.laws.table import LAWS, get_law

HOFFMANN = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
KAPLAN = {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103}
STEPS = {"N_c": 6.5e13, "S_c": 2.1e3, "alpha_N": 0.077, "alpha_S": 0.76}
BATCH = {"B_star": 2.1e8, "alpha_B": 0.21}
FARSEER = {"a_1": 0.06, "b_1": -1.95, "alpha": 0.05, "a_2": 3.0, "b_2": 0.5, "beta": -0.02} | {
    "a_3": -0.02,
    "b_3": 0.9,
    "gamma": 0.17,
}
REPEATED = PUBLISHED_LAWS["muennighoff2023"].params
LARGE = {"N": (1e7, 1e10), "D": (3e9, 3e11), "U": (1e9, 1e10), "S": (1e3, 1e6)} | {
    "S_min": (1e3, 1e6),
    "batch": (1e4, 1e7),
    "C": (1e18, 1e22),
    "L": (2.0, 6.0),
    "B_crit": (1e4, 1e7),
    "bits": (2.0, 8.0),
}
TRUTHS = {
    "chinchilla": HOFFMANN,
    "chinchilla_tied": {"E": 1.69, "A": 400.0, "B": 300.0, "alpha": 0.31},
    "kaplan": KAPLAN,
    "kaplan_general": {"A": 11.5, "B": 23.0, "alpha": 0.076, "beta": 0.095, "s": 0.1},
    "chinchilla_coupled": HOFFMANN | {"gamma": -0.02},
    "chinchilla_bent": HOFFMANN | {"beta": 0.45, "gamma": 0.2, "delta": -0.008},
    "farseer": FARSEER,
    "quadratic": {"A": 40.0, "alpha": 0.1, "beta": 0.1, "p": -1e-3, "q": -1e-3, "r": 5e-4},
    "kaplan_steps": STEPS,
    "kaplan_batch": STEPS | BATCH,
    "critical_batch": BATCH,
    "repeated": REPEATED,
    "trained_in_bits": HOFFMANN | {"gamma": 2.7},
    "rounding_cost": {"C_T": 0.06, "gamma_N": 0.34, "gamma_D": 0.5, "gamma": 0.6},
    **{f"power_{v}": {"A": 60.0, "alpha": 0.3} for v in "NDC"},
    **{f"power_{v}_E": {"E": 1.5, "A": 60.0, "alpha": 0.3} for v in "NDC"},
}
sizes, exponents = st.floats(1e-3, 1e3), st.floats(0.05, 2.0)


def middle(law):
    return {v: np.sqrt(np.prod(LARGE[v])) for v in law.variables}


def test_chinchilla_by_hand():
    loss = get_law("chinchilla").loss(HOFFMANN, N=70e9, D=1.4e12)
    assert loss == pytest.approx(1.69 + 406.4 / 70e9**0.34 + 410.7 / 1.4e12**0.28, rel=1e-14)


def test_parameters_travel_by_name():
    shuffled = dict(sorted(HOFFMANN.items(), reverse=True))
    law = get_law("chinchilla")
    assert law.loss(shuffled, N=1e9, D=1e10) == law.loss(HOFFMANN, N=1e9, D=1e10)


def test_kaplan_joins_its_limits():
    law, N, D = get_law("kaplan"), 1e9, 1e10
    assert law.loss(KAPLAN, N=N, D=1e40) == pytest.approx((6.4e13 / N) ** 0.076, rel=1e-9)
    assert law.loss(KAPLAN, N=1e40, D=D) == pytest.approx((1.8e13 / D) ** 0.103, rel=1e-3)


@given(sizes, sizes, exponents, exponents)
def test_kaplan_is_the_power_of_a_sum_of_roots(N, D, alpha_N, alpha_D):
    params = {"N_c": 2.0, "D_c": 3.0, "alpha_N": alpha_N, "alpha_D": alpha_D}
    by_hand = ((2.0 / N) ** (alpha_N / alpha_D) + 3.0 / D) ** alpha_D
    assert get_law("kaplan").loss(params, N=N, D=D) == pytest.approx(by_hand, rel=1e-9)


@pytest.mark.parametrize("variable", "NDC")
def test_single_variable_laws(variable):
    plain, with_E = get_law(f"power_{variable}"), get_law(f"power_{variable}_E")
    assert plain.loss({"A": 8.0, "alpha": 1.5}, **{variable: 4.0}) == 1.0
    assert with_E.loss({"E": 2.0, "A": 8.0, "alpha": 1.5}, **{variable: 4.0}) == 3.0


@pytest.mark.parametrize("N, D, U, printed", MUENNIGHOFF_CHECKS)
def test_repeated_is_what_its_authors_print(N, D, U, printed):
    assert get_law("repeated").loss(REPEATED, N=N, D=D, U=U) == pytest.approx(printed, abs=1e-8)


def test_one_epoch_of_a_small_model_is_chinchilla():
    D = np.geomspace(1e9, 1e12, 7)
    fresh = get_law("repeated").loss(REPEATED, N=1e7, D=D, U=D)
    once = {name: REPEATED[name] for name in HOFFMANN}
    np.testing.assert_allclose(fresh, get_law("chinchilla").loss(once, N=1e7, D=D), rtol=1e-14)


def test_tokens_beyond_one_epoch_do_not_count_as_unique():
    law = get_law("repeated")
    fresh = law.loss(REPEATED, N=1e7, D=1e10, U=1e10)
    assert law.loss(REPEATED, N=1e7, D=1e10, U=1e13) == fresh


def test_many_epochs_saturate():
    law, U = get_law("repeated"), 1e9
    endless = law.loss(REPEATED, N=1e7, D=1e6 * U, U=U)
    worth = U * (1 + REPEATED["R_D"])
    once = {name: REPEATED[name] for name in HOFFMANN}
    assert endless == pytest.approx(float(get_law("chinchilla").loss(once, N=1e7, D=worth)))


@given(sizes, st.floats(0.0, 1e-4), st.floats(1.0, 100.0))
def test_first_repeats_are_worth_fresh_tokens(unique, repeats, decay):
    assert effective(unique, repeats, decay) == pytest.approx(unique * (1 + repeats), rel=1e-8)


def test_kaplan_steps_by_hand():
    loss = get_law("kaplan_steps").loss(STEPS, N=1e9, S_min=1e5)
    assert loss == pytest.approx((6.5e13 / 1e9) ** 0.077 + (2.1e3 / 1e5) ** 0.76, rel=1e-14)


def test_critical_batch_by_hand():
    assert critical_batch(2.0, **BATCH) == pytest.approx(2.1e8 * 2 ** (-1 / 0.21), rel=1e-14)
    assert get_law("critical_batch").loss(BATCH, L=2.0) == critical_batch(2.0, **BATCH)


def test_kaplan_batch_at_a_huge_batch_is_kaplan_steps():
    params = STEPS | BATCH
    huge = get_law("kaplan_batch").loss(params, N=1e9, S=1e4, batch=1e16, L=3.0)
    steps = get_law("kaplan_steps").loss(STEPS, N=1e9, S_min=1e4)
    assert huge == pytest.approx(float(steps), rel=1e-8)


def test_at_the_critical_batch_steps_and_compute_double():
    batch = critical_batch(3.0, **BATCH)
    assert minimum_steps(100.0, batch, 3.0, **BATCH) == pytest.approx(50.0)
    assert minimum_compute(100.0, batch, 3.0, **BATCH) == pytest.approx(50.0)


@given(st.floats(1e2, 1e8), st.floats(1.5, 8.0), exponents)
def test_steps_and_compute_trade_on_a_hyperbola(batch, L, alpha_B):
    """McCandlish et al. 2018, equation 2.11: (S/S_min - 1)(C/C_min - 1) = 1."""
    law = {"B_star": 2.1e6, "alpha_B": alpha_B + 0.2}
    steps, compute = 1 / minimum_steps(1, batch, L, **law), 1 / minimum_compute(1, batch, L, **law)
    critical = critical_batch(L, **law)
    assert steps - 1 == pytest.approx(critical / batch, rel=1e-6, abs=1e-12)
    assert compute - 1 == pytest.approx(batch / critical, rel=1e-6, abs=1e-12)
    if 1e-6 < batch / critical < 1e6:
        assert (steps - 1) * (compute - 1) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("name", LAWS)
def test_every_law_falls_in_every_variable_but_one_and_takes_arrays(name):
    law = LAWS[name]
    for variable in law.variables:
        x = np.geomspace(*LARGE[variable], 9)
        predicted = law.loss(TRUTHS[name], **(middle(law) | {variable: x}))
        assert predicted.shape == x.shape
        rises = (name, variable) == ("rounding_cost", "D")
        assert (np.diff(predicted) * (-1 if rises else 1) < 0).all(), variable


@pytest.mark.parametrize("name", LAWS)
def test_parameters_broadcast_against_runs(name):
    law = LAWS[name]
    runs = {v: np.geomspace(*LARGE[v], 4) for v in law.variables}
    draws = {k: v * np.array([[1.0], [1.02], [0.97]]) for k, v in TRUTHS[name].items()}
    table = law.loss(draws, **{v: x[None, :] for v, x in runs.items()})
    assert table.shape == (3, 4)
    second = law.loss({k: v * 1.02 for k, v in TRUTHS[name].items()}, **runs)
    np.testing.assert_allclose(table[1], second, rtol=1e-12)


@pytest.mark.parametrize("name", LAWS)
def test_jets_differentiate_every_law_twice(name):
    law, truth, at = LAWS[name], TRUTHS[name], middle(LAWS[name])

    def jet(params):
        columns = np.array([[value] for value in params.values()])
        return law.evaluate(dict(zip(params, Jet.seed(columns, True), strict=True)), at)

    found, scale = jet(truth), float(law.loss(truth, **at))
    assert found.value[0] == pytest.approx(scale, rel=1e-12)
    for k, (parameter, value) in enumerate(truth.items()):
        h = 1e-5 * abs(value)
        above, below = (jet(truth | {parameter: value + step}) for step in (h, -h))
        slope = (above.value - below.value) / (2 * h)
        assert found.slopes[k] * h == pytest.approx(slope * h, rel=1e-5, abs=1e-13 * scale)
        for j in range(len(truth)):
            bend = (above.slopes[j] - below.slopes[j]) / (2 * h)
            entry = found.bends.get((min(j, k), max(j, k)), 0.0)
            size = 1e-8 * np.abs(found.slopes[j]) / h
            assert entry == pytest.approx(bend, rel=1e-4, abs=float(np.max(size)))


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="law 'gopher' is unknown; use one of"):
        get_law("gopher")
    with pytest.raises(ValueError, match=r"takes \['E', 'A', 'B', 'alpha', 'beta'\], got \['E'\]"):
        get_law("chinchilla").loss({"E": 1.0}, N=1.0, D=1.0)
    with pytest.raises(ValueError, match=r"needs \['D'\], got \['N'\]"):
        get_law("chinchilla").loss(HOFFMANN, N=1.0)
    with pytest.raises(ValueError, match=r"needs \['L', 'batch'\], got \['N', 'S'\]"):
        get_law("kaplan_batch").loss(STEPS | BATCH, N=1.0, S=1.0)
