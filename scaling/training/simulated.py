"""One rank of many, simulated: fake tensors without memory in a process group without partners.

The rank runs one real step: every operation and collective is called, with shapes in the place of
numbers. So what it would hold is known for hundreds of ranks on one CPU; what it would take is not.
Kernels are those of the CPU, where this torch was built without others, which keep fp32 copies in
norms that fused kernels do not.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore

from scaling.shapes.shape import Shape
from scaling.training.footprint import held_by_kind, track_peak
from scaling.training.measured import prepare_step
from scaling.training.parallel import local_part, make_mesh
from scaling.training.strategy import ParallelConfig
from scaling.training.traffic import Traffic


@contextmanager
def simulated_ranks(n_ranks: int) -> Iterator[None]:
    """Be rank 0 of so many, of which there are no others."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=n_ranks)
    try:
        yield
    finally:
        dist.destroy_process_group()


def simulate_step(
    shape: Shape, plan: ParallelConfig, n_sequences: int, device: str = "cpu"
) -> dict[str, int]:
    """Bytes that one rank would hold and send, with so many windows a rank.

    Returns
    -------
    dict with state (weights, gradients and optimizer states), sent (ring bytes) and calls of the
        collectives of a step, and the parts of the peak, as
        `scaling.training.footprint.track_peak` returns them
    """
    with simulated_ranks(plan.ranks):
        mesh = make_mesh(plan, device)  # asks for real numbers: before any tensor is fake
        with FakeTensorMode():
            step = prepare_step(shape, plan, n_sequences, device, mesh)
            for parameter in step.model.parameters():
                parameter.grad = torch.zeros_like(parameter)
            state = sum(held_by_kind(step.model, local_part(step.optimizer)).values())
            # DTensor derives an operator's layouts at its first call, from tensors of full size
            step.update(torch.zeros((), requires_grad=True))
            with Traffic() as traffic:
                parts = track_peak(step.root, local_part(step.optimizer), step.batch, step)
    return {"state": state, "sent": round(traffic.ring_bytes), "calls": traffic.calls} | parts
