from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_grid import DEMO, SHAPED, plan

from scaling.shapes.shape import ModelConfig
from scaling.tables.runs import COLUMNS
from scaling.training.cells import Cell, group_trunks, planned_row
from scaling.training.optim import OptimConfig, cooldown_start

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


RUN_ID = "a9759bb8d6d5"  # of TRAINING_VERSION 3


def test_the_planned_table_has_the_columns_of_the_runs_table():
    table = pd.DataFrame([planned_row(cell, 28_000_000) for cell in plan()])
    assert set(table.columns) <= set(COLUMNS)
    groups = table[["embedding_params", "block_params", "head_params", "norm_params"]]
    assert (groups.sum(axis=1) == table.total_params).all()
    np.testing.assert_allclose(table.epochs * 28_000_000, table.tokens)


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
