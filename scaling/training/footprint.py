"""What a rank holds: its tensors by kind, and the most that a step needs.

Two ways to the peak that know nothing of each other: torch's memory trackers follow every storage
and say what it is for, on real and on fake tensors; the allocator says how much was asked of it,
on real tensors only.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._autograd import DeviceType
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.profiler import ProfilerActivity, profile

PARTS = {  # what the trackers call it -> what `scaling.hardware.memory` does
    "Parameter": "weights",
    "Sharded Param": "weights",
    "Gradient": "gradients",
    "Sharded Grad": "gradients",
    "Optstate": "optimizer",
    "OptState": "optimizer",
    "Activation": "activations",
    "Unsharded Param": "gathered",
    "All Gather": "gathered",
    "Unsharded Grad": "scattered",
    "Reduce Scatter": "scattered",
    "Temp": "temporaries",
    "Buffer": "other",
    "Inputs": "other",
    "Other": "other",
    "Total": "total",
}


def held_bytes(tensors: Iterable[Tensor | None]) -> int:
    """Bytes of this rank's part of the tensors."""
    own = (t.to_local() if isinstance(t, DTensor) else t for t in tensors)
    return sum(t.numel() * t.element_size() for t in own if t is not None)


def held_by_kind(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """Bytes of weights, gradients and optimizer states that lie on this rank now."""
    parameters = [*model.parameters()]
    states = [t for s in optimizer.state.values() for t in s.values() if torch.is_tensor(t)]
    return {
        "weights": held_bytes(parameters),
        "gradients": held_bytes(p.grad for p in parameters),
        "optimizer": held_bytes(states),
    }


def track_peak(
    root: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Tensor],
    step: Callable[[], Any],
) -> dict[str, int]:
    """Bytes at the peak of one step, by part, as torch's trackers follow the storages.

    Parameters
    ----------
    root : Module
        What `scaling.training.parallel.parallelise` returned, or the model of one process.
    optimizer : Optimizer
        With its states in place, which otherwise are nobody's.
    batch : tensors that the step reads
    step : callable; forward, backward and the optimizer's step, once

    Notes
    -----
    A storage has one kind, its first; fragments and the workspace of kernels are nobody's.
    """
    if isinstance(root, FSDPModule):
        tracker: MemTracker = FSDPMemTracker(root, optimizer)
        tracker.track_inputs(tuple(batch))
    else:
        tracker = MemTracker()
        tracker.track_external(root, optimizer, *batch)
    # that of every module would take minutes
    tracker._update_peak_stats = lambda peak_state: _keep_peak(tracker)
    with tracker:
        step()
    [found] = [kinds for kinds in tracker.get_tracker_snapshot("peak").values() if kinds]
    parts = dict.fromkeys(PARTS.values(), 0)
    for kind, size in found.items():
        parts[PARTS[kind.value if isinstance(kind, Enum) else str(kind)]] += size
    return parts


def _keep_peak(tracker: MemTracker) -> None:
    for device, held in tracker._curr_mem_snap.items():
        if tracker._peak_mem.get(device, 0) < held["Total"]:
            tracker._peak_mem[device] = held["Total"]
            tracker._peak_mem_snap[device] = dict(held)


def allocate(work: Callable[[], Any], device: str = "cpu") -> tuple[int, int]:
    """Most bytes allocated at once while something is done, and those left by its result.

    Beyond what was allocated when it began: on a CPU as torch's allocator tells the profiler, on a
    GPU by CUDA's own statistics.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        result = work()
        torch.cuda.synchronize(device)
        peak, left = torch.cuda.max_memory_allocated(device), torch.cuda.memory_allocated(device)
        del result
        return peak - before, left - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        result = work()
    assert seen.profiler is not None and seen.profiler.kineto_results is not None
    changes = sorted(
        (event.start_ns(), event.nbytes())  # pyright: ignore
        for event in seen.profiler.kineto_results.events()
        if event.name() == "[memory]" and event.device_type() == DeviceType.CPU
    )
    del result
    held = [*accumulate((change for _, change in changes), initial=0)]
    return max(held), held[-1]
