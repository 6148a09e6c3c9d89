"""Bytes that a device sends in a training step, by strategy.

All collectives are counted as rings, which send the least: reduce-scatter and all-gather (n-1)/n of
a tensor for each device, all-reduce twice that.
"""

from dataclasses import dataclass

import pandas as pd

from scaling.hardware.setup import SHARDED, Setup


@dataclass(frozen=True)
class Communication:
    """Bytes that one device sends in one step with one forward and one backward pass."""

    gather_weights: float  # all-gathers
    scatter_gradients: float  # reduce-scatter
    reduce_gradients: float  # all-reduce
    within: float  # a sharding group: with hybrid sharding the fast links of one machine
    between: float  # replicas

    @property
    def total(self) -> float:
        """Bytes sent."""
        return self.gather_weights + self.scatter_gradients + self.reduce_gradients


def communication(params: float, setup: Setup) -> Communication:
    """Bytes that one device sends in a step.

    W and G are the bytes of all weights and of all gradients, n the devices, F the sharding factor.

    - ddp: all-reduce, 2 (n-1)/n G
    - zero1, zero2: reduce-scatter of gradients and all-gather of weights, (n-1)/n (G + W)
    - zero3, fsdp: weights gathered forward and backward, (F-1)/F (2W + G)
    - fsdp with F < n besides: all-reduce of each shard between n/F replicas, 2 (n/F-1)/(n/F) G/F

    Raises
    ------
    ValueError
        `params`, all of the model's, is not positive.

    Notes
    -----
    One micro-batch a step. With several, zero3 and fsdp gather, and they and zero2 scatter, for
    each; ddp and zero1 send once.

    References
    ----------
    Rajbhandari et al. 2020, ZeRO, arXiv:1910.02054, section 7: 2, 2 and 3 times the parameters.
    Zhao et al. 2023, PyTorch FSDP, arXiv:2304.11277, sharding strategies.
    """
    if not params > 0:
        raise ValueError(f"params must be positive, got {params}")
    bytes_of = setup.bytes_per_param
    G, F, n = params * bytes_of.gradients, setup.shards, setup.n_devices
    ring, replicas = (F - 1) / F, n // F
    passes = 2 if "weights" in SHARDED[setup.strategy] else 1  # forward and backward, or once
    gather, scatter = passes * ring * params * bytes_of.weights, ring * G
    reduce = 2 * (replicas - 1) / replicas * G / F
    return Communication(gather, scatter, reduce, within=gather + scatter, between=reduce)


def communication_table(
    params: float,
    n_devices: int,
    precision: str = "bf16_mixed",
    per_machine: int | None = None,
) -> pd.DataFrame:
    """Compare the strategies by what a device sends in a step.

    `per_machine` adds hybrid sharding within groups of so many devices.

    Returns
    -------
    DataFrame with columns strategy, sharding_factor, gather_weights, scatter_gradients,
        reduce_gradients, within, between, total (bytes), over_ddp (total over that of ddp)
    """
    factors: list[tuple[str, int | None]] = [(strategy, None) for strategy in SHARDED]
    if per_machine is not None:
        factors.append(("fsdp", per_machine))
    rows = []
    for setup in (Setup(precision, strategy, n_devices, factor) for strategy, factor in factors):
        sent = communication(params, setup)
        row = {"strategy": setup.strategy, "sharding_factor": setup.shards, **vars(sent)}
        rows.append(row | {"total": sent.total})
    table = pd.DataFrame(rows)
    return table.assign(over_ddp=table.total / table.total.iloc[0])
