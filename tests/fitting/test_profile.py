import numpy as np
import pandas as pd
import pytest

from scaling.fitting.criterion import Criterion
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.profile import profile_parametric
from scaling.fitting.settings import FitSettings
from scaling.laws.table import LAWS
from scaling.tables.observations import observations
from scaling.tables.runs import load_runs

TRUTH = {"E": 1.69, "A": 400.0, "B": 400.0, "alpha": 0.34, "beta": 0.28}
SQUARES = Criterion(loss="mse")


def noisy(noise=5e-3, seed=0):
    N, D = (g.ravel() for g in np.meshgrid(np.geomspace(1e7, 1e10, 7), np.geomspace(1e9, 1e12, 7)))
    L = LAWS["chinchilla"].loss(TRUTH, N=N, D=D)
    L = L * np.exp(noise * np.random.default_rng(seed).standard_normal(N.size))
    return observations(load_runs(pd.DataFrame({"N": N, "D": D, "loss": L})))[0]


def test_an_exponential_mean_has_the_textbook_interval():
    """One free parameter that is linear in ln L: mean +- t(n-1) s / sqrt(n)."""
    rng = np.random.default_rng(0)
    log_L = 1.0 + 0.01 * rng.standard_normal(12)
    obs = pd.DataFrame({"N": np.geomspace(1e6, 1e9, 12), "L": np.exp(log_L)}).assign(weight=1.0)
    found = profile_parametric(
        Prepared.of(obs), "A", law="power_N", constraints={"alpha": 0.05}, criterion=SQUARES
    )
    log_A = log_L + 0.05 * np.log(obs.N)
    half = 1.795885 * log_A.std(ddof=1) / np.sqrt(12)
    assert np.log(found.estimate.value) == pytest.approx(log_A.mean(), abs=1e-9)
    assert np.log(found.estimate.low) == pytest.approx(log_A.mean() - half, abs=2e-4)
    assert np.log(found.estimate.high) == pytest.approx(log_A.mean() + half, abs=2e-4)


@pytest.mark.parametrize(
    "objective",
    [
        pytest.param(Criterion(), id="huber", marks=pytest.mark.long),
        pytest.param(SQUARES, id="mse", marks=pytest.mark.long),
    ],
)
def test_intervals_hold_the_truth_about_as_often_as_they_say(objective):
    held = 0
    for seed in range(20):
        end = profile_parametric(
            Prepared.of(noisy(seed=seed)), "beta", criterion=objective
        ).estimate
        held += end.low <= TRUTH["beta"] <= end.high
    assert held >= 14  # 18 expected of a 90 % interval


@pytest.mark.long
def test_the_robust_intervals_agree_where_their_losses_do():
    """A Huber loss far narrower than the noise is the L1 loss."""
    obs = noisy()
    ends = [
        profile_parametric(Prepared.of(obs), "beta", criterion=objective).estimate
        for objective in (Criterion(loss="l1"), Criterion(huber_delta=1e-5))
    ]
    assert ends[0].low == pytest.approx(ends[1].low, rel=0.01)
    assert ends[0].high == pytest.approx(ends[1].high, rel=0.01)


def test_the_profile_never_goes_below_the_optimum():
    obs = noisy()
    found = profile_parametric(Prepared.of(obs), "B")
    assert found.objective == pytest.approx(
        fit_parametric(Prepared.of(obs), FitSettings(bootstrap=0)).objective
    )
    assert (found.table.objective >= found.objective * (1 - 1e-9)).all()
    assert found.table.B.is_monotonic_increasing
    inside = found.table[found.table.B.between(found.estimate.low, found.estimate.high)]
    assert (inside.objective <= found.cutoff * (1 + 1e-3)).all()
    assert found.estimate.status == "ok"


def test_a_direction_without_an_end_is_open():
    """Four passes at most say that repeats keep their worth, not when they lose it."""
    law, rng = LAWS["repeated"], np.random.default_rng(1)
    truth = TRUTH | {"beta": 0.34, "R_D": 300.0, "R_N": 5.0}
    rows = [(N, U * e, U) for N in (1e8, 1e9, 1e10) for U in (1e9, 1e10) for e in (1, 2, 4)]
    obs = pd.DataFrame(rows, columns=["N", "D", "U"])
    obs["L"] = law.loss(truth, **obs) * np.exp(2e-3 * rng.standard_normal(len(obs)))
    fixed = {name: truth[name] for name in truth if name != "R_D"}
    found = profile_parametric(
        Prepared.of(obs.assign(weight=1.0)),
        "R_D",
        law="repeated",
        constraints=fixed,
        criterion=SQUARES,
    )
    assert found.estimate.status == "at_bound"
    assert found.estimate.high == np.inf
    assert 1 < found.estimate.low < 300


def test_what_is_not_free_has_no_profile():
    with pytest.raises(ValueError, match=r"cannot profile 'gamma' of .*; it is free in"):
        profile_parametric(Prepared.of(noisy()), "gamma")
    with pytest.raises(ValueError, match=r"cannot profile 'beta' .*\['E', 'A', 'B', 'alpha'\]"):
        profile_parametric(Prepared.of(noisy()), "beta", constraints={"beta": "alpha"})


def test_runs_without_noise_set_no_ends():
    found = profile_parametric(Prepared.of(noisy(noise=0.0)), "alpha", criterion=SQUARES)
    assert found.estimate.value == pytest.approx(TRUTH["alpha"], rel=1e-6)
    assert np.isnan(found.estimate.low) and np.isnan(found.estimate.high)


def test_a_parameter_of_either_sign_has_ends_around_it():
    """gamma is 0 in the truth: its interval has ends on both sides of zero, in most draws."""
    held = 0
    for seed in range(3):
        end = profile_parametric(
            Prepared.of(noisy(seed=seed)), "gamma", law="chinchilla_coupled", criterion=SQUARES
        ).estimate
        assert end.low < end.value < end.high
        held += end.low <= 0 <= end.high
    assert held >= 2
