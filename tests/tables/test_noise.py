import numpy as np
import pandas as pd
import pytest

from scaling.tables.noise import find_plateaus, on_plateau, seed_noise
from scaling.tables.observations import observations
from scaling.tables.runs import load_runs

SIZES = np.geomspace(2e4, 1e6, 8).round()


def repeated(slope, seeds=200, std=0.002, rng=None):
    """Runs of eight sizes and many seeds whose ln L has variance std^2 (N / N_middle)^slope."""
    rng = np.random.default_rng(0) if rng is None else rng
    rows = []
    for N in SIZES:
        s = std * (N / np.exp(np.log(SIZES).mean())) ** (slope / 2)
        for seed in range(seeds):
            rows.append(
                {
                    "run_id": f"{N:.0f}-{seed}",
                    "total_params": N,
                    "n_layers": 2,
                    "width": 32,
                    "n_heads": 2,
                    "tokens": 1e6,
                    "lr": 0.01,
                    "batch_tokens": 512,
                    "precision": "fp32",
                    "seed": seed,
                    "loss": np.exp(1.4 + s * rng.standard_normal()),
                }
            )
    return load_runs(pd.DataFrame(rows))


@pytest.mark.parametrize("slope", [-0.8, 0.0, 0.6])
def test_spread_and_trend_are_found(slope):
    noise = seed_noise(repeated(slope))
    assert noise is not None
    assert noise.std == pytest.approx(0.002, rel=0.05)
    assert noise.slope == pytest.approx(slope, abs=0.1)
    assert noise.slope_low < slope < noise.slope_high
    assert (noise.groups, noise.freedom) == (8, 8 * 199)


@pytest.mark.long
def test_the_interval_of_the_trend_covers_with_three_seeds():
    rng = np.random.default_rng(1)
    runs = repeated(0.5, seeds=3)
    s = 0.002 * (runs.total_params / np.exp(np.log(SIZES).mean())) ** 0.25
    found = [
        seed_noise(runs.assign(loss=np.exp(1.4 + s * rng.standard_normal(len(runs)))))
        for _ in range(200)
    ]
    held = [n is not None and n.slope_low < 0.5 < n.slope_high for n in found]
    assert 0.84 < np.mean(held) < 0.96
    bias = np.mean([n.slope for n in found if n is not None]) - 0.5
    assert abs(bias) < 0.1


def test_weights_are_inverse_variances_and_stay_level_beyond_the_measured_sizes():
    runs = repeated(0.8)
    noise = seed_noise(runs)
    assert noise is not None and noise.varies
    beyond = pd.DataFrame({"total_params": [SIZES[0] / 10, SIZES[0], SIZES[-1], SIZES[-1] * 10]})
    weight = noise.weights(beyond)
    assert weight[0] == weight[1]
    assert weight[2] == weight[3]
    assert weight[1] / weight[2] == pytest.approx((SIZES[-1] / SIZES[0]) ** noise.slope)
    assert noise.weights(runs).mean() == pytest.approx(1)


def test_without_a_trend_weights_are_equal():
    noise = seed_noise(repeated(0.0))
    assert noise is not None and not noise.varies
    assert set(noise.weights(repeated(0.0))) == {1.0}
    assert "weights are equal" in noise.describe()


def test_a_table_without_repeats_has_no_noise():
    runs = repeated(0.0)
    assert seed_noise(runs[runs.seed == 0]) is None
    assert seed_noise(runs[runs.total_params <= SIZES[1]]) is None
    assert seed_noise(runs.drop(columns="seed")) is None
    failed = runs.assign(status="failed", reason="x")
    failed.loc[failed.seed == 0, "status"] = "ok"
    assert seed_noise(failed) is None


def budgets_of(*spreads, seeds=2, rng=None):
    """Seven sizes at each budget, with its own noise."""
    rng = np.random.default_rng(0) if rng is None else rng
    parts = []
    for k, std in enumerate(spreads):
        runs = repeated(0.0, seeds=seeds, std=std, rng=rng).assign(flops_budget=10.0 ** (12 + k))
        runs["tokens"] = 1e6 * 10**k
        runs["run_id"] = [f"{k}-{i}" for i in range(len(runs))]
        parts.append(runs)
    return load_runs(pd.concat(parts, ignore_index=True))


def test_a_budget_whose_seeds_scatter_is_a_plateau_and_left_out():
    runs = budgets_of(0.09, 0.002, 0.002)
    assert [*find_plateaus(runs)] == [1e12]
    assert on_plateau(runs, find_plateaus(runs)).sum() == 16
    obs, excluded = observations(runs)
    assert len(obs) == len(runs) - 16
    assert excluded.reason.str.contains("a plateau").all() and len(excluded) == 16
    noise = seed_noise(runs)
    assert noise.freedom == 16 and noise.std == pytest.approx(0.002, rel=0.5)
    with pytest.raises(ValueError, match="every budget is on a plateau: seeds at"):
        observations(budgets_of(0.09, 0.2))


def test_budgets_that_differ_beyond_doubt_weigh_by_their_own_noise():
    runs = budgets_of(0.002, 0.02, seeds=5)
    noise = seed_noise(runs)
    assert noise.by_budget[1e12] == pytest.approx(0.002, rel=0.3)
    assert noise.by_budget[1e13] == pytest.approx(0.02, rel=0.3)
    weight = noise.weights(runs).groupby(runs.flops_budget).first()
    ratio = noise.by_budget[1e13] / noise.by_budget[1e12]
    assert weight[1e12] / weight[1e13] == pytest.approx(ratio**2)
    assert "budgets differ" in noise.describe()


def test_equal_budgets_are_seldom_told_apart():
    rng = np.random.default_rng(3)
    told = [bool(seed_noise(budgets_of(*[0.002] * 4, rng=rng)).by_budget) for _ in range(8)]
    assert sum(told) <= 1  # 0.008 expected at a level of .001
