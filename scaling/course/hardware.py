"""The course's sections on hardware: memory by stage, communication, number formats."""

import numpy as np
import pandas as pd

from scaling.course import tables
from scaling.course.claims import CLAIMS_DIFFER, billion_table, course_table, zhao_table
from scaling.course.section import Section, Shown
from scaling.hardware.communication import communication_table
from scaling.hardware.formats import formats_table, projection_table, quantisation_table
from scaling.quantities import format_quantity as short

GB = 1e9  # bytes


def memory_section() -> Section:
    """Memory by ZeRO stage, what a step sends, and the claims about both."""
    table, zhao, sizes, billion = (
        *(tables.memory_table(), zhao_table()),
        *(course_table(), billion_table()),
    )
    first = table.iloc[0]
    text = (
        f"What {short(first.params)} parameters with Adam in bf16 mixed precision keep on each of "
        f"{first.n_devices:g} devices: 16 bytes per parameter, less what a stage shards. FSDP is "
        "the same by its sharding factor: 1 replicates, all devices shard fully, between is "
        "hybrid. Activations come on top. GB are 1e9 bytes."
    )
    parts = [*tables.MEMORY_PARTS, "total"]
    header = ["stage", *parts, "less by", f"fits {first.device_bytes / GB:g} GB"]
    cells = [
        [
            row["stage"],
            *(f"{row[part] / GB:.3g} GB" for part in parts),
            f"{row['over']:.3g}",
            "yes" if row["fits"] else "no",
        ]
        for row in table.to_dict("records")
    ]
    shown = Shown("", header, cells)
    return Section(
        name="memory",
        title="Memory by ZeRO stage",
        text=text,
        tables={
            "memory": table,
            "memory_sizes": sizes,
            "memory_t5": zhao,
            "communication": (sent := communication_table(first.params, int(first.n_devices))),
        },
        shown=(shown, _sent(sent), _billion(billion), _sizes(sizes), _zhao(zhao)),
    )


def _sent(table: pd.DataFrame) -> Shown:
    columns = ["gather_weights", "scatter_gradients", "reduce_gradients", "total"]
    cells = [
        [row["strategy"], *(f"{row[name] / GB:.3g}" for name in columns), f"{row['over_ddp']:.3g}"]
        for row in table.to_dict("records")
    ]
    header = [
        "strategy",
        "gathering weights",
        "scattering gradients",
        "reducing gradients",
        "total",
    ]
    caption = "What each device sends in a step, in GB, and over what it sends under DDP."
    return Shown(caption, [*header, "over DDP"], cells)


def _billion(table: pd.DataFrame) -> Shown:
    parts = ["weights", "moments", "gradients", "activations", "total"]
    cells = [
        [row["claim"], *(f"{row[part]:.3g}" for part in parts), short(row["tokens"])]
        for row in table.to_dict("records")
    ]
    caption = f"Two claims for 1B parameters in fp32, in bytes per parameter. {CLAIMS_DIFFER}"
    return Shown(caption, ["claim", *parts, "tokens at work on a device"], cells)


def _sizes(table: pd.DataFrame) -> Shown:
    cells = [
        [short(row["params"]), f"{row['bits']}"]
        + [short(row[name], 4) for name in ("store_gb", "course_train_gb", "state_gb")]
        for row in table.to_dict("records")
    ]
    header = ["parameters", "bits", "to store (GB)", "to train by the course (GB)"]
    caption = (
        "Halving the bits halves what storing takes, but not training: mixed precision keeps 16 "
        "bytes per parameter, as fp32 does."
    )
    return Shown(caption, [*header, "weights, gradients and Adam (GB)"], cells)


def _zhao(table: pd.DataFrame) -> Shown:
    said = {True: "fits", False: "does not fit"}
    cells = [
        [row["model"]]
        + [
            f"{row[f'{strategy}_gb']:.3g} GB, {said[row[f'{strategy}_fits']]}"
            + f" ({'ran' if row[f'{strategy}_measured'] else 'did not run'})"
            for strategy in ("ddp", "fsdp")
        ]
        for row in table.to_dict("records")
    ]
    caption = (
        "T5 on 8 devices of 80 GB in fp32, 8 sequences of 512 tokens on each, layers computed "
        "again; in brackets what Zhao et al. 2023 found."
    )
    return Shown(caption, ["model", "DDP", "FSDP"], cells)


def formats_section() -> Section:
    """Range, spacing and memory of the number formats, pi in each, and what a weight loses."""
    formats, pi = formats_table(), projection_table()
    weights = 0.02 * np.random.default_rng(0).standard_normal(2**16)
    lost = quantisation_table(weights).pivot(index="format", columns="scale", values="error")
    cells = [
        [row["format"], f"{row['sign_bits']}+{row['exponent_bits']}+{row['mantissa_bits']}"]
        + [f"{row[name]:,.5g}" for name in ("largest", "smallest_normal", "spacing_at_1")]
        + [f"{row['gb_per_billion']:g}", f"{stored:.7g}"]
        + [f"{lost.loc[row['format'], scale]:.2g}" for scale in ("none", "absmax")]
        for row, stored in zip(formats.to_dict("records"), pi.stored, strict=True)
    ]
    header = ["format", "sign+exponent+mantissa", "largest", "smallest normal", "spacing at 1"]
    header += ["GB per 1B parameters", "pi", "error of weights", "error with absmax scale"]
    text = (
        "Values are rounded to the nearest, ties to even. The errors are root mean squares, "
        f"relative, of {len(weights):,} normal weights with a standard deviation of 0.02: as they "
        "are, and scaled so that the largest fills the range. int8 is nothing without a scale."
    )
    found = {"formats": formats, "formats_pi": pi, "formats_error": quantisation_table(weights)}
    shown = Shown("", header, cells)
    return Section("formats", "Number formats", text, found, (shown,), has_figure=False)
