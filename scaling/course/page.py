"""The course for a reader: sections of tables with their text, and the page of all of it."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from scaling.course import tables
from scaling.course.bloomberg import bloomberg_budgets, bloomberg_table
from scaling.course.hardware import formats_section, memory_section
from scaling.course.section import Section, Shown
from scaling.course.statements import DIFFERS, NOT_COMPUTED, REPRODUCED
from scaling.pages.text import markdown_table
from scaling.planning.sources import get_source
from scaling.quantities import format_quantity as short

CURVE = np.geomspace(*tables.DECADES, 121)  # FLOPs


def course_sections(own: Iterable[tables.Model] = ()) -> list[Section]:
    """All sections; `own` are models that stand beside the course's."""
    return [
        *(_tokens(tuple(own)), _pf_days(), memory_section(), formats_section(), _known_models()),
        _crossing(),
    ]


def _tokens(own: tuple[tables.Model, ...]) -> Section:
    table = tables.tokens_table((*tables.COURSE_MODELS, *own))
    cells = [
        [
            row["model"],
            short(row["N"]),
            short(row["D"]),
            f"{row['tokens_per_param']:.3g}",
            row["yardstick"],
            short(row["D_for_N"]) + _ends(row["D_for_N_low"], row["D_for_N_high"]),
            f"{row['trained']:.2g} x, {row['verdict']}",
            f"{short(row['N_opt'])} on {short(row['D_opt'])}",
            _gap(row),
        ]
        for row in table.to_dict("records")
    ]
    text = (
        "Each model against the tokens for which its size is compute-optimal, and what the same "
        "FLOPs (6ND) would have given. *Left on the table* is the loss above the optimum of the "
        "same compute, and how many times the compute was spent that the optimum needs for this "
        "loss. Brackets: 90 % intervals. hoffmann2022 is approach 3, whose tokens per parameter "
        "approaches 1 and 2 of the same paper contradict. Your own model: `python -m "
        "scaling.course params=7B tokens=2T`."
    )
    header = ["model", "N", "seen", "D/N", "yardstick", "optimal for this N", "trained"]
    header += ["optimum at this C", "left on the table (nats/token)"]
    title = "Compute-optimal tokens against actual"
    return Section("tokens", title, text, {"tokens": table}, (Shown("", header, cells),))


def _ends(low: float, high: float) -> str:
    return f" [{short(low)}, {short(high)}]" if np.isfinite(low) else ""


def _gap(row: dict) -> str:
    if np.isnan(row["loss_gap"]):
        return "-"
    ends = f" [{row['loss_gap_low']:.1g}, {row['loss_gap_high']:.1g}]"
    ends = ends if np.isfinite(row["loss_gap_low"]) else ""
    return f"{row['loss_gap']:.2g}{ends}, {row['C_over']:.3g} x the compute"


def _pf_days() -> Section:
    table = tables.pf_days_table()
    cells = [
        [
            row["model"],
            short(row["N"], 4),
            short(row["D"]),
            f"{row['flops_per_param_token']:g}ND",
            f"{row['flops']:.4g}",
            f"{row['pf_days']:,.5g}",
            f"{row['printed_pf_days']:,g}",
            f"{row['difference']:+.2%}",
        ]
        for row in table.to_dict("records")
    ]
    text = (
        "Compute of pretraining from N and D alone, beside table D.1 of Brown et al. 2020. An "
        "encoder-decoder sends a token through half of its parameters, so T5 counts 3ND. The "
        f"largest difference is {table.difference.abs().max():.2%}: rounding."
    )
    header = ["model", "N", "D", "C", "FLOPs", "PF-days", "printed", "difference"]
    shown = (Shown("", header, cells),)
    return Section("pf_days", "PF-days of pretraining", text, {"pf_days": table}, shown)


def _known_models() -> Section:
    lines, models = tables.allocation_table(CURVE), tables.known_models_table()
    cells = [
        [
            row["model"],
            short(row["N"]),
            short(row["D"]) + (f" ({row['note']})" if row["note"] else ""),
            f"{row['C']:.3g}",
            *(f"{row[f'N_over_{law}']:.2g} x" for law in tables.LINES),
        ]
        for row in models.to_dict("records")
    ]
    text = (
        "Figure 1 of BloombergGPT again: N and D of known models against compute, with Kaplan's "
        "line and the three approaches of Hoffmann et al. The table says how many times larger "
        "each model is than the line asks at its 6ND. Kaplan's N counts no embeddings, and its C "
        "is read as the compute spent."
    )
    header = ["model", "N", "D", "6ND", *(f"N over {law}" for law in tables.LINES)]
    asked = bloomberg_table()
    return Section(
        name="known_models",
        title="Known models against the laws",
        text=text,
        tables={"known_models": models, "lines": lines, "bloomberg": asked},
        shown=(Shown("", header, cells), _bloomberg(asked)),
    )


def _bloomberg(table: pd.DataFrame) -> Shown:
    budgets = bloomberg_budgets().set_index("budget")
    laws = [*dict.fromkeys(table.law)]
    limited = table.law[(table.budget == "planned") & table.data_limits]
    by = table.set_index(["budget", "law"])
    cells = [
        [f"{name}: {row['note']}", f"{row['C']:.3g}"]
        + [f"{short(by.N_opt[name, law])} on {short(by.D_opt[name, law])}" for law in laws]
        for name, row in budgets.iterrows()
    ]
    caption = (
        "BloombergGPT, 50.6B parameters on 569B of 709B tokens: the budgets that are told of it "
        "disagree, and what each law asks for at each of them (Kaplan's D is as printed, of "
        "C_min). At the planned budget more than the 709B tokens at hand are asked for by "
        f"{', '.join(limited)}: the data was the limit."
    )
    return Shown(caption, ["budget", "C (FLOPs)", *laws], cells)


def _crossing() -> Section:
    lines, crossings = tables.allocation_table(CURVE), tables.crossings_table()
    marked = crossings.loc[crossings.law == "kaplan2020"]
    cells = [
        [
            row["other"],
            f"{row['C']:.2e}",
            short(row["N"]),
            short(row["D"]),
            f"{row['N_ratio_end']:.3g} x",
        ]
        for row in marked.to_dict("records")
    ]
    printed = float(get_source("kaplan2020").D_opt(1e21).value)
    drawn = float(tables.allocation_table([1e21], ["kaplan2020"]).D_opt.iloc[0])
    text = (
        "Kaplan et al. let N grow as C^0.73, Hoffmann et al. about as C^0.5: below the crossing "
        "Kaplan asks for the smaller model, above it for the larger. D_opt is C / (6 N_opt), so "
        f"both cross at one C; Kaplan's printed D_opt is {printed / drawn:.2g} times that, as its "
        "C_min is about half of what a critical batch spends."
    )
    end = f"Kaplan's N at {tables.DECADES[1]:.0e} FLOPs over it"
    header = ["Kaplan against", "C (FLOPs)", "N", "D", end]
    title = "Kaplan against Hoffmann over ten decades"
    files = {"crossings": crossings, "lines": lines}
    return Section("crossing", title, text, files, (Shown("", header, cells),))


# ---------------------------------------------------------------- the page


def course_page(sections: list[Section], statements: pd.DataFrame, command: str) -> str:
    """Write the README.md of the course's folder."""
    parts = [
        "# The course, computed",
        f"Made by `{command}`, without torch and without a network. {counted(statements)}",
    ]
    for section in sections:
        files = ", ".join(f"`{name}.csv`" for name in section.tables)
        parts += [
            f"## {section.title}\n{section.text}",
            *([f"![{section.title}]({section.name}.png)"] if section.has_figure else []),
            *(_table(shown) for shown in section.shown),
            f"With 8 digits: {files}.",
        ]
    parts.append(
        "## Every statement\nA statement is reproduced where our number rounds to the printed one, "
        "or lies in the printed range. With 8 digits: `statements.csv`."
    )
    header = ["statement", "ours", "verdict", "how, and why it differs"]
    for name, rows in statements.groupby("section", sort=False):
        parts += [f"### {name}", markdown_table(header, [*map(_cells, rows.to_dict("records"))])]
    return "\n\n".join(parts) + "\n"


def _table(shown: Shown) -> str:
    table = markdown_table(shown.header, shown.cells)
    return f"{shown.caption}\n\n{table}" if shown.caption else table


def _cells(row: dict) -> list[str]:
    verdict = f"**{row['verdict']}**" if row["verdict"] == DIFFERS else row["verdict"]
    reasons = "; ".join(filter(None, (row["how"], row["why"])))
    return [row["statement"], ours_of(row), verdict, reasons]


def ours_of(row: dict) -> str:
    """Our number for people: sizes with a suffix, FLOPs as a power, the rest as it is."""
    value, unit = row["ours"], row["unit"]
    if np.isnan(value):
        return "-"
    if unit in ("tokens", "parameters", "GPU-hours"):
        return f"{short(value)} {unit}"
    return f"{value:.4g} {unit}".strip() if unit else f"{value:.7g}"


def counted(statements: pd.DataFrame) -> str:
    """How many statements are reproduced, differ, or are not computed."""
    counts = statements.verdict.value_counts()
    reproduced, differ, left = (
        counts.get(verdict, 0) for verdict in (REPRODUCED, DIFFERS, NOT_COMPUTED)
    )
    return (
        f"Of {len(statements)} statements of the course {reproduced} are reproduced, {differ} "
        f"differ and {left} cannot be computed here."
    )
