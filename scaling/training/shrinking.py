"""A saved model written again in fewer bits, and what that costs on held-out text."""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from scaling.data.objectives import Objective, make_objective
from scaling.data.tokens import TokenData
from scaling.models.build import Model
from scaling.models.packed import CODES, SCALE
from scaling.models.quantised import calibrate, numbers_of, quantise, quantised_parts, round_inputs
from scaling.models.storage import FORMATS, Storage
from scaling.shapes.flops import total_params
from scaling.training.saved import (
    TOKENIZER,
    WEIGHTS,
    load_model,
    read_config,
    read_weights,
    save_model,
)
from scaling.training.trunk import window_losses

CALIBRATION = 256  # training windows whose activations set the scales of theirs
TOLD = ("format", "bits", "per", "parts", "activations")


@dataclass(frozen=True)
class Shrunk:
    """What became of a model; losses in nats/token over the same held-out windows."""

    storage: Storage
    params: int
    bytes_before: int  # of the file of weights, as written
    bytes_after: int
    loss_before: float
    loss_after: float
    difference: float  # mean over the windows
    difference_std: float  # its standard error
    windows: int
    parts: pd.DataFrame  # columns what, numbers, bytes

    @property
    def bits_per_param(self) -> float:
        """Bits in the file for every parameter, scales and what was left in fp32 included."""
        return 8 * float(self.parts.bytes.sum()) / self.params


def shrink(
    source: Path,
    target: Path,
    storage: Storage,
    data: TokenData,
    *,
    windows: int = 2048,
    calibration: int = CALIBRATION,
) -> Shrunk:
    """Write the model of one folder into another in a smaller format, and measure what was written.

    Parameters
    ----------
    windows : int
        Of the held-out split, for both losses.
    calibration : int
        Training windows whose activations set the scales of theirs.

    Raises
    ------
    ValueError
        No model of ours, one that is quantised already, or one of other data.
    """
    config = read_config(source)
    facts = config["facts"]
    if config.get("storage"):
        raise ValueError(
            f"model={source} is stored in {config['storage']['format']} already; give the model "
            "that it was made from"
        )
    if (known := facts.get("data_fingerprint")) != data.fingerprint:
        raise ValueError(
            f"model={source} was trained on data={facts.get('data')} of fingerprint {known}, not "
            f"on data={data.name} of {data.fingerprint}: its losses would be of other tokens; "
            f"give data={facts.get('data')} with the settings of its sweep"
        )
    model, tokenizer = load_model(source)
    objective = make_objective(model.shape, facts.get("objective"))
    before = window_losses(model, objective, data.load_alone("valid"), windows)
    inputs = _calibrate(model, storage, objective, data, calibration)
    told = facts | {"quantised_from": facts.get("run_id")}
    path = None if tokenizer is None else source / TOKENIZER
    save_model(target, model, path, told, storage=storage, inputs=inputs)
    after = window_losses(load_model(target)[0], objective, data.load_alone("valid"), windows)
    return Shrunk(
        storage,
        total_params(model.shape),
        (source / WEIGHTS).stat().st_size,
        (target / WEIGHTS).stat().st_size,
        float(before.mean()),
        float(after.mean()),
        *paired(before, after),
        len(before),
        count_bytes(target),
    )


def _calibrate(
    model: Model, storage: Storage, objective: Objective, data: TokenData, windows: int
) -> dict[str, Tensor]:
    """Scales of what enters the products, by training windows; none where it stays as it is."""
    if not storage.activations:
        return {}
    train = data.load_alone("train")
    return calibrate(model, storage, partial(window_losses, model, objective, train, windows))


def paired(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Mean difference over the same windows, and its standard error: sd / sqrt(n)."""
    differences = after - before
    return float(differences.mean()), float(differences.std(ddof=1) / math.sqrt(len(differences)))


def weight_grids(model: Model) -> tuple[str, np.ndarray, dict[str, np.ndarray]]:
    """Largest matrix of the blocks, its weights, and the numbers of each format at its scale."""
    parts = quantised_parts(model, "blocks")
    name, part = max(parts, key=lambda found: found[1].weight.numel())
    weights = part.weight.detach().float()
    largest = float(weights.abs().max())
    grids = {f: numbers_of(Storage(f, "tensor"), largest).numpy() for f in FORMATS}
    return f"{name}.weight", weights.numpy(), grids


def count_bytes(folder: Path) -> pd.DataFrame:
    """Bytes in a file of weights: packed weights, their scales, the rest.

    Returns
    -------
    DataFrame with columns what, numbers (of packed weights the bytes), bytes
    """
    kinds = {CODES: "weights, packed", SCALE: "scales"}
    rows = [
        (next((told for end, told in kinds.items() if name.endswith(end)), "left as they were"), t)
        for name, t in read_weights(folder).items()
    ]
    table = pd.DataFrame(
        [(told, t.numel(), t.numel() * t.element_size()) for told, t in rows],
        columns=["what", "numbers", "bytes"],
    )
    return pd.DataFrame(table.pivot_table(index="what", aggfunc="sum").reset_index())


def rounding_costs(
    source: Path, storages: Iterable[Storage], data: TokenData, windows: int = 512
) -> pd.DataFrame:
    """What a saved model loses in several formats, over the same held-out windows.

    Returns
    -------
    DataFrame, one row a format, with columns run_id, format, bits, per, parts, activations, loss
        (before, nats/token), cost (mean difference) and cost_std (its standard error)
    """
    model, _ = load_model(source)
    facts = read_config(source)["facts"]
    objective = make_objective(model.shape, facts.get("objective"))
    before = window_losses(model, objective, data.load_alone("valid"), windows)
    rows = []
    for storage in storages:
        rounded = copy.deepcopy(model)
        inputs = _calibrate(rounded, storage, objective, data, CALIBRATION)
        round_inputs(rounded, inputs, storage.activations or 0)
        quantise(rounded, storage)
        after = window_losses(rounded, objective, data.load_alone("valid"), windows)
        cost, cost_std = paired(before, after)
        told = {name: getattr(storage, name) for name in TOLD} | {"loss": float(before.mean())}
        rows.append({"run_id": source.name} | told | {"cost": cost, "cost_std": cost_std})
    return pd.DataFrame(rows)
