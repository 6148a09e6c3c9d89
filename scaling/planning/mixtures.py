"""Published trainings of mixtures of experts, predicted with what dense ones were calibrated on."""

from pathlib import Path
from typing import Any

import pandas as pd

from scaling.files import read_table
from scaling.hardware.devices import get_device
from scaling.hardware.job import Job
from scaling.planning.layouts import rank
from scaling.planning.placement import network_of
from scaling.planning.utilisation import Calibration, layout_of, reported_mfu
from scaling.shapes.architecture import Architecture

SIZES = ("vocab_size", "seq_len", "n_layers", "width", "n_heads", "kv_heads", "head_width")
SIZES += ("value_width", "ffn_width", "n_experts", "experts_per_token", "expert_width")
SIZES += ("shared_width", "dense_layers", "q_rank", "kv_rank", "rope_width")


def read_mixtures() -> pd.DataFrame:
    """Published trainings: architecture, devices, layout as far as known, what was reached."""
    return read_table(Path(__file__).with_name("published_mixtures.csv"))


def compare_mixtures(calibration: Calibration) -> pd.DataFrame:
    """What the model says of published mixtures, none of which calibrated it.

    Returns
    -------
    DataFrame with columns run, device, n_devices, params, active (parameters in a token's
        products), memory (bytes), fits, mfu_reported, mfu, error; hidden and hidden_error, the same
        if no device waited for tokens on their way to experts
    """
    rows = []
    for run in read_mixtures().to_dict("records"):
        sizes: dict[str, Any] = {n: int(run[n]) for n in SIZES if run[n] == run[n]}
        network = network_of(Architecture(run["run"], **sizes, mixture=True))
        device, peak = get_device(run["device"]), run["peak"]
        peak = peak if isinstance(peak, str) and peak else None
        job = Job(network, device, int(run["n_devices"]), int(run["sequences"]), peak=peak)
        best = rank(job, layout_of(run), calibration.reached).iloc[0]
        reported = reported_mfu(run, job)
        told = {"run": run["run"], "device": device.name, "n_devices": job.n_devices}
        told |= {"params": network.params, "active": network.multiplied}
        told |= {"memory": best.memory, "fits": bool(best.fits), "mfu_reported": reported}
        told |= {"mfu": best.mfu, "error": best.mfu / reported - 1}
        hidden = best.mfu * best.total_s / (best.total_s - best.expert_s)
        rows.append(told | {"hidden": hidden, "hidden_error": hidden / reported - 1})
    return pd.DataFrame(rows)
