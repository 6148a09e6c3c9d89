"""One training step on a rank of any strategy: what it holds, sends and takes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.multiprocessing.spawn import spawn

from scaling.models.build import Model, build_model
from scaling.shapes.shape import Shape
from scaling.training.footprint import allocate, held_by_kind, track_peak
from scaling.training.optim import Recipe
from scaling.training.optimizers import make_optimizer
from scaling.training.parallel import host_ranks, joined, local_part, make_mesh, parallelise
from scaling.training.strategy import ParallelConfig
from scaling.training.traffic import Traffic
from scaling.training.trunk import update

RECIPE = Recipe(  # of a step that is measured, not learnt from
    lr=1e-4,
    batch_size=1,
    steps=1,
    warmup_steps=1,
    cooldown_steps=0,
    schedule="constant",
    beta1=0.9,
    beta2=0.95,
    weight_decay=0.0,
    grad_clip=1.0,
)


@dataclass(frozen=True)
class RankStep:
    """A model spread over ranks, its optimizer and a batch: all that this rank's step needs."""

    model: Model
    loss: Any  # what `parallelise` returned
    optimizer: Any
    batch: tuple[Tensor, ...]

    @property
    def root(self) -> nn.Module:
        """The module whose forward is the loss; of one process the model."""
        return self.loss if isinstance(self.loss, nn.Module) else self.model

    def __call__(self) -> None:
        """Forward, backward, gradients clipped, the optimizer's step, gradients freed."""
        self.update(self.loss(*self.batch).mean())

    def update(self, loss: Tensor) -> None:
        """Backward and all that follows."""
        update(self.model, self.optimizer, loss, RECIPE.lr, RECIPE.grad_clip)


def prepare_step(
    shape: Shape,
    plan: ParallelConfig,
    n_sequences: int,
    device: str = "cpu",
    mesh: DeviceMesh | None = None,
) -> RankStep:
    """Spread a model over the ranks of a mesh, and make a batch of so many windows for this one."""
    model = build_model(shape)
    if device != "cpu":  # fake tensors cannot be moved
        model = model.to(device)
    loss = parallelise(model, plan, mesh)
    optimizer = make_optimizer(model, RECIPE, plan)
    return RankStep(model, loss, optimizer, make_batch(shape, n_sequences, device))


def make_batch(shape: Shape, n_sequences: int, device: str = "cpu") -> tuple[Tensor, ...]:
    """Tokens of the sizes that the loss of a GPT or a T5 takes; every id in turn."""
    window = shape.window
    lengths = (window.inputs, window.targets) if shape.family == "t5" else (window.inputs + 1,)
    return tuple(
        torch.arange(n_sequences * length, device=device).view(n_sequences, length)
        % shape.vocab_size
        for length in lengths
    )


def measure_step(
    shape: Shape, plan: ParallelConfig, n_sequences: int, device: str = "cpu"
) -> dict[str, float]:
    """Bytes that this rank holds and sends in a step, within a process group (`joined`) or alone.

    Returns
    -------
    dict with held_weights, held_gradients, held_optimizer (after the backward pass); sent_<kind>,
        the ring bytes of every kind of collective, and sent, their sum; calls, of collectives;
        peak_<part> as the trackers say; allocated, at the peak of the step beyond what lies there
        between steps, as the allocator says; forward, what the forward pass leaves, likewise
    """
    step = prepare_step(shape, plan, n_sequences, device, make_mesh(plan, device))
    step()  # what is made once, buckets and buffers, is there from now on
    step.loss(*step.batch).mean().backward()
    held = held_by_kind(step.model, local_part(step.optimizer))
    row: dict[str, float] = {f"held_{kind}": size for kind, size in held.items()}
    step.optimizer.step()
    step.optimizer.zero_grad(set_to_none=True)
    with Traffic() as traffic:
        step()
    row |= {f"sent_{kind}": sent.ring_bytes for kind, sent in traffic.sent.items()}
    row |= {"sent": traffic.ring_bytes, "calls": traffic.calls}
    row["allocated"], _ = allocate(step, device)
    parts = track_peak(step.root, local_part(step.optimizer), step.batch, step)
    row |= {f"peak_{part}": size for part, size in parts.items()}
    _, row["forward"] = allocate(lambda: step.loss(*step.batch).mean(), device)
    return row


def time_steps(
    shape: Shape, plan: ParallelConfig, n_sequences: int, n_steps: int, device: str = "cpu"
) -> dict[str, Any]:
    """Seconds of every step after two that warm up, all ranks waiting for the slowest.

    Returns
    -------
    dict with seconds (list), and sent (ring bytes) and calls of the collectives of one step
    """
    step = prepare_step(shape, plan, n_sequences, device, make_mesh(plan, device))
    step()
    with Traffic() as traffic:
        step()
    seconds = []
    for _ in range(n_steps):
        _wait(device)
        start = time.perf_counter()
        step()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "sent": traffic.ring_bytes, "calls": traffic.calls}


Job = tuple[Callable[..., Any], tuple]  # a function of this module, and what it takes


def on_ranks(n_ranks: int, jobs: Sequence[Job]) -> list[list[Any]]:
    """Run jobs one after the other on every rank of a group; return what every rank found.

    The ranks are processes of this machine: with GPUs one on each (NCCL), else on its cores (gloo),
    one thread each. A job that names a `device` last gets the rank's own.
    """
    if n_ranks == 1:
        return [[function(*given, own_device(0)) for function, given in jobs]]
    meeting, answers = host_ranks(), get_context("spawn").SimpleQueue()
    spawn(_serve, (n_ranks, meeting.port, jobs, answers), n_ranks, daemon=True)
    found = dict(answers.get() for _ in range(n_ranks))
    return [found[rank] for rank in range(n_ranks)]


def _serve(rank: int, n_ranks: int, port: int, jobs: Sequence[Job], answers: Any) -> None:
    torch.set_num_threads(1)
    device, everyone = own_device(rank), ParallelConfig(mode="ddp", ranks=n_ranks)
    with joined(everyone, device, rank=rank, port=port):
        answers.put((rank, [function(*given, device) for function, given in jobs]))


def own_device(rank: int) -> str:
    """Return the GPU of a rank where there are GPUs, else "cpu"."""
    return f"cuda:{rank}" if torch.cuda.is_available() else "cpu"


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    if dist.is_initialized():
        dist.barrier()
