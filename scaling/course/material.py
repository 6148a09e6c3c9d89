"""Every claim of the course's material and what became of it: computed, trained or out of scope.

Claims stand in claims.csv, in our own words. A computed one is held to its statements (their column
`claim` names it), a trained one to a record under results/, any other to a reason.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from scaling.course.statements import DIFFERS, REPRODUCED, write_ours
from scaling.files import read_table

COMPUTED, TRAINED, OUT_OF_SCOPE = "computed", "trained", "out of scope"


def claims_table(statements: pd.DataFrame) -> pd.DataFrame:
    """Say of every claim what became of it.

    Parameters
    ----------
    statements : DataFrame
        As `statements_table` returns it.

    Returns
    -------
    DataFrame with columns id, section, claim, outcome (computed, trained, out of scope), where (a
        folder of results/), note (the reason, or what to know), reproduced and differ (how many of
        its statements), right (ours, for the statements that differ)
    """
    table = read_table(Path(__file__).with_name("claims.csv"))
    held = statements.assign(id=statements.claim.str.split()).explode("id")
    counts = held.groupby(["id", "verdict"]).size().unstack(fill_value=0)
    counts = counts.reindex(table.id, fill_value=0)
    wrong = held.loc[held.verdict == DIFFERS]
    told = wrong.assign(right=[f"{r['statement']}: {write_ours(r)}" for r in _rows(wrong)])
    right = told.groupby("id", sort=False).right.agg("; ".join).reindex(table.id, fill_value="")
    return table.assign(
        reproduced=[*counts[REPRODUCED]],
        differ=[*counts[DIFFERS]],
        right=right.to_numpy(),
    )


def questions_table(statements: pd.DataFrame) -> pd.DataFrame:
    """Answer questions in the manner of the course's quiz.

    Returns
    -------
    DataFrame with columns question, answer, number (ours, with its unit), how
    """
    table = read_table(Path(__file__).with_name("questions.csv"))
    found = statements.set_index("statement").loc[table.statement]
    return table.assign(number=[write_ours(row) for row in _rows(found)], how=found.how.to_numpy())


def count_outcomes(claims: pd.DataFrame) -> str:
    """Say how many claims were computed, trained, left out."""
    n = claims.outcome.value_counts().reindex([COMPUTED, TRAINED, OUT_OF_SCOPE], fill_value=0)
    off = (claims.differ > 0).sum()
    return (
        f"Of the {len(claims)} claims of its material {n[COMPUTED]} are computed, {n[TRAINED]} "
        f"trained and {n[OUT_OF_SCOPE]} out of scope; {off} do not hold, or not as they are said."
    )


def write_outcome(row: Mapping) -> str:
    """Write what came of a claim: the right values, a record, or the reason."""
    if row["outcome"] == TRAINED:
        return f"trained: results/{row['where']}; {row['note']}"
    if row["outcome"] == OUT_OF_SCOPE:
        return f"out of scope: {row['note']}"
    parts = [f"{row['reproduced']} reproduced"] if row["reproduced"] else []
    parts += [f"**differs**: {row['right']}"] if row["differ"] else []
    return "computed: " + "; ".join(filter(None, [*parts, row["note"]]))


def link_records(claims: pd.DataFrame) -> str:
    """Links to the records of trained claims, as they stand on the page."""
    records = sorted({*claims["where"]} - {""})
    return ", ".join(f"[results/{name}](../{name}/README.md)" for name in records)


def _rows(table: pd.DataFrame) -> list[dict]:
    return table.to_dict("records")
