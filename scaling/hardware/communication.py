"""Bytes that a device sends in a training step, by strategy.

All collectives are counted as rings, which send the least: reduce-scatter and all-gather (n-1)/n of
a tensor for each device, all-reduce twice that.
"""

from dataclasses import dataclass

import pandas as pd

from scaling.hardware.activations import Network
from scaling.hardware.setup import SHARDED, Setup


@dataclass(frozen=True)
class Communication:
    """Bytes that one device sends in one step with one forward and one backward pass.

    Examples
    --------
    >>> sent = communication(7.5e9, Setup(strategy="zero3", n_devices=64))
    >>> print(f"{sent.gather_weights / 1e9:.1f} + {sent.scatter_gradients / 1e9:.1f} GB")
    29.5 + 14.8 GB
    """

    gather_weights: float  # all-gathers
    scatter_gradients: float  # reduce-scatter
    reduce_gradients: float  # all-reduce
    within: float  # a sharding group: with hybrid sharding the fast links of one machine
    between: float  # replicas
    host: float = 0.0  # to and from the host's memory, of what is offloaded; not in `total`

    @property
    def total(self) -> float:
        """Bytes sent."""
        return self.gather_weights + self.scatter_gradients + self.reduce_gradients


def communication(params: float, setup: Setup, network: Network | None = None) -> Communication:
    """Bytes that one device sends in a step.

    W and G are the bytes of all weights and of all gradients, n the devices, F the sharding factor.

    - ddp: all-reduce, 2 (n-1)/n G
    - zero1, zero2: reduce-scatter of gradients and all-gather of weights, (n-1)/n (G + W)
    - zero3, fsdp: weights gathered forward and backward, (F-1)/F (2W + G)
    - fsdp with F < n besides: all-reduce of each shard between n/F replicas, 2 (n/F-1)/(n/F) G/F
    - fsdp without resharding: weights gathered once, (F-1)/F (W + G)
    - offloaded, over the bus to the host: gradients down, and weights up where Adam has changed
      them, or as often as they are gathered

    Parameters
    ----------
    params : float; all of the model's
    setup : Setup
    network : Network or None
        Its token tables, which FSDP2 gathers once as part of the root; None: there are none.

    Raises
    ------
    ValueError
        `params` is not positive.

    Notes
    -----
    One micro-batch a step. With several, zero3 and fsdp gather, and they and zero2 scatter, for
    each; ddp and zero1 send once. Torch's ZeRO-1 is DDP's all-reduce and then a broadcast of the
    weights, half as much again as is counted here.

    References
    ----------
    Rajbhandari et al. 2020, ZeRO, arXiv:1910.02054, section 7: 2, 2 and 3 times the parameters.
    Zhao et al. 2023, PyTorch FSDP, arXiv:2304.11277, sharding strategies.

    Examples
    --------
    Nearly 2 and 3 times the parameters, as the paper has it:

    >>> for strategy in ("zero2", "zero3"):
    ...     sent = communication(7.5e9, Setup(strategy=strategy, n_devices=64))
    ...     print(f"{sent.total / (2 * 7.5e9):.2f}")
    1.97
    2.95
    """
    if not params > 0:
        raise ValueError(f"params must be positive, got {params}")
    bytes_of = setup.bytes_per_param
    F, replicas = setup.shards, setup.n_devices // setup.shards
    ring, G = (F - 1) / F, params * bytes_of.reduced
    sharded = "weights" in SHARDED[setup.strategy]
    once = 0 if network is None else min(params, network.table_params)
    passed = params + (params - once if sharded and setup.reshard else 0)
    gather = ring * passed * (bytes_of.gathered if sharded else bytes_of.weights)
    scatter, reduce = ring * G, 2 * (replicas - 1) / replicas * G / F
    down = params * bytes_of.gradients if setup.offload != "none" else 0.0
    up = (passed if setup.offload == "params" else params) * bytes_of.weights if down else 0.0
    return Communication(
        gather,
        scatter,
        reduce,
        within=gather + scatter,
        between=reduce,
        host=(down + up) / F,
    )


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

    Examples
    --------
    >>> table = communication_table(7.5e9, n_devices=64)
    >>> table.set_index("strategy").over_ddp.round(2).to_dict()
    {'ddp': 1.0, 'zero1': 1.0, 'zero2': 1.0, 'zero3': 1.5, 'fsdp': 1.5}
    """
    factors: list[tuple[str, int | None]] = [(strategy, None) for strategy in SHARDED]
    if per_machine is not None:
        factors.append(("fsdp", per_machine))
    rows = []
    for setup in (Setup(precision, strategy, n_devices, factor) for strategy, factor in factors):
        sent = communication(params, setup)
        row = {"strategy": setup.strategy, "sharding_factor": setup.shards, **vars(sent)}
        rows.append(row | {"total": sent.total})
    table = pd.DataFrame(rows).drop(columns="host")  # nothing is offloaded
    return table.assign(over_ddp=table.total / table.total.iloc[0])
