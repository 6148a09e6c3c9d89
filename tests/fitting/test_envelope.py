import numpy as np
import pandas as pd
import pytest

from scaling.errors import FitError
from scaling.fitting.envelope import fit_envelope
from scaling.fitting.prepared import Prepared
from scaling.fitting.settings import FitSettings
from scaling.laws.table import LAWS
from scaling.tables.observations import observations
from scaling.tables.runs import load_runs


@pytest.mark.parametrize("sizes, width", [(7, 3.0), (15, 5.0), (25, 8.0)])
def test_envelope_of_finished_losses_is_the_frontier(
    grid, curves_of, obs_of, optimum_of, sizes, width
):
    options = {"sizes": sizes, "width": width}
    fit = fit_envelope(
        Prepared.of(obs_of(**options)), FitSettings(bootstrap=0), curves_of(grid(**options))
    )
    (N, D), (N_later, _) = optimum_of(4e11), optimum_of(8e11)
    assert fit.N_opt(4e11).value == pytest.approx(N, rel=0.02)
    assert fit.D_opt(4e11).value == pytest.approx(D, rel=0.02)
    true_exponent = np.log2(N_later / N)
    assert fit.exponents()["N_exponent"].value == pytest.approx(true_exponent, abs=0.01)
    assert "conditional" in fit.note


@pytest.fixture
def rows_of_few_runs(truth):
    """A table like Gemstones: many losses of each of a few long runs, their C anywhere."""
    rows = []
    for i, N in enumerate(np.geomspace(5e7, 2e9, 12)):
        D = np.arange(4, 40) * 1e9
        loss = LAWS["chinchilla"].loss(truth, N=N, D=D)
        rows.append(pd.DataFrame({"N": N, "D": D, "loss": loss, "run": i}))
    table = pd.concat(rows, ignore_index=True)
    return observations(load_runs(table.drop(columns="run")))[0].assign(cluster=table.run)


def test_many_losses_of_few_runs(rows_of_few_runs):
    fit = fit_envelope(Prepared.of(rows_of_few_runs), FitSettings(bootstrap=50))
    assert fit.exponents()["N_exponent"].value == pytest.approx(0.5, abs=0.1)
    assert fit.bootstrap.kind == "pairs"


@pytest.mark.parametrize("noise", [None, 0.002])
def test_rows_repeated_in_their_cluster_say_nothing_new(obs_of, noise):
    once = obs_of(noise=0.007)
    twice = pd.concat([once, once], ignore_index=True)
    ours, theirs = (
        fit_envelope(Prepared.of(o), FitSettings(bootstrap=50), noise=noise) for o in (once, twice)
    )
    pd.testing.assert_frame_equal(ours.draws, theirs.draws)


def test_final_losses_alone_say_so(obs_of, optimum_of):
    fit = fit_envelope(
        Prepared.of(obs_of(noise=0.007, seed=2)), FitSettings(bootstrap=100), noise=0.0015
    )
    assert "final losses only" in fit.note
    assert fit.N_opt(4e11).value == pytest.approx(optimum_of(4e11)[0], rel=0.35)
    assert fit.bootstrap.kind == "seed"
    assert fit.minima.columns.tolist() == ["C", "N", "D", "L", "run_id"]


def test_sizes_at_the_edge_of_the_grid_are_left_out(grid, curves_of, obs_of):
    obs = obs_of(sizes=9, width=4.0)
    fit = fit_envelope(
        Prepared.of(obs), FitSettings(bootstrap=0), curves_of(grid(sizes=9, width=4.0))
    )
    assert fit.minima.N.min() > obs.N.min()
    assert fit.minima.N.max() < obs.N.max()


def test_runs_drawn_with_replacement_without_a_noise(obs_of):
    fit = fit_envelope(Prepared.of(obs_of(noise=0.007)), FitSettings(bootstrap=50))
    assert fit.bootstrap.kind == "pairs"
    assert fit.N_opt(4e11).low <= fit.N_opt(4e11).high


def test_impossible_envelopes_are_refused(grid, curves_of, obs_of):
    obs, curves = obs_of(), curves_of(grid())
    with pytest.raises(FitError, match=r"it needs 3 on 2 over x2: train more budgets"):
        fit_envelope(
            Prepared.of(obs[obs.budget == 2e11].reset_index(drop=True)), FitSettings(bootstrap=0)
        )
    with pytest.raises(ValueError, match="no run_id of the curves is in the runs table"):
        fit_envelope(Prepared.of(obs), curves=curves.assign(run_id="other"))
