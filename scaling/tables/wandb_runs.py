"""The runs of a Weights & Biases project as a table: what was configured, and what came out."""

from importlib import import_module
from typing import Any

import pandas as pd

from scaling.tables.packed import shorten
from scaling.tables.reading import flatten

PREFIX = "wandb:"


def read_wandb(source: str) -> pd.DataFrame:
    """Read the runs of `wandb:ENTITY/PROJECT`, the oldest first, through W&B's own client.

    Returns
    -------
    DataFrame, one row per run: run_id, name, state, then what its summary and its configuration
        hold, nested names joined by dots. A name in both is the summary's: a loss that was
        reached, not one that was chosen. What W&B itself adds, as `_runtime`, is left out.

    Raises
    ------
    ValueError
        wandb is not installed, nobody is logged in, or there is no such project, or no run in it.
    """
    path = source.removeprefix(PREFIX)
    if path.count("/") != 1 or not all(path.split("/")):
        raise ValueError(f"runs={source} must be wandb:ENTITY/PROJECT, as in the project's address")
    try:
        wandb = import_module("wandb")
    except ImportError:
        needed = "pip install 'scaling-laboratory[wandb]'"
        raise ValueError(f"runs={source} needs {needed}, or export the runs as CSV") from None
    try:
        # lazy runs would be asked for one by one
        rows = [_tell_run(run) for run in wandb.Api().runs(path, per_page=500, lazy=False)]
    except Exception as error:  # of its client, of the network under it
        raise ValueError(f"runs={source} cannot be had: {shorten(error)}") from error
    if not rows:
        raise ValueError(f"runs={source} has no runs")
    table = pd.DataFrame(rows)
    table.attrs["source"] = source
    return table


def _tell_run(run: Any) -> dict[str, Any]:
    found = {"run_id": run.id, "name": run.name, "state": run.state}
    for part in (run.summary_metrics, run.config):
        for name, value in flatten(dict(part)):
            if not name.startswith("_"):
                found.setdefault(name, value)
    return found
