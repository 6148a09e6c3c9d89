from dataclasses import replace

import numpy as np
import pytest

from scaling.flops import total_params
from scaling.grid import (
    Cell,
    GridConfig,
    check_corpus,
    expected_optimum,
    plan_cells,
    plan_table,
    shapes_for_budget,
)
from scaling.models.shape import ModelConfig
from scaling.optim import OptimConfig
from scaling.runs import COLUMNS

DEMO = GridConfig(budgets=[2e11, 4e11, 8e11, 1.6e12])


def plan(grid=DEMO, model=ModelConfig(), optim=OptimConfig(), **facts):  # noqa: B008
    defaults = dict(vocab_size=1024, data="enwik8", data_fingerprint="abc")
    return plan_cells(grid, model, optim, **(defaults | facts))


def test_the_grid_is_budgets_times_sizes():
    cells = plan()
    assert len(cells) == 24
    assert [c.flops_budget for c in cells] == sorted(c.flops_budget for c in cells)
    assert len({c.run_id for c in cells}) == 24


@pytest.mark.parametrize("budget", DEMO.budgets)
def test_sizes_surround_the_expected_optimum(budget):
    sizes = [total_params(s) for s in shapes_for_budget(DEMO, ModelConfig(), 1024, budget)]
    centre = expected_optimum(DEMO, budget)
    assert len(sizes) == 6
    assert centre / 3 <= sizes[0] < 0.7 * centre
    assert 1.4 * centre < sizes[-1] <= 3 * centre
    assert sizes == sorted(set(sizes))


def test_every_cell_spends_its_budget():
    for cell in plan():
        assert cell.flops == pytest.approx(cell.flops_budget, rel=0.5 / cell.recipe.steps)


def test_expected_optimum_is_a_power_of_c():
    assert expected_optimum(DEMO, 1e12) == 115e3
    assert expected_optimum(DEMO, 1e14) == pytest.approx(115e3 * 100**0.48)


CHANGES = {
    "data": lambda c: replace(c, data_fingerprint="abd"),
    "seed": lambda c: replace(c, seed=1),
    "precision": lambda c: replace(c, precision="bf16"),
    "windows": lambda c: replace(c, valid_windows=1),
    "width": lambda c: replace(c, shape=replace(c.shape, ffn_width=8)),
    "lr": lambda c: replace(c, recipe=replace(c.recipe, lr=c.recipe.lr * 2)),
    "steps": lambda c: replace(c, recipe=replace(c.recipe, steps=7)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_run_id_follows_what_determines_the_numbers(change):
    cell = plan()[0]
    assert change(cell).run_id != cell.run_id


def test_run_id_ignores_names_and_spelled_out_defaults():
    cell = plan()[0]
    renamed = replace(cell, data="my copy", flops_budget=cell.flops_budget * 1.0001)
    spelled = replace(cell, shape=replace(cell.shape, ffn_width=4 * cell.shape.width))
    assert renamed.run_id == spelled.run_id == cell.run_id


def test_a_run_id_is_the_same_in_every_process():
    """A hash that Python salts, or a float that prints otherwise, would break every resume."""
    cell = plan(replace(DEMO, budgets=[2e11], widths=[16]), optim=OptimConfig(lr=0.01))[0]
    assert isinstance(cell, Cell)
    assert cell.run_id == RUN_ID


RUN_ID = "fd68acb75c09"  # of TRAINING_VERSION 2


def test_seeds_multiply_the_cells():
    cells = plan(replace(DEMO, seeds=[0, 1, 2], widths=[32, 48]))
    assert len(cells) == 4 * 2 * 3
    assert {c.seed for c in cells} == {0, 1, 2}


def test_the_planned_table_has_the_columns_of_the_runs_table():
    table = plan_table(plan(), n_train=28_000_000)
    assert set(table.columns) <= set(COLUMNS)
    groups = table[["embedding_params", "block_params", "head_params", "norm_params"]]
    assert (groups.sum(axis=1) == table.total_params).all()
    np.testing.assert_allclose(table.epochs * 28_000_000, table.tokens)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(budgets=[]), r"grid.budgets=\[\] must list positive FLOPs"),
        (dict(budgets=[-1.0]), r"grid.budgets=\[-1.0\] must list positive FLOPs"),
        (dict(budgets=[float("nan")]), "must list positive FLOPs"),
        (dict(budgets=[1e12, 1e12]), "names a budget twice"),
        (dict(sizes=0), "grid.sizes=0"),
        (dict(span=1.0), "grid.span=1.0"),
        (dict(sizes=40), "40 sizes asked for at 2e\\+11 FLOPs, but only .* shapes"),
        (dict(seeds=[]), "must list different seeds"),
        (dict(seeds=[1, 1]), "must list different seeds"),
        (dict(budgets=[1e9], widths=[128]), "fewer than grid.min_steps=100 steps"),
    ],
)
def test_impossible_grids_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        plan(replace(DEMO, **changes))


def test_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision='fp8': choose one of"):
        plan(precision="fp8")


def test_a_corpus_too_small_says_how_many_tokens_it_has():
    cells = plan()
    with pytest.raises(ValueError, match=r"has 1,000,000 training tokens.*allow_repeats=true"):
        check_corpus(cells, 1_000_000, 300_000, allow_repeats=False)
    check_corpus(cells, 1_000_000, 300_000, allow_repeats=True)
    check_corpus(cells, 100_000_000, 300_000, allow_repeats=False)
    with pytest.raises(ValueError, match="holds out 200 tokens, fewer than two windows"):
        check_corpus(cells, 100_000_000, 200, allow_repeats=False)
