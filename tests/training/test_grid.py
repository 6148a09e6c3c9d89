from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scaling.shapes.flops import total_params
from scaling.shapes.shape import ModelConfig
from scaling.tables.runs import COLUMNS
from scaling.training.cells import Cell, group_trunks, planned_row
from scaling.training.grid import (
    GridConfig,
    check_corpus,
    expected_optimum,
    plan_cells,
    shapes_for_budget,
)
from scaling.training.optim import OptimConfig, cooldown_start

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
    table = pd.DataFrame([planned_row(cell, 28_000_000) for cell in plan()])
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
        (dict(ladder=[16, 20, 24]), "6 sizes asked for at 2e\\+11 FLOPs, but only . shapes"),
        (dict(noise_seeds=[1]), "grid.noise_budget=None must be one of grid.budgets"),
        (dict(noise_budget=4e11), "and null if there are none"),
        (dict(noise_budget=3e11, noise_seeds=[1]), "grid.noise_budget=300000000000.0 must be one"),
        (dict(noise_budget=4e11, noise_seeds=[0]), "must list different seeds"),
        (dict(arm_widths=[32]), r"grid.arm_widths=\[32\] and .* need each other"),
        (dict(arm_widths=[32], arm_tokens_per_param=[0.0]), "need each other, the second positive"),
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


SHAPED = OptimConfig(rules="shape")


def test_horizons_of_a_shape_share_a_trunk_only_if_nothing_but_the_horizon_differs():
    ladder = replace(DEMO, ladder=[16, 20, 24, 28, 32, 36, 40, 48, 52, 60], seeds=[0, 1], sizes=4)
    cells = plan(ladder, optim=SHAPED)
    trunks = group_trunks(cells)
    assert sum(len(trunk.cells) for trunk in trunks) == len(cells)
    assert len(trunks) == len({(c.shape, c.seed) for c in cells}) < len(cells)
    assert len(group_trunks(plan(ladder))) > len(trunks)  # rules of the horizon share less
    cosine = plan(ladder, optim=replace(SHAPED, schedule="cosine"))
    assert len(group_trunks(cosine)) == len(cosine)  # a cosine knows its end


def test_a_trunk_does_less_work_than_its_runs():
    [trunk] = group_trunks(plan(replace(DEMO, widths=[32]), optim=SHAPED))
    starts = [cooldown_start(cell.recipe) for cell in trunk.cells]
    assert starts == sorted(starts)
    last = trunk.cells[-1]
    cooldowns = sum(cell.recipe.cooldown_steps for cell in trunk.cells[:-1])
    assert trunk.steps == last.recipe.steps + cooldowns
    assert last.flops < trunk.flops < sum(cell.flops for cell in trunk.cells)
    assert trunk.flops == pytest.approx(trunk.steps * last.flops / last.recipe.steps)


def test_a_cell_named_twice_counts_once():
    cells = plan(replace(DEMO, widths=[32]))
    again = [replace(cell, flops_budget=1.0) for cell in cells]  # another plan's budget
    assert group_trunks([*cells, *again]) == group_trunks(cells)


def test_sizes_come_from_the_ladder():
    ladder = [16, 24, 32, 40, 48, 56, 64]
    cells = plan(replace(DEMO, ladder=ladder, sizes=3))
    assert {cell.shape.width for cell in cells} <= set(ladder)
    assert len(cells) == 4 * 3


def test_noise_seeds_are_trained_at_their_budget_only():
    cells = plan(replace(DEMO, widths=[32, 48], noise_budget=4e11, noise_seeds=[1, 2]))
    assert len(cells) == 4 * 2 + 2 * 2
    assert {c.flops_budget for c in cells if c.seed} == {4e11}


def test_an_arm_lies_at_its_ratios_and_in_no_isoflop_group():
    arm = replace(DEMO, budgets=[], arm_widths=[24], arm_tokens_per_param=[5, 20])
    cells = plan(arm, optim=SHAPED)
    assert all(np.isnan(cell.flops_budget) for cell in cells)
    ratios = [cell.tokens / total_params(cell.shape) for cell in cells]
    np.testing.assert_allclose(ratios, [5, 20], rtol=0.01)
    assert len(group_trunks(cells)) == 1
    assert cells[0].label == f"24x2 at {ratios[0]:.3g} D/N"


def test_an_arm_does_not_repeat_a_cell_of_the_grid():
    bowl = plan(replace(DEMO, budgets=[4e11], widths=[24]), optim=SHAPED)
    ratio = bowl[0].tokens / total_params(bowl[0].shape)
    arm = replace(DEMO, budgets=[4e11], widths=[24], arm_widths=[24], arm_tokens_per_param=[ratio])
    assert plan(arm, optim=SHAPED) == bowl


@pytest.mark.parametrize("family", ["gpt", "bert", "t5"])
def test_the_table_carries_what_each_family_reads_and_predicts(family):
    optim = OptimConfig(batch_tokens={"t5": 141}.get(family, 128))
    grid = replace(DEMO, budgets=[2e11], widths=[24])
    [row] = map(planned_row, plan(grid, ModelConfig(family=family), optim))
    windows = row["steps"]
    read, predicted = {"gpt": (128, 128), "bert": (128, 19), "t5": (128, 29)}[family]
    assert row["input_tokens"] == windows * read
    assert row["predicted_tokens"] == windows * predicted
    assert row["tokens"] == windows * {"t5": 141}.get(family, 128)


def test_an_objective_of_another_family_is_refused():
    with pytest.raises(ValueError, match="objective"):
        plan(model=ModelConfig(family="gpt", objective="mlm"))
