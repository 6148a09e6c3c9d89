from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from scaling.pages.replication import (
    checks_section,
    core_checks,
    findings_section,
    grouped_section,
    replication_page,
)
from scaling.replication.checks import (
    Check,
    checks_table,
)
from scaling.replication.entries import ENTRIES, Replication
from scaling.replication.formulas import FORMULAS

COMMITTED = Path(__file__).parents[2] / "results" / "published"


def test_a_page_shows_every_check_and_marks_what_is_wrong():
    good = Check("kaplan2020", "m", "a|b", published=1.0, ours=1.0, verdict="same")
    bad = replace(good, quantity="c", verdict="other", ok=False, is_finding=True, note="why")
    done = Replication("kaplan2020", checks_table([good, bad]), pd.DataFrame())
    page = replication_page([done], "the command", 7, 3)
    assert "2 checks of 1 entries, 1 not ok" in page
    assert "| m | a\\|b | 1 |  | 1 | - | same |" in page
    assert "NOT OK: other; why" in page
    assert "`the command`" in page and "7 bootstrap refits (seed 3)" in page
    assert findings_section(done.checks).items == ("kaplan2020, m, : other (why). c 1, ours 1.",)
    [table] = checks_section("kaplan2020", done.checks).tables
    assert all(len(cells) == len(table.heads) == 7 for cells in table.cells())


def test_a_terminal_says_once_what_checks_share():
    check = Check("e", "m", "a", published=1.0, source="P 2020, T, arXiv:1.2, table 3", ours=2.0)
    other = replace(check, quantity="b", method="n", ok=False, verdict="no")
    table = checks_table([check, other, replace(check, quantity="c")])
    section = grouped_section(Replication("e", table, pd.DataFrame()))
    captions = [table.caption for table in section.tables]
    assert captions == ["m; P 2020, table 3", "n; P 2020, table 3"]
    assert [table.cells() for table in section.tables] == [
        [["a", "1", "2", ""], ["c", "1", "2", ""]],
        [["b", "1", "2", "NOT OK: no"]],
    ]


def test_the_committed_record_holds():
    checks = pd.read_csv(COMMITTED / "checks.csv", keep_default_na=False, na_values=[""])
    assert checks.ok.all()
    assert set(checks.entry) == set(ENTRIES)
    assert "unavailable" not in set(checks.verdict)
    assert len(core_checks(checks.fillna({"source": "", "note": ""}))) >= 12
    # formulas need no data: the record is what they say today
    for entry, formulas in FORMULAS.items():
        today = checks_table(formulas())
        recorded = checks[checks.entry == entry].set_index(["method", "quantity", "published"])
        for row in today.dropna(subset="published").itertuples():
            published = float(f"{row.published:.8g}")  # as the record has it
            ours = recorded.loc[[(row.method, row.quantity, published)]].ours.iloc[0]
            assert ours == pytest.approx(row.ours, rel=1e-6)
