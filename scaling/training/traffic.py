"""What a step sends between ranks, counted as it is asked for.

Bytes are those of the collectives as they are asked for. What travels is counted as rings would
send it, as `scaling.hardware.communication` does: some backends send more (gloo 2.13 makes a
reduce-scatter of all-reduces).
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import _resolve_process_group
from torch.distributed.distributed_c10d import GroupName
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

NAMESPACES = ("c10d", "_c10d_functional")
KINDS = {  # begins the name of an operation -> what it is, its passes around the ring
    "allreduce": ("all-reduce", 2),
    "all_reduce": ("all-reduce", 2),
    "allgather": ("all-gather", 1),
    "_allgather": ("all-gather", 1),
    "all_gather": ("all-gather", 1),
    "_reduce_scatter": ("reduce-scatter", 1),
    "reduce_scatter": ("reduce-scatter", 1),
    "broadcast": ("broadcast", 1),
}


@dataclass
class Sent:
    """All collectives of one kind."""

    calls: int = 0
    tensor_bytes: int = 0  # of the whole tensors
    ring_bytes: float = 0.0  # that one rank sends: (n - 1) / n of them, twice in an all-reduce


@dataclass
class Traffic(TorchDispatchMode):
    """Counts the collectives that are called within it: `with Traffic() as traffic: ...`."""

    sent: dict[str, Sent] = field(default_factory=dict)  # by kind

    def __post_init__(self):
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count, and call."""
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # it comes again with the local tensors
        if func.namespace in NAMESPACES:
            self._count(func._opname, args)
        return func(*args, **(kwargs or {}))

    def _count(self, name: str, args: tuple) -> None:
        found = next((KINDS[start] for start in KINDS if name.startswith(start)), None)
        if found is None:  # waits, barriers
            return
        kind, passes = found
        n_ranks = next(n for n in map(_group_size, args) if n)
        size = max(map(_size, args))
        if name.startswith(("all_gather", "reduce_scatter")) and name.endswith("tensor"):
            size = _size(args[0]) * (n_ranks if kind == "all-gather" else 1)  # output not given
        sent = self.sent.setdefault(kind, Sent())
        sent.calls += 1
        sent.tensor_bytes += size
        sent.ring_bytes += passes * (n_ranks - 1) / n_ranks * size

    @property
    def ring_bytes(self) -> float:
        """That one rank sends in all."""
        return sum(sent.ring_bytes for sent in self.sent.values())

    @property
    def calls(self) -> int:
        """Collectives in all."""
        return sum(sent.calls for sent in self.sent.values())


def _size(value: Any) -> int:
    """Bytes of a tensor, or of all in a list."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 0


def _group_size(value: Any) -> int:
    """Ranks of a process group, given by itself or by its name; 0 for what is none."""
    try:
        if isinstance(value, str):
            return _resolve_process_group(GroupName(value)).size()
        if isinstance(value, torch.ScriptObject):
            return dist.ProcessGroup.unbox(value).size()
    except (LookupError, RuntimeError, ValueError):  # the name or kind of a reduction
        return 0
    return 0
