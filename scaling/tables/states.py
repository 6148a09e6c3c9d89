"""How runs ended, in the words of our tables and of experiment trackers."""

import pandas as pd

STATUSES = ("ok", "diverged", "failed")
STATES = {  # of Weights & Biases, MLflow, SLURM and people -> our status
    **dict.fromkeys(
        ("ok", "finished", "completed", "complete", "success", "succeeded", "done"), "ok"
    ),
    **dict.fromkeys(("diverged", "nan"), "diverged"),
    **dict.fromkeys(("failed", "failure", "error", "crashed", "killed", "cancelled"), "failed"),
    **dict.fromkeys(("canceled", "timeout", "out_of_memory", "oom", "preempted"), "failed"),
    **dict.fromkeys(("running", "pending", "queued", "scheduled", "preempting"), "failed"),
}
NAMES = ("status", "state")


def read_states(table: pd.DataFrame) -> pd.DataFrame:
    """Name the column of states `status`, in our words; `reason` keeps theirs.

    A column called status (or state, in any case) counts if it holds known words only; under the
    very name `status` it must. Without one every run is "ok".

    Raises
    ------
    ValueError
        `status` holds other words.
    """
    if "status" in table and {*map(str, table.status)} <= {*STATUSES}:
        return table
    for name in sorted(map(str, table), key=lambda name: name != "status"):
        if name.lower() not in NAMES:
            continue
        cells = pd.Series(table[name])
        words = pd.Series(cells.astype(object).where(cells.notna(), "").astype(str))
        status = words.str.strip().str.lower().map(STATES)
        if name == "status" and status.isna().any():
            _refuse_unknown(table, words, status)
        if status.notna().all() and len(status):
            return _tell_states(table, words, status)
    return table.assign(status="ok")


def _refuse_unknown(table: pd.DataFrame, words: pd.Series, status: pd.Series) -> None:
    found, runs = sorted({*words[status.isna()]}), [*table.run_id[status.isna()]]
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    raise ValueError(
        f"unknown status {found[:9]} in {runs[:3]}{more}; use {STATUSES}, or a tracker's words: "
        f"{', '.join(word for word in STATES if word not in STATUSES)}"
    )


def _tell_states(table: pd.DataFrame, words: pd.Series, status: pd.Series) -> pd.DataFrame:
    table = table.assign(status=status)
    foreign = (status != "ok") & ~words.isin(STATUSES)
    if foreign.any() and "reason" not in table:
        table["reason"] = words.where(foreign, "")
    return table
