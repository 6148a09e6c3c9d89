from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
import pytest

from scaling.fitting.criterion import Criterion
from scaling.fitting.parametric import fit_parametric, objective_at
from scaling.fitting.prepared import Prepared
from scaling.fitting.report import fit_all
from scaling.fitting.settings import FitSettings
from scaling.laws import papers
from scaling.laws.papers import KAPLAN_CONSTANTS, PF_DAY, PublishedLaw
from scaling.pages.replication import HEADER, check_cells, core_checks, findings, replication_page
from scaling.replication import methods
from scaling.replication.checks import (
    APART,
    HELD,
    MISSED,
    OVERLAP,
    Check,
    agrees,
    checks_table,
    compare_intervals,
    half_unit,
    rounding,
)
from scaling.replication.entries import ENTRIES, Replication, chosen_entries, replicate
from scaling.replication.formulas import FORMULAS
from scaling.replication.kaplan import data_frontier, inverse_sum, steps_frontier
from scaling.replication.references import criterion_of, law_checks, reference_checks
from scaling.tables.published import PUBLISHED, Reference

COMMITTED = Path(__file__).parents[1] / "results" / "published"
BOOTSTRAP = FitSettings(bootstrap=40)


@pytest.fixture(scope="module")
def obs(obs_of):
    return obs_of(noise=0.01)


@pytest.fixture(scope="module")
def optimum(obs):
    """What an honest author would print of these runs."""
    fit = fit_parametric(Prepared.of(obs), FitSettings(bootstrap=0))
    return Reference("an author", dict(fit.params), fit.objective, huber_delta=1e-3)


def compared(obs, *references):
    return reference_checks("mine", Prepared.of(obs), references, BOOTSTRAP)


# ---------------------------------------------------------------- numbers as printed


@pytest.mark.parametrize(
    "printed, half", [(0.073, 0.0005), (482.01, 0.005), (5.0, 0.5), (1e9, 5e8), (2.5e-4, 5e-6)]
)
def test_half_a_unit_of_the_last_digit(printed, half):
    assert half_unit(printed) == pytest.approx(half)
    assert agrees(printed + 0.999 * half, printed) and not agrees(printed + 1.01 * half, printed)


def test_rounding_reaches_as_far_as_the_ingredients_allow():
    low, high = rounding(lambda alpha, beta: beta / (alpha + beta), 0.34, 0.28)
    assert (low, high) == pytest.approx((0.275 / 0.62, 0.285 / 0.62))


def test_intervals_overlap_or_exclude_each_other():
    check = Check("", "", "", published=0.5, published_low=0.4, published_high=0.6)
    assert compare_intervals(replace(check, low=0.6, high=0.7)) == OVERLAP
    assert compare_intervals(replace(check, low=0.61, high=0.7)) == APART
    point = Check("", "", "", published=0.5)
    assert compare_intervals(replace(point, low=0.4, high=0.5)) == HELD
    assert compare_intervals(replace(point, low=0.1, high=0.4)) == MISSED


# ---------------------------------------------------------------- references


def test_an_optimum_is_reproduced(obs, optimum):
    table = compared(obs, optimum)
    assert table.ok.all() and not table.is_finding.any()
    assert set(table.verdict) == {"reproduced"}
    assert [*table.quantity[:5]] == ["E", "A", "B", "alpha", "beta"]
    np.testing.assert_allclose(table.objective_published, table.objective_ours, rtol=1e-9)
    assert (table.low < table.ours).all() and (table.ours < table.high).all()


@pytest.mark.parametrize("name", ["E", "alpha", "B"])
@pytest.mark.parametrize("factor", [0.99, 1.01, 1.0001])
def test_a_perturbed_optimum_is_not(obs, optimum, name, factor):
    perturbed = replace(optimum, params=optimum.params | {name: optimum.params[name] * factor})
    table = compared(obs, perturbed).set_index("quantity")
    assert not table.ok[name]
    assert (table.objective_ours < table.objective_published).all()


def test_what_is_said_to_be_no_optimum_must_be_none(obs, optimum):
    table = compared(obs, replace(optimum, is_optimum=False))
    assert not table.ok.any()
    worse = optimum.params | {"alpha": optimum.params["alpha"] * 1.02}
    table = compared(obs, replace(optimum, params=worse, is_optimum=False))
    assert table.ok.all() and table.is_finding.all()
    assert table.verdict.str.startswith("not an optimum of its stated objective: ours is").all()


def test_an_optimum_of_another_objective_is_recognised(obs, optimum):
    least_squares = fit_parametric(
        Prepared.of(obs), FitSettings(criterion=Criterion(loss="mse"), bootstrap=0)
    )
    params = dict(least_squares.params)
    table = compared(
        obs,
        replace(optimum, params=params, is_optimum=False),  # they say Huber, it is least squares
        Reference("another author", params, least_squares.objective, loss="mse"),
    )
    assert table.ok.all()
    first = table[table.source == "an author"]
    assert first.note.str.contains(Criterion(loss="mse").describe(), regex=False).all()


def test_exponents_alone_are_compared_as_printed(obs, optimum):
    params = {name: round(optimum.params[name], 4) for name in ("alpha", "beta")}
    printed = replace(optimum, params=params)
    assert set(compared(obs, printed).verdict) == {"agrees to the printed digits"}
    beside = replace(printed, params=params | {"alpha": params["alpha"] + 0.0002})
    table = compared(obs, beside).set_index("quantity")
    assert table.ok.all() and table.is_finding.alpha
    wrong = replace(printed, params=params | {"alpha": params["alpha"] + 0.01})
    assert not compared(obs, wrong).set_index("quantity").ok.alpha


def test_a_printed_objective_that_we_miss_is_not_ok(obs, optimum):
    params = {"alpha": optimum.params["alpha"]}
    unreached = replace(optimum, params=params, objective=0.9 * optimum.objective)
    assert compared(obs, unreached).verdict.str.startswith("not reached").all()
    assert not compared(obs, unreached).ok.any()


def test_standard_errors_are_those_of_the_bootstrap(obs, optimum):
    draws = fit_parametric(Prepared.of(obs), FitSettings(bootstrap=40, seed=0)).draws
    a = draws.beta / (draws.alpha + draws.beta)
    std = {"alpha": draws.alpha.std(), "N_exponent": a.std(), "beta": 2 * draws.beta.std()}
    table = compared(obs, replace(optimum, std=std)).set_index("quantity")
    assert table.ok["standard error of alpha"]
    # a under 6ND is not a where small models pay more FLOPs per parameter, but near it
    assert table.ours["standard error of N_exponent"] == pytest.approx(a.std(), rel=0.5)
    assert not table.ok["standard error of beta"]


def test_an_unstated_delta_is_the_customary_one():
    assert criterion_of(Reference("", {}, loss="l1")) == Criterion(loss="l1")
    assert criterion_of(Reference("", {}, huber_delta=1e-4)).delta == 1e-4


def test_a_law_of_compute_is_judged_by_its_interval():
    C = np.geomspace(1e18, 1e23, 12)
    params = {"E": 1.7, "A": 30.0, "alpha": 0.08}
    noise = np.random.default_rng(0).standard_normal(12)
    table = pd.DataFrame({"C": C, "L": (1.7 + 30 * C**-0.08) * np.exp(0.002 * noise)}).assign(
        weight=1.0
    )
    law = PublishedLaw("power_C_E", params, "C", "them", "them")
    assert law_checks("mine", Prepared.of(table), law, BOOTSTRAP).ok.all()
    far = replace_law(law, alpha=0.2)
    assert not law_checks("mine", Prepared.of(table), far, BOOTSTRAP).set_index("quantity").ok.alpha
    ours = law_checks("mine", Prepared.of(table), law, BOOTSTRAP)
    assert ours.objective_published[0] == objective_at(table, params, law="power_C_E")


def replace_law(law, **params):
    return law._replace(params=law.params | params)


# ---------------------------------------------------------------- methods


@pytest.fixture(scope="module")
def report(grid):
    return fit_all(grid(noise=0.003), bootstrap=40, audit=False)


def table_with(**params):
    own = Reference("they", params, huber_delta=1e-3)
    return replace(PUBLISHED["gemstones_hot"], references=(own,), citation="They 2025, arXiv:1")


def test_every_method_stands_beside_the_printed_exponents(report):
    a = report["parametric"].exponents()["N_exponent"].value
    checks = methods.method_checks("mine", table_with(alpha=1 - a, beta=a), report)
    assert set(checks.method) == set(methods.METHODS)
    parametric = checks[checks.method == "parametric"].set_index("quantity")
    assert parametric.published.N_exponent == pytest.approx(a)
    assert parametric.ok.N_exponent and parametric.verdict.N_exponent == HELD
    assert parametric.verdict[methods.RATIO] == "no published value"


def test_a_disagreement_is_ok_only_if_it_is_known(report, monkeypatch):
    table = table_with(alpha=0.1, beta=0.9)
    checks = methods.method_checks("mine", table, report)
    wrong = checks[(checks.method == "parametric") & (checks.quantity == "N_exponent")].iloc[0]
    assert wrong.verdict == MISSED and not wrong.ok and wrong.is_finding
    known = {("mine", "parametric", "N_exponent", table.citation): "everybody knows"}
    monkeypatch.setattr(methods, "KNOWN", known)
    checks = methods.method_checks("mine", table, report)
    wrong = checks[(checks.method == "parametric") & (checks.quantity == "N_exponent")].iloc[0]
    assert wrong.ok and wrong.is_finding and "everybody knows" in wrong.note


def test_a_refused_method_is_a_row(report):
    fits = tuple(fit for fit in report.fits if fit.method != "isoflop")
    refused = replace(report, fits=fits, refusals=(("isoflop", "no bowls"),))
    checks = methods.method_checks("mine", table_with(alpha=0.3, beta=0.3), refused)
    row = checks[checks.method == "isoflop"]
    assert row.verdict.tolist() == ["refused: no bowls"] and row.ok.all()


def test_hoffmanns_points_stand_beside_table_2():
    values = methods.printed_values("epoch2024", PUBLISHED["epoch2024"], "parametric", "N_exponent")
    assert [value.value for value in values] == [0.46, 0.513]
    assert values[0][1:3] == (0.454, 0.455)
    bowls = [
        methods.printed_values("kyo2024", PUBLISHED["kyo2024"], method, "D_exponent")
        for method in ("isoflop", "isoflop_power")
    ]
    assert bowls[0] == bowls[1]


# ---------------------------------------------------------------- formulas


@pytest.mark.parametrize("entry", FORMULAS)
def test_constants_say_what_is_known_of_them(entry):
    table = checks_table(FORMULAS[entry]())
    assert table.ok.all(), table[~table.ok]
    assert (table.entry == entry).all()
    assert np.isfinite(table.ours).all()


def test_hoffmanns_inconsistent_rows_are_found():
    table = checks_table(FORMULAS["hoffmann2022"]())
    found = table[table.verdict == "not 6ND of its own row"]
    assert found.is_finding.all()
    assert [*zip(found.method, found.quantity, strict=True)] == [
        ("envelope, 6ND", "FLOPs of 67B"),
        ("parametric, 6ND", "FLOPs of 67B"),
        ("parametric, 6ND", "FLOPs of 175B"),
        ("parametric, 6ND", "FLOPs of 280B"),
    ]


def test_an_unknown_inconsistency_is_not_ok(monkeypatch):
    misprinted = papers.hoffmann_optima()
    misprinted.loc[0, "flops"] *= 1.1
    monkeypatch.setattr(papers, "hoffmann_optima", lambda: misprinted)
    table = checks_table(FORMULAS["hoffmann2022"]())
    assert table.quantity[~table.ok].tolist() == ["FLOPs of 400M"]


def test_a_known_inconsistency_that_is_gone_is_not_ok(monkeypatch):
    corrected = papers.hoffmann_optima()
    is_misprint = (corrected.approach == "parametric") & (corrected.params == 175e9)
    corrected.loc[is_misprint, "flops"] = 1.26e25
    monkeypatch.setattr(papers, "hoffmann_optima", lambda: corrected)
    assert not checks_table(FORMULAS["hoffmann2022"]()).ok.all()


def test_chinchilla_follows_from_table_3():
    table = checks_table(FORMULAS["hoffmann2022"]()).set_index(["method", "quantity"])
    line = table.loc["envelope, line through table 3"].ours
    assert 67e9 < line["N_opt at 5.76e+23"] < 73e9
    assert line["D_opt at 5.76e+23"] == pytest.approx(1.4e12, rel=0.02)


def test_kaplans_frontier_by_minimisation_is_its_closed_form():
    steps, batch = KAPLAN_CONSTANTS["L(N,S_min)"], KAPLAN_CONSTANTS["B_crit(L)"]
    a = inverse_sum(steps["alpha_N"], steps["alpha_S"], batch["alpha_B"]) / steps["alpha_N"]
    low, high = steps_frontier(PF_DAY), steps_frontier(100 * PF_DAY)
    assert np.log(high["N"] / low["N"]) / np.log(100) == pytest.approx(a, rel=1e-5)
    # at the optimum the loss is this far above that of the same model trained for ever
    for best in (low, high):
        for_ever = (steps["N_c"] / best["N"]) ** steps["alpha_N"]
        assert best["L"] / for_ever == pytest.approx(1 + steps["alpha_N"] / steps["alpha_S"])
    assert 6 * low["N"] * low["B"] * low["S"] == pytest.approx(PF_DAY)


def test_kaplans_data_law_under_6ND_is_its_closed_form():
    constants = KAPLAN_CONSTANTS["L(N,D)"]
    a = constants["alpha_D"] / (constants["alpha_N"] + constants["alpha_D"])
    slope = np.log(data_frontier(1e23) / data_frontier(1e21)) / np.log(100)
    assert slope == pytest.approx(a, rel=1e-5)


# ---------------------------------------------------------------- entries and pages


def test_entries_are_named_or_refused():
    assert chosen_entries(None) == ENTRIES
    assert set(ENTRIES) == {*PUBLISHED, *FORMULAS}
    assert chosen_entries(["kaplan2020", "epoch2024"]) == ("epoch2024", "kaplan2020")
    with pytest.raises(ValueError, match=r"\['pile'\]: use some of \['epoch2024'"):
        chosen_entries(["pile"])
    with pytest.raises(ValueError, match=r"only=\[\] must name entries"):
        chosen_entries([])


def test_no_interval_no_comparison():
    with pytest.raises(ValueError, match="bootstrap=0 gives no intervals"):
        replicate("cerebras2023", bootstrap=0)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **options: refuse)
    monkeypatch.setenv("SCALING_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("SCALING_DATA_DIR", raising=False)


def test_a_table_that_cannot_be_had_is_a_line(offline):
    found = replicate("kyo2024", bootstrap=10)
    assert found.checks.verdict.tolist() == ["unavailable"] and found.checks.ok.all()
    assert "no route to host" in found.unavailable
    assert found.describe().startswith("kyo2024: unavailable, https://")
    page = replication_page([found], "cmd", 10, 0)
    assert "**kyo2024**: unavailable: https://" in page


def test_the_typed_table_is_checked_by_data_and_by_formula(offline):
    found = replicate("cerebras2023", bootstrap=50)
    assert found.rows == 7 and found.checks.ok.all()
    assert {"their law", "parametric, power_C_E", "isoflop"} <= set(found.checks.method)
    assert set(found.audit.law) == {"power_C", "power_C_E"}
    assert (found.audit.entry == "cerebras2023").all()


def test_the_240_points_are_reproduced(published):
    published(PUBLISHED["epoch2024"].file)
    found = replicate("epoch2024", bootstrap=200)
    stated = found.checks[found.checks.source.str.startswith("reference")]
    is_std = stated.quantity.str.startswith("standard error")  # of few resamples, hence rough
    assert set(stated.verdict[~is_std]) == {"reproduced"}
    ratio = found.checks[(found.checks.method == "parametric") & (found.checks.published == 20)]
    assert ratio.ours.item() == pytest.approx(17.92, abs=0.005)
    assert ratio.low.item() < 20 < ratio.high.item()


def test_a_page_shows_every_check_and_marks_what_is_wrong():
    good = Check("kaplan2020", "m", "a|b", published=1.0, ours=1.0, verdict="same")
    bad = replace(good, quantity="c", verdict="other", ok=False, is_finding=True, note="why")
    done = Replication("kaplan2020", checks_table([good, bad]), pd.DataFrame())
    page = replication_page([done], "the command", 7, 3)
    assert "2 checks of 1 entries, 1 not ok" in page
    assert "| m | a\\|b | 1 |  | 1 | - | same |" in page
    assert "NOT OK: other; why" in page
    assert "`the command`" in page and "7 bootstrap refits (seed 3)" in page
    assert [*findings(done.checks)] == ["kaplan2020, m, : other (why). c 1, ours 1."]
    assert all(len(cells) == len(HEADER) for cells in check_cells(done.checks))


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
            ours = recorded.loc[[(row.method, row.quantity, row.published)]].ours.iloc[0]
            assert ours == pytest.approx(row.ours, rel=1e-6)
