"""The verb that writes report.html, and the other that writes it beside its tables."""

from pathlib import Path

import pandas as pd
import pytest
from verbs import end_of

from scaling import fit, plot, report, results
from scaling.commandline import name_step
from scaling.report import _choose_folder

QUICK = ["fit.bootstrap=0", "fit.audit=false"]


@pytest.fixture
def table(tmp_path):
    sizes = [3e4, 1e5, 3e5, 1e6]
    rows = [(N, D, 2 + 60 * N**-0.35 + 200 * D**-0.35) for N in sizes for D in (1e6, 5e6, 2e7)]
    pd.DataFrame(rows, columns=["N", "D", "loss"]).to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path / "mine.csv"


def test_a_page_is_written_beside_the_table_and_nobody_elses(table, monkeypatch, capsys):
    words = [f"runs={table}", *QUICK]
    assert end_of(report.main, words, monkeypatch) is None
    page = table.with_name("report.html")
    told = capsys.readouterr().out
    assert f"{page.resolve()}" in told
    assert f"Next:\n  python -m scaling.plan budget=2.4e14 law={table}\n" in told
    assert "Scaling laws of mine" in page.read_text() and "fit.huber_delta" in page.read_text()
    assert end_of(report.main, words, monkeypatch) is None  # its own it writes again
    table.with_name("manifest.json").unlink()
    told = end_of(report.main, words, monkeypatch)
    assert "report.html was not written by this program" in told


def test_a_fit_writes_the_page_beside_its_tables(table, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "write_figures", lambda *_: ([], {}))  # they take their time
    words = [f"runs={table}", f"out={tmp_path / 'fits'}", *QUICK]
    assert end_of(fit.main, words, monkeypatch) is None
    assert "python -m scaling.fit" in (tmp_path / "fits" / "report.html").read_text()


def test_figures_too_end_with_a_plan_by_their_table(table, monkeypatch, capsys):
    monkeypatch.setattr(results, "write_figures", lambda *_: ([], {}))
    assert end_of(plot.main, [f"runs={table}", "fit.bootstrap=0"], monkeypatch) is None
    told = capsys.readouterr().out
    assert f"Next:\n  python -m scaling.plan budget=2.4e14 law={table}\n" in told


def test_a_step_reads_the_table_as_the_report_did(table, monkeypatch):
    monkeypatch.setattr("sys.argv", ["report", f"runs={table}", "columns={a b: N}", "out=x"])
    plan = name_step(table, "python -m scaling.plan budget=1e13")
    assert plan == f"python -m scaling.plan budget=1e13 law={table} 'columns={{a b: N}}'"
    elsewhere = name_step(Path("epoch2024"), "python -m scaling.plan budget=1e13")
    assert elsewhere == "python -m scaling.fit runs=epoch2024 'columns={a b: N}'"


def test_a_published_table_goes_where_things_are_tried(tmp_path):
    command = report.ReportCommand(runs="epoch2024", results="results")
    assert str(_choose_folder(command, tmp_path / "epoch2024")) == "results/try/epoch2024"
    assert _choose_folder(command, tmp_path) == tmp_path


def test_what_a_sweep_was_asked_is_told(tmp_path):
    assert results.read_config(tmp_path) == {}
    (tmp_path / "config.yaml").write_text("name: demo\ngrid: {sizes: 6}\n")
    assert results.read_config(tmp_path) == {"name": "demo", "grid": {"sizes": 6}}
