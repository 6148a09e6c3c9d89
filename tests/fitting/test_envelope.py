import pytest

from scaling.fitting.envelope import fit_envelope
from scaling.fitting.result import FitError


def test_envelope_of_many_sizes_finds_the_frontier(grid, curves_of, obs_of, optimum_of):
    options = {"sizes": 25, "width": 8.0}
    fit = fit_envelope(obs_of(**options), curves_of(grid(**options)), n_bootstrap=0)
    assert fit.N_opt(4e11).value == pytest.approx(optimum_of(4e11)[0], rel=0.1)
    assert fit.D_opt(4e11).value == pytest.approx(optimum_of(4e11)[1], rel=0.1)
    assert fit.exponents()["N_exponent"].value == pytest.approx(0.5, abs=0.06)
    assert "conditional" in fit.note


def test_final_losses_alone_say_so(obs_of, optimum_of):
    fit = fit_envelope(obs_of(noise=0.007, seed=2), n_bootstrap=100, noise=0.0015)
    assert "final losses only" in fit.note
    assert fit.N_opt(4e11).value == pytest.approx(optimum_of(4e11)[0], rel=0.35)
    assert fit.bootstrap.kind == "seed"
    assert fit.minima.columns.tolist() == ["C", "N", "D", "L", "run_id"]


def test_sizes_at_the_edge_of_the_grid_are_left_out(grid, curves_of, obs_of):
    obs = obs_of(sizes=9, width=4.0)
    fit = fit_envelope(obs, curves_of(grid(sizes=9, width=4.0)), n_bootstrap=0)
    assert fit.minima.N.min() > obs.N.min()
    assert fit.minima.N.max() < obs.N.max()


def test_runs_drawn_with_replacement_without_a_noise(obs_of):
    fit = fit_envelope(obs_of(noise=0.007), n_bootstrap=50)
    assert fit.bootstrap.kind == "pairs"
    assert fit.N_opt(4e11).low <= fit.N_opt(4e11).high


def test_impossible_envelopes_are_refused(grid, curves_of, obs_of):
    obs, curves = obs_of(), curves_of(grid())
    with pytest.raises(FitError, match=r"it needs 3 on 2 over x2: train more budgets"):
        fit_envelope(obs[obs.budget == 2e11].reset_index(drop=True), n_bootstrap=0)
    with pytest.raises(ValueError, match="no run_id of the curves is in the runs table"):
        fit_envelope(obs, curves.assign(run_id="other"))
