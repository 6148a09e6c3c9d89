"""The answer fits a screen, whatever is in it, and says what a reader asks first."""

from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from scaling.pages.answer import (
    ANSWER,
    LINES,
    WIDTH,
    Answer,
    name_files,
    print_answer,
    tell_sections,
    wrap,
    write_answer,
)
from scaling.pages.fit_answer import end_with, tell_folder
from scaling.pages.text import Section

RESULTS = Path(__file__).parents[2] / "results"
LONG = "a reason that somebody wrote at length, with 1.23 [1.1, 1.4] of it, " * 12


def height(lines, width=WIDTH):
    return sum(max(1, -(-len(line) // width)) for line in lines)


@pytest.mark.parametrize("doubts", [0, 1, 30])
@pytest.mark.parametrize("found", [1, 2, 12])
def test_an_answer_is_a_screen(found, doubts):
    step = f"python -m scaling.plan budget=3.2e12 law=results/{'demo' * 30}"
    answer = Answer((LONG,) * found, (LONG,) * doubts, (step,), (LONG[:150],))
    lines = write_answer(answer)
    assert height(lines) <= LINES
    assert lines[0].startswith("a reason") and f"  {step}" in lines
    assert "with verbose=true" in lines[-1]
    gone = found + doubts - sum("a reason" in line and not line.startswith("  ") for line in lines)
    assert gone <= 0 or "more of this" in lines[-1]


def test_all_is_said_where_all_is_asked_for():
    told = "\n".join(write_answer(Answer(("Short.",), ("doubt",) * 40), lines=None))
    assert told.count("- doubt") == 40 and "verbose" not in told


def test_an_interval_stays_on_its_line():
    lines = wrap("tokens per parameter 8.67 [7.46, 9.94] at most", 32)
    assert lines == ["tokens per parameter 8.67", "[7.46, 9.94] at most"]
    assert wrap("python-is-not-broken at-hyphens", 21) == ["python-is-not-broken", "at-hyphens"]


def test_files_are_named_and_many_are_counted(tmp_path):
    few = ["fits.csv", "README.md", "ratio.png", "compute.png"]
    told = name_files(few, tmp_path)
    assert told == f"README.md, fits.csv, figures ratio, compute are in {tmp_path}"
    many = ["report.html", "README.md", *(f"{n}.csv" for n in range(20))]
    assert name_files(many, tmp_path) == f"README.md, report.html, 20 more files are in {tmp_path}"
    assert name_files(["README.md"], tmp_path) == f"README.md is in {tmp_path}"


def test_sections_are_made_where_they_are_printed():
    def refuse():
        raise AssertionError("nobody asked for tables")
        yield

    console = Console(record=True, width=80)
    print_answer(console, Answer(("It is 3.",)), refuse(), verbose=False)
    print_answer(console, Answer(("It is 4.",)), [Section("Table", ("full",))], verbose=True)
    told = console.export_text()
    assert told.index("It is 3.") < told.index("Table ──") < told.index("It is 4.")


def test_an_answer_among_the_sections_of_a_page_is_told_once():
    console, answer = Console(record=True, width=80), Answer(("It is 5.",))
    sections = [Section(ANSWER, answer.found), Section("Table", ("full",))]
    print_answer(console, answer, sections, verbose=True)
    told = console.export_text()
    assert told.count("It is 5.") == 1 == told.count("The answer ──")


def test_sections_without_an_answer_of_their_own_are_cut():
    assert tell_sections([Section("Held-out text", ("loss 3",))]).found == (
        "Held-out text. loss 3",
    )


# ---------------------------------------------------------------- fits


def test_the_demo_says_its_ratio_first():
    """As its own files have it."""
    folder = RESULTS / "demo-enwik8-cpu"
    optima = pd.read_csv(folder / "optima.csv")
    [row] = optima.loc[(optima.C.max() == optima.C) & (optima.method == "isoflop_power")].to_dict(
        "records"
    )
    ratio, low, high = (f"{row[f'tokens_per_param{end}']:.3g}" for end in ("", "_low", "_high"))
    lines = write_answer(tell_folder(folder))
    assert lines[0].startswith(f"{ratio} [{low}, {high}] tokens per parameter at {row['C']:.3g}")
    told = " ".join(" ".join(lines).split())
    assert f"N_opt {row['N_opt'] / 1e3:.3g}k [" in told and "N_opt grows as C^a with a = 0." in told
    assert "(isoflop_power, ok; brackets: 90% intervals)" in told
    assert "where N is non_embedding" in told
    assert len(lines) <= LINES


def test_what_the_runs_reject_is_to_be_distrusted():
    answer = tell_folder(RESULTS / "reference-enwik8-cpu")
    assert answer.doubts[0].startswith("parametric is rejected: F(49, 14) = 59")
    assert "their intervals have no value in common" in answer.doubts[1]


def test_the_next_step_plans_with_the_folder(monkeypatch):
    monkeypatch.chdir(RESULTS.parent)
    folder = RESULTS / "demo-enwik8-cpu"
    end = end_with(tell_folder(folder), folder, ["fit.json", "ratio.png"], {"isoflop": "no bowl"})
    step = "python -m scaling.plan budget=3.2e12 law=results/demo-enwik8-cpu"
    assert end.steps == (step,)
    assert end.doubts[-1] == "figure isoflop not drawn: no bowl."
