"""A decoder split over devices in every direction: bytes on a device, seconds of a step.

Splits come as a table with the columns of `Split`, one split in a row, and all are weighed at once.

Narayanan et al. 2021, arXiv:2104.04473, for the splits and the bubble; Korthikanti et al. 2022,
arXiv:2205.05198, for activations; Rajbhandari et al. 2020, arXiv:1910.02054, for ZeRO; Liu et al.
2025, arXiv:2504.14960, for experts, which lie whole on the devices that elsewhere divide tensors,
context and batch.

Examples
--------
GPT-3 on 64 A100, split as in Korthikanti et al. 2022; `job` and `splits` of the other examples:

>>> from scaling.hardware.activations import Network
>>> from scaling.hardware.devices import get_device
>>> gpt3 = Network(n_layers=96, width=12_288, n_heads=96, vocab_size=51_200, seq_len=2048)
>>> job = Job(gpt3, get_device("A100"), n_devices=64, sequences=64, counting="korthikanti")
>>> split = Split(1, 8, 8, 1, zero=0, shards=1, micro_batch=1, interleave=3, recompute="none")
>>> kept = ("none", "selective", "full")
>>> splits = pd.DataFrame([split._replace(recompute=recompute) for recompute in kept])
"""

from typing import Any

import numpy as np
import pandas as pd

from scaling.hardware.activations import COUNTINGS, LOGIT_BYTES, layer_bytes_per_token
from scaling.hardware.job import BACKWARD, Job, Split
from scaling.hardware.memory import PREFETCHED_LAYERS
from scaling.hardware.setup import SHARDED

STAGES = ("ddp", "zero1", "zero2", "zero3")  # of ZeRO, by number
PASSES = 5  # of a kept byte over the memory: written, read; read again, its gradient both ways
AGAIN = 2  # of one computed again: written and read once more


def _stage(job: Job, s: Split) -> tuple[Any, Any, Any]:
    """Layers on a device, its parameters, and those of experts apart: those of the fullest stage.

    It has as many layers with experts as it can.
    """
    n, p, t = job.network, s.pipeline, s.tensor
    layers = np.ceil(n.n_layers / p)
    tables = np.where(p == 1, n.table_params, n.vocab_size * n.width)
    if n.experts is None:
        return layers, (layers * n.layer_params + tables) / t, 0.0
    sparse, routed = np.minimum(layers, n.experts.layers), n.experts.number * n.experts.params
    rest = sparse * (n.layer_params - routed) + (layers - sparse) * n.experts.dense_layer
    return layers, (rest + tables) / t, sparse * routed / _spread(s)


def _spread(s: Split) -> Any:
    """Devices that divide experts."""
    return np.where(s.expert > 1, s.expert, s.tensor)


def _expert_shards(s: Split) -> Any:
    """Devices that ZeRO shards experts among: those of `shards` that have the same."""
    return np.where(s.shards > 1, np.maximum(1, s.shards * s.tensor / _spread(s)), 1)


def _layer_bytes(job: Job, s: Split, *, weights: bool) -> Any:
    """Bytes that a layer keeps on a device for each token; with or without attention weights.

    Tensor parallelism divides all but what norms and dropout read, 2d(e + r) [+ 2d], which
    sequence parallelism divides as well; 10 and 24 of Korthikanti's 34.
    """
    n, e, r = job.network, job.bytes_of.element, job.bytes_of.stream
    whole = layer_bytes_per_token(n, job.counting, e, r, attention_weights=weights)
    shared = 2 * n.width * (e + r + COUNTINGS[job.counting].dropout)
    return (whole - shared) / s.tensor + shared / _sequence(job, s)


def _sequence(job: Job, s: Split) -> Any:
    """Devices that divide norms, dropout and the inputs of layers."""
    return s.tensor if job.sequence_parallel else 1


def weigh_memory(job: Job, splits: pd.DataFrame) -> pd.DataFrame:
    """Bytes on the fullest device, of every split.

    A stage of a pipeline holds activations of p (1 + (p-1)/(p v)) micro-batches (one forward, one
    backward; Korthikanti et al., appendix), p without virtual stages, never more than there are.

    Returns
    -------
    DataFrame with columns state (weights, gradients, moments, master copy), gathered (whole layers,
        ZeRO-3), activations, logits, total

    Examples
    --------
    Selective recomputation fits into 80 GB, and keeping everything does not:

    >>> (weigh_memory(job, splits).total / 1e9).round().tolist()
    [89.0, 58.0, 46.0]
    """
    n, of, s = job.network, job.bytes_of, Split.of(splits)
    layers, params, routed = _stage(job, s)
    state = 0.0
    for name in ("weights", "gradients", "moments", "master"):
        sharded = np.array([name in SHARDED[stage] for stage in STAGES])[s.zero]
        own = params / np.where(sharded, s.shards, 1)
        own = own + routed / np.where(sharded, _expert_shards(s), 1)
        state = state + own * getattr(of, name)
    tables, experts = n.table_params / s.tensor, 0
    if n.experts:
        experts = n.experts.number * n.experts.params
    layer = (n.layer_params - experts) / s.tensor + experts / _spread(s)
    gathered = of.gathered * (tables + PREFETCHED_LAYERS * layer)
    gathered = gathered + of.reduced * np.maximum(tables, layer)
    gathered = np.where((s.zero == 3) & (s.shards > 1), gathered, 0.0)
    tokens = s.micro_batch * n.seq_len / s.context
    full, lean = (_layer_bytes(job, s, weights=weights) for weights in (True, False))
    inputs = of.stream * n.width / _sequence(job, s)
    kept = np.select([s.recompute == "none", s.recompute == "selective"], [full, lean], inputs)
    flying = np.where(s.interleave > 1, s.pipeline + (s.pipeline - 1) / s.interleave, s.pipeline)
    flying = np.minimum(flying, np.ceil(job.sequences / (s.data * s.micro_batch)))
    again = np.select([s.recompute == "none", s.recompute == "selective"], [0.0, full - lean], full)
    logits = 2 * LOGIT_BYTES * n.vocab_size * tokens / s.tensor
    last = kept * layers * tokens * np.where(s.pipeline == 1, flying, 1) + logits
    first = kept * layers * tokens * flying
    activations = np.maximum(first, last - logits) + again * tokens
    at_the_end = np.where(first > last, 0.0, np.minimum(logits, last - first))
    total = state + gathered + activations + at_the_end
    return pd.DataFrame(
        {
            "state": state,
            "gathered": gathered,
            "activations": activations,
            "logits": at_the_end,
            "total": total,
        }
    )


def weigh_seconds(job: Job, splits: pd.DataFrame, reached: float = 1.0) -> pd.DataFrame:
    """Seconds of a step, of every split.

    A step is m micro-batches and a bubble of (p-1)/v of them. Matrix products take FLOPs / peak,
    everything else the bytes that layers keep, `PASSES` times over the memory; tensor parallelism
    four all-reduces a layer, whole experts four exchanges of the tokens that are sent to them, the
    context the keys and values of its others (gathered twice, their gradients scattered), the
    pipeline a send and a return of each micro-batch. Reducing gradients and gathering weights hide
    behind one micro-batch, or behind each where they come with each.

    Parameters
    ----------
    job : Job
    splits : DataFrame with the columns of `Split`
    reached : float
        Share of every datasheet's peak that is reached: products, memory and links alike.

    Returns
    -------
    DataFrame with columns compute_s, recompute_s, tensor_s (and context), expert_s, pipeline_s
        (bubble and sends), data_s, total_s, mfu

    Notes
    -----
    What the head costs is spread over the stages; Adam's own pass over the memory is left out.

    Examples
    --------
    Full recomputation against selective, at the datasheet's peaks; the paper measured 18.13 s and
    13.75 s, x1.32:

    >>> _, selective, full = weigh_seconds(job, splits).total_s
    >>> print(f"{full:.1f} s, {selective:.1f} s: x{full / selective:.2f}")
    12.2 s, 9.3 s: x1.31
    """
    n, of, s = job.network, job.bytes_of, Split.of(splits)
    layers = _stage(job, s)[0]
    micro_batches = np.ceil(job.sequences / (s.data * s.micro_batch))
    share = s.micro_batch / (s.tensor * s.pipeline * s.context) / job.peak_flops
    balance = layers * s.pipeline / n.n_layers
    forward = share * (job.forward_flops - job.layer_flops + balance * job.layer_flops)
    tokens = s.micro_batch * n.seq_len / s.context
    full, lean = (_layer_bytes(job, s, weights=weights) for weights in (True, False))
    memory = layers * tokens / (job.device.memory_bandwidth or np.nan)
    compute = (1 + BACKWARD) * forward + PASSES * memory * full
    again = np.select(
        [s.recompute == "full", s.recompute == "selective"],
        [
            share * balance * job.layer_flops + AGAIN * memory * full,
            (full > lean) * share * balance * job.attention_flops + AGAIN * memory * (full - lean),
        ],
        0.0,
    )
    passed = tokens * n.width * of.element
    tensor, expert = _gather(job, s, layers)
    hop = job.links.ring(s.pipeline, s.tensor * s.context)
    sends = np.where(s.pipeline > 1, 2 * s.interleave * passed / s.tensor / hop, 0.0)
    micro = compute + again + tensor + expert + sends
    bubble = (s.pipeline - 1) / s.interleave * micro
    data = _expose(job, s, micro, micro_batches)
    parts = {
        "compute_s": micro_batches * compute,
        "recompute_s": micro_batches * again,
        "tensor_s": micro_batches * tensor,
        "expert_s": micro_batches * expert,
        "pipeline_s": micro_batches * sends + bubble,
        "data_s": data,
    }
    table = pd.DataFrame({name: part / reached for name, part in parts.items()})
    total = table.sum(axis=1)
    mfu = job.flops / (job.n_devices * job.peak_flops * total)
    return table.assign(total_s=total, mfu=mfu)


def _gather(job: Job, s: Split, layers: Any) -> tuple[Any, Any]:
    """Seconds of a micro-batch in exchanges of tensors and context, and of tokens for experts.

    Where experts are whole, their layers need no all-reduce of tensors for the feed-forward.
    """
    n, e = job.network, job.bytes_of.element
    passed, again = s.micro_batch * n.seq_len / s.context * n.width * e, s.recompute == "full"
    sparse, routed = 0, 0
    if n.experts:
        sparse, routed = np.minimum(layers, n.experts.layers), n.experts.per_token
    exchanges = sparse * (4 + 2 * again) * np.where(s.expert > 1, 1, 0)
    expert = exchanges * passed / s.tensor * job.links.exchange(s.expert, routed)
    reduces = (layers * (4 + 2 * again) - exchanges / 2) * 2 * (s.tensor - 1) / s.tensor
    tensor = reduces * passed / job.links.ring(s.tensor)
    keys = layers * s.micro_batch * n.seq_len * 2 * n.kv * e / s.tensor
    ring = job.links.ring(s.context, s.tensor)
    return tensor + 3 * (s.context - 1) / s.context * keys / ring, expert


def _expose(job: Job, s: Split, micro: Any, micro_batches: Any) -> Any:
    """Seconds of a step in which devices wait for gradients and weights of the others.

    The bytes are those of `scaling.hardware.communication`.
    """
    of, (_, params, routed) = job.bytes_of, _stage(job, s)
    spread, shards = _spread(s), _expert_shards(s)
    copies = s.data * s.context * s.tensor / spread
    each = once = 0.0
    for part, among, holding, stride in (
        (params, s.shards, s.data * s.context, s.tensor),
        (routed, shards, copies, spread),
    ):
        ring, speed, replicas = (among - 1) / among, job.links.ring(among, stride), holding / among
        scatter, gather = (ring * part * size / speed for size in (of.reduced, of.weights))
        between = 2 * (replicas - 1) / replicas * part * of.reduced / among
        between = between / job.links.ring(replicas, stride * among)
        each = each + np.select([s.zero == 3, s.zero == 2], [2 * gather + scatter, scatter], 0.0)
        hidden = [np.zeros_like(gather), gather]
        once = once + between + np.select([s.zero == 3, s.zero == 2], hidden, gather + scatter)
    return micro_batches * np.maximum(0.0, each - micro) + np.maximum(0.0, once - micro)
