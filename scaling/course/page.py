"""The course for a reader: sections of tables with their text, and the page of all of it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scaling.course.bloomberg import bloomberg_budgets
from scaling.course.claims import CLAIMS_DIFFER, MEMORY_PARTS, billion_table
from scaling.course.statements import DIFFERS, count_verdicts, write_ours
from scaling.course.tables import DECADES, LINES, WEIGHTS, allocation_table
from scaling.hardware.devices import GB
from scaling.pages.text import NOTHING, Column, Section, Table, markdown, shown, shown_interval
from scaling.planning.sources import get_source
from scaling.quantities import format_quantity as short

Tables = Mapping[str, pd.DataFrame]


def course_sections(tables: Tables) -> list[Section]:
    """Show the tables that `scaling.course.tables.course_tables` returns."""
    return [
        _show_tokens(tables["tokens"]),
        _show_pf_days(tables["pf_days"]),
        _show_memory(tables),
        _show_formats(tables),
        _show_known_models(tables),
        _show_crossings(tables["crossings"]),
    ]


def course_page(tables: Tables, statements: pd.DataFrame, command: str) -> str:
    """Write the README.md of the course's folder."""
    rows = statements.groupby("section", sort=False)
    parts = [
        "# The course, computed",
        f"Made by `{command}`, without torch and without a network. {count_verdicts(statements)}",
        markdown(course_sections(tables)),
        "## Every statement",
        "A statement is reproduced where our number rounds to the printed one, or lies in the "
        "printed range. Table: `statements.csv`.",
        markdown((Section(str(n), tables=(_show_statements(t),)) for n, t in rows), level=3),
    ]
    return "\n\n".join(parts) + "\n"


def _show_statements(statements: pd.DataFrame) -> Table:
    return Table(
        statements,
        (
            shown("statement"),
            Column("ours", write_ours),
            shown("verdict", write=lambda v: f"**{v}**" if v == DIFFERS else v),
            Column(
                "how, and why it differs",
                lambda row: "; ".join(filter(None, (row["how"], row["why"]))),
            ),
        ),
    )


def _join_files(*names: str) -> str:
    return f"Tables: {', '.join(f'`{name}.csv`' for name in names)}."


def _write_times(value: float) -> str:
    return f"{value:.2g} x"


def _write_gb(value: float) -> str:
    return f"{value / GB:.3g}"


# ---------------------------------------------------------------- tokens, PF-days


def _show_tokens(tokens: pd.DataFrame) -> Section:
    text = (
        "Each model against the tokens for which its size is compute-optimal, and what the same "
        "FLOPs (6ND) would have given. *Left on the table* is the loss above the optimum of the "
        "same compute, and how many times the compute was spent that the optimum needs for this "
        "loss. Brackets: 90 % intervals. hoffmann2022 is approach 3, whose tokens per parameter "
        "approaches 1 and 2 of the same paper contradict. Your own model: `python -m "
        "scaling.course params=7B tokens=2T`."
    )
    columns = (
        shown("model"),
        shown("N", write=short),
        shown("D", "seen", short),
        shown("tokens_per_param", "D/N", ".3g"),
        shown("yardstick"),
        shown_interval("D_for_N", "optimal for this N", short),
        Column("trained", lambda row: f"{_write_times(row['trained'])}, {row['verdict']}"),
        Column("optimum at this C", lambda row: f"{short(row['N_opt'])} on {short(row['D_opt'])}"),
        Column("left on the table (nats/token)", _write_gap),
    )
    title = "Compute-optimal tokens against actual"
    text = (text, _join_files("tokens"))
    return Section(title, text, tables=(Table(tokens, columns),), figures=("tokens",))


def _write_gap(row: Mapping[str, Any]) -> str:
    gap, low, high = (row[f"loss_gap{end}"] for end in ("", "_low", "_high"))
    if gap != gap:
        return NOTHING
    ends = f" [{low:.1g}, {high:.1g}]" if low == low else ""
    return f"{gap:.2g}{ends}, {row['C_over']:.3g} x the compute"


def _show_pf_days(pf_days: pd.DataFrame) -> Section:
    text = (
        "Compute of pretraining from N and D alone, beside table D.1 of Brown et al. 2020. An "
        "encoder-decoder sends a token through half of its parameters, so T5 counts 3ND. The "
        f"largest difference is {pf_days.difference.abs().max():.2%}: rounding."
    )
    columns = (
        shown("model"),
        shown("N", write=lambda N: short(N, 4)),
        shown("D", write=short),
        shown("flops_per_param_token", "C", lambda factor: f"{factor:g}ND"),
        shown("flops", "FLOPs", ".4g"),
        shown("pf_days", "PF-days", ",.5g"),
        shown("printed_pf_days", "printed", ",g"),
        shown("difference", write="+.2%"),
    )
    text = (text, _join_files("pf_days"))
    table = Table(pf_days, columns)
    return Section("PF-days of pretraining", text, tables=(table,), figures=("pf_days",))


# ---------------------------------------------------------------- memory, formats


def _show_memory(tables: Tables) -> Section:
    first = tables["memory"].iloc[0]
    text = (
        f"What {short(first.params)} parameters with Adam in bf16 mixed precision keep on each of "
        f"{first.n_devices:g} devices: 16 bytes per parameter, less what a stage shards. FSDP is "
        "the same by its sharding factor: 1 replicates, all devices shard fully, between is "
        "hybrid. Activations come on top. GB are 1e9 bytes."
    )
    stages = Table(
        tables["memory"],
        (
            shown("stage"),
            *(
                shown(part, write=lambda size: f"{_write_gb(size)} GB")
                for part in (*MEMORY_PARTS, "total")
            ),
            shown("over", "less by", ".3g"),
            shown(
                "fits",
                f"fits {first.device_bytes / GB:g} GB",
                lambda fits: "yes" if fits else "no",
            ),
        ),
    )
    sent = Table(
        tables["communication"],
        (
            shown("strategy"),
            shown("gather_weights", "gathering weights", _write_gb),
            shown("scatter_gradients", "scattering gradients", _write_gb),
            shown("reduce_gradients", "reducing gradients", _write_gb),
            shown("total", write=_write_gb),
            shown("over_ddp", "over DDP", ".3g"),
        ),
        "What each device sends in a step, in GB, and over what it sends under DDP.",
    )
    files = _join_files("memory", "memory_sizes", "memory_t5", "communication")
    return Section(
        "Memory by ZeRO stage",
        (text, files),
        tables=(stages, sent, _show_claims(), _show_sizes(tables), _show_t5(tables)),
        figures=("memory",),
    )


def _show_claims() -> Table:
    return Table(
        billion_table(),
        (
            shown("claim"),
            *(
                shown(part, write=".3g")
                for part in ("weights", "moments", "gradients", "activations", "total")
            ),
            shown("tokens", "tokens at work on a device", short),
        ),
        f"Two claims for 1B parameters in fp32, in bytes per parameter. {CLAIMS_DIFFER}",
    )


def _show_sizes(tables: Tables) -> Table:
    def write(size: float) -> str:
        return short(size, 4)

    columns = (
        shown("params", "parameters", short),
        shown("bits"),
        shown("store_gb", "to store (GB)", write),
        shown("course_train_gb", "to train by the course (GB)", write),
        shown("state_gb", "weights, gradients and Adam (GB)", write),
    )
    caption = (
        "Halving the bits halves what storing takes, but not training: mixed precision keeps 16 "
        "bytes per parameter, as fp32 does."
    )
    return Table(tables["memory_sizes"], columns, caption)


def _show_t5(tables: Tables) -> Table:
    def compare(strategy: str):
        def write(row: Mapping[str, Any]) -> str:
            fits = "fits" if row[f"{strategy}_fits"] else "does not fit"
            ran = "ran" if row[f"{strategy}_measured"] else "did not run"
            return f"{row[f'{strategy}_gb']:.3g} GB, {fits} ({ran})"

        return write

    caption = (
        "T5 on 8 devices of 80 GB in fp32, 8 sequences of 512 tokens on each, layers computed "
        "again; in brackets what Zhao et al. 2023 found."
    )
    columns = (shown("model"), Column("DDP", compare("ddp")), Column("FSDP", compare("fsdp")))
    return Table(tables["memory_t5"], columns, caption)


def _show_formats(tables: Tables) -> Section:
    """Range, spacing and memory of the number formats, pi in each, and what a weight loses."""
    errors = tables["formats_error"].pivot(index="format", columns="scale", values="error")
    frame = tables["formats"].assign(stored=tables["formats_pi"].stored).join(errors, on="format")
    fields = ("sign_bits", "exponent_bits", "mantissa_bits")
    columns = (
        shown("format"),
        Column("sign+exponent+mantissa", lambda row: "+".join(f"{row[f]}" for f in fields)),
        shown("largest", write=",.5g"),
        shown("smallest_normal", "smallest normal", ",.5g"),
        shown("spacing_at_1", "spacing at 1", ",.5g"),
        shown("gb_per_billion", "GB per 1B parameters", "g"),
        shown("stored", "pi", ".7g"),
        shown("none", "error of weights", ".2g"),
        shown("absmax", "error with absmax scale", ".2g"),
    )
    text = (
        "Values are rounded to the nearest, ties to even. The errors are root mean squares, "
        f"relative, of {WEIGHTS:,} normal weights with a standard deviation of 0.02: as they "
        "are, and scaled so that the largest fills the range. int8 is nothing without a scale."
    )
    files = _join_files("formats", "formats_pi", "formats_error")
    return Section("Number formats", (text, files), tables=(Table(frame, columns),))


# ---------------------------------------------------------------- models and laws


def _show_known_models(tables: Tables) -> Section:
    text = (
        "Figure 1 of BloombergGPT again: N and D of known models against compute, with Kaplan's "
        "line and the three approaches of Hoffmann et al. The table says how many times larger "
        "each model is than the line asks at its 6ND. Kaplan's N counts no embeddings, and its C "
        "is read as the compute spent."
    )
    columns = (
        shown("model"),
        shown("N", write=short),
        Column("D", lambda row: short(row["D"]) + (f" ({row['note']})" if row["note"] else "")),
        shown("C", "6ND", ".3g"),
        *(shown(f"N_over_{law}", f"N over {law}", _write_times) for law in LINES),
    )
    return Section(
        title="Known models against the laws",
        text=(text, _join_files("known_models", "lines", "bloomberg")),
        tables=(Table(tables["known_models"], columns), _show_bloomberg(tables["bloomberg"])),
        figures=("known_models",),
    )


def _show_bloomberg(asked: pd.DataFrame) -> Table:
    """A row for each budget, a column for what each law asks for."""
    laws = [*dict.fromkeys(asked.law)]
    pairs = asked.assign(pair=asked.N_opt.map(short) + " on " + asked.D_opt.map(short))
    pairs = pairs.pivot(index="budget", columns="law", values="pair")
    limited = asked.law[(asked.budget == "planned") & asked.data_limits]
    caption = (
        "BloombergGPT, 50.6B parameters on 569B of 709B tokens: the budgets that are told of it "
        "disagree, and what each law asks for at each of them (Kaplan's D is as printed, of "
        "C_min). At the planned budget more than the 709B tokens at hand are asked for by "
        f"{', '.join(limited)}: the data was the limit."
    )
    columns = (
        Column("budget", lambda row: f"{row['budget']}: {row['note']}"),
        shown("C", "C (FLOPs)", ".3g"),
        *(shown(law) for law in laws),
    )
    return Table(bloomberg_budgets().join(pairs, on="budget"), columns, caption)


def _show_crossings(crossings: pd.DataFrame) -> Section:
    printed = float(get_source("kaplan2020").D_opt(1e21).value)
    drawn = float(allocation_table([1e21], ["kaplan2020"]).D_opt.iloc[0])
    text = (
        "Kaplan et al. let N grow as C^0.73, Hoffmann et al. about as C^0.5: below the crossing "
        "Kaplan asks for the smaller model, above it for the larger. D_opt is C / (6 N_opt), so "
        f"both cross at one C; Kaplan's printed D_opt is {printed / drawn:.2g} times that, as its "
        "C_min is about half of what a critical batch spends."
    )
    columns = (
        shown("other", "Kaplan against"),
        shown("C", "C (FLOPs)", ".2e"),
        shown("N", write=short),
        shown("D", write=short),
        shown(
            "N_ratio_end", f"Kaplan's N at {DECADES[1]:.0e} FLOPs over it", lambda r: f"{r:.3g} x"
        ),
    )
    table = Table(crossings.loc[crossings.law == "kaplan2020"], columns)
    title = "Kaplan against Hoffmann over ten decades"
    text = (text, _join_files("crossings", "lines"))
    return Section(title, text, tables=(table,), figures=("crossing",))
