"""Optimisation as pure functions: a configuration resolved, schedules of the step."""

import math
from dataclasses import asdict, dataclass

from scaling.errors import check_choice
from scaling.shapes.flops import total_params, training_flops_per_token
from scaling.shapes.rules import batch_rule, beta2_rule, lr_rule, warmup_rule
from scaling.shapes.shape import Shape

SCHEDULES = ("cooldown", "cosine", "constant")
RULES = ("horizon", "shape")
OPTIMIZERS = ("adamw", "muon")
MUON_PRECISIONS = ("fp32", "tf32", "bf16")  # whose weights are plain fp32
TYPICAL_TOKENS_PER_PARAM = 4  # the horizon that a rule of the shape alone is made for
SHORTEST_TOKENS_PER_PARAM = 1  # and the shortest that its warm-up must suit
MIN_TRUNK_WARMUP = 20  # steps


@dataclass
class OptimConfig:
    """What a user may choose; None means "derive it" (see `make_recipe`)."""

    optimizer: str = "adamw"  # adamw, muon (the matrices of the blocks; AdamW has the rest)
    lr: float | None = None  # peak learning rate; None: lr_rule(N, B)
    lr_scale: float = 1.0  # multiplies the rule or lr: bracket with 0.5, 1, 2
    batch_tokens: int | None = None  # tokens per step; None: batch_rule(D)
    batch_scale: float = 1.0  # multiplies the rule or batch_tokens, to whole windows
    rules: str = "horizon"  # what lr, batch and warm-up follow: horizon (N and D), shape (N)
    schedule: str = "cooldown"  # cooldown (constant, then 1-sqrt), cosine, constant
    cooldown: float = 0.2  # share of the steps in the cooldown
    warmup_steps: int | None = None  # None: warmup_rule
    beta1: float = 0.9  # of AdamW; Muon's momentum is 0.95
    beta2: float | None = None  # None: beta2_rule
    weight_decay: float = 0.0  # 0.1 costs 0.01-0.02 nats in one pass over 1e6 tokens
    grad_clip: float = 1.0  # norm above which gradients are scaled down


@dataclass(frozen=True)
class Recipe:
    """Every number that optimisation needs, resolved; part of the run id."""

    lr: float
    batch_size: int  # sequences per step
    steps: int
    warmup_steps: int
    cooldown_steps: int
    schedule: str
    beta1: float
    beta2: float
    weight_decay: float
    grad_clip: float
    optimizer: str = "adamw"

    @property
    def facts(self) -> dict:
        """What goes into a run id: all of it; AdamW unsaid, as in ids from before Muon."""
        facts = asdict(self)
        if self.optimizer == "adamw":
            del facts["optimizer"]
        return facts


def make_recipe(config: OptimConfig, shape: Shape, flops_budget: float) -> Recipe:
    """Resolve a configuration for one shape and one budget of counted training FLOPs.

    D = flops_budget / training_flops_per_token(shape), rounded to whole steps. With rules="shape"
    nothing but the steps and the cooldown follows from the budget, so that all horizons of a shape
    share one trunk: the batch is that of a run of 4 tokens per parameter, the warm-up 10 % of one
    of 1 token per parameter, at least 20 steps. From 540k parameters up half of that batch ends .01
    to .02 nats lower, below 400k up to .015 higher (experiments/extended.py): batch_scale.

    Raises
    ------
    ValueError
        A value outside its range, or a batch that is no multiple of the context length.
    """
    _check(config)
    tokens = flops_budget / training_flops_per_token(shape)
    n_params = total_params(shape)
    of_shape = config.rules == "shape"
    typical = TYPICAL_TOKENS_PER_PARAM * n_params if of_shape else tokens
    window = shape.window.text
    batch_tokens = config.batch_tokens or batch_rule(typical, window)
    if batch_tokens % window:
        raise ValueError(
            f"optim.batch_tokens={batch_tokens} must be a multiple of {window}, the tokens of a "
            f"window of {shape.family} with seq_len={shape.seq_len}"
        )
    batch_tokens = window * max(1, round(config.batch_scale * batch_tokens / window))
    steps = max(1, round(tokens / batch_tokens))
    warmup = config.warmup_steps
    if warmup is None and of_shape:
        shortest = round(SHORTEST_TOKENS_PER_PARAM * n_params / batch_tokens)
        warmup = max(MIN_TRUNK_WARMUP, warmup_rule(n_params, batch_tokens, shortest))
    return Recipe(
        lr=config.lr_scale * (lr_rule(n_params, batch_tokens) if config.lr is None else config.lr),
        batch_size=batch_tokens // window,
        steps=steps,
        warmup_steps=warmup_rule(n_params, batch_tokens, steps) if warmup is None else warmup,
        cooldown_steps=round(config.cooldown * steps) if config.schedule == "cooldown" else 0,
        schedule=config.schedule,
        beta1=config.beta1,
        beta2=beta2_rule(batch_tokens) if config.beta2 is None else config.beta2,
        weight_decay=config.weight_decay,
        grad_clip=config.grad_clip,
        optimizer=config.optimizer,
    )


def _check(config: OptimConfig) -> None:
    check_choice("optim.schedule", config.schedule, SCHEDULES)
    check_choice("optim.rules", config.rules, RULES)
    check_choice("optim.optimizer", config.optimizer, OPTIMIZERS)
    limits = {"lr": 10} | dict.fromkeys(
        ("lr_scale", "batch_tokens", "batch_scale", "grad_clip"), math.inf
    )
    for name, limit in limits.items():
        value = getattr(config, name)
        if value is not None and not 0 < value < limit:
            raise ValueError(
                f"optim.{name}={value} must be above 0"
                + (f" and below {limit}" if limit < math.inf else "")
            )
    for name in ("beta1", "beta2", "weight_decay", "cooldown"):
        value = getattr(config, name)
        if value is not None and not 0 <= value < 1:
            raise ValueError(f"optim.{name}={value} must be at least 0 and below 1")
    if config.warmup_steps is not None and config.warmup_steps < 0:
        raise ValueError(f"optim.warmup_steps={config.warmup_steps} must not be negative")


def refuse_optimizer(optimizer: str, precision: str, mode: str = "none") -> None:
    """Refuse Muon where nobody has tried it; ValueError names the value and the way out."""
    if optimizer == "muon" and precision not in MUON_PRECISIONS:
        raise ValueError(
            f"optim.optimizer=muon with precision={precision} was never tried; use "
            f"precision={'|'.join(MUON_PRECISIONS)}, or optim.optimizer=adamw"
        )
    if optimizer == "muon" and mode != "none":
        raise ValueError(
            f"optim.optimizer=muon with parallel={mode}: it wants whole matrices on one process; "
            "use parallel=none, or optim.optimizer=adamw"
        )


def cooldown_start(recipe: Recipe) -> int:
    """Step at which a run leaves its trunk; its last one if it has no cooldown."""
    return recipe.steps - recipe.cooldown_steps


def lr_at(step: int, recipe: Recipe) -> float:
    """Learning rate of step 0, 1, ..., steps - 1.

    Linear warm-up, then by schedule: constant; cosine to a tenth of the peak at the last step;
    or constant with a last part that falls as 1 - sqrt(progress) to almost zero (Haegele et al.
    2024, arXiv:2405.18392, section 3).
    """
    if step < recipe.warmup_steps:
        return recipe.lr * (step + 1) / recipe.warmup_steps
    if recipe.schedule == "cosine":
        progress = (step - recipe.warmup_steps) / max(1, recipe.steps - 1 - recipe.warmup_steps)
        return recipe.lr * (0.55 + 0.45 * math.cos(math.pi * progress))
    start = cooldown_start(recipe)
    if recipe.schedule == "cooldown" and step >= start:
        progress = (step - start + 1) / (recipe.cooldown_steps + 1)
        return recipe.lr * (1 - math.sqrt(progress))
    return recipe.lr
