"""Make a model compute in a precision (`scaling.training.precision`)."""

from dataclasses import replace

import torch
from torch.amp.grad_scaler import GradScaler

from scaling.models.build import Model
from scaling.models.kernels import Kernels
from scaling.models.native import library
from scaling.models.quantised import train_in_float8, train_quantised
from scaling.training.precision import parse_precision, refuse_device
from scaling.training.strategy import ALONE, ParallelConfig

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
FULL_RANGE = GradScaler("cpu", enabled=False)  # a loss that needs no scale


def cast(model: Model, precision: str, device: str) -> tuple[torch.autocast, GradScaler]:
    """Change a model on its device to what a precision says of its weights and products.

    Returns
    -------
    autocast : what its forward pass runs under
    scaler : of the loss; at work in fp16 only, whose smallest gradients would vanish

    Raises
    ------
    ValueError
        The precision is unknown, or the device lacks it.
    """
    asked, kind = parse_precision(precision), torch.device(device).type
    refuse_device(asked.name, device)
    if kind == "cuda":
        if asked.name == "tf32" and torch.cuda.get_device_capability(device) < (8, 0):
            raise ValueError(f"{torch.cuda.get_device_name(device)} has no tf32; take fp32 or fp16")
        set_products(asked.name)
    if asked.name == "bf16_pure":
        model.to(torch.bfloat16)
    if asked.name == "fp8":
        train_in_float8(model)
    if asked.storage is not None:
        train_quantised(model, asked.storage, asked.learned)
    dtype = AUTOCAST.get(asked.name)
    autocast = torch.autocast(kind, dtype or torch.bfloat16, enabled=dtype is not None)
    return autocast, GradScaler(kind, enabled=asked.name == "fp16")


def settle_kernels(
    kernels: Kernels, precision: str, plan: ParallelConfig, device: str
) -> tuple[Kernels, str]:
    """Return the kernels that a training gets, and why they are not our own where those were meant.

    Ours are for one process and fp32 on a CPU, and want a C compiler, or what it made before; on
    another device torch computes all.
    """
    if device != "cpu":
        return Kernels(compiled=kernels.compiled), ""
    if not kernels.native:
        return kernels, ""
    missing = library()
    why = missing if isinstance(missing, str) else ""
    if plan.mode != ALONE.mode:
        why = "several ranks"
    if precision != "fp32":
        why = f"precision={precision}"
    if kernels.compiled:
        why = "compile=always"
    return replace(kernels, native=not why), why


def set_products(precision: str) -> None:
    """Let a GPU round the inputs of fp32 products to 10 bits in tf32, and in nothing else.

    The setting is the process's, until the next training is made: a worker makes one.
    """
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
