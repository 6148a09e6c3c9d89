"""What is trained: cells, one planned run each, and the trunks that cells share."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from scaling.files import json_hash
from scaling.shapes.flops import (
    muon_flops,
    non_embedding_params,
    param_groups,
    total_params,
    training_flops_per_token,
)
from scaling.shapes.shape import Shape
from scaling.tables.runs import COLUMNS
from scaling.training.optim import Recipe, cooldown_start

TRAINING_VERSION = 3  # bump by hand whenever the same cell would give other numbers


@dataclass(frozen=True)
class Cell:
    """One planned run: all that determines its numbers, and the budget that it belongs to."""

    shape: Shape
    recipe: Recipe
    flops_budget: float  # NaN: in no IsoFLOP group, but on a fixed-N arm
    seed: int
    precision: str
    valid_windows: int
    data: str  # name of the corpus
    data_fingerprint: str  # corpus and tokenizer
    objective: str = "clm"
    start_from: str = ""  # run id of the saved model that is trained further; "": a new one

    @property
    def tokens_per_step(self) -> int:
        """Tokens of text that one step uses up."""
        return self.recipe.batch_size * self.shape.window.text

    @property
    def windows(self) -> int:
        """Windows of text that the run sees."""
        return self.recipe.steps * self.recipe.batch_size

    @property
    def tokens(self) -> int:
        """Training tokens D: tokens of text, whatever the family makes of them."""
        return self.windows * self.shape.window.text

    @property
    def flops(self) -> float:
        """Counted training FLOPs; differs from the budget by less than half a step."""
        return self.tokens * training_flops_per_token(self.shape)

    @property
    def run_id(self) -> str:
        """Hash of what determines the numbers; no name, path, launcher or worker count."""
        return _hash(self._facts())

    @property
    def trunk_id(self) -> str:
        """Hash of what determines the run up to its cooldown: runs that share it share a trunk."""
        facts = self._facts()
        if self.recipe.schedule != "cosine":  # a cosine knows its end from the first step on
            facts["recipe"] = facts["recipe"] | {"steps": None, "cooldown_steps": None}
        return _hash(facts)

    def _facts(self) -> dict:
        shape = asdict(self.shape) | {
            "n_kv_heads": self.shape.kv_heads,
            "ffn_width": self.shape.hidden,
        }
        return {
            "version": TRAINING_VERSION,
            "data": self.data_fingerprint,
            "shape": shape,
            "objective": self.objective,
            "recipe": self.recipe.facts,
            "seed": self.seed,
            "precision": self.precision,
            "valid_windows": self.valid_windows,
        } | self.origin

    @property
    def origin(self) -> dict[str, str]:
        """What a run goes on from; nothing where it begins anew, so that ids and tables stay."""
        return {"start": self.start_from} if self.start_from else {}

    @property
    def own_optimizer(self) -> dict:
        """Columns of an optimizer other than AdamW: its name and what its products cost."""
        if self.recipe.optimizer == "adamw":
            return {}
        products = float(self.recipe.steps * muon_flops(self.shape))
        return {"optimizer": self.recipe.optimizer, "optimizer_flops": products}

    @property
    def label(self) -> str:
        """Shape, and what was asked of it: for progress and plots."""
        if math.isnan(self.flops_budget):
            return f"{self.shape.label} at {self.tokens / total_params(self.shape):.3g} D/N"
        return f"{self.shape.label} at {self.flops_budget:.3g}"


def _hash(facts: dict) -> str:
    return json_hash(facts)[:12]


@dataclass(frozen=True)
class Trunk:
    """Cells that are one run up to their cooldowns: the unit of work."""

    cells: tuple[Cell, ...]  # by rising start of the cooldown

    @property
    def trunk_id(self) -> str:
        """The id that all cells share."""
        return self.cells[0].trunk_id

    @property
    def label(self) -> str:
        """Shape, seed and number of branches."""
        one, n = self.cells[0], len(self.cells)
        return one.label if n == 1 else f"{one.shape.label} seed {one.seed}, {n} horizons"

    @property
    def steps(self) -> int:
        """Steps that are really done: the trunk up to its last branch, and every cooldown."""
        cooldowns = sum(cell.recipe.cooldown_steps for cell in self.cells)
        return cooldowns + cooldown_start(self.cells[-1].recipe)

    @property
    def flops(self) -> float:
        """Training FLOPs that are really spent; the cells' own add up to more."""
        return self.steps * self.flops_per_step

    @property
    def flops_per_step(self) -> float:
        """Training FLOPs of one step."""
        return self.cells[0].flops / self.cells[0].recipe.steps


def group_trunks(cells: Iterable[Cell]) -> list[Trunk]:
    """Group cells by trunk, in the order of their first cells; a cell named twice counts once."""
    groups: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.trunk_id, {}).setdefault(cell.run_id, cell)
    return [
        Trunk(tuple(sorted(group.values(), key=lambda cell: cooldown_start(cell.recipe))))
        for group in groups.values()
    ]


def saved_share(trunks: list[Trunk]) -> float:
    """Share of the FLOPs of separate runs that sharing trunks saves."""
    separate = sum(cell.flops for trunk in trunks for cell in trunk.cells)
    return 1 - sum(trunk.flops for trunk in trunks) / separate


def expected_cost(trunk: Trunk) -> float:
    """Rank trunks by time: small widths reach fewer FLOP/s. Long ones start first."""
    return trunk.flops * (1 + 32 / trunk.cells[0].shape.width)


@dataclass(frozen=True)
class Event:
    """News of one trunk: what it is doing, how far it is, what one of its cells ended with."""

    trunk_id: str
    kind: Literal["started", "noticed", "progress", "finished", "retried"]
    flops: float = 0.0  # training FLOPs done by this trunk
    row: dict | None = None  # of the finished cell
    point: dict | None = None  # of the training curve, as in its table; run_id: the cell's, or
    # the trunk's before its branches part
    curve: Sequence[dict] = ()  # whole, of the finished cell
    reason: str = ""  # why it is tried again, or what was noticed


def planned_row(cell: Cell, n_train: int | None = None) -> dict:
    """Columns of the runs table that are known before training; no epochs without `n_train`.

    What a shape, a recipe and a cell call as the table does is taken as it is.
    """
    shape = cell.shape
    fields = vars(shape) | cell.recipe.facts | vars(cell)
    return {
        "run_id": cell.run_id,
        "name": f"{cell.data}-{shape.label}-{cell.flops:.3g}-s{cell.seed}",
        **{name: value for name, value in fields.items() if name in COLUMNS},
        **param_groups(shape),
        "total_params": total_params(shape),
        "non_embedding_params": non_embedding_params(shape),
        "tokens": cell.tokens,
        "input_tokens": cell.windows * shape.window.inputs,
        "predicted_tokens": cell.windows * shape.window.targets,
        "flops": float(cell.flops),
        "batch_tokens": cell.tokens_per_step,
        "trunk_id": cell.trunk_id,
        "epochs": math.nan if n_train is None else cell.tokens / n_train,
        "version": TRAINING_VERSION,
    } | (cell.origin | cell.own_optimizer)
