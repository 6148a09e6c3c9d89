"""Small runs before a large one: which sizes and horizons, and what they cost together."""

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from scaling.planning.sources import LawSource
from scaling.shapes.flops import total_params, training_flops_per_token
from scaling.shapes.ladder import shapes_between
from scaling.shapes.shape import WIDTH_STEP, ModelConfig, Shape, shape_for_width

EVERY = 1.0  # growth of sizes that leaves no width out
LARGE = 1e8  # parameters: from here on widths in multiples of 64
COOLDOWN = 0.2  # of a run's steps: what a further horizon of a trunk costs
LEAST_TOKENS = 51_200  # of a run: 100 steps of the smallest batch, the fewest that a sweep takes
RUNG = 2**0.5  # of N_opt when the budget doubles, about: a rung of a shared ladder of widths
RAISED, RAISES = 1.1, 20  # by how much, and how often, centres rise where small shapes lack


@dataclass(frozen=True)
class Design:
    """How a ladder spends its FLOPs: isoFLOP budgets x sizes, or sizes x horizons."""

    name: str
    budgets: int = 4  # each `apart` times the next smaller
    apart: float = 2.0
    sizes: int = 6  # at every budget
    span: float = 3.0  # sizes lie between N_opt / span and N_opt * span
    shared: bool = True  # budgets share trunks: a longer run of a size costs its cooldown more
    ratios: tuple[float, ...] = ()  # tokens per parameter of every size instead of budgets


DESIGNS = {
    design.name: design
    for design in (
        Design("trunks"),
        Design("separate", shared=False),
        Design("narrow", sizes=5, span=2.0),
        Design("tall", budgets=6, sizes=4, span=2.0),
        Design("wide", budgets=3, apart=3.0, sizes=7, span=4.0),
        Design("horizons", sizes=6, ratios=(3.0, 6.0, 12.0, 24.0)),
    )
}


@dataclass(frozen=True, eq=False)
class Ladder:
    """Pilot runs and the grid that trains them.

    The table has one row per run: budget (FLOPs; NaN of a horizon), width, n_layers, N (total
    parameters), D (tokens), C (counted FLOPs).
    """

    design: Design
    target: float  # FLOPs of the run that they prepare
    runs: pd.DataFrame
    flops: float  # that training takes, shared trunks once
    vocab_size: int
    model: ModelConfig
    grid: dict = field(repr=False)  # of a sweep's configuration

    @property
    def share(self) -> float:
        """Of the budget that the ladder takes."""
        return self.flops / self.target


def plan_ladder(
    law: LawSource,
    C: float,
    share: float,
    *,
    vocab_size: int,
    model: ModelConfig,
    design: Design,
) -> Ladder:
    """Runs that take a share of C FLOPs, around the optima of a law.

    Parameters
    ----------
    law : LawSource
        Where sizes are centred.
    C : float, FLOPs
        Of the run that they prepare.
    share : float in (0, 0.5]
    vocab_size, model
        Of every shape.

    Raises
    ------
    ValueError
        A share that is none, or so few FLOPs that no such ladder can be built.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 0.5:
        raise ValueError(f"pilot={share!r} must be a share of the budget in (0, 0.5], such as 0.01")
    make = _list_horizons if design.ratios else _list_budgets

    def build(top: float) -> Ladder:
        shapes, grid = make(law, top, design, vocab_size, model)
        runs = pd.DataFrame(shapes)
        return Ladder(design, C, runs, cost(runs, shared=design.shared), vocab_size, model, grid)

    try:
        ladder = _fit_share(build, share * C)
    except ValueError as error:
        raise ValueError(f"pilot={share:g} of {C:.3g} FLOPs is too little: {error}") from None
    shortest = ladder.runs.D.min()
    if shortest < LEAST_TOKENS:
        raise ValueError(
            f"pilot={share:g} of {C:.3g} FLOPs is too little: its shortest run would see "
            f"{shortest:,.0f} tokens, fewer than {LEAST_TOKENS:,}; raise pilot, or name a smaller "
            "vocab_size"
        )
    return replace(ladder, grid={"name": "pilot"} | ladder.grid)


def write_grid(ladder: Ladder, command: str) -> str:
    """The ladder as a grid file of `python -m scaling.sweep`; `command` made it."""
    model = ladder.model
    rules = "shape" if ladder.design.shared else "horizon"
    lines = [
        "# @package _global_",
        f"# {len(ladder.runs)} pilot runs ({ladder.design.name}), {ladder.flops:.3g} FLOPs, "
        f"{ladder.share:.2%} of {ladder.target:.3g}, as planned by",
        f"#   {command}",
        "grid:",
        *(f"  {name}: {_write_value(value)}" for name, value in ladder.grid.items()),
        "model:",
        f"  seq_len: {model.seq_len}",
        f"  ffn: {model.ffn}",
        f"  tied: {str(model.tied).lower()}",
        "data:",
        f"  vocab_size: {ladder.vocab_size}",
        "optim:",
        f"  rules: {rules}",
    ]
    return "\n".join(lines) + "\n"


def _write_value(value: Any) -> str:
    """A value as YAML 1.1 reads it: its floats need a point."""
    if isinstance(value, list):
        return "[" + ", ".join(map(_write_value, value)) + "]"
    return re.sub(r"^(\d+)e", r"\1.0e", repr(value)) if isinstance(value, float) else str(value)


def cost(runs: pd.DataFrame, *, shared: bool) -> float:
    """FLOPs of training: with trunks, the longest run of a size and the cooldowns of the others."""
    if not shared:
        return float(runs.C.sum())
    sizes = runs.groupby("width").C
    return float((1 - COOLDOWN) * sizes.max().sum() + COOLDOWN * runs.C.sum())


def _fit_share(build: Callable[[float], Ladder], flops: float) -> Ladder:
    """The ladder whose cost comes nearest below; sizes are discrete, so that it is no crossing."""
    ends, top, best, spent = [0.0, np.inf], flops / 4, None, 0.0
    for _ in range(20):
        ladder = build(top)
        spent = ladder.flops
        is_over = spent > flops
        ends[is_over] = top
        if not is_over and (best is None or spent > best.flops):
            best = ladder
        if best is not None and (best.flops > 0.97 * flops or ends[1] < 1.01 * ends[0]):
            return best
        scaled = top * 0.99 * flops / spent
        top = scaled if ends[0] < scaled < ends[1] else float(np.sqrt(ends[0] * ends[1]))
    if best is None:
        raise ValueError(f"the least such ladder takes {spent:.3g} FLOPs")
    return best


def _list_budgets(
    law: LawSource, top: float, design: Design, vocab_size: int, model: ModelConfig
) -> tuple[list[dict], dict]:
    budgets = [float(f"{top / design.apart**k:.3g}") for k in reversed(range(design.budgets))]
    ends = [law.point(budget)["N_opt"] for budget in (budgets[0], budgets[-1])]
    for _ in range(RAISES):  # where small shapes are too few, larger ones
        try:
            return _centre_grid(budgets, ends, design, vocab_size, model)
        except ValueError:
            ends = [end * RAISED for end in ends]
    return _centre_grid(budgets, ends, design, vocab_size, model)


def _centre_grid(
    budgets: list[float], ends: list[float], design: Design, vocab_size: int, model: ModelConfig
) -> tuple[list[dict], dict]:
    """Runs and grid around the optima of the smallest and the largest budget."""
    exponent = float(np.log(ends[1] / ends[0]) / np.log(budgets[-1] / budgets[0]))
    grid = {
        "budgets": budgets,
        "sizes": design.sizes,
        "span": design.span,
        "optimum_params": float(f"{ends[1]:.4g}"),
        "optimum_flops": budgets[-1],
        "optimum_exponent": round(exponent, 4),
    }
    low, high = ends[0] / design.span, ends[1] * design.span
    step = min(RUNG, design.span ** (2 / design.sizes)) if design.shared else EVERY
    try:  # few widths, that budgets share; small ones are too far apart to leave any out
        grid["ladder"] = [*_list_widths(low, high, step, vocab_size, model)]
        return _pick_runs(grid, vocab_size, model), grid
    except ValueError:
        grid["ladder"] = [*_list_widths(low, high, EVERY, vocab_size, model)]
        return _pick_runs(grid, vocab_size, model), grid


def _pick_runs(grid: dict, vocab_size: int, model: ModelConfig) -> list[dict]:
    """The runs that a sweep makes of a grid."""
    rows, span = [], grid["span"]
    for budget in grid["budgets"]:
        away = (budget / grid["optimum_flops"]) ** grid["optimum_exponent"]
        low, high = (grid["optimum_params"] * away * side for side in (1 / span, span))
        for shape in shapes_between(
            low, high, grid["sizes"], vocab_size, model, grid.get("ladder")
        ):
            rows.append(_tell_run(shape, budget / training_flops_per_token(shape), budget))
    return rows


def _list_horizons(
    law: LawSource, top: float, design: Design, vocab_size: int, model: ModelConfig
) -> tuple[list[dict], dict]:
    """Sizes around the optimum of `top`, each for all ratios of tokens to parameters."""
    centre = law.point(top)["N_opt"]
    shapes = shapes_between(
        centre / 2 / design.span, centre * design.span / 2, design.sizes, vocab_size, model
    )
    rows = [
        _tell_run(shape, ratio * total_params(shape), np.nan)
        for shape in shapes
        for ratio in design.ratios
    ]
    widths = [shape.width for shape in shapes]
    return rows, {"budgets": [], "arm_widths": widths, "arm_tokens_per_param": [*design.ratios]}


def _list_widths(
    low: float, high: float, step: float, vocab_size: int, model: ModelConfig
) -> Iterator[int]:
    """Widths whose sizes grow by about `step`, in multiples of 4, or of 64 above `LARGE`."""
    last = 0.0
    unit = WIDTH_STEP if low < LARGE else 16 * WIDTH_STEP
    for width in itertools.count(unit, unit):
        size = total_params(shape_for_width(width, vocab_size, model))
        if size > high:
            return
        if size >= max(low, step * last * 0.97):
            last = size
            yield width


def _tell_run(shape: Shape, D: float, budget: float) -> dict:
    sizes = {"budget": budget, "width": shape.width, "n_layers": shape.n_layers}
    return sizes | {"N": total_params(shape), "D": D, "C": D * training_flops_per_token(shape)}
