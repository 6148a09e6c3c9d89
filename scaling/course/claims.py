"""What the course and Zhao et al. 2023 say about memory, beside what the sums here give."""

from typing import NamedTuple

import pandas as pd

from scaling.hardware.activations import Network, activation_bytes
from scaling.hardware.devices import DEVICES, GB, Device
from scaling.hardware.memory import (
    USABLE,
    devices_needed,
    fits,
    sequences_that_fit,
    training_memory,
)
from scaling.hardware.setup import PRECISIONS, Setup

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


class Measured(NamedTuple):
    """A model that Zhao et al. 2023 trained, and on what it ran.

    The sizes are the paper's, the shapes ours, found among public T5 shapes to have these sizes:
    encoder and decoder of 24 layers, Large and XL of version 1.1 without the gate, and 11B.

    Attributes
    ----------
    model : str
    params : float
    width, attention, hidden, n_heads : int
    runs_ddp, runs_fsdp : bool
    """

    model: str
    params: float
    width: int
    attention: int
    hidden: int
    n_heads: int
    runs_ddp: bool
    runs_fsdp: bool


ZHAO = "Zhao et al. 2023, PyTorch FSDP, arXiv:2304.11277, model scale"
ZHAO_MODELS = (
    Measured("T5-611M", 611e6, 1024, 1024, 2816, 16, True, True),
    Measured("T5-2.28B", 2.28e9, 2048, 2048, 5120, 32, True, True),
    Measured("T5-11.3B", 11.3e9, 1024, 16_384, 65_536, 128, False, True),
)
T5_LAYERS, T5_VOCABULARY = 24, 32_128  # layers of the encoder, and as many of the decoder


def t5_params(model: Measured) -> int:
    """Parameters of the matrices: L*(12*d*a + 4*d*f) + V*d, norms and position biases left out."""
    layer = 12 * model.width * model.attention + 4 * model.width * model.hidden
    return T5_LAYERS * layer + T5_VOCABULARY * model.width


def _t5_network(model: Measured, seq_len: int) -> Network:
    """A decoder that keeps at least as much: cross-attention makes 1.5 layers of one."""
    return Network(
        n_layers=T5_LAYERS * 5 // 2,
        width=model.width,
        n_heads=model.n_heads,
        vocab_size=T5_VOCABULARY,
        seq_len=seq_len,
        head_width=model.attention // model.n_heads,
        ffn_width=model.hidden,
    )


def zhao_table(
    device: Device | None = None,
    precision: str = "fp32",
    n_devices: int = 8,
    n_sequences: int = 8,
    seq_len: int = 512,
    recompute: str = "full",
    usable: float = USABLE,
) -> pd.DataFrame:
    """Which T5 models fit a device whole (DDP) and sharded (FSDP), beside what Zhao et al. found.

    Parameters
    ----------
    device : Device or None
        None: A100 of 80 GB, as in the paper.
    precision, n_devices, n_sequences, seq_len, recompute
        Ours, not the paper's: 8 sequences of 512 tokens on each device, eager attention with
        dropout, every layer computed again. `usable` is the share of memory free for tensors.

    Returns
    -------
    DataFrame with columns model, params, state_gb (unsharded), ddp_gb, ddp_fits, ddp_measured,
        fsdp_gb, fsdp_fits, fsdp_measured, fsdp_devices (fewest), ddp_sequences and
        ddp_sequences_kept (most that fit under DDP with this recompute, and with none)
    """
    device = DEVICES["A100"] if device is None else device
    options = {"n_devices": n_devices, "recompute": recompute, "counting": "korthikanti"}
    ddp, fsdp = (Setup(precision, strategy, **options) for strategy in ("ddp", "fsdp"))
    kept = Setup(precision, "ddp", n_devices, counting="korthikanti")
    rows = []
    for model in ZHAO_MODELS:
        network = _t5_network(model, seq_len)
        whole = training_memory(model.params, ddp, network, n_sequences)
        sharded = training_memory(model.params, fsdp, network, n_sequences)
        job = (device, model.params)
        row = {"model": model.model, "params": model.params, "state_gb": whole.state / GB}
        row |= {"ddp_gb": whole.total / GB, "ddp_fits": fits(device, whole, usable)}
        row |= {"ddp_measured": model.runs_ddp, "fsdp_gb": sharded.total / GB}
        row |= {"fsdp_fits": fits(device, sharded, usable), "fsdp_measured": model.runs_fsdp}
        row["fsdp_devices"] = devices_needed(*job, fsdp, network, n_sequences, usable)
        row["ddp_sequences"] = sequences_that_fit(*job, ddp, network, usable)
        row["ddp_sequences_kept"] = sequences_that_fit(*job, kept, network, usable)
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
    state = {32: PRECISIONS["fp32"].state, 16: PRECISIONS["bf16_mixed"].state}
    rows = [
        {
            "params": params,
            "bits": bits,
            "store_gb": params * bits / 8 / GB,
            "course_train_gb": params * COURSE_TRAINING * bits / 32 / GB,
            "other_claim_gb": params * OTHER_CLAIM * bits / 32 / GB,
            "state_gb": params * state.get(bits, float("nan")) / GB,
        }
        for params in COURSE_SIZES
        for bits in COURSE_BITS
    ]
    table = pd.DataFrame(rows)
    gb = DEVICES["A100"].memory_bytes / GB
    return table.assign(
        store_devices=-(-table.store_gb // gb), state_devices=-(-table.state_gb // gb)
    )


def billion_table(network: Network = BILLION, recompute: str = "none") -> pd.DataFrame:
    """Bytes per parameter to train about 1B in fp32: the course's sum, the other claim, and ours.

    Returns
    -------
    DataFrame with columns claim, weights, moments, gradients, activations (with logits and
        temporaries), total (bytes per parameter), tokens (at work at once on a device, for which
        our count of activations is that large)
    """
    params = network.n_layers * network.layer_params + network.table_params
    used = activation_bytes(network, recompute=recompute, element_bytes=4)
    per_token = sum(used) / network.seq_len / params
    rows = [
        (claim, 4.0, 8.0, 4.0, total - 16.0, float(total), (total - 16.0) / per_token)
        for claim, total in (("4 + 20 extra", COURSE_TRAINING), ("20 times 4", OTHER_CLAIM))
    ]
    one = per_token * network.seq_len
    rows.append(("ours, one sequence", 4.0, 8.0, 4.0, one, 16.0 + one, float(network.seq_len)))
    columns = ["claim", "weights", "moments", "gradients", "activations", "total", "tokens"]
    return pd.DataFrame(rows, columns=columns)
