"""How to lay a planned model out on devices: every split that fits, and what its step takes."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scaling.hardware.job import Job, Split
from scaling.hardware.memory import USABLE
from scaling.hardware.parallelism import weigh_memory, weigh_seconds
from scaling.hardware.speed import PER_MACHINE

KEYS = ("tensor", "pipeline", "context", "expert", "zero", "micro_batch", "interleave", "recompute")
LEAST_CONTEXT = 4096  # tokens that a device keeps of a context that is divided
MICRO_BATCHES = (1, 2, 4, 8, 16, 32, 64)
INTERLEAVES = range(1, 9)


def list_splits(job: Job, asked: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Every split of the devices of a job, or those of them that were asked for.

    Tensors are divided within a machine and among whole heads, layers by any divisor, a long
    context down to `LEAST_CONTEXT`, the experts of a mixture among devices that share tensors,
    context and batch. Pipelines go with ZeRO-1 at most, as higher stages would send for every
    micro-batch; virtual stages need micro-batches in multiples of the pipeline.

    Returns
    -------
    DataFrame with the columns of `Split`; empty where nothing that was asked for can be

    Raises
    ------
    ValueError
        An unknown name in `asked`, or experts of a network that has none.
    """
    asked = {name: value for name, value in (asked or {}).items() if value is not None}
    if unknown := sorted(set(asked) - set(KEYS)):
        raise ValueError(f"layout: unknown names {unknown}; use some of {[*KEYS]}")
    n, count, sequences = job.network, job.n_devices, job.sequences
    if n.experts is None and asked.get("expert", 1) != 1:
        raise ValueError(f"layout: expert={asked['expert']} divides experts, and this has none")
    offered = _offer(job) | {name: [value] for name, value in asked.items()}
    if asked.get("zero") == 3:
        offered["zero"] = [3, 4]
    grid = np.meshgrid(*(np.asarray(values) for values in offered.values()), indexing="ij")
    columns = {name: axis.ravel() for name, axis in zip(offered, grid, strict=True)}
    groups = columns["tensor"] * columns["pipeline"] * columns["context"]
    even = (count % groups == 0) & (count % (columns["pipeline"] * columns["expert"]) == 0)
    columns = {name: column[even] for name, column in columns.items()}
    sharing = count // groups[even] * columns["context"]
    hybrid, within = columns["zero"] == 4, np.maximum(1, PER_MACHINE // columns["tensor"])
    s = Split(
        **columns
        | {
            "data": count // groups[even],
            "zero": np.minimum(columns["zero"], 3),
            "shards": np.select([columns["zero"] == 0, hybrid], [1, within], sharing),
        }
    )
    possible = s.data * s.micro_batch <= sequences
    possible &= (n.n_heads % s.tensor == 0) & (s.pipeline <= n.n_layers)
    possible &= (n.experts.number if n.experts else 1) % s.expert == 0
    possible &= (s.zero == 0) | (sharing > 1)
    possible &= ~hybrid | ((sharing > within) & (sharing % within == 0))
    possible &= ~hybrid | (within * s.tensor % s.expert == 0)
    if "zero" not in asked:
        possible &= (s.zero < 2) | (s.pipeline == 1)
    possible &= (s.interleave == 1) | (
        (s.pipeline > 1)
        & (np.ceil(n.n_layers / s.pipeline) % s.interleave == 0)
        & (sequences / (s.data * s.micro_batch) % s.pipeline == 0)
    )
    return pd.DataFrame({name: column[possible] for name, column in s._asdict().items()})


def _offer(job: Job) -> dict[str, list]:
    """Every value of each name of `KEYS` that is worth a try."""
    n, count = job.network, job.n_devices
    small = [k for k in range(1, math.isqrt(count) + 1) if count % k == 0]
    divisors = sorted({*small, *(count // k for k in small)})
    experts = n.experts.number if n.experts else 1
    return {
        "tensor": [k for k in divisors if n.n_heads % k == 0 and k <= PER_MACHINE],
        "pipeline": [k for k in divisors if k <= n.n_layers],
        "context": [1] + [k for k in divisors[1:] if n.seq_len / k >= LEAST_CONTEXT],
        "expert": [k for k in divisors if experts % k == 0],
        "zero": [0, 1, 2, 3, 4],  # 4: stage 3 within a machine, DDP between
        "micro_batch": [k for k in MICRO_BATCHES if k <= job.sequences],
        "interleave": [*INTERLEAVES],
        # selective recomputation spares attention weights, where they are kept
        "recompute": ["none", *["selective"] * (job.counting == "korthikanti"), "full"],
    }


def weigh(job: Job, splits: pd.DataFrame, reached: float = 1.0) -> pd.DataFrame:
    """Memory and time of splits: `Split`, `memory` and its parts (bytes), seconds and mfu; fits."""
    memory = weigh_memory(job, splits)
    fits = memory.total <= USABLE * job.device.memory_bytes
    memory = memory.rename(columns={"total": "memory"})
    seconds = weigh_seconds(job, splits, reached)
    return pd.concat([splits, memory, seconds], axis=1).assign(fits=fits)


def rank(job: Job, asked: Mapping[str, Any] | None = None, reached: float = 1.0) -> pd.DataFrame:
    """Splits of a job, what fits first and the fastest of those; see `weigh`."""
    table = weigh(job, list_splits(job, asked), reached)
    order = ["fits", "total_s", "memory"]
    return table.sort_values(order, ascending=[False, True, True], ignore_index=True)
