import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_tables import made, true_optimum

from scaling.fitting.criterion import Criterion
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.optima import disagreement_table, fits_table, optima_table
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.report import fit_all, fit_law, profile_law
from scaling.fitting.settings import FitSettings
from scaling.laws.table import LAWS
from scaling.tables.observations import Convention, RunsWarning

FRONTIERS = ["parametric", "isoflop", "isoflop_power", "envelope"]
METHODS = [*FRONTIERS, "kaplan_LC", "kaplan_LN", "kaplan_LD"]


@pytest.fixture(scope="module")
def runs(grid):
    return grid(noise=0.007, seed=1)


@pytest.fixture(scope="module")
def report(runs, curves_of):
    """Audited are three laws instead of all: the others take most of the time."""
    few = ("chinchilla", "chinchilla_tied", "kaplan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scaling.fitting.audit.list_audited", lambda: few)
        return fit_all(runs, curves_of(runs), bootstrap=100)


def test_every_method_reports(report):
    assert [fit.method for fit in report.fits] == METHODS
    assert report.refusals == ()
    assert report.convention == Convention("total", "counted")
    assert {fit.convention for fit in report.fits} == {report.convention}
    seedless = ["envelope"]  # no seeds are repeated in this grid
    assert [fit.method for fit in report.fits if fit.bootstrap.n != 100] == seedless


def test_methods_agree_on_a_clean_grid(report, optimum_of):
    for C in report.budgets:
        N, D = optimum_of(C)
        for method in ("parametric", "isoflop", "isoflop_power"):
            assert report[method].N_opt(C).value == pytest.approx(N, rel=0.06)
            assert report[method].tokens_per_param(C).value == pytest.approx(D / N, rel=0.12)


@pytest.mark.long
def test_intervals_hold_the_truth_about_as_often_as_they_say(obs_of, optimum_of):
    N, D = optimum_of(8e11)
    held = {"parametric": 0, "isoflop": 0}
    for seed in range(30):
        obs = obs_of(noise=0.007, seed=seed)
        for fit in (
            fit_parametric(Prepared.of(obs), FitSettings(bootstrap=100)),
            fit_isoflop(Prepared.of(obs), FitSettings(bootstrap=100)),
        ):
            ratio = fit.tokens_per_param(8e11)
            held[fit.method] += ratio.low <= D / N <= ratio.high
    assert min(held.values()) >= 22  # 27 expected of a 90 % interval


def test_a_refusal_does_not_stop_the_others(grid):
    report = fit_all(grid(noise=0.007, drift=6.0, width=2.0), bootstrap=20, audit=False)
    refused = dict(report.refusals)
    assert "0 of 4 have one" in refused["isoflop"]
    assert refused["kaplan_LC"] == "it is read off the isoflop fit, which was refused"
    assert report["parametric"].status == "ok"
    with pytest.raises(KeyError, match="needs 2 budgets"):
        report["isoflop"]
    table = fits_table(report)
    assert table[table.status == "refused"].method.tolist()[0] == "isoflop"


def test_too_few_runs_refuse_every_method(grid):
    with pytest.raises(ValueError, match=r"DataFrame has 3 finished runs .*needs at least 4"):
        fit_all(grid().head(3), bootstrap=0)
    with pytest.warns(RunsWarning, match="all 4 runs cost about 2e.11 FLOPs; one budget"):
        report = fit_all(grid().head(4), bootstrap=0)
    assert not report.fits
    assert len(optima_table(report)) == 0
    assert set(fits_table(report).status) == {"refused"}


def test_optima_table_is_complete(report):
    table = optima_table(report)
    assert set(table.method) == {*FRONTIERS, "isoflop_bowl", "isoflop_power_bowl"}
    assert len(table) == 4 * 6
    known = table[table.method != "envelope"]
    assert (known.N_opt_low < known.N_opt_high).all()
    assert optima_table(report, [1e13]).status.tolist() == ["extrapolated"] * 4


def test_fits_table_keeps_full_precision_and_what_it_was_made_of(report):
    table = pd.read_csv(io.StringIO(fits_table(report).to_csv(index=False)))
    pick = table[(table.method == "parametric") & (table.quantity == "E")].iloc[0]
    assert pick.value == report["parametric"].params["E"]
    assert (pick.N_convention, pick.C_convention, pick.n_runs) == ("total", "counted", 28)
    assert pick.unit == "nats/token"
    assert not table.duplicated(["method", "quantity", "C"]).any()
    assert table[["objective", "n_runs", "n_bootstrap"]].notna().all(axis=None)


def test_conventions_are_fitted_again(runs, report):
    again = fit_all(runs, convention=Convention("total", "6ND"), bootstrap=0, audit=False)
    assert again["parametric"].params == report["parametric"].params
    N, D = again["parametric"].N_opt(4e11).value, again["parametric"].D_opt(4e11).value
    np.testing.assert_allclose(N * D, 4e11 / 6)
    assert report["parametric"].N_opt(4e11).value != pytest.approx(N, rel=1e-3)
    assert again["isoflop"].convention.C == "6ND"


def test_unfinished_runs_are_named(runs):
    broken = runs.copy()
    broken.loc[3, ["status", "loss"]] = ["diverged", np.nan]
    fit = fit_all(broken, bootstrap=0, audit=False)["parametric"]
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


def test_methods_say_how_far_they_are_apart(report):
    table = disagreement_table(report).set_index(["C", "quantity"])
    C = report.budgets[-1]
    row = table.loc[(C, "N_opt")]
    values = {method: report[method].N_opt(C) for method in FRONTIERS}
    assert row.lowest == min(e.value for e in values.values())
    assert row.highest_method == max(values, key=lambda m: values[m].value)
    assert row.ratio == pytest.approx(row.highest / row.lowest)
    shared = max(e.low for e in values.values()) <= min(e.high for e in values.values())
    assert row.overlap == shared
    assert 10 * C in table.index.get_level_values("C")


def test_only_methods_that_are_ok_disagree(report):
    worse = [replace(f, status="rejected") if f.method == "parametric" else f for f in report.fits]
    table = disagreement_table(replace(report, fits=tuple(worse)))
    assert "parametric" not in {*table.lowest_method, *table.highest_method}


def test_one_method_is_recommended_with_its_reason(report):
    method, reason = report.recommended
    assert method == "isoflop_power"
    assert "its intervals are the narrowest" in reason
    rejected = [
        replace(f, status="rejected") if f.method in ("isoflop_power", "parametric") else f
        for f in report.fits
    ]
    method, reason = replace(report, fits=tuple(rejected)).recommended
    assert method == "isoflop"
    assert "isoflop_power is rejected, parametric is rejected" in reason
    nothing = replace(report, fits=(), refusals=(("isoflop", "too few"),)).recommended
    assert nothing.method is None
    assert nothing.reason.startswith("no method is ok; isoflop_power was refused")


def test_answers_without_some_rows_stand_beside_those_of_all(report):
    table = report.sensitivity
    assert {*table.method} == {"parametric", "isoflop", "isoflop_power"}
    assert (report.budgets[-1] == table.C).all()
    whole = table[table.rows == "all"].set_index("method")
    for method in whole.index:
        found = report[method].tokens_per_param(report.budgets[-1])
        assert whole.tokens_per_param[method] == found.value
    rows = table[table.method == "parametric"].rows
    assert rows.str.startswith("without run ").sum() == 3
    assert rows.tolist()[1:5] == [
        "without the sixth of largest D/N",
        "without the sixth of fewest tokens",
        "without the smallest budget",
        "without the largest budget",
    ]


@pytest.mark.long
def test_the_run_that_moves_the_answer_most_is_named(runs):
    spoilt = runs.assign(loss=runs.loss.where(runs.run_id != "row0028", runs.loss * 1.2))
    table = fit_all(spoilt, bootstrap=0, loss="mse").sensitivity
    named = table[table.rows.str.startswith("without run ")]
    assert named.rows.iloc[0] == "without run row0028"
    again = fit_law(spoilt[spoilt.run_id != "row0028"], bootstrap=0, loss="mse")
    expected = again.N_opt(table.C.iloc[0]).value
    assert named.N_opt.iloc[0] == pytest.approx(expected, rel=0.02)  # another C(N, D)


def test_without_resampling_nobody_says_whether_intervals_overlap(runs):
    assert disagreement_table(fit_all(runs, bootstrap=0, audit=False)).overlap.isna().all()


def test_a_report_audits_itself(report, runs):
    assert report.audit is not None
    ranking = report.audit.ranking.set_index("law")
    assert {"chinchilla", "chinchilla_tied", "kaplan"} <= {*ranking.index}
    assert ranking.mean_abs_error["chinchilla_tied"] < 0.005  # the grid's own law, alpha = beta
    assert report["parametric"].inflation == report.audit.inflation("chinchilla") >= 1
    assert fit_all(runs, bootstrap=0, audit=False).audit is None


def test_a_fit_says_what_it_was_made_from(runs):
    fit = fit_law(runs, bootstrap=0)
    again = fit_law(runs.assign(name="x"), bootstrap=0)
    other = fit_law(runs.assign(loss=runs.loss * 1.001), bootstrap=0)
    assert fit.data.source == "DataFrame"
    assert len(fit.data.sha256) == 64
    assert fit.data == again.data
    assert fit.data != other.data


def test_a_path_a_name_and_a_table_are_fitted_alike(runs, tmp_path):
    runs.rename(columns={"total_params": "size"}).to_csv(tmp_path / "runs.csv", index=False)
    options = {"bootstrap": 5, "kind": "seed", "residual": "linear", "loss": "mse", "seed": 3}
    whole = fit_all(tmp_path / "runs.csv", columns={"size": "total_params"}, audit=False, **options)
    alone = fit_law(runs, **options)
    assert whole["parametric"].params == alone.params
    assert whole["parametric"].objective_name == alone.objective_name
    assert whole["isoflop"].bootstrap.kind == "seed"
    with pytest.raises(ValueError, match="there is no runs table at nowhere"):
        fit_all("nowhere")


def test_every_objective_and_constraint_goes_through(runs):
    fit = fit_law(runs, residual="linear", loss="mse", constraints={"beta": "alpha"}, bootstrap=0)
    assert fit.objective_name == Criterion("linear", "mse").describe()
    assert fit.params["alpha"] == fit.params["beta"]
    assert "fixed: beta = alpha" in repr(fit)
    with pytest.raises(ValueError, match="loss='tukey' is unknown; use one of"):
        fit_law(runs, loss="tukey")


def test_one_line_profiles_a_parameter(runs):
    profile = profile_law(runs, "beta", constraints={"alpha": 0.35})
    assert profile.estimate.low < 0.35 < profile.estimate.high
    free = profile_law(runs, "beta").estimate
    assert free.high - free.low > profile.estimate.high - profile.estimate.low


def test_published_tables_need_no_path(published):
    published("epoch_chinchilla_svg_extracted_data.csv")
    fit = fit_law("epoch2024", bootstrap=1000)
    ratio = fit.tokens_per_param(C=5.76e23)
    assert fit.n_runs == 240
    assert ratio.value == pytest.approx(17.92, abs=0.005)
    assert ratio.low < 20 < ratio.high
    assert len(fit.excluded) == 5
    assert fit.data.filter


# ---------------------------------------------------------------- odd tables


def test_a_table_of_two_losses_gets_no_recommendation(runs):
    both = pd.concat([runs.assign(metric="a"), runs.assign(metric="b", loss=runs.loss / 2)])
    both["run_id"] = [f"r{i}" for i in range(len(both))]
    with pytest.warns(RunsWarning, match="'metric' tells them apart"):
        report = fit_all(both, bootstrap=0, audit=False)
    assert report.recommended.method is None
    assert "where={metric: a}" in report.recommended.reason
    assert fit_all(runs, bootstrap=0, audit=False).recommended.method == "isoflop_power"


def test_repeated_tokens_are_fitted_by_their_law(runs):
    params = {"E": 2.0, "A": 60.0, "B": 200.0, "alpha": 0.35, "beta": 0.35, "R_D": 15.0, "R_N": 5.0}
    epochs = np.where(np.arange(len(runs)) % 2, 4.0, 1.0)
    N, D = runs.total_params.to_numpy(float), runs.tokens.to_numpy(float)
    loss = LAWS["repeated"].loss(params, N=N, D=D, U=D / epochs)
    with pytest.warns(RunsWarning, match="14 runs saw their data up to 4 times"):
        report = fit_all(runs.assign(epochs=epochs, loss=loss), bootstrap=0, audit=False)
    assert report["repeated"].law == "repeated"
    assert report["repeated"].params["alpha"] == pytest.approx(0.35, rel=1e-3)


def test_rows_are_chosen_where_a_law_is_fitted():
    table = made()
    other = pd.concat([table.assign(kind="a"), table.assign(kind="b", loss=table.loss / 2)])
    one = fit_law(other, where={"kind": "b"}, bootstrap=0)
    assert float(one.L_opt(6.4e19).value) == pytest.approx(true_optimum(6.4e19)[1] / 2, rel=1e-3)
    assert one.data.filter == "kind == b"
