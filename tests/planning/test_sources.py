from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tables import made, true_optimum

from scaling import fit_all, fit_law, load_fit, make_plan
from scaling.laws.papers import PF_DAY, PUBLISHED_LAWS, hoffmann_optima
from scaling.planning.budgets import parse_budget
from scaling.planning.comparison import compare_laws
from scaling.planning.sources import (
    SHIPPED,
    SOURCES,
    get_source,
    is_table,
    surface_sources,
)
from scaling.tables.runs import runs_to_csv

CHINCHILLA = 5.76e23
LOADED = {name: get_source(name) for name in SOURCES}
HAVE_SURFACES = {*surface_sources()}


@pytest.mark.parametrize(
    ("law", "low", "high"),
    [
        ("hoffmann2022_envelope", 67e9, 73e9),
        # approach 2 by its own table: 67B stands there at 6.88e23, so less at 5.76e23
        ("hoffmann2022_isoflop", 62e9, 65e9),
        ("hoffmann2022_rounded", 31.5e9, 33e9),
        ("hoffmann2022", 39.5e9, 41e9),
    ],
)
def test_chinchillas_budget_by_the_three_approaches(law, low, high):
    assert low < LOADED[law].N_opt(CHINCHILLA).value < high


def test_besiroglu_says_20_tokens_per_parameter_is_well_inside():
    ratio = LOADED["besiroglu2024"].tokens_per_param(CHINCHILLA)
    assert 17.5 < ratio.value < 20
    assert ratio.low < 20 < ratio.high
    assert ratio.status == "extrapolated"  # the runs end at 1.3e22 FLOPs
    assert len(LOADED["besiroglu2024"].fit.draws) == 2000


def test_the_shipped_fit_is_our_fit_of_the_published_points(published):
    published("epoch_chinchilla_svg_extracted_data.csv")
    fit, shipped = fit_law("epoch2024", bootstrap=200), load_fit(SHIPPED)
    assert fit.params == pytest.approx(shipped.params, rel=1e-6)
    assert fit.data.sha256 == shipped.data.sha256
    ours, theirs = (f.tokens_per_param(CHINCHILLA) for f in (fit, shipped))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.2)


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=20)
@given(C=st.floats(1e17, 1e27))
def test_every_law_answers_alike(name, C):
    law = LOADED[name]
    N, D, L = law.N_opt(C).value, law.D_opt(C).value, law.L_opt(C).value
    assert law.tokens_per_param(C).value == pytest.approx(D / N)
    assert law.point(C)["N_opt"] == pytest.approx(N)
    assert np.isfinite(L) == (name not in {"hoffmann2022_envelope", "hoffmann2022_isoflop"})
    assert law.has_surface == (name in HAVE_SURFACES)
    assert law.N_opt(2 * C).value > N and law.D_opt(2 * C).value > D
    if name != "kaplan2020":  # its C is C_min
        assert law.flops_per_token(N) * D == pytest.approx(C, rel=0.03)
    if law.has_surface:
        assert law.loss(N, D).value == pytest.approx(L)
    assert bool(len(law.fit.draws)) == np.isfinite(law.N_opt(C).low) == (name == "besiroglu2024")


@pytest.mark.parametrize("approach", ["envelope", "isoflop"])
def test_a_line_runs_through_the_printed_rows(approach):
    rows = hoffmann_optima().query("approach == @approach and inconsistent == ''")
    law = LOADED[f"hoffmann2022_{approach}"]
    assert law.N_opt(rows.flops.to_numpy()).value == pytest.approx(
        rows.params.to_numpy(), rel=0.035
    )
    assert law.D_opt(rows.flops.to_numpy()).value == pytest.approx(
        rows.tokens.to_numpy(), rel=0.035
    )


def test_kaplan_is_told_in_its_own_units():
    law = LOADED["kaplan2020"]
    assert law.N_opt(PF_DAY).value == pytest.approx(1.3e9)
    assert law.D_opt(1000 * PF_DAY).value == pytest.approx(2e10 * 1000**0.27)
    L_min = PUBLISHED_LAWS["kaplan2020_C_min"].params
    assert law.L_opt(1e20).value == pytest.approx(L_min["A"] / 1e20 ** L_min["alpha"])
    assert "embeddings" in law.N_meaning and "C_min" in law.C_meaning


def test_a_law_without_a_surface_refuses_a_loss():
    with pytest.raises(ValueError, match=r"'kaplan2020' has no loss for every N and D.*besiroglu"):
        LOADED["kaplan2020"].loss(1e9, 2e10)


def test_a_fit_a_file_a_table_and_a_folder_are_laws(tmp_path, grid):
    runs = grid(noise=0.01)
    fit = fit_law(runs, bootstrap=20)
    (tmp_path / "fitted").mkdir()
    fit.save(tmp_path / "fitted" / "fit.json")
    (tmp_path / "runs.csv").write_text(runs_to_csv(runs))
    wanted = get_source(fit).N_opt(1e13).value
    for path in (tmp_path / "fitted", tmp_path / "fitted" / "fit.json", tmp_path):
        law = get_source(path)
        assert law.N_opt(1e13).value == pytest.approx(wanted, rel=1e-3)
        assert len(law.fit.draws) and law.has_surface
        assert law.C_meaning.startswith("counted")
    assert get_source(law) is law
    assert get_source(str(tmp_path / "runs.csv")).point(1e13)["N_opt"] == pytest.approx(wanted)


def test_a_rejected_law_gives_way_to_the_answer(tmp_path, grid):
    runs = grid(noise=0.001)
    law, answer = fit_law(runs, bootstrap=20), fit_all(runs, bootstrap=20, audit=False)
    replace(law, status="rejected", reason="F(9, 9) = 99").save(tmp_path / "fit.json")
    assert get_source(tmp_path).fit.status == "rejected"  # there is nothing better
    answer["isoflop_power"].save(tmp_path / "answer.json")
    source = get_source(tmp_path)
    assert source.fit.method == "isoflop_power"
    assert source.note.startswith("the law chinchilla is rejected (F(9, 9) = 99); isoflop_power")
    assert make_plan(1.6e12, law=source).law == str(tmp_path)
    law.save(tmp_path / "fit.json")
    assert get_source(tmp_path).fit.method == "parametric"


def test_a_fit_of_repeated_data_keeps_what_repeats_are_worth(grid):
    fit = fit_law(grid(noise=0.01), bootstrap=20)
    worth = {"R_D": 10.0, "R_N": 5.0}
    draws = fit.draws.assign(**worth)
    law = get_source(replace(fit, law="repeated", params=fit.params | worth, draws=draws))
    assert law.repeats == worth
    assert law.N_opt(1e13).value == pytest.approx(fit.N_opt(1e13).value)
    assert law.N_opt(1e13).high == pytest.approx(fit.N_opt(1e13).high)


def test_what_is_no_law_is_refused(tmp_path, grid):
    with pytest.raises(ValueError, match=r"'chinchila' is neither one of \['besiroglu2024'"):
        get_source("chinchila")
    with pytest.raises(ValueError, match=r"has neither fit.json nor runs.csv"):
        get_source(tmp_path)
    lone = fit_law(grid(noise=0.01), "power_N", bootstrap=0)
    with pytest.raises(ValueError, match=r"cannot plan: .*no compute-optimal frontier"):
        get_source(lone)


def test_all_laws_stand_side_by_side():
    table = compare_laws(CHINCHILLA, LOADED.values()).set_index("law")
    assert [*table.index] == [*SOURCES]
    for name in SOURCES:
        assert table.N_opt[name] == LOADED[name].N_opt(CHINCHILLA).value
    assert np.isnan(table.L_opt["hoffmann2022_envelope"])
    assert np.isfinite(table.N_opt_low["besiroglu2024"])
    assert table.flops_over.drop("kaplan2020").to_numpy() == pytest.approx(1, rel=0.01)
    assert table.flops_over["kaplan2020"] == pytest.approx(1.8, rel=0.03)  # its C is C_min
    assert table.N_opt.idxmax() == "kaplan2020"


def test_budgets_and_laws_are_the_users():
    C = parse_budget("512 A100 for 30 days", utilisation=0.5).flops
    table = compare_laws(C, [LOADED["hoffmann2022"]])
    assert [*table.law] == ["hoffmann2022"]
    assert table.C[0] == pytest.approx(512 * 30 * 86400 * 156e12)
    with pytest.raises(ValueError, match="law 'mine' is neither"):
        get_source("mine")


def test_a_table_with_names_of_its_own_is_planned_from(tmp_path):
    N_opt, L_opt = true_optimum(6.4e19)
    table = made().rename(columns={"N": "size", "D": "toks", "loss": "val"}).drop(columns="C")
    both = pd.concat([table.assign(kind="text"), table.assign(kind="code", val=table.val / 3)])
    path = tmp_path / "runs.tsv"
    both.to_csv(path, sep="\t", index=False)
    columns = {"size": "N", "toks": "D", "val": "loss"}
    plan = make_plan(6.4e19, path, columns=columns, where={"kind": "text"})
    assert plan.N_opt.value == pytest.approx(N_opt, rel=0.01)
    assert plan.L_opt.value == pytest.approx(L_opt, rel=0.005)
    with pytest.raises(ValueError, match=r"cannot be planned from: .*'kind' tells them apart"):
        make_plan(6.4e19, path, columns=columns)
    with pytest.raises(ValueError, match=r"perhaps columns=\{toks: D, val: loss, size: N\}"):
        make_plan(6.4e19, path)
    with pytest.raises(ValueError, match=r"columns are for law=TABLE.*'besiroglu2024' is none"):
        make_plan(6.4e19, columns=columns)


def test_a_list_of_records_is_a_table_and_no_fit(tmp_path):
    (tmp_path / "runs.json").write_text(made().to_json(orient="records"))
    assert is_table(tmp_path / "runs.json")
    fit_law(made(), bootstrap=0).save(tmp_path / "fit.json")
    assert not is_table(tmp_path / "fit.json")


@pytest.mark.parametrize("budget", [1e60, "1e300"])
def test_a_budget_beyond_all_reason_is_answered(budget):
    plan = make_plan(budget)
    assert plan.shape is None and plan.status == "extrapolated"
    assert any("beyond 1e+14 parameters" in note for note in plan.notes)
