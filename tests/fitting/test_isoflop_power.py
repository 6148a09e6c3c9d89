import functools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.errors import FitError
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.prepared import Prepared
from scaling.fitting.settings import FitSettings
from scaling.laws.frontier import optimum
from scaling.laws.table import LAWS
from scaling.tables.observations import observations
from scaling.tables.runs import load_runs

BUDGETS = (1e20, 4e20, 16e20, 64e20)
STEEP = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.465, "beta": 0.155}  # alpha / beta = 3


def bowls(law, width=4.0, drifts=(1.0,) * 4, sizes=7, own_floor=0.0, spread=0.0):
    """Noiseless runs around the optima of BUDGETS; `own_floor` is added per budget."""
    rows = []
    for i, (C, drift) in enumerate(zip(BUDGETS, drifts, strict=True)):
        middle = optimum("chinchilla", law, C)["N_opt"] * drift
        N = middle * np.geomspace(1 / width, width, sizes)
        D = C * np.exp(spread * np.resize([1.0, -1.0, -0.5], sizes)) / 6 / N
        loss = LAWS["chinchilla"].loss(law, N=N, D=D) + own_floor * i
        rows.append(pd.DataFrame({"N": N, "D": D, "loss": loss, "flops_budget": C}))
    runs = load_runs(pd.concat(rows, ignore_index=True))
    return observations(runs)[0].assign(budget=runs.flops_budget)


def point(obs, fit=fit_isoflop_power):
    return fit(Prepared.of(obs), FitSettings(bootstrap=0))


@pytest.mark.parametrize("width", [2, 4, 16])
@pytest.mark.parametrize("drifts", [(1, 1, 1, 1), (0.7, 0.9, 1.1, 1.4)], ids=["centred", "drift"])
def test_no_bias_however_wide_the_grid(surface, width, drifts):
    fit = point(bowls(surface, width, drifts))
    true = optimum("chinchilla", surface, 1e24)
    assert fit.D_opt(1e24).value == pytest.approx(true["D_opt"], rel=1e-6)
    assert fit.N_opt(1e24).value == pytest.approx(true["N_opt"], rel=1e-6)
    numbers = f"alpha {surface['alpha']:.3g}, beta {surface['beta']:.3g}"
    assert fit.note.startswith(f"shared by all budgets: {numbers}, beta - alpha")


def test_a_parabola_is_biased_where_this_is_not():
    true, obs = optimum("chinchilla", STEEP, 1e24)["D_opt"], bowls(STEEP, 8.0)
    parabola = point(obs, fit_isoflop).D_opt(1e24).value
    assert abs(parabola / true - 1) > 0.1
    assert point(obs).D_opt(1e24).value == pytest.approx(true, rel=1e-6)


def test_the_loss_may_have_another_floor_in_every_budget(surface):
    fit = point(bowls(surface, own_floor=0.05))
    true = optimum("chinchilla", surface, np.array(BUDGETS))
    np.testing.assert_allclose(fit.minima.N_opt, true["N_opt"], rtol=1e-6)
    np.testing.assert_allclose(fit.minima.L_opt, true["L_opt"] + 0.05 * np.arange(4), rtol=1e-8)
    assert fit.objective < 1e-20


def test_runs_off_the_budget_are_understood(surface):
    fit = point(bowls(surface, spread=0.1))
    true = optimum("chinchilla", surface, np.array(BUDGETS))
    np.testing.assert_allclose(fit.minima.N_opt, true["N_opt"], rtol=1e-6)


def test_curvature_is_half_the_second_derivative(surface):
    fit, h = point(bowls(surface)), 1e-3
    for row in fit.minima.to_dict("records"):
        N = row["N_opt"] * np.exp([-h, 0.0, h])
        below, middle, above = LAWS["chinchilla"].loss(surface, N=N, D=row["budget"] / 6 / N)
        assert row["curvature"] == pytest.approx((above - 2 * middle + below) / h**2 / 2, rel=1e-4)


def test_tiny_models_whose_compute_bends(obs_of, optimum_of):
    fit = point(obs_of())
    for row in fit.minima.to_dict("records"):
        N, D = optimum_of(row["budget"])
        assert row["N_opt"] == pytest.approx(N, rel=5e-3)
        assert row["D_opt"] == pytest.approx(D, rel=5e-3)


def test_bad_bowls_are_refused_and_the_others_stand(surface):
    obs, true = bowls(surface), optimum("chinchilla", surface, 1e24)
    concave = obs.assign(L=np.where(obs.budget == BUDGETS[0], 9.0 - obs.L, obs.L))
    few = obs.drop(index=obs.index[obs.budget == BUDGETS[0]][3:]).reset_index(drop=True)
    edge = bowls(surface, drifts=(5.0, 1.0, 1.0, 1.0))
    for bad, status, reason in (
        (concave, "no_minimum", "a term of the bowl does not fall"),
        (few, "no_minimum", "3 sizes, a bowl needs 4"),
        (edge, "extrapolated", "the minimum lies below the sampled sizes"),
    ):
        fit = point(bad)
        assert fit.minima.status.tolist() == [status, "ok", "ok", "ok"]
        assert reason in fit.minima.reason.iloc[0]
        assert fit.N_opt(1e24).value == pytest.approx(true["N_opt"], rel=1e-5)


def test_a_budget_of_equal_tokens_leaves_its_bowl_open(surface):
    obs = bowls(surface)
    N = 1e9 * np.array([1.0, 1.1, 1.2, 1.3])
    loss = LAWS["chinchilla"].loss(surface, N=N, D=2e10)
    flat = pd.DataFrame({"run_id": [*"abcd"], "N": N, "D": 2e10, "C": 1.2e11 * N, "L": loss})
    flat = flat.assign(budget=1.4e20, weight=1.0, cluster=flat.run_id)
    fit = fit_isoflop_power(
        Prepared.of(pd.concat([obs, flat], ignore_index=True)), FitSettings(bootstrap=20)
    )
    assert fit.minima.status.tolist() == ["ok", "no_minimum", "ok", "ok", "ok"]
    assert fit.bootstrap.converged == 20
    assert fit.bootstrap.noise < 1e-6


def test_impossible_fits_are_refused(surface):
    obs = bowls(surface)
    with pytest.raises(FitError, match=r"isoflop_power needs 2 budgets .* 0 of 4 have one"):
        point(obs.assign(L=9.0 - obs.L))
    two = bowls(surface, sizes=4).query("budget < 1e21").reset_index(drop=True)
    with pytest.raises(FitError, match=r"8 coefficients \(3 per budget, 2 shared\) to 8 runs"):
        point(two)


@functools.cache
def noisy_bowls():
    """Observations with noise, and their fit."""
    obs = bowls(STEEP, spread=0.05)
    obs["L"] += 0.003 * np.random.default_rng(0).standard_normal(len(obs))
    return obs, point(obs)


@given(st.floats(-6, 6), st.floats(-6, 6), st.randoms(use_true_random=False))
@settings(max_examples=6)
def test_units_and_row_order_do_not_matter(of_N, of_C, random):
    (obs, ours), N, C = noisy_bowls(), 10**of_N, 10**of_C
    order = list(range(len(obs)))
    random.shuffle(order)
    scaled = obs.assign(N=obs.N * N, C=obs.C * C, D=obs.D * C / N, budget=obs.budget * C)
    theirs = point(scaled.iloc[order].reset_index(drop=True))
    np.testing.assert_allclose(theirs.minima.N_opt, ours.minima.N_opt * N, rtol=1e-5)
    np.testing.assert_allclose(theirs.minima.D_opt, ours.minima.D_opt * C / N, rtol=1e-5)


@pytest.mark.parametrize("kind", ["seed", "wild", "pairs"])
def test_every_kind_of_bootstrap_works(obs_of, kind):
    fit = fit_isoflop_power(Prepared.of(obs_of(noise=0.007)), FitSettings(bootstrap=50, kind=kind))
    assert fit.bootstrap.kind == kind
    assert 40 <= fit.bootstrap.converged <= 50
    assert "beta - alpha" in fit.note


def test_the_noise_is_that_of_the_runs(obs_of):
    """Averaged over grids: 28 runs less 3 x 4 + 2 coefficients leave 14 degrees of freedom."""
    grids = [obs_of(noise=0.007, seed=seed) for seed in range(8)]
    noises = [
        fit_isoflop_power(Prepared.of(g), FitSettings(bootstrap=2)).bootstrap.noise * g.L.mean()
        for g in grids
    ]
    assert np.sqrt(np.mean(np.square(noises))) == pytest.approx(0.007, rel=0.2)


def test_intervals_hold_the_skew_that_a_parabola_has_not(obs_of, optimum_of):
    fit = fit_isoflop_power(Prepared.of(obs_of(noise=0.007, seed=5)))
    assert fit.method == "isoflop_power"
    assert fit.bootstrap.kind == "seed"
    for C in fit.minima.budget:
        found = fit.N_opt(C)
        assert found.low < optimum_of(C)[0] < found.high


@pytest.mark.parametrize("fit", [fit_isoflop, fit_isoflop_power])
def test_the_budgets_of_hoffmann_are_found_among_scattered_runs(published, fit):
    """Approach 2 of arXiv:2203.15556 has a = 0.49 (0.462, 0.534); 240 points read off its plot."""
    table = pd.read_csv(published("epoch_chinchilla_svg_extracted_data.csv"))
    table = table.sort_values("loss").head(240)
    N, C = table["Model Size"], table["Training FLOP"]
    obs, _ = observations(load_runs(pd.DataFrame({"N": N, "C": C, "loss": table.loss})))
    budgets, runs = np.unique(obs.budget, return_counts=True)
    dense = budgets[runs >= 10]
    customary = np.array([6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21])
    nearest = np.abs(np.log(dense[:, None] / customary)).min(axis=0)
    assert (nearest < 0.12).all()
    assert len(dense) == 10
    found = point(obs[obs.budget.isin(dense)].reset_index(drop=True), fit)
    assert found.exponents()["N_exponent"].value == pytest.approx(0.49, abs=0.03)
    everything = point(obs, fit)
    assert everything.exponents()["N_exponent"].value == pytest.approx(0.49, abs=0.03)


def test_resamples_that_leave_the_exponents_open_do_no_harm():
    """Few trunks: pairs of them keep one or two sizes of a budget, and no bowl at all."""
    obs = bowls(STEEP, sizes=6)
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(obs))
    obs = obs.assign(L=obs.L + noise, cluster=np.resize(np.arange(6), len(obs)))
    fit = fit_isoflop_power(Prepared.of(obs), FitSettings(bootstrap=500, kind="pairs"))
    assert 0 < fit.bootstrap.converged < 500
    assert np.isfinite(fit.draws[["N_ref", "N_exponent"]].to_numpy()).all()


def test_wide_bowls_reject_the_parabola_and_not_the_powers(obs_of):
    data = Prepared.of(obs_of(sizes=15, width=9.0, noise=3e-4))
    parabola, powers = (
        fit(data, FitSettings(bootstrap=0)) for fit in (fit_isoflop, fit_isoflop_power)
    )
    assert parabola.status == "rejected"
    assert parabola.reason.startswith("runs test p = 0.0")
    assert parabola.N_opt(4e11).status == "rejected"
    assert powers.status == "ok" and powers.lack_of_fit is not None
