import numpy as np
import pandas as pd
import pytest

from scaling.fitting.bootstrap import default_kind, resample
from scaling.tables.noise import SeedNoise


def obs(n=12, per_cluster=1):
    rng = np.random.default_rng(0)
    L = np.exp(1.0 + 0.01 * rng.standard_normal(n))
    cluster = [f"c{i // per_cluster}" for i in range(n)]
    return pd.DataFrame({"L": L, "weight": 1.0, "cluster": cluster})


def draw(table, kind, n=4000, n_params=2):
    fitted = np.full(len(table), 1.0)
    return resample(table, fitted, n_params, n, np.random.default_rng(1), kind)


def test_seed_noise_has_the_size_of_the_residuals():
    table = obs()
    plan = draw(table, "seed")
    expected = np.sqrt(((np.log(table.L) - 1.0) ** 2).sum() / 10)
    assert plan.noise == pytest.approx(expected)
    student = np.sqrt(10 / 8)  # standard deviation of Student's t of 10 degrees of freedom
    assert plan.target.std() == pytest.approx(expected * student, rel=0.02)
    assert plan.target.mean() == pytest.approx(1.0, abs=1e-3)


def test_known_noise_is_used_where_it_is_larger():
    table, rng = obs(), np.random.default_rng(1)
    for std, larger in ((1e-4, False), (0.1, True)):
        known = SeedNoise(std, 0.0, -1.0, 1.0, 1.0, 2.0, groups=30, freedom=60)
        plan = resample(table, np.full(12, 1.0), 2, 4000, rng, "seed", known)
        assert (plan.noise == std) == larger
    assert plan.target.std() == pytest.approx(0.1 * np.sqrt(60 / 58), rel=0.02)


def test_heavier_runs_get_less_seed_noise():
    table = obs().assign(weight=np.r_[np.ones(6), np.full(6, 4.0)])
    spread = draw(table, "seed").target.std(axis=0)
    assert spread[6:].mean() / spread[:6].mean() == pytest.approx(0.5, rel=0.05)


def test_wild_flips_whole_clusters():
    table = obs(per_cluster=3)
    plan = draw(table, "wild", n=50)
    signs = np.sign((plan.target - 1.0) * (np.log(table.L.to_numpy()) - 1.0))
    assert (signs.reshape(50, 4, 3).std(axis=2) == 0).all()
    np.testing.assert_allclose(
        np.abs(plan.target[0] - 1.0), np.abs(np.log(table.L) - 1.0) * np.sqrt(12 / 10)
    )


def test_pairs_draw_whole_clusters():
    plan = draw(obs(per_cluster=3), "pairs", n=50)
    weights = plan.weights.reshape(50, 4, 3)
    assert (weights.std(axis=2) == 0).all()
    assert (weights[:, :, 0].sum(axis=1) == 4).all()


@pytest.mark.parametrize(
    "table, kind", [(obs(), "pairs"), (obs(per_cluster=3), "seed"), (obs(24, 3), "pairs")]
)
def test_the_design_decides_the_kind(table, kind):
    assert default_kind(table) == kind
    assert draw(table, None, n=2).kind == kind


def test_impossible_plans_are_refused():
    with pytest.raises(ValueError, match="bootstrap kind 'jackknife' is unknown; use one of"):
        draw(obs(), "jackknife")
    with pytest.raises(ValueError, match="12 runs and 12 parameters leave no residual"):
        draw(obs(), "seed", n_params=12)


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_seed_noise_keeps_what_runs_of_a_cluster_share(shared):
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(400), 3)
    noise = np.sqrt(shared) * rng.standard_normal(400)[cluster]
    noise += np.sqrt(1 - shared) * rng.standard_normal(1200)
    table = pd.DataFrame({"L": np.exp(1.0 + 0.01 * noise), "weight": 1.0, "cluster": cluster})
    shocks = draw(table, "seed", n=200).target - 1.0
    assert shocks.std() == pytest.approx(0.01, rel=0.05)
    trios = shocks.reshape(200, 400, 3)
    assert (trios[..., 0] * trios[..., 1]).mean() / 1e-4 == pytest.approx(shared, abs=0.08)
