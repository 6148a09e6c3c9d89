import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from scaling.commandline import make_console
from scaling.fitting.conventions import convention_table
from scaling.fitting.settings import FitConfig
from scaling.pages.fits import (
    excluded_section,
    fit_lines,
    optima_section,
    report_sections,
    results_page,
)
from scaling.pages.text import Section, Table, make_section, markdown, print_sections, shown
from scaling.quantities import format_quantity as readable
from scaling.results import (
    FITS,
    data_hash,
    fit_conventions,
    fit_tables,
    read_tables,
    write_figures,
    write_fits,
    write_tables,
)
from scaling.tables.observations import Convention
from scaling.tables.runs import load_curves, load_runs

QUICK = FitConfig(bootstrap=30, audit=False)


def small_grid():
    """Three noiseless bowls on a known surface, as one of our own tables."""
    rows = [
        dict(budget=C, N=N, D=C / (6 * N))
        for C in (1e12, 4e12, 1.6e13)
        for N in 1e5 * (C / 1e12) ** 0.5 * np.geomspace(0.3, 3, 6)
    ]
    table = pd.DataFrame(rows)
    table["loss"] = 2.0 + 60 * table.N**-0.35 + 200 * table.D**-0.35
    return load_runs(
        pd.DataFrame(
            dict(
                run_id=[f"run{i}" for i in range(len(table))],
                name=[f"model{i}" for i in range(len(table))],
                total_params=table.N.round().astype(int),
                tokens=table.D.round().astype(int),
                flops=6 * table.N * table.D,
                flops_budget=table.budget,
                loss=table.loss,
                status="ok",
                reason="",
            )
        )
    )


@pytest.fixture(scope="module")
def runs():
    return small_grid()


@pytest.fixture(scope="module")
def report(runs):
    return fit_tables(runs, None, QUICK)


@pytest.mark.parametrize(
    "value, text",
    [
        (57_504, "57.5k"),
        (1.4e12, "1.4T"),
        (70e9, "70B"),
        (999.6e3, "1M"),
        (5.76e23, "5.76e+23"),
        (18.25, "18.2"),
        (float("nan"), "-"),
    ],
)
def test_numbers_for_people(value, text):
    assert readable(value) == text


@given(st.floats(1e-3, 1e14))
def test_readable_numbers_keep_three_digits(value):
    text = readable(value)
    scale = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}.get(text[-1], 1)
    assert float(text.rstrip("kMBT")) * scale == pytest.approx(value, rel=0.006)


def test_tables_come_back_from_a_folder(runs, tmp_path):
    curves = load_curves(
        pd.DataFrame(dict(run_id=["run0"], step=[1], tokens=[5], flops=[1.0], loss=[4.0], lr=[0.1]))
    )
    write_tables(tmp_path, runs, curves)
    again, curves_again = read_tables(tmp_path)
    pd.testing.assert_frame_equal(again, runs, check_dtype=False)
    assert curves_again is not None
    pd.testing.assert_frame_equal(curves_again, curves, check_like=True)
    alone, none = read_tables(tmp_path / "runs.csv")[0], read_tables_without_curves(tmp_path, runs)
    pd.testing.assert_frame_equal(alone, again)
    assert none is None


def read_tables_without_curves(folder, runs):
    runs.to_csv(folder / "foreign.csv", index=False)
    return read_tables(folder / "foreign.csv")[1]


def test_a_folder_is_told_what_was_written(runs, report, tmp_path):
    names = write_fits(tmp_path, report)
    assert {p.name for p in tmp_path.iterdir()} == {*names} <= {*FITS}
    assert "audit.csv" not in names and "answer.json" in names


def test_tables_and_settings_decide_a_fit(runs):
    made_from = data_hash(runs, None, QUICK)
    assert made_from == data_hash(runs.copy(), None, QUICK)
    others = [data_hash(runs.iloc[1:], None, QUICK), data_hash(runs, None, FitConfig(bootstrap=31))]
    assert made_from not in others


def test_convention_follows_the_table_unless_chosen(runs):
    assert FitConfig().convention(runs) == Convention("total", "counted")
    assert FitConfig(C="6ND").convention(runs) == Convention("total", "6ND")


@pytest.mark.long
def test_every_figure_is_written_as_png(runs, report, tmp_path):
    paths, refused = write_figures(tmp_path, runs, None, report)
    assert {p.stem for p in paths} | set(refused) == {
        "compute",
        "isoflop",
        "contour",
        "triptych",
        "ratio",
    }
    assert len(paths) >= 4
    assert {p.name for p in tmp_path.iterdir()} == {f"{p.stem}.png" for p in paths}


def test_the_page_names_convention_methods_and_excluded_runs(runs, report):
    runs = runs.copy()
    runs.loc[3, ["status", "reason"]] = ["diverged", "loss became nan"]
    conventions = convention_table(fit_conventions(runs, QUICK))
    page = results_page(
        "Sweep x", "python -m scaling.sweep", ["18 runs"], runs, report, conventions, []
    )
    for part in ("# Sweep x", report.convention.describe(), "parametric: ok", "kaplan_LC"):
        assert part in page
    assert "model3 (run3): diverged, loss became nan" in page
    assert len(page.splitlines()) < 100


NASTY = "[/x] <img src=x>|`rm`\n# [click](http://evil)"


def test_names_of_others_are_text_on_every_page(runs, report, capsys):
    runs = runs.assign(name=NASTY)
    runs.loc[3, ["status", "reason"]] = ["diverged", NASTY]
    conventions = convention_table(fit_conventions(runs, QUICK))
    page = results_page(NASTY, NASTY, [NASTY], runs, report, conventions, [])
    frame = pd.DataFrame({NASTY: [NASTY]})
    table = Table(frame, (shown(NASTY),), caption=NASTY)
    section = Section(NASTY, (NASTY,), (NASTY,), (table,))
    page += markdown([section])
    assert page.count("click") > 9
    for line in page.splitlines():
        prose = re.sub("``.*``", "", line)  # code is as it was
        assert "<img" not in prose and "](http" not in prose
        assert not line.startswith("# [click")
    assert "| [/x] &lt;img src=x>\\|`rm` # [click]\\(http://evil) |" in page
    console = make_console()
    print_sections(console, [section, excluded_section(runs)])
    assert capsys.readouterr().out.count("[/x] <img src=x>|`rm`") >= 5


def test_the_printed_table_has_every_budget_and_method(report, runs):
    console = Console(record=True, width=160, file=open("/dev/null", "w"))  # noqa: SIM115
    print_sections(console, report_sections(runs, report))
    text = console.export_text()
    console.file.close()
    for word in ("1e+12", "4e+12", "1.6e+13", "bowl", "isoflop", "parametric", "tokens/param"):
        assert word in text
    assert report.convention.describe() in text


def test_refusals_are_lines_too(report):
    lines = list(fit_lines(report))
    assert len(lines) == len(report.fits) + len(report.refusals)


def test_optima_recover_the_surface(report):
    from scaling.fitting.optima import optima_table

    [table] = optima_section(optima_table(report), report.convention).tables
    cells = table.cells()
    ratios = {(row[0], row[1]): float(row[5].split(" ")[0]) for row in cells}
    G = (60 / 200) ** (1 / 0.7)
    truth = (1e12 / 6) ** 0.5 / G / ((1e12 / 6) ** 0.5 * G)
    assert ratios[("1e+12", "parametric")] == pytest.approx(truth, rel=0.01)


def test_runs_that_a_filter_left_out_are_named_by_its_words():
    table = pd.DataFrame({"N": [1e6, 2e6, 3e6], "D": [1e8] * 3, "loss": [3.0, 2.9, 2.8]})
    table = table.assign(rate=["a", "b", "a"], State=["finished", "finished", "failed"])
    runs = load_runs(table, where={"rate": "a"})
    assert excluded_section(runs).items == (
        "row0003: failed, as the table says",
        "not rate == a: row0002",
    )


def test_a_head_of_a_table_too_wide_breaks_where_it_divides(capsys):
    frame = pd.DataFrame([["a law " * 6, "x" * 30, "1 [2, 3]", "y" * 20]])
    frame.columns = ["law", "N", "tokens/param", "rest"]
    section = make_section("Laws", frame, tuple(shown(name) for name in frame))
    print_sections(Console(width=90), [section])
    assert "tokens/ " in capsys.readouterr().out
