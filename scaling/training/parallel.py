"""One trunk on several ranks: DDP, ZeRO-1 and FSDP2, on gloo or NCCL.

Every rank runs the same program on its slice of every batch. FSDP2 hooks `forward`, so a model's
loss becomes the forward of a module around it; parameters keep their names, and what torch needs to
know of their place (mesh, shard) stands in the parameters themselves, which are DTensors.

Ranks compute by torch's kernels; the losses are those of one process to 1e-5 nats. Bit for bit
equal are two ranks of DDP and one process that accumulates the gradients of their slices by the
same kernels, and a run of two ranks and one that was stopped: sums of more terms are taken in an
order that buckets decide. FSDP clips by a norm that is summed over shards, in an order of its own.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import TCPStore
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from scaling.models.build import Model
from scaling.training.strategy import SHARDED, ParallelConfig

if TYPE_CHECKING:  # the parts of torch that only ranks need take as long to import as its rest
    from torch.distributed.device_mesh import DeviceMesh

HERE = "127.0.0.1"
TIMEOUT = timedelta(minutes=5)  # of a collective: a rank that hangs ends the others


class Loss(nn.Module):
    """A model's loss as a forward, which is what DDP and FSDP2 hook."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, *batch: Tensor) -> Tensor:
        """Return the cross-entropy of every target, shape (B, targets)."""
        return self.model.loss(*batch).clone()  # FSDP2 hooks the output, which must be no view


def make_mesh(plan: ParallelConfig, device: str = "cpu") -> "DeviceMesh | None":
    """Arrange the ranks of the process group; None for one process.

    One dimension, or (ranks / shards, shards) where the shards have replicas.
    """
    if plan.mode == "none":
        return None
    from torch.distributed.device_mesh import init_device_mesh

    kind = torch.device(device).type
    if plan.mode in SHARDED and plan.shards < plan.ranks:
        sizes = (plan.ranks // plan.shards, plan.shards)
        return init_device_mesh(kind, sizes, mesh_dim_names=("replicate", "shard"))
    return init_device_mesh(kind, (plan.ranks,))


def parallelise(
    model: Model, plan: ParallelConfig, mesh: "DeviceMesh | None"
) -> Callable[..., Tensor]:
    """Spread a model over the ranks of a mesh, in place; return its loss, to be called instead.

    The optimizer must be made of the model's parameters afterwards. Gradients are means over the
    ranks: with equal slices of a batch and a mean loss, those of the whole batch.

    Parameters
    ----------
    model : Model
        On any device; it ends on the mesh's, its shards in host memory with `plan.offload`.
    plan : ParallelConfig
        What `scaling.training.strategy.check_parallel` lets pass.
    mesh : DeviceMesh or None
        See `make_mesh`.

    Returns
    -------
    callable : what `model.loss` takes -> Tensor, shape (B, targets)
    """
    if plan.recompute:
        for block in blocks_of(model):
            block.forward = functools.partial(
                checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
            )
    if mesh is None:
        return model.loss
    if plan.mode not in SHARDED:  # in ZeRO-1 the optimizer is what is sharded
        loss = Loss(model.to(mesh.device_type))
        return DistributedDataParallel(
            loss, process_group=mesh.get_group(), gradient_as_bucket_view=True
        )
    from torch.distributed.fsdp import (
        CPUOffloadPolicy,
        MixedPrecisionPolicy,
        OffloadPolicy,
        fully_shard,
    )

    low = torch.bfloat16 if plan.param_dtype == "bf16" else None
    shard = functools.partial(
        fully_shard,
        mesh=mesh,
        reshard_after_forward=False if plan.mode == "zero2" else None,  # None: all but the root
        mp_policy=MixedPrecisionPolicy(param_dtype=low, reduce_dtype=low and torch.float32),
        offload_policy=CPUOffloadPolicy(pin_memory=mesh.device_type != "cpu")
        if plan.offload
        else OffloadPolicy(),
    )
    for block in blocks_of(model):
        shard(block)
    loss = Loss(model)
    shard(loss)
    return loss


def blocks_of(model: nn.Module) -> Iterator[nn.Module]:
    """Blocks of the model, which are what is gathered, or computed again, at a time."""
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            yield from child


def reshard(loss_of: Callable[..., Tensor]) -> None:
    """Let go of what FSDP2 keeps gathered after a forward that no backward follows."""
    for module in loss_of.modules() if isinstance(loss_of, nn.Module) else ():
        if hasattr(module, "reshard"):
            module.reshard()  # pyright: ignore


def zero_optimizer(groups: list[dict[str, Any]], **options: Any) -> torch.optim.Optimizer:
    """AdamW whose states are dealt out over the ranks by whole tensors (ZeRO, stage 1)."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # torch's own
        from torch.distributed.optim import ZeroRedundancyOptimizer

    return ZeroRedundancyOptimizer(groups, optimizer_class=torch.optim.AdamW, **options)


def local_part(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return the optimizer of the states that this rank holds."""
    return getattr(optimizer, "optim", optimizer)


# ---------------------------------------------------------------- the group of all ranks


@contextlib.contextmanager
def joined(
    plan: ParallelConfig,
    device: str = "cpu",
    *,
    rank: int = 0,
    port: int | None = None,
) -> Iterator[None]:
    """Belong to the process group of a plan's ranks; nothing to do for one process.

    They meet at the `host_ranks` of this machine that listens to `port`, or without it as the
    environment says (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT: torchrun sets them). A rank that
    fails leaves without waiting for the others: they notice.
    """
    if plan.mode == "none":
        yield
        return
    backend = "gloo"
    if device.startswith("cuda"):
        torch.cuda.init()  # or a mesh would choose the device by rank
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"  # gloo for what is offloaded, and for numbers
    where: dict[str, Any] = {}
    if port is not None:
        where = {"store": TCPStore(HERE, port), "rank": rank, "world_size": plan.ranks}
        where["timeout"] = TIMEOUT
    dist.init_process_group(backend, **where)
    yield
    dist.barrier()  # or the last collective of a slow rank finds its partners gone
    dist.destroy_process_group()


def host_ranks() -> TCPStore:
    """Open where the ranks of a trunk meet on this machine; `port` of it is a free one."""
    return TCPStore(HERE, 0, is_master=True, wait_for_workers=False)


def own_rank() -> int:
    """Return this process's place among the ranks; 0 alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def average(tensor: Tensor) -> Tensor:
    """Mean over the ranks, in place; the tensor itself alone."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
        tensor /= dist.get_world_size()
    return tensor


def agree(value: Any) -> Any:
    """Return what rank 0 gives, on every rank: decisions that depend on a clock or a disk."""
    if not dist.is_initialized():
        return value
    told = [value]
    dist.broadcast_object_list(told, src=0)
    return told[0]


def is_sharded(tensor: Tensor) -> bool:
    """Tell whether a tensor is a DTensor."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """Gather a tensor that the ranks share; every rank must ask for it."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # pyright: ignore


def everyone(succeeded: bool) -> bool:
    """Tell whether all ranks did."""
    failures = torch.tensor(float(not succeeded))
    return float(average(failures)) == 0


def deal(index: np.ndarray) -> np.ndarray:
    """Return this rank's share of places; the last rounds start again, so that all have as many."""
    ranks = dist.get_world_size() if dist.is_initialized() else 1
    return np.resize(index, -(-len(index) // ranks) * ranks)[own_rank() :: ranks]


def gather(values: Tensor, n: int) -> Tensor:
    """Put together what the ranks made of the `n` places that `deal` gave them, in order."""
    if not dist.is_initialized():
        return values
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values)
    return torch.stack(parts, 1).flatten()[:n]


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """Gather every parameter by its name, on the CPU; on other ranks than the first: none."""
    gathered = ((name, whole(p.detach())) for name, p in model.named_parameters())
    return {name: tensor.cpu() for name, tensor in gathered if own_rank() == 0}
