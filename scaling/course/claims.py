"""Memory by stage, and what the course and Zhao et al. 2023 say of it beside the sums here."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from scaling.files import read_table
from scaling.hardware.activations import Network, activation_bytes
from scaling.hardware.devices import DEVICES, GB
from scaling.hardware.memory import devices_needed, fits, sequences_that_fit, training_memory
from scaling.hardware.setup import PRECISION_BYTES, Setup

COURSE_SIZES = (1e9, 175e9, 500e9)  # parameters
COURSE_BITS = (32, 16, 8)
COURSE_BYTES = {  # per parameter in fp32, as the course sums them
    "weights": 4,
    "Adam moments": 8,
    "gradients": 4,
    "activations and temporaries": 8,
}
COURSE_TRAINING = sum(COURSE_BYTES.values())  # 24: 4 to store and 20 extra
OTHER_CLAIM = 20 * COURSE_BYTES["weights"]  # 80 bytes: "20 times the weights"
CLAIMS_DIFFER = (
    "Both claims contain the number 20: 20 extra bytes beside the 4 of a weight make 24 bytes, "
    "20 times the 4 bytes make 80. The sum of weights, gradients and Adam is 16 bytes; the rest is "
    "activations and temporaries, which grow with the tokens at work and not with the parameters: "
    "8 bytes for the first claim, 64 for the other."
)
BILLION = Network(18, 2048, 16, vocab_size=50_257, seq_len=2048)  # 1.01B parameters


# T5 models of Zhao et al. 2023 (PyTorch FSDP, arXiv:2304.11277), and on what they ran. The sizes
# are the paper's, the shapes ours, found among public T5 shapes to have these sizes: encoder and
# decoder of 24 layers, Large and XL of version 1.1 without the gate, and 11B.
ZHAO_MODELS = read_table(Path(__file__).with_name("zhao2023_t5.csv"))
T5_LAYERS, T5_VOCABULARY = 24, 32_128  # layers of the encoder, and as many of the decoder
SEQUENCES = 8  # on each device
MEMORY_PARTS = ("weights", "gradients", "moments", "master")
SHARDED_N, SHARDED_DEVICES = 7.5e9, 64  # Rajbhandari et al. 2020, arXiv:1910.02054, figure 1
_SHARDED = Setup(n_devices=SHARDED_DEVICES)
STAGES = {
    "DDP": _SHARDED,
    "ZeRO-1": replace(_SHARDED, strategy="zero1"),
    "ZeRO-2": replace(_SHARDED, strategy="zero2"),
    "ZeRO-3": replace(_SHARDED, strategy="zero3"),
    "FSDP, factor 1": replace(_SHARDED, strategy="fsdp", sharding_factor=1),
    "FSDP, factor 8": replace(_SHARDED, strategy="fsdp", sharding_factor=8),
    "FSDP, factor 64": replace(_SHARDED, strategy="fsdp"),
}


def memory_table(stages: Mapping[str, Setup] = STAGES) -> pd.DataFrame:
    """Bytes of weights, gradients and Adam's states on one device, by what is sharded.

    Returns
    -------
    DataFrame with columns stage, params, n_devices, weights, gradients, moments, master and total
        (bytes), device_bytes, fits (with a share of the device left for all else, but without
        activations, which no stage shards), over (total of the first stage over this)
    """
    device, rows = DEVICES["A100"], []
    for stage, setup in stages.items():
        memory = training_memory(SHARDED_N, setup)
        row = {"stage": stage, "params": SHARDED_N, "n_devices": setup.n_devices}
        row |= {name: getattr(memory, name) for name in (*MEMORY_PARTS, "total")}
        rows.append(row | {"device_bytes": device.memory_bytes, "fits": fits(device, memory)})
    table = pd.DataFrame(rows)
    return table.assign(over=table.total[0] / table.total)


def _build_t5(width: int, attention: int, hidden: int, n_heads: int) -> Network:
    """A decoder that keeps at least as much: cross-attention makes 1.5 layers of one."""
    return Network(
        n_layers=T5_LAYERS * 5 // 2,
        width=width,
        n_heads=n_heads,
        vocab_size=T5_VOCABULARY,
        seq_len=512,
        head_width=attention // n_heads,
        ffn_width=hidden,
    )


def zhao_table(
    precision: str = "fp32", n_devices: int = 8, recompute: str = "full"
) -> pd.DataFrame:
    """Which T5 models fit a device whole (DDP) and sharded (FSDP), beside what Zhao et al. found.

    Parameters
    ----------
    precision, n_devices, recompute
        Ours, not the paper's, as are 8 sequences of 512 tokens on each device of 80 GB and eager
        attention with dropout.

    Returns
    -------
    DataFrame with columns model, params, state_gb (unsharded), ddp_gb, ddp_fits, ddp_measured,
        fsdp_gb, fsdp_fits, fsdp_measured, fsdp_devices (fewest), ddp_sequences and
        ddp_sequences_kept (most that fit under DDP with this recompute, and with none)
    """
    device = DEVICES["A100"]
    ddp = Setup(precision, "ddp", n_devices, recompute=recompute, counting="korthikanti")
    fsdp, kept = replace(ddp, strategy="fsdp"), replace(ddp, recompute="none")
    rows = []
    for model in ZHAO_MODELS.to_dict("records"):
        sizes = {name: int(model[name]) for name in ("width", "attention", "hidden", "n_heads")}
        network, params = _build_t5(**sizes), model["params"]
        state = training_memory(params, ddp).state
        row = {"model": model["model"], "params": params, "state_gb": state / GB}
        for strategy, setup in (("ddp", ddp), ("fsdp", fsdp)):
            memory = training_memory(params, setup, network, SEQUENCES)
            row[f"{strategy}_gb"] = memory.total / GB
            row[f"{strategy}_fits"] = fits(device, memory)
            row[f"{strategy}_measured"] = model[f"ran_{strategy}"] == 1
        row["fsdp_devices"] = devices_needed(device, params, fsdp, network, SEQUENCES)
        row["ddp_sequences"] = sequences_that_fit(device, params, ddp, network)
        row["ddp_sequences_kept"] = sequences_that_fit(device, params, kept, network)
        rows.append(row)
    return pd.DataFrame(rows)


def course_table() -> pd.DataFrame:
    """Gigabytes to store and to train 1B, 175B and 500B parameters at 32, 16 and 8 bits.

    Returns
    -------
    DataFrame with columns params, bits, store_gb, course_train_gb (24 bytes per parameter in fp32,
        in proportion to the bits), other_claim_gb (80 bytes likewise), state_gb (our sum of
        weights, gradients, moments and master copy; NaN for 8 bits, in which no Adam trains),
        store_devices and state_devices (80 GB devices for the mere bytes)

    Notes
    -----
    Halving the bits halves what storing and answering take. Training does not follow: mixed
    precision adds an fp32 copy of the weights to fp32 moments and stays at 16 bytes.
    """
    state = {32: PRECISION_BYTES["fp32"].state, 16: PRECISION_BYTES["bf16_mixed"].state}
    table = pd.DataFrame([*product(COURSE_SIZES, COURSE_BITS)], columns=["params", "bits"])
    params, bits = table.params, table.bits
    table["store_gb"] = params * bits / 8 / GB
    table["course_train_gb"] = params * COURSE_TRAINING * bits / 32 / GB
    table["other_claim_gb"] = params * OTHER_CLAIM * bits / 32 / GB
    table["state_gb"] = params * bits.map(state) / GB
    for what in ("store", "state"):
        table[f"{what}_devices"] = np.ceil(table[f"{what}_gb"] * GB / DEVICES["A100"].memory_bytes)
    return table


def billion_table() -> pd.DataFrame:
    """Bytes per parameter to train about 1B in fp32: the course's sum, the other claim, and ours.

    Returns
    -------
    DataFrame with columns claim, weights, moments, gradients, activations (with logits and
        temporaries), total (bytes per parameter), tokens (at work at once on a device, for which
        our count of activations is that large)
    """
    params = BILLION.n_layers * BILLION.layer_params + BILLION.table_params
    one = sum(activation_bytes(BILLION, element_bytes=4)) / params
    claims = {"4 + 20 extra": COURSE_TRAINING, "20 times 4": OTHER_CLAIM}
    table = pd.Series(claims | {"ours, one sequence": 16 + one}, name="total")
    table = table.rename_axis("claim").reset_index()
    kept = table.total - 16
    parts = {"weights": 4.0, "moments": 8.0, "gradients": 4.0, "activations": kept}
    return table.assign(**parts, tokens=kept / one * BILLION.seq_len)
