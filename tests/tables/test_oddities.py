"""Oddities of tables: what is told, what is not, and what leaves rows out on request."""

import re

import numpy as np
import pandas as pd
import pytest

from scaling.tables.observations import observations
from scaling.tables.oddities import find_oddities
from scaling.tables.published import PUBLISHED
from scaling.tables.runs import load_runs


def usual(**changes):
    """Four rows of two budgets that nothing is odd about."""
    N, D = np.array([1e8, 2e8, 4e8, 8e8]), np.array([8e9, 4e9, 8e9, 4e9])
    return pd.DataFrame({"N": N, "D": D, "loss": [3.5, 3.2, 3.0, 2.8]} | changes)


@pytest.mark.parametrize(
    "table, message",
    [
        (pd.concat([usual(), usual().iloc[[2]]]), r"\['row0003', 'row0005'\] have the same N, D"),
        (usual(D=1e18 / usual().N), r"all 4 runs cost about 6e\+18 FLOPs; one budget"),
        (usual(D=20 * usual().N), r"D follows N in all 4 runs \(D/N from 20 to 20\).*other D/N"),
        (usual(N=[0.07, 1, 7, 70]), "N is at most 70 parameters; .*billions"),
        (usual(D=[2, 4, 8, 1400]), "D is at most 1400 tokens; .*billions"),
        (usual(loss=[1.2, 1.1, 1.0, 0.9]), r"every loss is below 1.5 \(from 0.9 to 1.2\)"),
        (usual(vocab_size=30), r"\[3.5\] of run_id \['row0001'\] is above ln\(vocab_size\).*bits"),
    ],
)
def test_oddities_are_told_and_fitted(table, message):
    [told] = find_oddities(observations(load_runs(table))[0])
    assert re.search(message, told.text)


@pytest.mark.parametrize(
    "table", [usual(), usual(vocab_size=256, loss=[1.4, 1.3, 1.2, 1.1]), usual(vocab_size=50_000)]
)
def test_usual_tables_hold_nothing_odd(table):
    assert not find_oddities(observations(load_runs(table))[0])


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {"cerebras2023"}))
def test_published_tables_hold_nothing_odd(published, name):
    if PUBLISHED[name].file:
        published(PUBLISHED[name].file)
    runs = load_runs(name)
    assert not find_oddities(observations(runs)[0], runs)


def test_a_ladder_of_20_tokens_per_parameter_is_told():
    [told] = find_oddities(observations(load_runs("cerebras2023"))[0])
    assert "D follows N in all 7 runs" in told.text


def grid_of(**changes):
    """Three budgets of four sizes."""
    C, N = (g.ravel() for g in np.meshgrid([1e18, 4e18, 1.6e19], np.geomspace(1e8, 1e9, 4)))
    table = pd.DataFrame({"N": N, "D": C / (6 * N)})
    table["loss"] = 1.7 + 400 / table.N**0.34 + 410 / table.D**0.28
    return table.assign(**changes)


def told_of(table):
    runs = load_runs(table)
    return [oddity.text for oddity in find_oddities(observations(runs)[0], runs)]


def swept(rates=(1e-3, 2e-3, 4e-3)):
    """Every cell at three learning rates, the middle one best."""
    parts = [grid_of(lr=lr) for lr in rates]
    for part in parts:
        part["loss"] *= 1 + part.lr.map(dict(zip(rates, (0.05, 0.0, 0.03), strict=True)))
    return pd.concat(parts, ignore_index=True)


def test_learning_rates_of_one_cell_are_named_and_the_best_kept():
    [told] = told_of(swept())
    assert "differ in loss by up to 5.0%" in told
    assert "'lr' tells them apart: keep one with best_of=[N, D]" in told
    best = load_runs(swept(), best_of=["N", "D"])
    assert len(best) == 12
    assert set(best.lr) == {2e-3}
    obs, excluded = observations(best)
    assert not find_oddities(obs, best)
    assert len(excluded) == 24
    assert set(excluded.reason) == {"not the lowest loss of each N, D"}
    assert best.attrs["filter"] == "lowest loss of each N, D"


def test_two_losses_in_one_table_are_named_and_one_kept():
    text = grid_of(metric="text")
    both = pd.concat([text, text.assign(metric="answer", loss=text.loss / 2.5)])
    [told] = told_of(both)
    assert "by up to x2.50" in told
    assert "'metric' tells them apart: keep one with where={metric: text}" in told
    kept = load_runs(both, where={"metric": "text"})
    assert kept.loss.tolist() == text.loss.tolist()
    assert kept.attrs["excluded"][0] == ["row0013", "not metric == text"]
    assert len(load_runs(swept(), where={"lr": [1e-3, "0.002"]})) == 24
    with pytest.raises(ValueError, match=r"metric=bits: DataFrame has \['answer', 'text'\]"):
        load_runs(both, where={"metric": "bits"})
    with pytest.raises(ValueError, match="widht: DataFrame has no such column; it has"):
        load_runs(both, best_of=["widht"])


def test_seeds_that_scatter_like_no_seeds_do_are_told():
    seeds = [grid_of(seed=0), grid_of(seed=1)]
    seeds[1]["loss"] *= 1.08
    [told] = told_of(pd.concat(seeds, ignore_index=True))
    assert "8.0%" in told and "only their seed differs" in told
    seeds[1]["loss"] *= 1.004 / 1.08
    runs = load_runs(pd.concat(seeds, ignore_index=True))
    obs, _ = observations(runs)
    assert not find_oddities(obs, runs)
    assert obs.groupby("repeat").size().tolist() == [2] * 12


def checkpoints(**changes):
    rows = [
        {"run": f"{N:.0f}-1x", "N": N, "D": 20 * N * share, "lr": 1e-3 * (1.1 - share)}
        for N in (1e8, 2e8, 4e8)
        for share in np.arange(1, 6) / 5
    ]
    table = pd.DataFrame(rows).assign(**changes)
    return table.assign(loss=1.7 + 400 / table.N**0.34 + 410 / table.D**0.28)


def test_checkpoints_before_the_end_of_a_schedule_are_told_and_resampled_together():
    [told] = told_of(checkpoints())
    assert "rows of one 'run' look like checkpoints" in told
    assert "best_of=[run], or map 'run' to trunk_id" in told
    assert observations(load_runs(checkpoints()))[0].cluster.nunique() == 3
    last = load_runs(checkpoints(), best_of=["run"])
    assert (last.tokens == 20 * last.params).all()
    mapped = load_runs(checkpoints(), {"run": "trunk_id"})
    assert not find_oddities(observations(mapped)[0], mapped)
    with pytest.raises(ValueError, match="map its name to trunk_id instead"):
        load_runs(checkpoints(), {"run": "run_id"})


def test_a_name_for_each_size_makes_no_chain_of_a_grid():
    grid = grid_of()
    runs = load_runs(grid.assign(size=[f"{N:.0f}" for N in grid.N]))
    obs, _ = observations(runs)
    assert not find_oddities(obs, runs)
    assert obs.cluster.nunique() == 12


def test_repeated_tokens_are_told():
    [told] = told_of(grid_of(epochs=[1, 1, 4] * 4))
    assert "4 runs saw their data up to 4 times" in told
    assert "the law of repeated data" in told


def test_one_run_per_budget_is_told():
    C = 1e18 * 2.0 ** np.arange(8)
    N = 1e8 * np.array([1, 3, 1, 4, 2, 6, 3, 9])
    table = pd.DataFrame({"N": N, "D": C / (6 * N), "loss": 3.0 - 0.1 * np.arange(8)})
    [told] = told_of(table)
    assert "each of the 8 budgets has one run" in told


def test_budgets_are_written_as_given():
    obs, _ = observations(load_runs(grid_of()))
    assert sorted(set(obs.budget)) == [1e18, 4e18, 1.6e19]


def test_sweeps_of_two_corpora_in_one_table_are_told_apart():
    one = grid_of().rename(columns={"N": "total_params", "D": "tokens"}).assign(data="enwik8")
    other = one.assign(data="pubmed", loss=one.loss + 0.5, tokens=one.tokens * 1.01)
    told = told_of(pd.concat([one, other], ignore_index=True))
    (line,) = [line for line in told if "do not compare" in line]
    assert line.startswith("the runs have data ['enwik8', 'pubmed'], whose losses do not compare")
    assert line.endswith("where={data: enwik8}")
    runs = load_runs(one)
    assert not find_oddities(observations(runs)[0], runs)
