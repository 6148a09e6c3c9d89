"""One training step whose every input lies still, so that a GPU can replay it as one CUDA graph.

A small model's step is hundreds of kernels of a few microseconds, which the host launches one by
one: it is the launches that take the time. Recorded once, the whole step (forward, backward,
clipping, optimizer) is one launch. What changes between steps then lies in tensors that stay where
they are: the batch, the number of the step, and a table of learning rates that it points into.
States are copied in place (`TrunkTraining.restore`), so branches and resumed trunks replay the
same graph.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scaling.training.optim import Recipe, lr_at
from scaling.training.strategy import ParallelConfig

WARM_STEPS = 3  # before a step is recorded: what is made once, workspaces and kernels, is there


def why_plain(
    recipe: Recipe, precision: str, plan: ParallelConfig, device: str, asked: bool | None = None
) -> str:
    """Say why a trunk's step is not recorded; an empty string if it is."""
    if asked is False:
        return "asked for"
    if not device.startswith("cuda"):
        return "no GPU"
    if plan.mode != "none":
        return f"parallel={plan.mode}"
    if recipe.optimizer != "adamw":
        return f"optimizer={recipe.optimizer} reads its learning rate on the host"
    return "fp16 judges the scale of its loss on the host" if precision == "fp16" else ""


class StaticStep:
    """A step of a trunk on tensors that stay where they are; on a GPU it is replayed.

    Parameters
    ----------
    step : callable
        Takes a batch, the learning rate (a tensor of no dimension) and the largest norm of the
        gradients; must neither wait for the device nor keep what it is given.
    state, restore : callables
        Copy what a step changes, and put it back in place.
    optimizer : Optimizer
        Fused AdamW, which reads its learning rate where it lies.
    longest : int
        Steps of the longest recipe.
    """

    def __init__(
        self,
        step: Callable[[tuple[Tensor, ...], Tensor, float], None],
        state: Callable[[], Any],
        restore: Callable[[Any], None],
        optimizer: torch.optim.Optimizer,
        longest: int,
        device: str,
    ):
        self.step, self.state, self.restore, self.optimizer = step, state, restore, optimizer
        self.on_gpu = device.startswith("cuda")
        kind = torch.float32 if self.on_gpu else torch.float64  # what the fused kernel reads
        self.rates = torch.zeros(longest, dtype=kind, device=device)
        self.lr = torch.zeros((), dtype=kind, device=device)
        self.number = torch.zeros(1, dtype=torch.int64, device=device)  # of the next step
        self.batch: tuple[Tensor, ...] = ()
        self.recipe: Recipe | None = None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.failure = ""  # why the step could not be recorded; each is then launched as it is
        for group in optimizer.param_groups if self.on_gpu else ():
            group["capturable"] = True

    def follow(self, recipe: Recipe, number: int) -> None:
        """Take the steps of this recipe from now on, the next one being this number."""
        if recipe != self.recipe:
            rates = [lr_at(step, recipe) for step in range(recipe.steps)]
            self.rates[: recipe.steps].copy_(torch.tensor(rates, dtype=torch.float64))
            self.recipe = recipe
        self.number.fill_(number)

    def __call__(self, batch: tuple[Tensor, ...]) -> None:
        """Take the next step on a batch, of one shape always."""
        if not self.batch:
            self.batch = tuple(torch.empty_like(tensor) for tensor in batch)
        for still, tensor in zip(self.batch, batch, strict=True):
            still.copy_(tensor)
        if self.on_gpu and self.graph is None and not self.failure:
            self._record()
        if self.graph is None:
            self._take()
        else:
            self.graph.replay()

    def _take(self) -> None:
        assert self.recipe is not None
        self.lr.copy_(self.rates.gather(0, self.number)[0])
        self.step(self.batch, self.lr, self.recipe.grad_clip)
        self.number += 1

    def _record(self) -> None:
        """Record a step; what the steps before it changed is put back, bit for bit."""
        kept, number = self.state(), self.number.clone()
        with torch.cuda.device(self.number.device):
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(WARM_STEPS):
                    self._take()
            torch.cuda.current_stream().wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph):
                    self._take()
                self.graph = graph
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # an operator that waits for the device
                self.failure = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                self.optimizer.zero_grad(set_to_none=True)
        self.restore(kept)
        self.number.copy_(number)
