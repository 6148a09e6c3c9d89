"""Which models to train: budgets x sizes as an explicit list of cells."""

import math
from dataclasses import dataclass, field, replace

from scaling.data.objectives import OBJECTIVES, make_objective
from scaling.errors import check_range
from scaling.shapes.flops import total_params, training_flops_per_token
from scaling.shapes.ladder import shapes_between
from scaling.shapes.shape import WIDTH_STEP, ModelConfig, Shape, shape_for_width
from scaling.training.cells import Cell
from scaling.training.optim import OptimConfig, make_recipe, refuse_optimizer
from scaling.training.precision import parse_precision

SIZES = ("n_layers", "n_heads")  # that may be named beside `widths`
CHOICES = {
    "device": ("auto", "cpu", "cuda"),
    "compile": ("auto", "always", "never"),
}


@dataclass
class GridConfig:
    """IsoFLOP budgets and the sizes trained at each."""

    name: str = "demo"  # of the folder
    budgets: list[float] = field(default_factory=list)  # counted training FLOPs
    sizes: int = 6  # models per budget
    span: float = 3.0  # sizes lie between N* / span and N* * span
    optimum_params: float = 115e3  # where N* is expected at `optimum_flops`
    optimum_flops: float = 1e12  # C, see optimum_params
    optimum_exponent: float = 0.48  # N* ~ C^exponent
    ladder: list[int] | None = None  # widths to pick from, so that budgets share trunks; None: all
    widths: list[int] | None = None  # these widths at every budget instead; None: by `span`
    n_layers: int | None = None  # of all `widths`; None: the ladder's
    n_heads: int | None = None  # of all `widths`; None: the ladder's
    seeds: list[int] = field(default_factory=lambda: [0])  # each cell once with every seed
    noise_budget: float | None = None  # one of `budgets`, trained with `noise_seeds` as well
    noise_seeds: list[int] = field(default_factory=list)  # which tell the noise of a seed
    arm_widths: list[int] = field(default_factory=list)  # a fixed-N arm: these widths, each
    arm_tokens_per_param: list[float] = field(default_factory=list)  # at these ratios
    min_steps: int = 100  # a cell with fewer optimizer steps is refused


def expected_optimum(grid: GridConfig, flops_budget: float) -> float:
    """N* where the grid expects the loss-minimising size, in total parameters."""
    return grid.optimum_params * (flops_budget / grid.optimum_flops) ** grid.optimum_exponent


def shapes_for_budget(
    grid: GridConfig, model: ModelConfig, vocab_size: int, flops_budget: float
) -> list[Shape]:
    """Pick `sizes` shapes of the ladder, evenly spaced in ln N within N* / span .. N* * span.

    Raises
    ------
    ValueError
        The ladder has fewer shapes in that range.
    """
    if grid.widths is not None:
        named = {name: getattr(grid, name) for name in SIZES if getattr(grid, name) is not None}
        ladder = (shape_for_width(width, vocab_size, model) for width in grid.widths)
        return [replace(shape, **named) for shape in ladder]
    centre = expected_optimum(grid, flops_budget)
    low, high = centre / grid.span, centre * grid.span
    try:
        return shapes_between(low, high, grid.sizes, vocab_size, model, grid.ladder)
    except ValueError as error:
        raise ValueError(
            f"grid: {grid.sizes} sizes asked for at {flops_budget:.2g} FLOPs, but {error}; "
            f"{_way_out(grid, model, vocab_size, high)}"
        ) from None


def _way_out(grid: GridConfig, model: ModelConfig, vocab_size: int, high: float) -> str:
    """What to change where the ladder has too few sizes, of which the largest should be `high`."""
    widest = max(grid.ladder, default=WIDTH_STEP) if grid.ladder is not None else None
    if widest and (n := total_params(shape_for_width(widest, vocab_size, model))) < high:
        return (
            f"grid.ladder ends with {n:,} parameters: take grid.ladder=null, which has every "
            "width, name wider ones, or lower the budget"
        )
    other = "" if widest is None else ", take grid.ladder=null"
    return f"lower grid.sizes{other}, raise grid.span or the budget, or name grid.widths"


def plan_cells(
    grid: GridConfig,
    model: ModelConfig,
    optim: OptimConfig,
    *,
    vocab_size: int,
    data: str,
    data_fingerprint: str,
    precision: str = "fp32",
    valid_windows: int = 2048,
) -> list[Cell]:
    """List the cells of a grid, budget by budget, size by size, seed by seed.

    Raises
    ------
    ValueError
        An impossible grid, or an objective of another family.
    """
    _check(grid)
    precision = parse_precision(precision).name
    refuse_optimizer(optim.optimizer, precision)
    make_objective(shape_for_width(WIDTH_STEP, vocab_size, model), model.objective)  # refuses

    def cell(shape: Shape, flops: float, budget: float, seed: int) -> Cell:
        return Cell(
            shape=shape,
            recipe=make_recipe(optim, shape, flops),
            flops_budget=budget,
            seed=seed,
            precision=precision,
            valid_windows=valid_windows,
            data=data,
            data_fingerprint=data_fingerprint,
            objective=model.objective or OBJECTIVES[shape.family][0],
        )

    cells = [
        cell(shape, budget, budget, seed)
        for budget in sorted(grid.budgets)
        for shape in shapes_for_budget(grid, model, vocab_size, budget)
        for seed in [*grid.seeds, *(grid.noise_seeds if budget == grid.noise_budget else [])]
    ]
    known = {cell.run_id for cell in cells}
    arm = [
        cell(shape, ratio * total_params(shape) * training_flops_per_token(shape), math.nan, seed)
        for width in grid.arm_widths
        for shape in [shape_for_width(width, vocab_size, model)]
        for ratio in grid.arm_tokens_per_param
        for seed in grid.seeds
    ]
    cells += [cell for cell in arm if cell.run_id not in known]
    if short := [cell for cell in cells if cell.recipe.steps < grid.min_steps]:
        worst = min(short, key=lambda cell: cell.recipe.steps)
        raise ValueError(
            f"grid: {len(short)} cells take fewer than grid.min_steps={grid.min_steps} steps, "
            f"{worst.label} FLOPs only {worst.recipe.steps}; "
            "raise the budget, lower grid.span or optim.batch_tokens"
        )
    return cells


def _check(grid: GridConfig) -> None:
    budgets, ratios = grid.budgets, grid.arm_tokens_per_param
    seeds = [*grid.seeds, *grid.noise_seeds]
    noise = f"grid.noise_seeds={grid.noise_seeds}"
    if not (budgets or grid.arm_widths) or any(not 0 < budget < math.inf for budget in budgets):
        raise ValueError(f"grid.budgets={budgets} must list positive FLOPs")
    if len(set(budgets)) < len(budgets):
        raise ValueError(f"grid.budgets={budgets} names a budget twice")
    for name in ("widths", "ladder", "arm_widths"):
        widths = getattr(grid, name) or []
        if widths == [] and getattr(grid, name) is not None and name != "arm_widths":
            raise ValueError(f"grid.{name}=[] names no width; give some, or null")
        if any(width < 1 for width in widths) or len(set(widths)) < len(widths):
            raise ValueError(f"grid.{name}={widths} must list different widths of at least 1")
    for name in SIZES:
        if getattr(grid, name) is not None and grid.widths is None:
            raise ValueError(f"grid.{name}={getattr(grid, name)} is of grid.widths: name them too")
    check_range("grid.sizes", grid.sizes, 1)
    check_range("grid.min_steps", grid.min_steps, 1)
    if not 1 < grid.span < math.inf:
        raise ValueError(f"grid.span={grid.span} must be finite and above 1")
    for name in ("optimum_params", "optimum_flops"):
        check_range(f"grid.{name}", getattr(grid, name), 1)
    check_range("grid.optimum_exponent", grid.optimum_exponent, 0, 1)
    if not grid.seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(
            f"grid.seeds={grid.seeds} and {noise} must list different seeds, 0 or above"
        )
    if bool(grid.noise_seeds) != (grid.noise_budget in budgets):
        raise ValueError(
            f"grid.noise_budget={grid.noise_budget} must be one of grid.budgets={budgets} if there "
            f"are {noise}, and null if there are none"
        )
    if bool(grid.arm_widths) != bool(ratios) or any(not 0 < ratio < math.inf for ratio in ratios):
        raise ValueError(
            f"grid.arm_widths={grid.arm_widths} and grid.arm_tokens_per_param={ratios} need each "
            "other, the second positive"
        )


def check_corpus(cells: list[Cell], n_train: int, n_valid: int, allow_repeats: bool) -> None:
    """Refuse cells that would see a token twice, unless that is wanted.

    Raises
    ------
    ValueError
        Says how many tokens the corpus has and which cell asks for most; or the held-out split
        is shorter than two windows.
    """
    longest = max(cell.shape.window.text for cell in cells)
    if n_valid <= 2 * longest:
        raise ValueError(
            f"data {cells[0].data!r} holds out {n_valid:,} tokens, fewer than two windows of "
            f"model.seq_len={longest}; take more text or a shorter context"
        )
    greedy = max(cells, key=lambda cell: cell.tokens)
    if greedy.tokens >= n_train and not allow_repeats:
        raise ValueError(
            f"data {greedy.data!r} has {n_train:,} training tokens, but {greedy.label} FLOPs "
            f"needs {greedy.tokens:,}; lower grid.budgets or grid.span, take a larger corpus, or "
            "repeat tokens with allow_repeats=true"
        )
