from functools import cache

import numpy as np
import pytest

from scaling.planning.recipe import plan_recipe, read_models, read_rules
from scaling.shapes.architecture import architecture_of, count_params
from scaling.shapes.buildable import nearest_shape
from scaling.shapes.rules import batch_rule, lr_rule


@cache
def recipe_for(N, D, vocab_size=32_000, seq_len=2048, loss=2.0):
    return plan_recipe(architecture_of(nearest_shape(N, vocab_size, seq_len)), D, loss)


def test_the_rules_say_what_their_papers_say():
    """Worked out by hand, or as the papers print it."""
    shape = architecture_of(nearest_shape(1e9, 32_000, 2048))
    N, D = count_params(shape, "non_embedding"), 2e10
    rules = recipe_for(1e9, D).rules.set_index("rule")
    assert rules.lr.step_law2025 == pytest.approx(1.79 * N**-0.713 * D**0.307)
    assert rules.batch_tokens.step_law2025 == pytest.approx(0.58 * D**0.571)
    blocks = count_params(shape, "blocks")
    assert rules.lr.kaplan2020 == pytest.approx(0.003239 - 0.0001395 * np.log(blocks))
    assert rules.critical_batch.kaplan2020 == pytest.approx(2.1e8 / 2.0 ** (1 / 0.21))
    assert rules.critical_batch.zhang2024 == pytest.approx(
        512 * 22.91 * (D / 1e6) ** 0.47, rel=1e-3
    )
    assert rules.timescale.bergsma2025 == pytest.approx(1.084 * (D / count_params(shape)) ** -0.527)


def test_deepseeks_rule_gives_about_what_deepseek_used():
    """7B and 67B on 2T tokens: 4.2e-4 and 9.4M, 3.2e-4 and 18.9M."""
    for N, lr, batch in ((6.9e9, 4.2e-4, 9.4e6), (67e9, 3.2e-4, 18.9e6)):
        rules = recipe_for(N, 2e12, 102_400, 4096).rules.set_index("rule")
        assert rules.lr.deepseek2024 == pytest.approx(lr, rel=0.06)
        assert rules.batch_tokens.deepseek2024 == pytest.approx(batch, rel=0.1)


def test_gpt3s_table_is_met_at_its_models():
    rules = recipe_for(13e9, 300e9, 50_257).rules.set_index("rule")
    assert rules.lr.brown2020 == pytest.approx(1e-4, rel=0.02)
    assert rules.lr.bjorck2024 == pytest.approx(rules.lr.brown2020)  # not moved
    assert rules.batch_tokens.brown2020 == pytest.approx(2e6, rel=0.02)


@pytest.mark.parametrize(
    ("N", "D", "rule", "status"),
    [
        (1e5, 2e6, "house", "ok"),
        (1e9, 2e10, "step_law2025", "ok"),
        (3e9, 6e10, "step_law2025", "extrapolated"),
        (13e9, 300e9, "brown2020", "ok"),
        (7e10, 1.5e12, "practice", "extrapolated"),
    ],
)
def test_the_rule_with_the_nearest_runs_is_chosen(N, D, rule, status):
    small = N < 1e8
    recipe = recipe_for(N, D, *((1024, 128) if small else (32_000, 2048)))
    assert (recipe.rule, recipe.status) == (rule, status)
    told = recipe.rules.dropna(subset=["lr", "batch_tokens"])
    assert recipe.outside == told.outside.min()
    assert recipe.steps * recipe.batch_tokens == pytest.approx(D, rel=0.01)
    assert 0 < recipe.warmup_steps <= recipe.steps / 10
    off = recipe.batch_tokens / told.set_index("rule").batch_tokens[rule]
    if recipe.sequences >= 256:
        assert abs(np.log2(off)) <= 0.51 and recipe.sequences.bit_count() == 1
    else:
        assert off == pytest.approx(1.0, rel=0.13)


def test_a_batch_of_ones_own_is_taken_as_it_is():
    shape = architecture_of(nearest_shape(1e9, 32_000, 2048))
    recipe, free = plan_recipe(shape, 2e10, 2.0, 4e6), recipe_for(1e9, 2e10)
    assert (recipe.batch_rule, recipe.rule) == ("asked", free.rule) and recipe.lr == free.lr
    assert recipe.sequences == round(4e6 / 2048)
    assert any(f"times that of {free.rule}" in note for note in recipe.notes)
    assert free.batch_rule == free.rule
    with pytest.raises(ValueError, match=r"batch_tokens=3e\+10 is more than all 2e\+10 tokens"):
        plan_recipe(shape, 2e10, 2.0, 3e10)


def test_the_house_is_asked_as_training_asks_it():
    recipe = recipe_for(1e5, 2e6, 1024, 128)
    batch = batch_rule(recipe.D, 128)
    assert recipe.batch_tokens == batch
    assert recipe.lr == lr_rule(round(recipe.N), batch)


def test_weight_decay_by_its_timescale():
    recipe = recipe_for(1e9, 2e10)
    share = recipe.batch_tokens / (recipe.lr * recipe.weight_decay * recipe.D)
    assert recipe.timescale == pytest.approx(share)
    tau = recipe.rules.timescale.dropna().iloc[0]
    again = recipe.batch_tokens / (recipe.lr * recipe.timescale_decay * recipe.D)
    assert again == pytest.approx(tau)
    assert np.isnan(recipe_for(1e5, 2e6, 1024, 128).timescale)  # no decay


def test_a_formula_beyond_its_end_says_nothing():
    rules = recipe_for(7e10, 1.4e12).rules.set_index("rule")
    assert np.isnan(rules.lr.kaplan2020)  # 0.003239 - 0.0001395 ln N is negative


def test_a_batch_above_the_critical_one_is_named():
    assert any("the critical one of kaplan2020" in n for n in recipe_for(1e9, 2e10, loss=4.5).notes)
    assert recipe_for(1e9, 2e10, loss=float("nan")).notes == ()


def test_the_nearest_published_models_stand_beside_it():
    assert recipe_for(7e10, 1.4e12).models.model.iloc[0] == "Chinchilla"
    assert {"rule", "source", "read"} <= {*read_rules()}
    assert read_rules()["read"].isin(["measured", "quoted", "memory"]).all()
    assert read_models().source.str.startswith("arXiv:").all()
