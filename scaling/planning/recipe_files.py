"""A recipe as a file: a grid of one cell for scaling.sweep, or the keys of nanoGPT."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from scaling.planning.recipe import ASKED, TrainingRecipe
from scaling.shapes.architecture import Architecture
from scaling.shapes.flops import training_flops_per_token
from scaling.shapes.shape import Shape

LEAST_VOCABULARY = 257  # of a text that the sweep encodes: 256 bytes and a separator
LARGEST_MICRO_BATCH = 8  # sequences at once
DEFAULTS = """\
defaults:
  - sweep_schema
  - settings
  - data: enwik8
  - family: gpt
  - grid: demo
  - dispatch: local
  - parallel: none
  - override hydra/job_logging: disabled
  - override hydra/hydra_logging: disabled
  - _self_
"""


def nanogpt_keys(recipe: TrainingRecipe, a: Architecture) -> dict[str, Any]:
    """Name a recipe as nanoGPT's train.py does; its batch is micro-batch times accumulation."""
    micro = LARGEST_MICRO_BATCH
    while recipe.sequences % micro:
        micro //= 2
    return {
        "n_layer": a.n_layers,
        "n_head": a.n_heads,
        "n_embd": a.width,
        "block_size": recipe.seq_len,
        "bias": False,
        "dropout": 0.0,
        "batch_size": micro,
        "gradient_accumulation_steps": recipe.sequences // micro,
        "max_iters": recipe.steps,
        "lr_decay_iters": recipe.steps,
        "warmup_iters": recipe.warmup_steps,
        "decay_lr": True,
        "learning_rate": recipe.lr,
        "min_lr": recipe.final_lr or 0.1 * recipe.lr,
        "weight_decay": recipe.weight_decay,
        "beta1": recipe.beta1,
        "beta2": recipe.beta2,
        "grad_clip": recipe.grad_clip,
    }


def _describe(recipe: TrainingRecipe) -> str:
    batch = "rate by" if recipe.batch_rule == ASKED else "rate and batch by"
    asked = ", batch as asked" if recipe.batch_rule == ASKED else ""
    return (
        f"{recipe.N:.4g} parameters on {recipe.D:.4g} tokens; {batch} {recipe.rule} "
        f"({recipe.status}, outside of its runs x{recipe.outside:.3g}){asked}"
    )


def _write_python(recipe: TrainingRecipe, a: Architecture, shape: Shape | None) -> str:
    lines = [
        f"# {_describe(recipe)}",
        "# batch_size * gradient_accumulation_steps sequences a step over all devices together",
    ]
    if recipe.schedule != "cosine":
        lines.append(f"# the rule's schedule is {recipe.schedule}; nanoGPT has a cosine only")
    if lost := _name_lost(a):
        lines.append(f"# nanoGPT's own model has no {', no '.join(lost)}: its sizes are these")
    lines += [f"{name} = {value!r}" for name, value in nanogpt_keys(recipe, a).items()]
    return "\n".join(lines) + "\n"


def _name_lost(a: Architecture) -> list[str]:
    """What an architecture has that nanoGPT's model does not."""
    lost = {
        "grouped keys": a.kv_heads != a.n_heads,
        "gated feed-forward": a.gated,
        f"feed-forward of {a.ffn_width}": a.ffn_width not in (0, 4 * a.width),
        f"heads of {a.head_width}": a.head_width * a.n_heads != a.width,
        "experts": a.mixture,
        "untied head": not a.tied,
        "latent attention": bool(a.kv_rank),
    }
    return [name for name, there in lost.items() if there]


def _write_json(recipe: TrainingRecipe, a: Architecture, shape: Shape | None) -> str:
    return json.dumps(nanogpt_keys(recipe, a), indent=2) + "\n"


def _write_sweep(recipe: TrainingRecipe, a: Architecture, shape: Shape | None) -> str:
    """One cell with the same D: its budget is D times the FLOPs of a token of what is trained."""
    if shape is None:
        raise ValueError(
            f"recipe=FILE.yaml: our sweep trains shapes of its own and no {a.name}; write "
            "recipe=FILE.py or FILE.json"
        )
    trained = replace(shape, vocab_size=max(shape.vocab_size, LEAST_VOCABULARY))
    settings = {
        "data": {"vocab_size": trained.vocab_size},
        "model": {"seq_len": shape.seq_len, "ffn": shape.ffn, "tied": shape.tied},
        "grid": {
            "name": "recipe",
            "budgets": [recipe.steps * recipe.batch_tokens * training_flops_per_token(trained)],
            "widths": [shape.width],
            "n_layers": shape.n_layers,
            "n_heads": shape.n_heads,
            "min_steps": 1,
        },
        "optim": {
            "lr": recipe.lr,
            "batch_tokens": recipe.batch_tokens,
            "schedule": recipe.schedule,
            "warmup_steps": recipe.warmup_steps,
            "beta1": recipe.beta1,
            "beta2": recipe.beta2,
            "weight_decay": recipe.weight_decay,
            "grad_clip": recipe.grad_clip,
        },
    }
    lines = [
        f"# {_describe(recipe)}",
        "# python -m scaling.sweep --config-dir=FOLDER --config-name=THIS_FILE dry_run=true",
        DEFAULTS,
    ]
    for group, values in settings.items():
        lines.append(f"{group}:")
        lines += [f"  {name}: {json.dumps(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


WRITERS: dict[str, Callable[[TrainingRecipe, Architecture, Shape | None], str]] = {
    ".yaml": _write_sweep,
    ".py": _write_python,
    ".json": _write_json,
}


def check_suffix(suffix: str) -> None:
    """Refuse a file of another kind; ValueError names the kinds."""
    if suffix not in WRITERS:
        raise ValueError(
            f"recipe=FILE{suffix}: name it FILE.yaml for scaling.sweep, or FILE.py or FILE.json "
            "for a nanoGPT-like trainer"
        )


def write_recipe(recipe: TrainingRecipe, a: Architecture, shape: Shape | None, suffix: str) -> str:
    """Write a recipe as a text for a file with this suffix.

    Parameters
    ----------
    shape : Shape or None
        The same model as one of ours; None where it is none.

    Raises
    ------
    ValueError
        An unknown suffix, or a sweep asked to train what is no shape of ours.
    """
    check_suffix(suffix)
    return WRITERS[suffix](recipe, a, shape)
