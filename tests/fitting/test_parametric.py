import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.fitting.parametric import fit_parametric
from scaling.fitting.result import FitError
from scaling.frontier import ComputeModel
from scaling.laws import LAWS
from scaling.runs import load_runs, observations

FILES = {"epoch": "epoch_chinchilla_svg_extracted_data.csv", "kyo": "kyo_chinchilla_234.csv"}
SIZES = {"Model Size": "N", "Training FLOP": "C"}
GEMSTONES = {"params_active_precise": "N", "tokens": "D", "final_loss": "L"}
REFERENCE = """
epoch 240 1e-3 0.001018274017801 477.825868 2143.41736 1.817218099 0.347310499 0.367172433
epoch 245 1e-3 0.001826010523069 495.726009 12845.6132 1.891338499 0.349312894 0.453049295
epoch 240 1e03 0.005730943495849 593.322102 4875.63779 1.864550095 0.360252798 0.405883362
kyo 234 1e-3 0.0008400931199574 442.16406 1271.80797 1.783894128 0.342626043 0.342001900
hot 220 1e-3 0.001981612808807 213.084514 4967622.46 2.143205648 0.292891766 0.712978596
hot_100b+ 770 1e-3 0.006592534164516 134.510591 381456.838 1.950826131 0.259164455 0.597301260
cool_end 199 1e-3 0.001964086431185 226.132793 271661.031 2.074783696 0.300360567 0.580167290
cool_end 199 1e-4 0.0002047790675514 226.443079 309268.814 2.079857652 0.300638970 0.585967665
"""


def read(published, name, rows):
    path = published(FILES.get(name, f"gemstones_{name}.jsonl"))
    if name not in FILES:
        return load_runs(pd.read_json(path, lines=True), GEMSTONES)
    runs = load_runs(path, SIZES) if name == "epoch" else load_runs(path)
    return runs.sort_values("loss").head(rows)


def wide_obs(surface, noise=0.0, seed=0):
    """Seven sizes by seven horizons, at the scale of large models."""
    N, D = (g.ravel() for g in np.meshgrid(np.geomspace(1e7, 1e10, 7), np.geomspace(1e9, 1e12, 7)))
    L = LAWS["chinchilla"].loss(surface, N=N, D=D)
    L = L * np.exp(noise * np.random.default_rng(seed).standard_normal(N.size))
    return observations(load_runs(pd.DataFrame({"N": N, "D": D, "loss": L})))[0]


def point(obs, **options):
    return fit_parametric(obs, n_bootstrap=0, **options)


@pytest.mark.parametrize("line", REFERENCE.split("\n")[1:-1])
def test_published_optima(published, line):
    name, *numbers = line.split()
    rows, (delta, objective, A, B, E, alpha, beta) = int(numbers[0]), map(float, numbers[1:])
    fit = point(observations(read(published, name, rows))[0], huber_delta=delta)
    assert fit.status == "ok"
    assert fit.n_runs == rows
    assert fit.objective <= objective * (1 + 1e-7)
    expected = {"A": A, "B": B, "E": E, "alpha": alpha, "beta": beta}
    assert fit.params == pytest.approx(expected, rel=2e-6)


def test_tokens_per_param_of_the_published_points(published):
    fit = fit_parametric(observations(read(published, "epoch", 240))[0], n_bootstrap=500)
    ratio = fit.tokens_per_param(5.76e23)
    assert ratio.value == pytest.approx(17.92, abs=0.005)
    assert ratio.low < 20 < ratio.high
    assert ratio.status == "extrapolated"
    assert fit.bootstrap.kind == "pairs"
    reference = {"A": 124.5, "B": 1293.3, "E": 0.0257, "alpha": 0.0154, "beta": 0.0206}
    assert fit.draws.std().to_dict() == pytest.approx(reference, rel=0.25)


def test_noiseless_law_is_recovered(surface):
    fit = point(wide_obs(surface))
    assert fit.status == "ok"
    assert fit.params == pytest.approx(surface, rel=1e-5)
    assert fit.start_agreement > 0.5


@given(st.floats(-12, 12), st.floats(-12, 12))
@settings(max_examples=6, deadline=None)
def test_units_change_the_coefficients_only(log_n, log_d):
    surface, n, d = (
        {"E": 1.5, "A": 200.0, "B": 800.0, "alpha": 0.5, "beta": 0.2},
        10**log_n,
        10**log_d,
    )
    obs = wide_obs(surface, noise=0.01)
    ours, theirs = point(obs), point(obs.assign(N=obs.N * n, D=obs.D * d))
    assert theirs.objective == pytest.approx(ours.objective, rel=1e-9)
    expected = dict(ours.params)
    expected["A"] *= n ** expected["alpha"]
    expected["B"] *= d ** expected["beta"]
    assert theirs.params == pytest.approx(expected, rel=1e-4)


@given(st.randoms(use_true_random=False))
@settings(max_examples=5, deadline=None)
def test_row_order_does_not_matter(random):
    obs = wide_obs({"E": 1.7, "A": 400.0, "B": 400.0, "alpha": 0.31, "beta": 0.31}, noise=0.01)
    order = list(range(len(obs)))
    random.shuffle(order)
    shuffled = point(obs.iloc[order].reset_index(drop=True))
    assert shuffled.params == pytest.approx(point(obs).params, rel=1e-6)


def test_a_tied_law_has_one_exponent():
    surface = {"E": 1.69, "A": 400.0, "B": 300.0, "alpha": 0.31}
    fit = point(wide_obs(surface | {"beta": 0.31}), law="chinchilla_tied")
    assert fit.params == pytest.approx(surface, rel=1e-5)


def test_single_variable_law():
    D = np.geomspace(1e6, 1e9, 9)
    table = pd.DataFrame({"N": 1e6, "D": D, "loss": 1.2 + 300 / D**0.4})
    fit = point(observations(load_runs(table))[0], law="power_D_E")
    assert fit.params == pytest.approx({"E": 1.2, "A": 300.0, "alpha": 0.4}, rel=1e-5)


def test_one_outlier_does_not_move_the_fit(surface):
    obs = wide_obs(surface)
    obs.loc[5, "L"] *= 1.3
    robust, squares = point(obs), point(obs, huber_delta=1e3)
    assert robust.params == pytest.approx(surface, rel=0.1)
    assert abs(robust.params["E"] - surface["E"]) < 0.2 * abs(squares.params["E"] - surface["E"])


def test_grid_of_tiny_models(obs_of, truth, optimum_of):
    fit = fit_parametric(obs_of(noise=0.007, seed=3), n_bootstrap=200)
    assert fit.status == "ok"
    assert fit.bootstrap.converged == 200
    assert fit.bootstrap.kind == "seed"
    N, D = optimum_of(8e11)
    assert fit.tokens_per_param(8e11).value == pytest.approx(D / N, rel=0.06)
    assert fit.N_opt(8e11).status == "ok"
    assert fit.compute.rms < 3e-3
    E = fit.param("E")
    assert E.low < truth["E"] < E.high


def test_bootstrap_is_reproducible_and_keeps_the_point(obs_of):
    obs = obs_of(noise=0.007)
    first, again = (fit_parametric(obs, n_bootstrap=20, seed=7) for _ in range(2))
    pd.testing.assert_frame_equal(first.draws, again.draws)
    assert first.params == point(obs).params
    assert not first.draws.equals(fit_parametric(obs, n_bootstrap=20, seed=8).draws)


def test_a_vanishing_term_is_at_bound():
    obs = wide_obs({"E": -0.1, "A": 20.0, "B": 30.0, "alpha": 0.2, "beta": 0.2})
    fit = point(obs)
    assert fit.status == "at_bound"
    assert fit.reason.startswith("E ended on a bound")


def test_6ND_tables_get_the_6ND_compute_model(surface):
    assert point(wide_obs(surface)).compute == ComputeModel()


def test_impossible_fits_are_refused(surface):
    obs = wide_obs(surface)
    with pytest.raises(FitError, match=r"5 parameters of .* need more than 5 runs"):
        point(obs.head(5))
    with pytest.raises(FitError, match="needs at least 3 values of N, the runs have 2"):
        point(obs[obs.N.isin(sorted(set(obs.N))[:2])])
    with pytest.raises(ValueError, match="huber_delta must be positive, got 0"):
        point(obs, huber_delta=0)
    with pytest.raises(ValueError, match="law 'gopher' is unknown"):
        point(obs, law="gopher")
    with pytest.raises(ValueError, match="law 'kaplan' is no sum of power terms"):
        point(obs, law="kaplan")
