"""How a trunk is spread over ranks: what a user may choose, and what is refused; no torch.

With R ranks in one group of `shards` and R / shards replicas of it (Rajbhandari et al. 2020,
arXiv:1910.02054; Zhao et al. 2023, arXiv:2304.11277). The strategy changes where numbers lie, not
the numbers: it is a column of the runs table and no part of a run's id.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from scaling.errors import check_choice, check_range
from scaling.training.cells import Cell

SHARDED = ("zero2", "fsdp", "hsdp")  # by FSDP2
MODES = ("none", "ddp", "zero1", *SHARDED)
PARAM_DTYPES = ("fp32", "bf16")
ALONE_ONLY = {  # precisions of one process, and why
    "fp8": "its scales are of whole batches, and a rank sees a slice",
    "fp16": "its ranks would have to agree on the scale of the loss",
    "bf16_pure": "sums of bf16 gradients over ranks were never tried",
}


@dataclass
class ParallelConfig:
    """Ranks of one trunk and what each of them holds; None means "derive it"."""

    mode: str = "none"  # none (one process), ddp, zero1, zero2, fsdp, hsdp
    ranks: int = 1  # processes of a trunk, one device each
    sharding_factor: int | None = None  # ranks that share one copy; None: all of them
    offload: bool = False  # of shards to host memory; on a CPU they are there already
    recompute: bool = False  # blocks in backward instead of keeping their activations
    param_dtype: str = "fp32"  # of FSDP: bf16 gathers and computes in it, sums gradients in fp32

    @property
    def shards(self) -> int:
        """Ranks that share one copy of the parameters: 1 where every rank has all of them."""
        return (self.sharding_factor or self.ranks) if self.mode in SHARDED else 1

    @property
    def label(self) -> str:
        """Column of the runs table: "none", "ddp x2", "hsdp 2x2", "fsdp x4 recompute"."""
        hybrid = self.mode in SHARDED and self.shards < self.ranks
        ranks = f" {self.ranks // self.shards}x{self.shards}" if hybrid else f" x{self.ranks}"
        extras = [name for name in ("offload", "recompute") if getattr(self, name)]
        extras += [self.param_dtype] if self.param_dtype != "fp32" else []
        return " ".join([self.mode + (ranks if self.mode != "none" else ""), *extras])


ALONE = ParallelConfig()


def check_parallel(plan: ParallelConfig, precision: str = "fp32") -> None:
    """Refuse a strategy that is none; ValueError names the value and the way out."""
    check_choice("parallel.mode", plan.mode, MODES)
    check_choice("parallel.param_dtype", plan.param_dtype, PARAM_DTYPES)
    check_range("parallel.ranks", plan.ranks, 1)
    if plan.mode == "none" and plan.ranks > 1:
        raise ValueError(
            f"parallel.ranks={plan.ranks} needs a strategy: parallel={'|'.join(MODES[1:])}"
        )
    factor = plan.sharding_factor
    if factor is not None and (factor < 1 or plan.ranks % factor):
        raise ValueError(
            f"parallel.sharding_factor={factor} must divide parallel.ranks={plan.ranks}"
        )
    if factor not in (None, 1) and plan.mode not in SHARDED:
        raise ValueError(
            f"parallel.sharding_factor={factor}: {plan.mode} keeps every parameter on every rank; "
            f"use parallel={'|'.join(SHARDED)}"
        )
    if plan.mode == "hsdp" and not (factor and 1 < factor < plan.ranks):
        raise ValueError(
            f"parallel=hsdp needs a parallel.sharding_factor between 1 and parallel.ranks="
            f"{plan.ranks}, not {factor}; with all of them it is parallel=fsdp, with 1 parallel=ddp"
        )
    for name, value in (("offload", plan.offload), ("param_dtype", plan.param_dtype != "fp32")):
        if value and plan.mode not in SHARDED:
            raise ValueError(
                f"parallel.{name}={getattr(plan, name)} is FSDP's; use parallel={'|'.join(SHARDED)}"
            )
    if plan.mode != "none" and precision in ALONE_ONLY:
        raise ValueError(
            f"parallel={plan.mode} with precision={precision}: {ALONE_ONLY[precision]}; use "
            "precision=fp32, tf32, bf16 or an integer, or one process (parallel=none)"
        )
    if plan.param_dtype != "fp32" and precision != plan.param_dtype:
        raise ValueError(
            f"parallel.param_dtype={plan.param_dtype} changes the numbers, which the run's id must "
            f"say: add precision={plan.param_dtype}"
        )


def launched() -> tuple[int, int] | None:
    """Rank and number of ranks, where torchrun or a cluster has started this process as one."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def check_launch(plan: ParallelConfig) -> None:
    """Refuse a plan of other ranks than those that torchrun or a cluster has started."""
    if (found := launched()) and (found[1] != plan.ranks or plan.mode == "none"):
        raise ValueError(
            f"{found[1]} ranks were started (WORLD_SIZE), but this is parallel={plan.mode} "
            f"parallel.ranks={plan.ranks}; add parallel.ranks={found[1]} and "
            f"parallel={'|'.join(MODES[1:])}"
        )


def check_batches(plan: ParallelConfig, cells: Iterable[Cell]) -> None:
    """Refuse cells whose batch the ranks do not divide; ValueError names the first."""
    for cell in cells:
        if cell.recipe.batch_size % plan.ranks:
            raise ValueError(
                f"parallel.ranks={plan.ranks} does not divide the {cell.recipe.batch_size} windows "
                f"in a batch of {cell.label} FLOPs; set optim.batch_tokens to a multiple of "
                f"{plan.ranks * cell.shape.window.text}, or other ranks"
            )
