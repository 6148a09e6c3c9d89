"""The course for a reader: sections of tables with their text, and the page of all of it.

What the sections say and show stands in page.toml.
"""

import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from string import Formatter
from typing import Any

import pandas as pd

from scaling.course.bloomberg import bloomberg_budgets
from scaling.course.claims import CLAIMS_DIFFER, billion_table
from scaling.course.material import (
    claims_table,
    count_outcomes,
    link_records,
    questions_table,
    write_outcome,
)
from scaling.course.statements import DIFFERS, count_verdicts, write_ours
from scaling.course.tables import DECADES, WEIGHTS, allocation_table
from scaling.hardware.devices import GB
from scaling.pages.text import (
    NOTHING,
    Column,
    Section,
    Table,
    code,
    markdown,
    shown,
    shown_interval,
    with_interval,
    written,
)
from scaling.planning.sources import get_source
from scaling.quantities import format_quantity as short

Tables = Mapping[str, pd.DataFrame]
SECTIONS = tomllib.loads(Path(__file__).with_name("page.toml").read_text(encoding="utf-8"))
FORMATS = {  # of cells in page.toml, beside Python's own
    "short": short,
    "short4": partial(short, digits=4),
    "gb": lambda size: f"{size / GB:.3g}",
    "yes": lambda holds: "yes" if holds else "no",
    "fits": lambda holds: "fits" if holds else "does not fit",
    "ran": lambda holds: "ran" if holds else "did not run",
    "bracketed": lambda note: f" ({note})" if note else "",
}


def course_sections(tables: Tables) -> list[Section]:
    """Show the tables that `scaling.course.tables.course_tables` returns."""
    frames, words = {**tables, **_derive_frames(tables)}, _describe_numbers(tables)
    return [_show_section(known, frames, words) for known in SECTIONS["section"]]


def course_page(tables: Tables, statements: pd.DataFrame, command: str) -> str:
    """Write the README.md of the course's folder."""
    rows, claims = statements.groupby("section", sort=False), claims_table(statements)
    questions = Section("Questions", tables=(_show_questions(questions_table(statements)),))
    parts = [
        "# The course, computed",
        f"Made by {code(command)}, without torch and without a network. "
        f"{count_verdicts(statements)} {count_outcomes(claims)}",
        markdown([questions, *course_sections(tables)]),
        "## Every statement",
        "A statement is reproduced where our number rounds to the printed one, or lies in the "
        "printed range. Said by: the course, a paper, or ours: drawn by us from what they say. "
        "Table: `statements.csv`.",
        markdown((Section(str(n), tables=(_show_statements(t),)) for n, t in rows), level=3),
        "## Every claim of the material",
        "In our words, each with what became of it: computed (the statements above), trained (a "
        f"record of this repository), or out of scope. Records: {link_records(claims)}. Table: "
        "`claims.csv`.",
        markdown(
            (
                Section(f"On {name}", tables=(_show_claims(part),))
                for name, part in claims.groupby("section", sort=False)
            ),
            level=3,
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _show_statements(statements: pd.DataFrame) -> Table:
    return Table(
        statements,
        (
            shown("statement"),
            shown("origin", "said by"),
            Column("ours", write_ours),
            shown("verdict", write=lambda v: f"**{v}**" if v == DIFFERS else v),
            Column(
                "how, and why it differs",
                lambda row: "; ".join(filter(None, (row["how"], row["why"]))),
            ),
        ),
    )


def _show_claims(claims: pd.DataFrame) -> Table:
    columns = (shown("id"), shown("claim"), Column("what became of it", write_outcome))
    return Table(claims, columns)


def _show_questions(questions: pd.DataFrame) -> Table:
    heads = {"question": None, "answer": None, "number": "our number", "how": "how"}
    return Table(questions, tuple(shown(name, head) for name, head in heads.items()))


# ---------------------------------------------------------------- what page.toml says


class _Cell(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        return written(value, FORMATS.get(format_spec, format_spec))


def _show_section(known: dict, frames: Tables, words: Mapping[str, Any]) -> Section:
    files = ", ".join(f"`{name}.csv`" for name in known["files"])
    return Section(
        known["title"],
        (known["text"].format_map(words), f"Tables: {files}."),
        tables=tuple(_show_table(table, frames, words) for table in known["table"]),
        figures=tuple(known.get("figures", ())),
    )


def _show_table(known: dict, frames: Tables, words: Mapping[str, Any]) -> Table:
    frame = frames[known["frame"]]
    cells = known.get("columns", {name: f"{{{name}}}" for name in frame})
    columns = (
        Column(
            head.format_map(words),
            partial(_Cell().vformat, cell, ()) if cell else WRITTEN[head].write,
        )
        for head, cell in cells.items()
    )
    return Table(frame, tuple(columns), known.get("caption", "").format_map(words))


def _write_gap(row: Mapping[str, Any]) -> str:
    gap, low, high = (row[f"loss_gap{end}"] for end in ("", "_low", "_high"))
    if gap != gap:
        return NOTHING
    return f"{with_interval(gap, low, high, '.2g', '.1g')}, {row['C_over']:.3g} x the compute"


WRITTEN = {
    column.head: column
    for column in (
        shown_interval("D_for_N", "optimal for this N", short),
        Column("left on the table (nats/token)", _write_gap),
    )
}


# ---------------------------------------------------------------- numbers behind it


def _derive_frames(tables: Tables) -> dict[str, pd.DataFrame]:
    """Tables that the page puts together from those of the folder."""
    errors = tables["formats_error"].pivot(index="format", columns="scale", values="error")
    formats = tables["formats"].assign(stored=tables["formats_pi"].stored)
    asked, told = tables["bloomberg"], bloomberg_budgets().set_index("budget")
    pairs = asked.assign(pair=asked.N_opt.map(short) + " on " + asked.D_opt.map(short))
    pairs = pairs.pivot(index="budget", columns="law", values="pair")[[*asked.law.unique()]]
    heads = {"budget": told.index + ": " + told.note, "C (FLOPs)": told.C.map("{:.3g}".format)}
    crossings = tables["crossings"]
    return {
        "billion": billion_table(),
        "formats_compared": formats.join(errors, on="format"),
        "bloomberg_asked": pd.DataFrame(heads).join(pairs),
        "kaplan_crosses": crossings.loc[crossings.law == "kaplan2020"],
    }


def _describe_numbers(tables: Tables) -> dict[str, Any]:
    """Numbers and names that the text fills in."""
    first, asked = tables["memory"].iloc[0], tables["bloomberg"]
    limited = asked.law[(asked.budget == "planned, as 6ND") & asked.data_limits]
    printed = float(get_source("kaplan2020").D_opt(1e21).value)
    drawn = float(allocation_table([1e21], ["kaplan2020"]).D_opt.iloc[0])
    dated = tables["models_by_date"]
    largest = dated.loc[dated.N.idxmax()]
    return {
        "largest": largest.model,
        "last": dated.model.iloc[-1],
        "last_share": dated.N.iloc[-1] / largest.N,
        "largest_difference": tables["pf_days"].difference.abs().max(),
        "params": short(first.params),
        "n_devices": first.n_devices,
        "device_gb": first.device_bytes / GB,
        "claims_differ": CLAIMS_DIFFER,
        "n_weights": WEIGHTS,
        "number": f"{tables['number'].value[0]:.16g}",
        "data_limits": ", ".join(limited),
        "printed_over_drawn": printed / drawn,
        "end": DECADES[1],
    }
