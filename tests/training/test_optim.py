from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipes import TINY

from scaling.shapes.flops import total_params, training_flops_per_token
from scaling.shapes.rules import lr_rule
from scaling.shapes.shape import ModelConfig, shape_for_width
from scaling.training.optim import (
    OptimConfig,
    lr_at,
    make_recipe,
)

SHAPE = shape_for_width(32, 1024, ModelConfig())
RECIPE = replace(TINY, batch_size=4, steps=1000, warmup_steps=50, cooldown_steps=200, beta2=0.99)


def test_cooldown_schedule_has_three_parts():
    lr = np.array([lr_at(step, RECIPE) for step in range(1000)])
    np.testing.assert_allclose(lr[:50], 0.01 * np.arange(1, 51) / 50)
    assert (lr[50:800] == 0.01).all()
    np.testing.assert_allclose(lr[800:], 0.01 * (1 - np.sqrt(np.arange(1, 201) / 201)))


def test_cosine_ends_at_a_tenth():
    recipe = replace(RECIPE, schedule="cosine", cooldown_steps=0)
    lr = [lr_at(step, recipe) for step in range(1000)]
    assert lr[50] == pytest.approx(0.01)
    assert lr[-1] == pytest.approx(0.001)
    assert (np.diff(lr[50:]) <= 0).all()


def test_constant_stays():
    recipe = replace(RECIPE, schedule="constant", cooldown_steps=0)
    assert {lr_at(step, recipe) for step in range(50, 1000)} == {0.01}


@given(
    steps=st.integers(1, 400),
    warmup=st.integers(0, 500),
    cooldown=st.integers(0, 400),
    schedule=st.sampled_from(["cooldown", "cosine", "constant"]),
)
def test_the_rate_is_always_positive_and_never_above_its_peak(steps, warmup, cooldown, schedule):
    recipe = replace(
        RECIPE, steps=steps, warmup_steps=warmup, cooldown_steps=cooldown, schedule=schedule
    )
    rates = [lr_at(step, recipe) for step in range(steps)]
    assert all(0 < lr <= 0.01 * (1 + 1e-12) for lr in rates)


def test_a_recipe_spends_the_budget_to_half_a_step():
    recipe = make_recipe(OptimConfig(), SHAPE, 4e11)
    flops_per_step = recipe.batch_size * 128 * training_flops_per_token(SHAPE)
    assert abs(recipe.steps * flops_per_step - 4e11) <= flops_per_step / 2


def test_given_values_win_over_rules():
    config = OptimConfig(lr=0.003, lr_scale=2.0, batch_tokens=256, warmup_steps=0, beta2=0.9)
    recipe = make_recipe(config, SHAPE, 1e11)
    assert (recipe.lr, recipe.batch_size, recipe.warmup_steps, recipe.beta2) == (0.006, 2, 0, 0.9)


@pytest.mark.parametrize("rules", ["horizon", "shape"])
def test_a_scaled_batch_brings_the_rate_and_the_steps_of_its_size(rules):
    rule, half, least = (
        make_recipe(OptimConfig(rules=rules, batch_scale=scale), SHAPE, 6.4e12)
        for scale in (1, 0.5, 1e-6)
    )
    assert abs(half.batch_size - rule.batch_size / 2) <= 0.5 and least.batch_size == 1
    assert half.steps * half.batch_size == pytest.approx(rule.steps * rule.batch_size, rel=1e-3)
    assert half.lr == lr_rule(total_params(SHAPE), 128 * half.batch_size)
    asked = OptimConfig(rules=rules, batch_tokens=512, batch_scale=0.5)
    assert make_recipe(asked, SHAPE, 6.4e12).batch_size == 2


@pytest.mark.parametrize(
    "values, message",
    [
        (dict(rules="horizons"), r"optim.rules='horizons': choose one of"),
        (dict(schedule="linear"), r"optim.schedule='linear': choose one of"),
        (dict(lr=0.0), "optim.lr=0.0 must be above 0 and below 10"),
        (dict(lr=float("nan")), "optim.lr=nan must be above 0"),
        (dict(batch_tokens=100), "optim.batch_tokens=100 must be a multiple of 128"),
        (dict(batch_tokens=0), "optim.batch_tokens=0 must be above 0"),
        (dict(batch_scale=0.0), "optim.batch_scale=0.0 must be above 0"),
        (dict(beta2=1.0), "optim.beta2=1.0 must be at least 0 and below 1"),
        (dict(cooldown=-0.1), "optim.cooldown=-0.1 must be at least 0"),
        (dict(warmup_steps=-1), "optim.warmup_steps=-1 must not be negative"),
    ],
)
def test_impossible_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        make_recipe(OptimConfig(**values), SHAPE, 1e11)


def test_rules_of_the_shape_know_no_horizon():
    config = OptimConfig(rules="shape")
    short, long = (make_recipe(config, SHAPE, flops) for flops in (1e11, 6.4e12))
    same = dict(steps=0, cooldown_steps=0)
    assert replace(short, **same) == replace(long, **same)
    assert long.steps == pytest.approx(64 * short.steps, rel=0.01)
    assert short.warmup_steps >= 20
    by_horizon = (make_recipe(OptimConfig(), SHAPE, flops) for flops in (1e11, 6.4e12))
    assert len({recipe.batch_size for recipe in by_horizon}) == 2


@pytest.mark.parametrize("family, text", [("bert", 128), ("t5", 141)])
def test_a_batch_is_whole_windows_of_text(family, text):
    shape = shape_for_width(32, 1024, ModelConfig(family=family))
    recipe = make_recipe(OptimConfig(batch_tokens=4 * text), shape, 1e11)
    assert recipe.batch_size == 4
    with pytest.raises(ValueError, match=f"must be a multiple of {text}, the tokens of a window"):
        make_recipe(OptimConfig(batch_tokens=100), shape, 1e11)
