import pandas as pd
from verbs import SCREEN, count_lines, end_of

from scaling.laws import papers
from scaling.products import MANIFEST
from scaling.reproduce import FILES, main

QUICK = ["only=[cerebras2023]", "bootstrap=50"]


def test_it_checks_prints_and_writes(tmp_path, monkeypatch, capsys):
    assert end_of(main, [*QUICK, f"out={tmp_path}"], monkeypatch) is None
    printed, warned = capsys.readouterr()
    assert "cerebras2023: 7 rows, " in printed and "0 not ok" in printed
    assert "16 checks of 1 entry: 0 not ok, 3 published numbers that" in printed
    assert "- cerebras2023, parametric, power_C_E" in printed
    assert count_lines(printed) <= SCREEN and "Next:\n  python -m scaling.report" in printed
    assert warned.startswith("warning: D follows N in all 7 runs")
    assert warned.count("\n") == 1
    assert {p.name for p in tmp_path.iterdir()} == {*FILES, MANIFEST}
    checks = pd.read_csv(tmp_path / "checks.csv")
    assert checks.ok.all()
    assert {"entry", "quantity", "published", "ours", "low", "high", "verdict"} <= {*checks.columns}
    page = (tmp_path / "README.md").read_text()
    assert "`python -m scaling.reproduce only=[cerebras2023] bootstrap=50`" in page
    assert "### cerebras2023" in page and "## Extrapolation audit" in page


def test_a_check_that_is_not_ok_ends_it_with_an_error(tmp_path, monkeypatch):
    models = papers.cerebras_models()
    models.loc[0, "loss"] *= 1.3
    monkeypatch.setattr(papers, "cerebras_models", lambda: models)
    assert "checks not ok: see NOT OK in README.md" in end_of(
        main, [*QUICK, f"out={tmp_path}"], monkeypatch
    )
    assert "NOT OK" in (tmp_path / "README.md").read_text()  # written all the same


def test_an_unknown_entry_is_one_line(tmp_path, monkeypatch):
    told = end_of(main, ["only=[pile]", f"out={tmp_path}"], monkeypatch)
    assert told.startswith("error: only=['pile'] must name entries") and "\n" not in told
    assert not [*tmp_path.iterdir()]
