"""Train one trunk: a generator of measurements that opens no file and prints nothing.

A trunk is one model at a constant learning rate, and from it branches a cooldown for every horizon
that is asked for (Haegele et al. 2024, arXiv:2405.18392). What a branch yields is bit for bit what
a separate run of that length would: the trunk is put back to where it was after every branch.

Shape suffixes: B sequences, T positions.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scaling.data.objectives import Objective, count_windows, cut_windows, make_objective
from scaling.data.order import Mixture, draw_windows
from scaling.data.resident import hold_ids, move
from scaling.data.shards import Ids
from scaling.models.build import Model, build_model
from scaling.models.kernels import STOCK, Kernels, use_kernels
from scaling.shapes.shape import Shape
from scaling.training.casting import cast, settle_kernels
from scaling.training.graphed import StaticStep, why_plain
from scaling.training.optim import Recipe, cooldown_start, lr_at
from scaling.training.optimizers import NativeAdamW, make_optimizer, update
from scaling.training.parallel import (
    average,
    deal,
    gather,
    local_part,
    make_mesh,
    own_rank,
    parallelise,
    reshard,
)
from scaling.training.strategy import ALONE, ParallelConfig

CHUNK_TOKENS = 2**20  # moved to the device at a time
EVAL_TOKENS = 2**13  # in one validation batch
DIVERGED_ABOVE = 0.5  # nats over the loss of a uniform guess,
DIVERGED_FROM = 100  # once warm-up and so many steps are over
LOOKS_PER_DECADE = 32  # points of the training curve, at geometrically spaced steps


@dataclass(frozen=True)
class Point:
    """The training curve between two looks at the device."""

    step: int  # steps done
    middle: float  # the step that `loss` stands for
    loss: float  # nats/token, mean over the steps since the last point
    lr: float
    branch: int | None = None  # whose cooldown it belongs to; None: the trunk


@dataclass(frozen=True)
class Branching:
    """The trunk stands where a cooldown leaves it."""

    branch: int


@dataclass(frozen=True)
class Outcome:
    """How a branch ended; loss is on held-out windows, NaN unless status is "ok"."""

    branch: int  # place of its recipe
    steps: int
    reason: str = ""  # why it diverged
    loss: float = math.nan  # nats/token
    loss_std: float = math.nan  # standard error of `loss` over the held-out windows
    parts: tuple[tuple[float, float], ...] = ()  # both, of each part of a mixture

    @property
    def status(self) -> str:
        """Column of the runs table: ok or diverged."""
        return "diverged" if self.reason else "ok"


@dataclass(frozen=True)
class TrunkState:
    """All that a trunk needs to go on as if it had never stopped; of a rank, what it holds."""

    step: int  # steps done
    looked: int  # step of the last point
    tensors: dict[str, Tensor]  # copies: weights, moments and steps, loss since that point


class TrunkTraining:
    """The training of one trunk; `run` yields its news, `state` and `state=` stop and resume it.

    Parameters
    ----------
    recipes : sequence of Recipe
        One per horizon, equal but for `steps` and `cooldown_steps`, by rising start of the
        cooldown (`scaling.training.cells.Trunk` sorts them so).
    tokens, valid_tokens : int arrays, shape (n,), or what is read as one; or mixtures
    objective : str, optional
        See `scaling.data.objectives.make_objective`; None: the family's own.
    seed : int
        Of the weights, the order of the windows and what of them is hidden.
    precision : str
        See `scaling.training.precision`.
    kernels : Kernels
        What computes forward and backward; evaluation is never compiled.
    valid_windows : int
        Windows from the start of the validation split (all, if it has fewer).
    plan : ParallelConfig
        How the trunk lies on the ranks of the process group, all of which train it: each on its
        slice of every batch and of the held-out windows, and each yields the same news.
    model : Model, optional
        What to train further, from its weights alone; None: a new one.
    state : TrunkState, optional
        Where to go on. Branches that start before it must not be asked for.
    static : bool, optional
        A step on tensors that stay where they are, one graph of a GPU; None: see `why_plain`.
    """

    def __init__(
        self,
        shape: Shape,
        recipes: Sequence[Recipe],
        tokens: Ids | Mixture,
        valid_tokens: Ids | Mixture,
        *,
        objective: str | None = None,
        seed: int = 0,
        device: str = "cpu",
        precision: str = "fp32",
        kernels: Kernels = STOCK,
        valid_windows: int = 2048,
        plan: ParallelConfig = ALONE,
        model: Model | None = None,
        state: TrunkState | None = None,
        static: bool | None = None,
    ):
        self.shape, self.recipes, self.device = shape, recipes, device
        self.tokens, self.valid_tokens, self.valid_windows = tokens, valid_tokens, valid_windows
        self.objective, self.seed = make_objective(shape, objective), seed
        self.model = build_model(shape, seed) if model is None else model
        self.ranks, mesh = plan.ranks, make_mesh(plan, device)
        if mesh is None:
            self.model.to(device)
        self.autocast, self.scaler = cast(self.model, precision, device)
        settled = settle_kernels(kernels, precision, plan, device)
        self.loss_of = parallelise(self.model, plan, mesh)
        self.optimizer = make_optimizer(self.model, recipes[0], plan)
        self.use(*settled)
        steps = max(recipe.steps for recipe in recipes)
        self.looks = look_steps(steps)
        self.loss_sum = torch.zeros((), device=device)
        self.step = self.looked = 0
        self.done = 0  # steps of this process, on the trunk and on branches
        self.diverged = ""  # why training ends here
        self.held = hold_ids(tokens, self.objective, seed, device)
        self.plain = why_plain(recipes[0], precision, plan, device, static)
        parts = self._train_on, self.state, self.restore, self.optimizer
        still = static or not self.plain
        self.static = StaticStep(*parts, steps, device) if still else None
        if state is not None:
            self.restore(state)

    def use(self, kernels: Kernels, why_torch: str = "") -> None:
        """Compute by these from now on, which must be what `settle_kernels` allows."""
        use_kernels(self.model, kernels)
        own = kernels.native and self.recipes[0].optimizer == "adamw"
        self.native = NativeAdamW(self.optimizer) if own else None
        self.computed_by = f"{kernels.label}: {why_torch}" if why_torch else kernels.label

    def run(self) -> Iterator[Point | Branching | Outcome]:
        """Train the trunk and every branch; one Outcome per recipe, in their order.

        Only at a Point does the host wait for the device. `state` may be asked for at a Branching
        and at every Point of the trunk (`branch` is None), unless it has `diverged` there.
        """
        for branch, recipe in enumerate(self.recipes):
            reason = yield from self.advance(recipe, cooldown_start(recipe))
            if reason:  # every longer run would have gone the same way
                for later in range(branch, len(self.recipes)):
                    yield Outcome(later, self.step, reason)
                return
            yield Branching(branch)
            kept = self.state()
            reason = yield from self.advance(recipe, recipe.steps, branch)
            if not reason and self.step > self.looked:
                reason = yield from self._look(recipe, branch)
            yield Outcome(branch, self.step, reason) if reason else self._measure(branch)
            self.restore(kept)

    def state(self) -> TrunkState:
        """Copy what determines all that follows; every rank must ask for it."""
        average(self.loss_sum)
        tensors = {name: tensor.clone() for name, tensor in self._tensors()}
        for name, value in self.scaler.state_dict().items():
            tensors[f"scaler.{name}"] = torch.tensor(float(value), dtype=torch.float64)
        return TrunkState(self.step, self.looked, tensors)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        states = local_part(self.optimizer).state
        yield "loss_sum", self.loss_sum
        for name, parameter in self.model.named_parameters():
            yield f"weights.{name}", parameter.detach()
            for moment, tensor in states.get(parameter, {}).items():
                yield f"{moment}.{name}", tensor

    def restore(self, state: TrunkState) -> None:
        """Go on from where `state` was had."""
        self.step, self.looked, self.diverged = state.step, state.looked, ""
        for name, tensor in self._tensors():
            tensor.copy_(state.tensors[name])
        known = self.scaler.state_dict().items()
        found = {name: type(value)(state.tensors[f"scaler.{name}"]) for name, value in known}
        self.scaler.load_state_dict(found)

    def advance(
        self, recipe: Recipe, until: int, branch: int | None = None
    ) -> Generator[Point, None, str]:
        """Train to step `until`; return why training should stop, or an empty string."""
        if self.static:
            self.static.follow(recipe, self.step)
        for batch in self._batches(self.step, until, recipe.batch_size):
            if self.static:
                self.static(batch)
            else:
                self._train_on(batch, lr_at(self.step, recipe), recipe.grad_clip)
            self.step, self.done = self.step + 1, self.done + 1
            if self.step in self.looks and (reason := (yield from self._look(recipe, branch))):
                return reason
        return ""

    def _train_on(self, batch: tuple[Tensor, ...], lr: float | Tensor, grad_clip: float) -> None:
        with self.autocast:
            loss = self.loss_of(*batch).mean()
        if self.native:
            loss.backward()
            self.native.step(float(lr), grad_clip)
        else:
            update(self.model, self.optimizer, loss, lr, grad_clip, self.scaler)
        self.loss_sum += loss.detach()

    def _look(self, recipe: Recipe, branch: int | None) -> Generator[Point, None, str]:
        mean_loss = average(self.loss_sum).item() / (self.step - self.looked)
        middle = (self.looked + 1 + self.step) / 2
        self.looked = self.step
        self.loss_sum.zero_()
        self.diverged = divergence(mean_loss, self.step, recipe, self.shape.table_rows)
        yield Point(self.step, middle, mean_loss, lr_at(self.step - 1, recipe), branch)
        return self.diverged

    def _batches(self, first: int, last: int, batch_size: int) -> Iterator[tuple[Tensor, ...]]:
        """What the model's loss takes, one batch a step, moved to the device in large chunks.

        The order of all windows decides what a batch is; a rank sees its slice of every batch.
        """
        size = batch_size // self.ranks
        own = slice(own_rank() * size, (own_rank() + 1) * size)
        steps_per_chunk = max(1, CHUNK_TOKENS // (batch_size * self.shape.window.text))
        for start in range(first, last, steps_per_chunk):
            end = min(start + steps_per_chunk, last)
            places = np.arange(start * batch_size, end * batch_size)  # in the order
            draws = places.reshape(-1, batch_size)[:, own].ravel()
            if self.held:
                moved = iter((self.held.draw(draws),))
            else:
                windows = draw_windows(self.tokens, draws, self.objective, self.seed)
                arrays = self.objective(windows, draws, self.seed)
                moved = (move(array, self.device) for array in arrays)
            yield from zip(*(array.split(size) for array in moved), strict=True)

    def _measure(self, branch: int) -> Outcome:
        """Sum up the held-out windows at the end of a branch."""
        held_out, parts = self.valid_tokens, []
        mixed = held_out if isinstance(held_out, Mixture) else Mixture((held_out,), (1.0,))
        for tokens in mixed.parts:
            of_tokens = self.model, self.objective, tokens, self.valid_windows
            with self.autocast:
                losses = window_losses(*of_tokens, self.loss_of, self.device)
            error = float(losses.std(ddof=1) / math.sqrt(len(losses)))
            parts.append((float(losses.mean()), error))
        reshard(self.loss_of)
        mean = sum(share * loss for share, (loss, _) in zip(mixed.shares, parts, strict=True))
        if not math.isfinite(mean):
            return Outcome(branch, self.step, f"held-out loss is {mean}")
        error = math.hypot(
            *(share * std for share, (_, std) in zip(mixed.shares, parts, strict=True))
        )
        of_each = tuple(parts) if mixed is held_out else ()
        return Outcome(branch, self.step, loss=mean, loss_std=error, parts=of_each)


def look_steps(steps: int) -> set[int]:
    """Geometrically spaced steps up to `steps`: round(10^(k/32)); the same for every horizon."""
    n = math.floor(LOOKS_PER_DECADE * math.log10(steps)) + 2
    spaced = {round(10 ** (k / LOOKS_PER_DECADE)) for k in range(n)}
    return {step for step in spaced if step <= steps}


def divergence(mean_loss: float, steps: int, recipe: Recipe, vocab_size: int) -> str:
    """Why training should stop after so many steps, or an empty string."""
    if not math.isfinite(mean_loss):
        return f"training loss became {mean_loss} by step {steps}; lower the learning rate"
    limit = math.log(vocab_size) + DIVERGED_ABOVE
    if steps > max(recipe.warmup_steps, DIVERGED_FROM) and mean_loss > limit:
        return f"training loss {mean_loss:.2f} above {limit:.2f} at step {steps}; lower the lr"
    return ""


@torch.no_grad()
def window_losses(
    model: Model,
    objective: Objective,
    tokens: Ids,
    most: int,
    loss_of: Callable[..., Tensor] | None = None,
    device: str | None = None,
) -> np.ndarray:
    """Mean loss of each of the first `most` windows of a stream, nats/token.

    What of a window is hidden depends on its place in the stream only. Ranks share the windows:
    `loss_of` is then what `parallelise` made of the model's loss, and `device` where it computes.
    """
    device = device or str(next(model.parameters()).device)
    index = np.arange(min(most, count_windows(len(tokens), objective)))
    own, losses = deal(index), []
    for chunk in np.array_split(own, max(1, len(own) * model.shape.seq_len // EVAL_TOKENS)):
        arrays = objective(cut_windows(tokens, chunk, objective), chunk, None)
        moved = (move(array, device) for array in arrays)
        losses.append((loss_of or model.loss)(*moved).mean(1))
    return gather(torch.cat(losses), len(index)).double().cpu().numpy()
