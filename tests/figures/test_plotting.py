"""Figures that a fit and a report draw of themselves, as a notebook shows them."""

import io
from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from PIL import Image

import scaling
from scaling.fitting.audit import audit_laws
from scaling.fitting.prepared import prepare


@pytest.fixture(scope="module")
def runs(grid):
    return grid(noise=0.002)


@pytest.fixture(scope="module")
def report(runs):
    return scaling.fit_all(runs, bootstrap=0, audit=False)


def test_a_report_draws_one_figure_that_shows_itself(report):
    figure = report.plot("ratio")
    png = figure._repr_png_()
    assert len(png) < 60_000
    assert Image.open(io.BytesIO(png)).format == "PNG"


def test_what_cannot_be_drawn_says_why(report, runs):
    with pytest.raises(ValueError, match="there is no figure 'pie'; choose one of"):
        report.plot("pie")
    alone = scaling.Report(report.fits, (), report.convention, report.budgets)
    with pytest.raises(ValueError, match=r"came without its runs; make it by fit_all\(runs\)"):
        alone.plot()
    few = scaling.fit_all(runs.groupby("flops_budget").head(2), bootstrap=0, audit=False)
    with pytest.raises(ValueError, match="figure 'isoflop' cannot be drawn: "):
        few.plot()


def test_a_fit_draws_itself_over_its_runs_and_alone(report, runs):
    bowls, alone = report["isoflop"].plot(runs), report["isoflop"].plot()
    assert isinstance(bowls, Figure) and isinstance(alone, Figure)
    assert len(bowls.axes) == 3 and len(alone.axes) == 1


def test_short_plain_words_for_a_report_and_an_audit(report, runs):
    audit = audit_laws(prepare(runs), laws=("chinchilla_tied",))
    report = replace(report, audit=audit)
    lines = repr(report).splitlines()
    assert 4 <= len(lines) <= 8 and max(map(len, lines)) < 400
    assert lines[1].startswith("  quote isoflop_power: ")
    assert "N_opt " in lines[2] and "tokens/param " in lines[2]
    assert "isoflop ok" in lines[3] and "envelope refused" in lines[3]
    told = repr(report.audit).splitlines()
    assert len(told) == 3 and "predicts larger budgets best" in told[0]
