"""Every statement of the course beside what comes out here: reproduced, or differing and why.

What is said stands in statements.csv: the printed number and how many of its digits count, or the
range that is allowed, and the table, row and column of the number that it is held against.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from scaling.course.bloomberg import CLUSTER, COURSE_D, COURSE_N, RATE, REPORTED, D, N
from scaling.course.claims import STAGES, billion_table, memory_table
from scaling.course.tables import LINES, allocation_table, course_tables
from scaling.files import read_table
from scaling.hardware.devices import get_device
from scaling.hardware.formats import FORMATS, project
from scaling.planning.budgets import parse_budget
from scaling.planning.sources import get_source
from scaling.quantities import format_quantity as short

REPRODUCED, DIFFERS, NOT_COMPUTED = "reproduced", "differs", "not computed"
NEAR = 1e-9
MANY = 2**20  # devices, where "up to" is reached
CHINCHILLA = 5.76e23  # FLOPs
FIELDS = {"fp32": (1, 8, 23), "fp16": (1, 5, 10), "bf16": (1, 8, 7)}  # sign, exponent, mantissa


def statements_table(tables: Mapping[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """Hold every statement against our number.

    Parameters
    ----------
    tables : mapping or None
        As `course_tables` returns them; None: computed here.

    Returns
    -------
    DataFrame with columns section, statement, origin (course, paper or ours), low and high (what
        rounds to the printed number, or the printed range), ours (NaN where nothing here computes
        it), unit (of all three), how (the formula behind ours), why (ours differs, or what it
        rests on), verdict
    """
    tables = course_tables() if tables is None else tables
    said = read_table(Path(__file__).with_name("statements.csv"))
    tables, words = {**tables, **_more_tables(tables)}, _describe_numbers()
    ends = zip((said.low, said.high), rounds_to(said.printed, said.digits), strict=True)
    low, high = (end.fillna(rounded).fillna(said.printed) for end, rounded in ends)
    ours = pd.Series([_look_up(tables, row) for row in said.to_dict("records")])
    how, why = (said[name].map(lambda text: text.format_map(words)) for name in ("how", "why"))
    table = said[["section", "statement", "origin"]].assign(low=low, high=high, ours=ours)
    table = table.assign(unit=said.unit, how=how, why=why)
    return table.assign(verdict=compare(low, high, ours))


def rounds_to(printed, digits):
    """Ends of what rounds to a number printed in so many significant digits."""
    half = 0.5 * 10.0 ** (np.floor(np.log10(np.abs(printed))) - digits + 1)
    return printed - half, printed + half


def compare(low, high, ours) -> np.ndarray:
    """Tell whether ours lies within what a statement allows; "not computed" for NaN."""
    low, high, ours = np.broadcast_arrays(low, high, ours)
    slack = NEAR * np.abs(ours)
    inside = (low - slack <= ours) & (ours <= high + slack)
    return np.select([np.isnan(ours), inside], [NOT_COMPUTED, REPRODUCED], DIFFERS)


def count_verdicts(statements: pd.DataFrame) -> str:
    """Say how many statements are reproduced, differ, or are not computed."""
    counts = statements.verdict.value_counts()
    reproduced, differ, left = counts.reindex([REPRODUCED, DIFFERS, NOT_COMPUTED], fill_value=0)
    return (
        f"Of {len(statements)} statements of the course {reproduced} are reproduced, {differ} "
        f"differ and {left} cannot be computed here."
    )


def write_ours(row: Mapping) -> str:
    """Write our number for people: sizes with a suffix, FLOPs as a power, the rest as it is."""
    value, unit = row["ours"], row["unit"]
    if np.isnan(value):
        return "-"
    if unit in ("tokens", "parameters", "GPU-hours"):
        return f"{short(value)} {unit}"
    return f"{value:.4g} {unit}".strip() if unit else f"{value:.7g}"


# ---------------------------------------------------------------- the numbers behind them


def _look_up(tables: Mapping[str, pd.DataFrame], row: Mapping) -> float:
    if not row["table"]:
        return float("nan")
    [value] = tables[row["table"]].query(row["row"])[row["column"]]
    return float(value)


def _more_tables(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    derived = pd.Series(_derive_numbers(tables), name="value")
    lines = allocation_table([CHINCHILLA], [*LINES, "hoffmann2022_rounded", "besiroglu2024"])
    return {
        "billion": billion_table(),
        "at_chinchilla": lines,
        "derived": derived.rename_axis("name").reset_index(),
    }


def _derive_numbers(tables: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Numbers that stand in no table of ours."""
    many = {stage: replace(setup, n_devices=MANY) for stage, setup in STAGES.items()}
    limit, over = (t.set_index("stage").over for t in (memory_table(stages=many), tables["memory"]))
    state = tables["memory_sizes"].set_index(["params", "bits"]).state_gb
    t5 = tables["memory_t5"]
    as_measured = (t5.ddp_fits == t5.ddp_measured) & (t5.fsdp_fits == t5.fsdp_measured)
    return {
        "models near table D.1": (tables["pf_days"].difference.abs() < 0.005).sum(),
        "V100 for a day": 1e15 / get_device("V100").training_flops(),
        "A100 for a day": 1e15 / get_device("A100").training_flops(),
        "state at 16 bits over 32": state[1e9, 16] / state[1e9, 32],
        **{
            f"{name} as {'+'.join(map(str, fields))}": _count_bits(name, fields)
            for name, fields in FIELDS.items()
        },
        "cut pi in fp32": float(project(3.141592, "fp32")),
        "limit of ZeRO-1": limit["ZeRO-1"],
        "limit of ZeRO-2": limit["ZeRO-2"],
        "FSDP over ZeRO-3": over["FSDP, factor 64"] / over["ZeRO-3"],
        "models that fit as measured": as_measured.sum(),
        "GPU hours": parse_budget(f"{CLUSTER} at {RATE}").device_hours,
        "reported over ND": REPORTED / (N * D),
    }


def _count_bits(name: str, fields: tuple[int, int, int]) -> int:
    """Bits of a format; 0 if its sign, exponent and mantissa are not these."""
    f = FORMATS[name]
    return f.bits if (f.sign_bits, f.exponent_bits, f.mantissa_bits) == fields else 0


def _describe_numbers() -> dict[str, str]:
    """Write the numbers that the reasons name."""
    for_24, for_80, ours = (short(tokens) for tokens in billion_table().tokens)
    ratio = get_source("besiroglu2024").tokens_per_param(CHINCHILLA)
    return {
        "tokens_for_24": for_24,
        "tokens_for_80": for_80,
        "tokens_ours": ours,
        "pi_fp32": f"{float(project(math.pi, 'fp32')):.12g}",
        "course_ratio": f"{COURSE_D / COURSE_N:g}",
        "course_C": f"{6 * COURSE_N * COURSE_D:.2g}",
        "besiroglu_interval": f"[{ratio.low:.3g}, {ratio.high:.3g}]",
    }
