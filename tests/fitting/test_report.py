import io

import numpy as np
import pandas as pd
import pytest

from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.report import fit_all, fit_law, fits_table, optima_table
from scaling.runs import Convention

METHODS = ["parametric", "isoflop", "envelope", "kaplan_LC", "kaplan_LN", "kaplan_LD"]


@pytest.fixture(scope="module")
def runs(grid):
    return grid(noise=0.007, seed=1)


@pytest.fixture(scope="module")
def report(runs, curves_of):
    return fit_all(runs, curves_of(runs), n_bootstrap=100)


def test_every_method_reports(report):
    assert [fit.method for fit in report.fits] == METHODS
    assert report.refusals == ()
    assert report.convention == Convention("total", "counted")
    assert {fit.convention for fit in report.fits} == {report.convention}
    assert all(fit.bootstrap.n == 100 for fit in report.fits)


def test_methods_agree_on_a_clean_grid(report, optimum_of):
    for C in report.budgets:
        N, D = optimum_of(C)
        for method in ("parametric", "isoflop"):
            assert report[method].N_opt(C).value == pytest.approx(N, rel=0.06)
            assert report[method].tokens_per_param(C).value == pytest.approx(D / N, rel=0.12)


def test_intervals_hold_the_truth_about_as_often_as_they_say(obs_of, optimum_of):
    N, D = optimum_of(8e11)
    held = {"parametric": 0, "isoflop": 0}
    for seed in range(30):
        obs = obs_of(noise=0.007, seed=seed)
        for fit in (fit_parametric(obs, n_bootstrap=100), fit_isoflop(obs, n_bootstrap=100)):
            ratio = fit.tokens_per_param(8e11)
            held[fit.method] += ratio.low <= D / N <= ratio.high
    assert min(held.values()) >= 22  # 27 expected of a 90 % interval


def test_a_refusal_does_not_stop_the_others(grid):
    report = fit_all(grid(noise=0.007, drift=6.0, width=2.0), n_bootstrap=20)
    refused = dict(report.refusals)
    assert "0 of 4 have one" in refused["isoflop"]
    assert refused["kaplan_LC"] == "it is read off the isoflop fit, which was refused"
    assert report["parametric"].status == "ok"
    with pytest.raises(KeyError, match="needs 2 budgets"):
        report["isoflop"]
    table = fits_table(report)
    assert table[table.status == "refused"].method.tolist()[0] == "isoflop"


def test_too_few_runs_refuse_every_method(grid):
    report = fit_all(grid().head(4), n_bootstrap=0)
    assert not report.fits
    assert len(optima_table(report)) == 0
    assert set(fits_table(report).status) == {"refused"}


def test_optima_table_is_complete(report):
    table = optima_table(report)
    assert set(table.method) == {"parametric", "isoflop", "isoflop_bowl", "envelope"}
    assert len(table) == 4 * 4
    assert (table.N_opt_low <= table.N_opt_high).all()
    assert optima_table(report, [1e13]).status.tolist() == ["extrapolated"] * 3


def test_fits_table_keeps_full_precision_and_what_it_was_made_of(report):
    table = pd.read_csv(io.StringIO(fits_table(report).to_csv(index=False)))
    pick = table[(table.method == "parametric") & (table.quantity == "E")].iloc[0]
    assert pick.value == report["parametric"].params["E"]
    assert (pick.N_convention, pick.C_convention, pick.n_runs) == ("total", "counted", 28)
    assert pick.unit == "nats/token"
    assert not table.duplicated(["method", "quantity", "C"]).any()
    assert table[["objective", "n_runs", "n_bootstrap"]].notna().all(axis=None)


def test_conventions_are_fitted_again(runs, report):
    again = fit_all(runs, convention=Convention("total", "6ND"), n_bootstrap=0)
    assert again["parametric"].params == report["parametric"].params
    N, D = again["parametric"].N_opt(4e11).value, again["parametric"].D_opt(4e11).value
    np.testing.assert_allclose(N * D, 4e11 / 6)
    assert report["parametric"].N_opt(4e11).value != pytest.approx(N, rel=1e-3)
    assert again["isoflop"].convention.C == "6ND"


def test_unfinished_runs_are_named(runs):
    broken = runs.copy()
    broken.loc[3, ["status", "loss"]] = ["diverged", np.nan]
    fit = fit_all(broken, n_bootstrap=0)["parametric"]
    assert fit.excluded == (("row0004", "status diverged"),)
    assert fit.n_runs == 27


def test_one_line_fits_any_table(tmp_path):
    N, D = (g.ravel() for g in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    table = pd.DataFrame({"size": N, "D": D, "loss": 1.7 + 400 / N**0.34 + 410 / D**0.28})
    table.to_csv(tmp_path / "runs.csv", index=False)
    fit = fit_law(tmp_path / "runs.csv", columns={"size": "N"}, bootstrap=10)
    assert fit.params["alpha"] == pytest.approx(0.34, rel=1e-5)
    assert fit.convention == Convention("as_given", "6ND")
    with pytest.raises(ValueError, match=r"lacks \['N'\]"):
        fit_law(tmp_path / "runs.csv")
