"""Published trainings planned backwards: from their devices and days to N, D and MFU."""

from dataclasses import replace
from typing import Any

import pandas as pd

from scaling.hardware.devices import GB
from scaling.planning.laid_out import plan_laid_out
from scaling.planning.layouts import rank
from scaling.planning.request import read_request
from scaling.planning.utilisation import Calibration, job_of, modernise, read_runs

DAY = 86_400.0  # s


def plan_backwards(runs: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """Plan with the devices and days of every published training that states both.

    With flash attention and a free layout, as one would today; the training itself is left out of
    the calibration. What they did is also laid out by us, on their devices and batch.

    Parameters
    ----------
    runs, calibration
        As `scaling.planning.utilisation.compare_runs` and `calibrate` make them.

    Returns
    -------
    DataFrame with columns training, devices; N, D, mfu and days, theirs; our_N, our_D, our_mfu, of
        the plan; and for their N and D on their devices mfu_of_theirs, days_of_theirs, their
        relative errors mfu_error and days_error, layout, gigabytes (on a device), fits
    """
    told = read_runs().assign(reached=runs.reached, mfu=runs.mfu_reported)
    rows = []
    for run in told.dropna(subset=["days", "tokens"]).to_dict("records"):
        job = modernise(job_of(run))
        n, batch = job.network, job.sequences * job.network.seq_len
        device, days = run["device"], run["days"]
        budget = f"{job.n_devices} {device} for {days:g} days"
        sizes: dict[str, Any] = {
            "vocab_size": n.vocab_size,
            "seq_len": n.seq_len,
            "batch_tokens": batch,
        }
        without = replace(calibration, reached=run["reached"])
        plan, found, _ = plan_laid_out(
            read_request(budget, **sizes), job.device, job.n_devices, calibration=without
        )
        best = rank(job, reached=run["reached"]).iloc[0]
        ours = best.total_s * run["tokens"] / batch / DAY
        row = {"training": run["training"], "devices": f"{job.n_devices:,} {device}"}
        row |= {"N": n.params, "D": run["tokens"], "mfu": run["mfu"], "days": days}
        row |= {"our_N": plan.N, "our_D": plan.D}
        row |= {"our_mfu": found.mfu[0] if found and found.mfu else float("nan")}
        row |= {"mfu_of_theirs": best.mfu, "days_of_theirs": ours}
        row |= {"mfu_error": best.mfu / run["mfu"] - 1, "days_error": ours / days - 1}
        ways = {"DP": best["data"], "TP": best.tensor, "PP": best.pipeline, "CP": best.context}
        row |= {"layout": " ".join(f"{sign}{way}" for sign, way in ways.items() if way > 1)}
        rows.append(row | {"gigabytes": best.memory / GB, "fits": bool(best.fits)})
    return pd.DataFrame(rows)
