"""A recipe for people: what to set, by whose rule, and what the other rules say."""

from collections.abc import Mapping
from typing import Any

from scaling.pages.text import Column, Section, Table, shown
from scaling.planning.recipe import ASKED, CHOICE, PRACTICE, TrainingRecipe
from scaling.quantities import format_quantity as short

READ = (
    "Measured: here; quoted: constants of the paper as others quote them; memory: not checked "
    "against any text. Above the critical batch a larger one costs more tokens than it saves steps."
)
MODELS = "Published models nearest in N and D, from memory but for GPT-3's table:"


def recipe_section(recipe: TrainingRecipe) -> Section:
    """Give the recommendation, the rules behind it, and the nearest published models."""
    rules = (
        *(shown("rule"), shown("lr", "peak rate", ".3g"), shown("batch_tokens", "batch", short)),
        *(shown("critical_batch", "critical batch", short), shown("runs", "its runs")),
        *(shown("where", "the plan is"), shown("read")),
    )
    models = (
        *(shown("model"), shown("N", write=short), shown("D", write=short)),
        *(shown("lr", "rate", ".3g"), Column("batch", _write_batch), shown("warmup", "warm-up")),
        *(shown("weight_decay", "decay", "g"), shown("beta2", write="g"), shown("source")),
    )
    text = (describe_recipe(recipe), _describe_decay(recipe), f"Chosen by: {CHOICE}.", READ)
    sources = (f"{row['rule']}: {row['source']}" for row in recipe.rules.to_dict("records"))
    tables = (Table(recipe.rules, rules), Table(recipe.models, models, MODELS))
    return Section("The recipe", text, (*recipe.notes, *sources), tables)


def _write_batch(row: Mapping[str, Any]) -> str:
    """The last batch, and the first where it grew."""
    first = row["first_batch"]
    grew = f"{short(first)} to " if first == first else ""
    return grew + short(row["batch_tokens"])


def describe_recipe(recipe: TrainingRecipe) -> str:
    """Every setting in one sentence, and how far outside of its runs the rule is asked."""
    ends = f"falling to {recipe.final_lr:.2g}" if recipe.final_lr else "falling to 0"
    far = "" if recipe.outside == 1.0 else f", x{recipe.outside:.2g} outside of its runs"
    model = f" of {recipe.models.model.iloc[0]}" if recipe.rule == PRACTICE else ""
    asked = ", the batch as asked" if recipe.batch_rule == ASKED else ""
    return (
        f"By {recipe.rule}{model} ({recipe.status}{far}){asked}: {recipe.steps:,} steps of "
        f"{recipe.sequences:,} sequences of {recipe.seq_len:,}, {short(recipe.batch_tokens)} "
        f"tokens a step; rate {recipe.lr:.3g} after {recipe.warmup_steps:,} warm-up steps, {ends} "
        f"({recipe.schedule}); AdamW with beta1 {recipe.beta1:g}, beta2 {recipe.beta2:g}, weight "
        f"decay {recipe.weight_decay:g}; gradients clipped at {recipe.grad_clip:g}. Bracket the "
        "rate by x2 before a long run."
    )


def _describe_decay(recipe: TrainingRecipe) -> str:
    best = (
        f"the timescale of bergsma2025 asks for a weight decay of {recipe.timescale_decay:.2g} at "
        "this rate and batch"
    )
    if recipe.timescale != recipe.timescale:
        return f"No weight decay; {best}."
    return (
        f"AdamW averages over B/(lr * decay * D) = {recipe.timescale:.2g} of the run (Wang and "
        f"Aitchison 2024, arXiv:2405.13698); {best}."
    )
