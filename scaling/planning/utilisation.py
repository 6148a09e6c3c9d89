"""Utilisation that published trainings reached, and the share of the datasheets that explains it.

Everything but one number is counted: FLOPs, bytes over memory and links, bubbles. That number, the
share of every peak that is reached, is calibrated here on published runs; leaving out one source
after the other says how far it carries.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling.files import read_table
from scaling.hardware.activations import Network
from scaling.hardware.devices import GB, get_device
from scaling.hardware.job import Job
from scaling.planning.layouts import KEYS, rank
from scaling.quantities import ENDS

COUNTING = ("korthikanti", "plain")  # without and with flash attention
HARDWARE = 0.75  # model FLOPs of those with a full recomputation, which "hardware TFLOP/s" count
RECORD = Path(__file__).with_name("utilisation.json")
OF_NETWORK = ("n_layers", "width", "n_heads", "vocab_size", "seq_len", "head_width", "kv_heads")
OF_NETWORK += ("ffn_width", "gated", "tied")


@dataclass(frozen=True)
class Calibration:
    """Share of the datasheets' peaks that trainings reach."""

    reached: float
    spread: float  # standard deviation of ln(reported / predicted MFU), by the other trainings
    n_runs: int
    n_trainings: int
    smallest: float  # parameters of the smallest model among the runs

    def interval(self, mfu: Any) -> tuple[Any, Any]:
        """Ends of the 90 % interval of a predicted MFU."""
        factor = np.exp(ENDS * self.spread)
        return mfu / factor, np.minimum(mfu * factor, 1.0)


def read_runs() -> pd.DataFrame:
    """Published trainings: network, devices, layout as far as it is known, and what was reached."""
    return read_table(Path(__file__).with_name("published_runs.csv"))


def job_of(run: Mapping[str, Any]) -> Job:
    """The step of a published training."""
    sizes: dict[str, Any] = {name: int(run[name]) for name in OF_NETWORK if run[name] == run[name]}
    device = get_device(run["device"])
    if run["network_gbs"] == run["network_gbs"]:
        device = replace(device, network_bandwidth=run["network_gbs"] * GB)
    return Job(
        Network(**sizes),
        device,
        int(run["n_devices"]),
        int(run["sequences"]),
        counting=COUNTING[int(run["flash"])],
        sequence_parallel=bool(run["sequence_parallel"]),
    )


def modernise(job: Job) -> Job:
    """A step as it would be run today: flash attention, sequence parallelism."""
    return replace(job, counting="gpt", sequence_parallel=True)


def layout_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the layout of a published training, as `rank` takes it."""
    known = {name: run[name] for name in KEYS if name in run and run[name] == run[name] != ""}
    return {name: v if isinstance(v, str) else int(v) for name, v in known.items()}


def reported_mfu(run: Mapping[str, Any], job: Job) -> float:
    """Model FLOPs utilisation of a published training, in whichever unit it was reported."""
    peak, value = job.peak_flops, float(run["reported"])
    if run["unit"] == "MFU":
        return value
    if run["unit"] == "hardware TFLOP/s":
        return HARDWARE * value * 1e12 / peak
    per_sequence = job.flops / job.sequences
    sequences_per_s = {
        "s/step": job.sequences / value / job.n_devices,
        "tokens/s": value / job.network.seq_len,  # of one device
    }[run["unit"]]
    return sequences_per_s * per_sequence / peak


def compare_runs() -> pd.DataFrame:
    """Published trainings and what the model says of them at the datasheets' full speed.

    What is not known of a layout is chosen for speed, among what fits.

    Returns
    -------
    DataFrame with columns run, training, device, params, batch_tokens, n_devices, the layout and
        its memory (bytes), fits, mfu_reported, mfu_ideal, and of the other trainings alone:
        reached, mfu (predicted)
    """
    rows = []
    for run in read_runs().to_dict("records"):
        job = job_of(run)
        best = rank(job, layout_of(run)).iloc[0]
        told = {"run": run["run"], "training": run["training"], "device": run["device"]}
        told |= {"params": job.network.params}
        told |= {"batch_tokens": job.sequences * job.network.seq_len}
        told |= {"n_devices": job.n_devices, **best[["data", *KEYS, "memory", "fits"]]}
        rows.append(told | {"mfu_reported": reported_mfu(run, job), "mfu_ideal": best.mfu})
    table = pd.DataFrame(rows)
    logs = np.log(table.mfu_reported / table.mfu_ideal)
    others = [logs[table.training != one].groupby(table.training).mean() for one in table.training]
    table["reached"] = [float(np.exp(left.mean())) for left in others]
    return table.assign(mfu=table.reached * table.mfu_ideal)


def calibrate(table: pd.DataFrame) -> Calibration:
    """The share of the peaks that published trainings reach, every training weighing alike.

    Its spread is that of the runs around what the other trainings predict, weighed likewise.

    Parameters
    ----------
    table : DataFrame, as `compare_runs` makes it
    """
    logs = np.log(table.mfu_reported / table.mfu_ideal).groupby(table.training).mean()
    missed = (np.log(table.mfu_reported / table.mfu) ** 2).groupby(table.training).mean()
    return Calibration(
        reached=float(np.exp(logs.mean())),
        spread=float(np.sqrt(missed.mean())),
        n_runs=len(table),
        n_trainings=len(logs),
        smallest=float(table.params.min()),
    )


@cache
def load_calibration() -> Calibration:
    """What `calibrate` found, as experiments/utilisation.py wrote it down."""
    return Calibration(**json.loads(RECORD.read_text()))
