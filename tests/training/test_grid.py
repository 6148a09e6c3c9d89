from dataclasses import replace

import numpy as np
import pytest

from scaling.shapes.flops import total_params
from scaling.shapes.shape import ModelConfig
from scaling.training.cells import group_trunks
from scaling.training.grid import (
    GridConfig,
    check_corpus,
    expected_optimum,
    plan_cells,
    shapes_for_budget,
)
from scaling.training.optim import OptimConfig

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


def test_seeds_multiply_the_cells():
    cells = plan(replace(DEMO, seeds=[0, 1, 2], widths=[32, 48]))
    assert len(cells) == 4 * 2 * 3
    assert {c.seed for c in cells} == {0, 1, 2}


def test_depth_and_heads_may_be_named_beside_widths():
    cells = plan(replace(DEMO, widths=[48], n_layers=4, n_heads=2))
    assert {(c.shape.width, c.shape.n_layers, c.shape.n_heads) for c in cells} == {(48, 4, 2)}


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(n_layers=3), "grid.n_layers=3 is of grid.widths: name them too"),
        (dict(widths=[48], n_heads=5), "width 48 over n_heads 5"),
        (dict(widths=[48], n_layers=0), "n_layers must be at least 1"),
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
        (
            dict(ladder=[16, 20, 24]),
            r"ends with 38,520 parameters: take grid.ladder=null",
        ),
        (
            dict(budgets=[1e6]),
            r"0 shapes .*\[\]; lower grid.sizes, raise grid.span or the",
        ),
        (dict(ladder=[48, 60, 72, 200]), "lower grid.sizes, take grid.ladder=null, raise"),
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
    with pytest.raises(ValueError, match="precision='fp7': choose one of"):
        plan(precision="fp7")


def test_a_corpus_too_small_says_how_many_tokens_it_has():
    cells = plan()
    with pytest.raises(ValueError, match=r"has 1,000,000 training tokens.*allow_repeats=true"):
        check_corpus(cells, 1_000_000, 300_000, allow_repeats=False)
    check_corpus(cells, 1_000_000, 300_000, allow_repeats=True)
    check_corpus(cells, 100_000_000, 300_000, allow_repeats=False)
    with pytest.raises(ValueError, match="holds out 200 tokens, fewer than two windows"):
        check_corpus(cells, 100_000_000, 200, allow_repeats=False)


SHAPED = OptimConfig(rules="shape")


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


def test_an_objective_of_another_family_is_refused():
    with pytest.raises(ValueError, match="objective"):
        plan(model=ModelConfig(family="gpt", objective="mlm"))
