import json
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from scaling.commandline import CONF, resolve
from scaling.planning.recipe import plan_recipe
from scaling.planning.recipe_files import write_recipe
from scaling.shapes.architecture import architecture_of
from scaling.shapes.buildable import nearest_shape
from scaling.sweep import SweepConfig, plan_cells

SHAPE = nearest_shape(2e5, 256, 128)
TOKENS = 4e6
RECIPE = plan_recipe(architecture_of(SHAPE), TOKENS, 3.0)
NANOGPT = {
    *("n_layer", "n_head", "n_embd", "block_size", "batch_size", "gradient_accumulation_steps"),
    *("max_iters", "warmup_iters", "lr_decay_iters", "learning_rate", "min_lr", "weight_decay"),
    *("beta1", "beta2", "grad_clip", "decay_lr", "dropout", "bias"),
}


def test_the_sweep_plans_the_cell_of_a_recipe(tmp_path):
    text = write_recipe(RECIPE, architecture_of(SHAPE), SHAPE, ".yaml")
    (tmp_path / "tiny.yaml").write_text(text)
    with initialize_config_dir(str(tmp_path), version_base=None):
        path = f"hydra.searchpath=[file://{Path(CONF).resolve()}]"
        config = resolve(compose("tiny", overrides=[path]), SweepConfig)
    (cell,) = plan_cells(config, 257, "fingerprint")
    assert cell.shape == replace(SHAPE, vocab_size=257)
    assert cell.recipe.steps == RECIPE.steps
    assert cell.recipe.batch_size == RECIPE.sequences
    for name in ("lr", "warmup_steps", "schedule", "beta1", "beta2", "weight_decay", "grad_clip"):
        assert getattr(cell.recipe, name) == getattr(RECIPE, name)


def test_nanogpt_reads_the_recipe_as_python_or_json():
    found: dict = {}
    exec(write_recipe(RECIPE, architecture_of(SHAPE), SHAPE, ".py"), found)
    keys = json.loads(write_recipe(RECIPE, architecture_of(SHAPE), SHAPE, ".json"))
    assert {*keys} == NANOGPT
    assert {name: found[name] for name in keys} == keys
    sequences = keys["batch_size"] * keys["gradient_accumulation_steps"]
    assert sequences == RECIPE.sequences
    assert keys["max_iters"] * sequences * keys["block_size"] == pytest.approx(TOKENS, rel=0.01)
    assert 0 < keys["min_lr"] < keys["learning_rate"]


def test_what_nanogpt_has_not_is_named():
    gated = replace(architecture_of(SHAPE), gated=True, kv_heads=1, tied=False)
    text = write_recipe(RECIPE, gated, None, ".py")
    assert "nanoGPT's own model has no grouped keys, no gated feed-forward, no untied head" in text


def test_a_file_of_another_kind_is_refused():
    architecture = architecture_of(SHAPE)
    with pytest.raises(ValueError, match=r"recipe=FILE\.txt: name it FILE\.yaml for"):
        write_recipe(RECIPE, architecture, SHAPE, ".txt")
    with pytest.raises(ValueError, match="trains shapes of its own and no gpt"):
        write_recipe(RECIPE, architecture, None, ".yaml")
