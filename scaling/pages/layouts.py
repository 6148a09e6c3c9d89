"""How a plan is laid out on its devices, for people."""

import math
from typing import Any

from scaling.hardware.devices import GB
from scaling.hardware.memory import USABLE
from scaling.pages.text import Column, Section, make_section, shown, shown_interval
from scaling.planning.laid_out import MOST_DEVICES, LaidOut
from scaling.planning.recipe import ASKED
from scaling.quantities import format_quantity as short

PARTS = ("compute", "recompute", "tensor", "expert", "pipeline", "data")
LEAST = 0.5  # percent of a step that are told
EXPERTS = (
    " Expert: tokens sent to their experts and back, hidden behind nothing; all experts are taken "
    "as equally busy. The brackets are of dense models: published mixtures were missed by more, "
    "see results/utilisation."
)
NAMES = {0: "DDP", 1: "ZeRO-1", 2: "ZeRO-2", 3: "ZeRO-3, FSDP"}


def layout_section(found: LaidOut | None, why: str = "") -> Section:
    """The best few layouts with their memory, step time and its parts, and MFU."""
    if found is None:
        return Section("How to lay it out", (f"No layout can be estimated: {why}.",))
    if not len(found.table):
        return Section("How to lay it out", tuple(_describe(found)))
    columns = (
        *(Column("layout", write_degrees), Column("with", write_rest)),
        shown("memory", "GB", lambda size: f"{size / GB:.3g}", star="fits"),
        *(shown("total_s", "step (s)", ".3g"), Column("% of the step", write_parts)),
        shown_interval("mfu", "MFU", ".0%"),
    )
    return make_section("How to lay it out", found.table, columns, *_describe(found))


def write_degrees(row: Any) -> str:
    """Degrees of data, tensor, pipeline, context and expert parallelism, but for those of 1."""
    ways = (("DP", "data"), ("TP", "tensor"), ("PP", "pipeline"), ("CP", "context"))
    ways += (("EP", "expert"),)
    return " ".join(f"{sign}{row[name]}" for sign, name in ways if row[name] > 1) or "none"


def write_rest(row: Any) -> str:
    """What else makes a layout: ZeRO, micro-batch, virtual stages, what is computed again."""
    parts = [NAMES[row["zero"]], f"micro-batch {row['micro_batch']}"]
    if row["zero"] == 3 and row["shards"] < row["data"] * row["context"]:
        parts[0] = f"hybrid FSDP in {row['shards']}s"
    parts += [f"{row['interleave']} virtual stages"] * (row["interleave"] > 1)
    parts += [f"{row['recompute']} recompute"] * (row["recompute"] != "none")
    return ", ".join(parts)


def write_parts(row: Any) -> str:
    """Where the time of a step goes, in percent, the largest first."""
    shares = {part: 100 * row[f"{part}_s"] / row["total_s"] for part in PARTS}
    told = [part for part in sorted(shares, key=shares.__getitem__) if shares[part] >= LEAST]
    return ", ".join(f"{part} {shares[part]:.0f}" for part in reversed(told))


def _describe(found: LaidOut) -> list[str]:
    job, by = found.job, found.calibration
    whence = "as asked" if found.batch_rule == ASKED else f"by {found.batch_rule}, as the recipe"
    tokens = short(job.sequences * job.network.seq_len)
    text = [
        f"{job.n_devices} {job.device.name} of {job.device.memory_bytes / GB:g} GB; a step of "
        f"{job.sequences:,} sequences, {tokens} tokens, {whence}."
    ]
    if not len(found.table):
        more = (
            f"none up to {MOST_DEVICES:,} does" if found.fewest is None else f"{found.fewest:,} do"
        )
        return [*text, f"No layout of {job.n_devices:,} fits {USABLE:.0%} of their memory; {more}."]
    return [
        *text,
        f"*: fits, with {1 - USABLE:.0%} left for all else. Shares of the step: products and "
        "memory traffic; computed again; exchanges of tensors and context; bubble and sends of the "
        "pipeline; data-parallel exchanges that hide behind nothing."
        + (EXPERTS if job.network.experts else ""),
        f"MFU is estimated, at {by.reached:.0%} of every datasheet's peak (products, memory, "
        f"links): what {by.n_runs} published runs of {by.n_trainings} trainings say. Brackets: "
        f"90 %; without a training, its own MFU was missed by a factor {math.exp(by.spread):.2f} "
        "(one standard deviation).",
    ]
