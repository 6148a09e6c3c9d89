import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.errors import FitError
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.prepared import Prepared
from scaling.fitting.settings import FitSettings
from scaling.laws.frontier import optimum
from scaling.laws.table import LAWS
from scaling.tables.noise import SeedNoise
from scaling.tables.observations import observations
from scaling.tables.runs import load_runs


def bowls(shift=0.0, curvature=0.1, n=7, budgets=(1e18, 4e18, 16e18), off_budget=0.0):
    """Exact parabolas with N_opt = 1e8 sqrt(C/1e18), L_opt = 3 (C/1e18)^-0.1, C = 6ND."""
    groups = []
    for C in budgets:
        log_N = np.linspace(-1, 1, n) + shift
        N = np.exp(log_N) * 1e8 * (C / 1e18) ** 0.5
        L = 3.0 * (C / 1e18) ** -0.1 + curvature * log_N**2
        spent = C * np.exp(off_budget * np.resize([1.0, -1.0, -0.5], n))
        L *= (spent / C) ** -0.1
        groups.append(pd.DataFrame({"N": N, "C": spent, "loss": L, "flops_budget": C}))
    runs = load_runs(pd.concat(groups, ignore_index=True))
    obs = observations(runs)[0]
    return obs.assign(budget=runs.flops_budget)


def point(obs):
    return fit_isoflop(Prepared.of(obs), FitSettings(bootstrap=0))


def test_runs_of_no_budget_change_no_bowl():
    obs = bowls()
    arm = obs.iloc[:5].assign(budget=np.nan, L=9.0, run_id=[*"abcde"])
    alone, beside = point(obs), point(pd.concat([obs, arm], ignore_index=True))
    assert beside.params == alone.params
    pd.testing.assert_frame_equal(beside.minima, alone.minima)


@pytest.mark.parametrize("shift", [0.0, 0.4, -0.6])
def test_exact_parabolas_are_recovered(shift):
    fit = point(bowls(shift))
    assert (fit.minima.status == "ok").all()
    C = fit.minima.budget.to_numpy()
    np.testing.assert_allclose(fit.minima.N_opt, 1e8 * (C / 1e18) ** 0.5, rtol=1e-9)
    np.testing.assert_allclose(fit.minima.D_opt, C / 6 / fit.minima.N_opt, rtol=1e-9)
    np.testing.assert_allclose(fit.minima.L_opt, 3.0 * (C / 1e18) ** -0.1, rtol=1e-12)
    np.testing.assert_allclose(fit.minima.curvature, 0.1, rtol=1e-9)
    assert fit.exponents()["N_exponent"].value == pytest.approx(0.5, rel=1e-9)
    assert fit.exponents()["D_exponent"].value == pytest.approx(0.5, rel=1e-9)
    assert fit.L_opt(1e18).value == pytest.approx(3.0, rel=1e-9)
    assert fit.objective < 1e-20


def test_losses_are_moved_to_the_nominal_budget():
    fit = point(bowls(off_budget=0.02))
    np.testing.assert_allclose(fit.minima.N_opt, 1e8 * (fit.minima.budget / 1e18) ** 0.5, rtol=2e-3)
    np.testing.assert_allclose(
        fit.minima.L_opt, 3.0 * (fit.minima.budget / 1e18) ** -0.1, rtol=1e-4
    )


@pytest.mark.parametrize(
    "one, status, reason",
    [
        (bowls(n=3), "no_minimum", "3 sizes, a bowl needs 4"),
        (bowls(curvature=-0.1), "no_minimum", "the parabola opens downward"),
        (bowls(curvature=0.0), "no_minimum", "the parabola opens downward"),
        (bowls(shift=1.5), "extrapolated", "the minimum lies below the sampled sizes"),
        (bowls(shift=-1.5), "extrapolated", "the minimum lies above the sampled sizes"),
        (bowls(off_budget=0.3), "no_minimum", "C varies x1.82 within the budget"),
    ],
)
def test_a_bad_bowl_is_refused_and_the_others_stand(one, status, reason):
    good = bowls()
    obs = pd.concat([good[good.budget < 1e19], one[one.budget > 1e19]], ignore_index=True)
    fit = point(obs)
    assert fit.minima.status.tolist() == ["ok", "ok", status]
    assert reason in fit.minima.reason.iloc[2]
    assert fit.reason.startswith("1.6e+19 FLOPs: ")
    assert fit.exponents()["N_exponent"].value == pytest.approx(0.5, rel=1e-6)
    with pytest.raises(FitError, match=rf"needs 2 budgets .* 0 of 3 have one: .*{reason}"):
        point(one)


def test_budgets_that_are_refused_alike_are_told_together():
    few = bowls(n=3)
    obs = pd.concat([few, bowls(budgets=(64e18, 256e18))], ignore_index=True)
    assert point(obs).reason == "1e+18, 4e+18, 1.6e+19 FLOPs: 3 sizes, a bowl needs 4"


def test_a_minimum_below_all_runs_is_doubted():
    obs = bowls(n=9, budgets=(1e18, 4e18, 16e18, 64e18))
    last = obs.budget == 64e18
    u = np.log(obs.N / (1e8 * 8))  # a flat floor between steep walls: the parabola dips below it
    walls = obs.L[last].min() + 0.5 * np.clip(np.abs(u) - 0.6, 0.0, None)
    noise = SeedNoise(0.001, 0.0, -1.0, 1.0, 1e6, 1e9, groups=3, freedom=9)
    obs = obs.assign(L=obs.L.where(~last, walls))
    fit = fit_isoflop(Prepared.of(obs, noise=noise), FitSettings(bootstrap=0))
    assert fit.minima.status.tolist() == ["ok", "ok", "ok", "extrapolated"]
    assert "of the loss below every run, more than noise of 0.10% allows" in fit.reason


def test_a_very_wide_budget_is_fitted_near_its_lowest_run():
    obs = bowls(n=7)
    far = (
        obs[obs.budget > 1e19]
        .iloc[[0, 0, 6]]
        .assign(N=lambda t: t.N * [1 / 20, 1 / 10, 20], L=9.0, run_id=[*"abc"], cluster=[*"abc"])
    )
    fit = point(pd.concat([obs, far], ignore_index=True))
    assert fit.params == pytest.approx(point(obs).params)
    assert fit.minima.n_runs.tolist() == [7, 7, 7]
    assert "3 runs beyond x4 of the lowest run of a wide budget left out" in fit.note


def test_from_five_budgets_on_the_line_may_bend():
    budgets = 1e18 * 4.0 ** np.arange(5)
    obs = bowls(budgets=budgets)
    x = np.log(obs.budget / 16e18)
    fit = point(obs.assign(N=obs.N * np.exp(0.02 * x**2), D=obs.D * np.exp(-0.02 * x**2)))
    assert fit.params["N_curvature"] == pytest.approx(0.02)
    assert fit.params["D_curvature"] == pytest.approx(-0.02)
    assert fit.N_opt(512e18).value == pytest.approx(4e8 * 32**0.5 * np.exp(0.02 * np.log(32) ** 2))
    assert "ln N_opt bends by 0.02 per (ln C)^2, up to 5.12e+20 FLOPs" in fit.note
    slope = 0.5 + 2 * 0.02 * np.log(32)
    far = fit.N_opt(512e18 * 100).value / fit.N_opt(512e18).value
    assert np.log(far) == pytest.approx(slope * np.log(100))
    straight = point(obs[obs.budget < 200e18].reset_index(drop=True))
    assert "N_curvature" not in straight.params
    assert "may bend from 5 minima on" in straight.note


def test_intervals_hold_the_bias_of_the_parabola(surface):
    """Without noise but for a speck: the interval is as wide as the parabola is off."""
    truth = optimum("chinchilla", surface, 1e24)["N_opt"]
    rng, rows = np.random.default_rng(0), []
    for C in (1e22, 1e23, 1e24, 1e25):
        N = optimum("chinchilla", surface, C)["N_opt"] * np.geomspace(1 / 8, 8, 9)
        loss = LAWS["chinchilla"].loss(surface, N=N, D=C / 6 / N)
        loss = loss * np.exp(1e-5 * rng.standard_normal(9))
        rows.append(pd.DataFrame({"N": N, "D": C / 6 / N, "loss": loss}))
    fit = fit_isoflop(
        Prepared.of(observations(load_runs(pd.concat(rows)))[0]), FitSettings(bootstrap=200)
    )
    found = fit.N_opt(1e24)
    assert found.low < truth < found.high
    assert found.low < found.value < found.high


def test_one_budget_is_refused():
    with pytest.raises(FitError, match=r"isoflop needs 2 budgets .* 1 of 1 have one"):
        point(bowls(budgets=(1e18,)))


@given(st.floats(-12, 12), st.randoms(use_true_random=False))
@settings(max_examples=8)
def test_units_and_row_order_do_not_matter(log_scale, random):
    obs, scale = bowls(0.3, off_budget=0.01), 10**log_scale
    order = list(range(len(obs)))
    random.shuffle(order)
    ours = point(obs)
    theirs = point(obs.assign(N=obs.N * scale).iloc[order].reset_index(drop=True))
    np.testing.assert_allclose(theirs.minima.N_opt, ours.minima.N_opt * scale, rtol=1e-7)
    np.testing.assert_allclose(theirs.minima.D_opt, ours.minima.D_opt, rtol=1e-7)


@pytest.mark.parametrize("width, bias", [(2, -0.0033), (4, -0.0130), (8, -0.0290), (16, -0.0110)])
def test_known_bias_of_wide_parabolas(width, bias):
    """Bias of D_opt at 1e24 on the noiseless surface (arXiv:2603.22339).

    At x16 to each side it would be -5 %; of such a budget only the window of x4 is fitted.
    """
    law = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
    rows = []
    for C in (1e23, 1e24):
        G = (0.34 * 406.4 / (0.28 * 410.7)) ** (1 / 0.62)
        N = G * (C / 6) ** (0.28 / 0.62) * np.geomspace(1 / width, width, 15)
        D = C / 6 / N
        rows.append(pd.DataFrame({"N": N, "D": D}).assign(
            loss=law["E"] + law["A"] / N**0.34 + law["B"] / D**0.28))  # fmt: skip
    minima = point(observations(load_runs(pd.concat(rows)))[0]).minima
    true = 1e24 / 6 / (G * (1e24 / 6) ** (0.28 / 0.62))
    assert minima.D_opt.iloc[1] / true - 1 == pytest.approx(bias, abs=0.003)


def test_grid_of_tiny_models(obs_of, optimum_of):
    fit = fit_isoflop(Prepared.of(obs_of(noise=0.007, seed=5)), FitSettings(bootstrap=300))
    for bowl in fit.minima.to_dict("records"):
        N, D = optimum_of(bowl["budget"])
        assert bowl["N_opt"] == pytest.approx(N, rel=0.06)
        assert bowl["tokens_per_param"] == pytest.approx(D / N, rel=0.12)
        assert bowl["N_opt_low"] < bowl["N_opt"] < bowl["N_opt_high"]
    assert fit.bootstrap.kind == "seed"
    assert fit.bootstrap.converged == 300
    assert fit.bootstrap.noise == pytest.approx(0.007 / 4.7, rel=0.5)
    assert fit.N_opt(1e13).status == "extrapolated"


@pytest.mark.parametrize("kind", ["seed", "wild", "pairs"])
def test_every_kind_of_bootstrap_works(obs_of, kind):
    fit = fit_isoflop(Prepared.of(obs_of(noise=0.007)), FitSettings(bootstrap=50, kind=kind))
    assert fit.bootstrap.kind == kind
    assert 40 <= fit.bootstrap.converged <= 50
