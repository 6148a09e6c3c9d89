import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.tables.observations import (
    Convention,
    RunsWarning,
    default_convention,
    observations,
    refuse_too_few,
)
from scaling.tables.published import PUBLISHED
from scaling.tables.runs import COLUMNS, CURVE_COLUMNS, load_curves, load_runs, runs_to_csv

FOREIGN = pd.DataFrame({"N": [10, 20, 40], "D": [100, 200, 400], "loss": [4.0, 3.0, 2.5]})
positive = st.floats(1e-300, 1e300)


def ours(**changes):
    table = {
        "run_id": ["a", "b"],
        "total_params": [30, 60],
        "non_embedding_params": [20, 40],
        "block_params": [15, 30],
        "norm_params": [1, 2],
        "tokens": [1000, 2000],
        "flops": [2.5e5, 8e5],
        "loss": [4.0, 3.5],
        "status": ["ok", "ok"],
    }
    return pd.DataFrame(table | changes)


def test_bare_columns_need_no_mapping():
    runs = load_runs(FOREIGN)
    assert runs.run_id.tolist() == ["row0001", "row0002", "row0003"]
    assert runs.status.tolist() == ["ok"] * 3
    assert default_convention(runs) == Convention("as_given", "6ND")
    obs, excluded = observations(runs)
    assert obs.C.tolist() == [6000.0, 24000.0, 96000.0]
    assert not len(excluded)


@pytest.mark.parametrize("left_out", ["N", "D"])
def test_compute_stands_in_for_one_of_size_and_tokens(left_out):
    table = FOREIGN.assign(C=6.0 * FOREIGN.N * FOREIGN.D).drop(columns=left_out)
    obs, _ = observations(load_runs(table))
    np.testing.assert_allclose(obs[["N", "D"]], FOREIGN[["N", "D"]])


def test_a_mapping_renames_foreign_columns():
    table = FOREIGN.rename(columns={"N": "Model Size", "D": "seen", "loss": "val"})
    runs = load_runs(table, {"Model Size": "N", "seen": "tokens", "val": "L"})
    pd.testing.assert_frame_equal(runs[["params", "tokens", "loss"]].rename(
        columns={"params": "N", "tokens": "D"}), FOREIGN)  # fmt: skip


@settings(max_examples=15)
@given(st.lists(positive, min_size=1, max_size=5), st.floats(1e-9, 99.0), st.text(max_size=9))
def test_runs_read_back_exactly(tmp_path_factory, flops, loss, name):
    n, name = len(flops), "".join(c for c in name if c.isprintable()) + "x"
    table = pd.DataFrame({"run_id": [f"{i:04d}" for i in range(n)], "name": name})
    runs = load_runs(table.assign(total_params=7, tokens=10**12, flops=flops, loss=loss))
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    path.write_text(runs_to_csv(runs), encoding="utf-8")
    again = load_runs(path)
    pd.testing.assert_frame_equal(again, runs[again.columns], check_exact=True)


def test_columns_stand_in_their_declared_order():
    text = runs_to_csv(load_runs(ours()).assign(extra=1)[["extra", "loss", "run_id"]])
    assert text.splitlines()[0] == "run_id,loss,extra"
    assert set(CURVE_COLUMNS) - {"step"} <= set(COLUMNS)


@pytest.mark.parametrize(
    "N, expected", [("total", 30.0), ("non_embedding", 20.0), ("blocks", 16.0)]
)
def test_observations_follow_the_convention(N, expected):
    runs = load_runs(ours())
    counted = observations(runs, Convention(N, "counted"))[0].iloc[0]
    assert counted[["N", "D", "C"]].tolist() == [expected, 1000.0, 2.5e5]
    assert observations(runs, Convention(N, "6ND"))[0].C.iloc[0] == 6 * expected * 1000


def test_unfinished_runs_are_excluded_by_name():
    runs = load_runs(ours(loss=[4.0, np.nan], status=["ok", "diverged"], reason=["", "loss NaN"]))
    obs, excluded = observations(runs)
    assert obs.run_id.tolist() == ["a"]
    assert excluded.to_dict("records") == [{"run_id": "b", "reason": "status diverged: loss NaN"}]


def test_rows_left_out_before_are_excluded_by_name():
    table = ours(status=["ok", "failed"], reason=["", "out of memory"])
    table.attrs = {"source": "mine", "filter": "no outliers", "excluded": [["c", "an outlier"]]}
    runs = load_runs(load_runs(table))
    assert runs.attrs == table.attrs
    _, excluded = observations(runs)
    assert excluded.values.tolist() == [
        ["b", "status failed: out of memory"],
        ["c", "an outlier"],
    ]


def test_a_table_says_where_it_comes_from(tmp_path):
    unfiltered = {"filter": "", "excluded": []}
    assert load_runs(FOREIGN).attrs == {"source": "DataFrame"} | unfiltered
    FOREIGN.to_csv(tmp_path / "mine.csv", index=False)
    assert load_runs(tmp_path / "mine.csv").attrs == {"source": "mine.csv"} | unfiltered


def test_a_published_table_is_read_by_its_name(published):
    published(PUBLISHED["epoch2024"].file)
    runs = load_runs("epoch2024")
    assert len(runs) == 240
    assert runs.attrs["sha256"] == PUBLISHED["epoch2024"].sha256
    assert default_convention(runs) == Convention("as_given", "as_given")
    obs, excluded = observations(runs)
    np.testing.assert_allclose(obs.C, 6 * obs.N * obs.D)
    assert len(excluded) == 5
    assert excluded.reason.str.contains("five highest").all()


def test_a_file_comes_before_the_published_table_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FOREIGN.to_csv("cerebras2023", index=False)
    assert load_runs("cerebras2023").loss.tolist() == FOREIGN.loss.tolist()
    monkeypatch.chdir("/")
    assert len(load_runs("cerebras2023")) == 7


def test_runs_of_one_trunk_share_a_cluster():
    obs, _ = observations(load_runs(ours(trunk_id=["", "t"])))
    assert obs.cluster.tolist() == ["a", "t"]


def test_budgets_are_found_where_none_are_planned():
    C = np.array([1e18, 1.02e18, 0.99e18, 3e18, 3.1e18])
    obs, _ = observations(load_runs(pd.DataFrame({"C": C, "N": 1e8, "loss": 3.0})))
    np.testing.assert_allclose(obs.budget.iloc[[0, 1, 2]], np.exp(np.log(C[:3]).mean()))
    np.testing.assert_allclose(obs.budget.iloc[[3, 4]], np.exp(np.log(C[3:]).mean()))


def scattered(seed=0):
    """Ten runs within 5 % of each of five budgets, and single runs anywhere between them."""
    rng = np.random.default_rng(seed)
    planned = np.repeat([1e19, 2e19, 4e19, 8e19, 16e19], 10)
    C = planned * np.exp(rng.uniform(-0.05, 0.05, 50))
    between = np.exp(rng.uniform(np.log(8e18), np.log(2e20), 25))
    return planned, load_runs(pd.DataFrame({"C": [*C, *between], "N": 1e8, "loss": 3.0}))


@pytest.mark.parametrize("seed", range(5))
def test_dense_budgets_are_found_among_scattered_runs(seed):
    planned, runs = scattered(seed)
    budget = observations(runs)[0].budget.to_numpy()
    assert (np.abs(np.log(budget[:50] / planned)) < 0.1).mean() > 0.95
    assert all(np.ptp(np.log(runs.flops[budget == b])) < np.log(1.5) for b in set(budget))


def test_a_run_of_a_fixed_N_arm_has_no_budget():
    columns = {"total_params": 1e5, "tokens": 1e6, "loss": 4.0, "flops": [1e12, 1.1e12, 9e12]}
    runs = load_runs(pd.DataFrame(columns | {"flops_budget": [1e12, 1e12, np.nan]}))
    assert observations(runs)[0].budget.tolist()[:2] == [1e12, 1e12]
    assert np.isnan(observations(runs)[0].budget[2])
    six = observations(runs, Convention("total", "6ND"))[0].budget
    assert np.isnan(six[2]) and six[0] == six[1] == pytest.approx(6e11)
    with pytest.raises(ValueError, match="flops_budget must be finite and positive"):
        load_runs(pd.DataFrame(columns | {"flops_budget": [1e12, -1.0, np.nan]}))


def test_a_chain_no_wider_than_a_budget_stays_whole():
    C = 1e18 * np.array([1.0, 1.1, 1.2, 1.3, 1.4])
    obs, _ = observations(load_runs(pd.DataFrame({"C": C, "N": 1e8, "loss": 3.0})))
    assert obs.budget.nunique() == 1


def test_budgets_a_step_apart_are_groups():
    C = np.repeat(1e18 * 1.25 ** np.arange(8), 3)
    obs, _ = observations(load_runs(pd.DataFrame({"C": C, "N": 1e8, "loss": 3.0})))
    np.testing.assert_allclose(obs.budget, C)


@given(st.floats(-18, 12), st.integers(0, 9))
@settings(max_examples=8)
def test_groups_do_not_depend_on_row_order_or_units(log_scale, seed):
    _, runs = scattered(seed)
    order = np.random.default_rng(seed).permutation(len(runs))
    scaled = runs.assign(flops=runs.flops * 10**log_scale).iloc[order].reset_index(drop=True)
    ours, theirs = observations(runs)[0].budget, observations(scaled)[0].budget
    np.testing.assert_allclose(theirs, 10**log_scale * ours.iloc[order])


def test_another_convention_derives_the_budget_again():
    runs = load_runs(ours(flops_budget=[3e5, 3e5]))
    assert observations(runs)[0].budget.tolist() == [3e5, 3e5]
    again = observations(runs, Convention("total", "6ND"))[0]
    np.testing.assert_allclose(again.budget, np.sqrt(again.C.prod()))


NEEDED = [("N", "params"), ("D", "tokens"), ("C", "flops"), ("loss", "loss")]


@settings(max_examples=15)
@given(
    st.sampled_from([-np.inf, 0.0, -0.0]) | st.floats(max_value=0.0, allow_infinity=False),
    st.sampled_from(NEEDED),
    st.integers(0, 2),
)
def test_impossible_values_are_named(bad, names, row):
    table = FOREIGN.assign(C=6.0 * FOREIGN.N * FOREIGN.D).astype(object)
    table.loc[row, names[0]] = bad
    if names[0] == "loss" and np.isinf(bad):
        return
    message = rf"{names[1]} must be finite and positive.*\['row000{row + 1}'\]"
    with pytest.raises(ValueError, match=message):
        load_runs(table)


def test_names_that_tell_rows_apart_are_their_ids():
    names = ["calm-sun-1", "wild-fog-2"]
    table = pd.DataFrame({"Name": names, "N": [1e6, 2e6], "D": 2e7, "loss": [4.0, np.nan]})
    with pytest.warns(RunsWarning, match=r"run_id \['wild-fog-2'\]"):
        assert load_runs(table).run_id.tolist() == names
    twice = load_runs(table.assign(Name="run", loss=3.9))
    assert twice.run_id.tolist() == ["row0001", "row0002"]


@pytest.mark.parametrize("names", NEEDED)
@pytest.mark.parametrize("empty", [np.nan, None, "", " NaN", "n/a"])
def test_runs_without_a_number_are_left_out_and_named(names, empty):
    table = FOREIGN.assign(C=6.0 * FOREIGN.N * FOREIGN.D).astype(object)
    table.loc[1, names[0]] = empty
    with pytest.warns(RunsWarning, match=rf"1 of 3 runs are left out: {names[1]} .*\['row0002'\]"):
        runs = load_runs(table)
    obs, excluded = observations(load_runs(runs))
    assert obs.run_id.tolist() == ["row0001", "row0003"]
    assert excluded.values.tolist() == [
        ["row0002", f"status failed: {names[1]} is missing or infinite"]
    ]


def test_a_table_without_any_loss_is_refused():
    with pytest.raises(ValueError, match=r"no run has all of .*loss is missing or infinite in run"):
        load_runs(FOREIGN.assign(loss=[np.inf, np.nan, None]))


@pytest.mark.parametrize(
    "table, message",
    [
        (FOREIGN.drop(columns="loss"), r"lacks \['loss'\].*columns=\{'their name': 'N'"),
        (FOREIGN.drop(columns="N"), r"lacks \['N'\]"),
        (FOREIGN.head(0), "the runs table is empty"),
        (FOREIGN.assign(C=-1.0), "flops must be finite and positive"),
        (FOREIGN.assign(loss=500.0), "a perplexity needs its logarithm"),
        (FOREIGN.assign(tokens=1), r"two columns of the table both mean \['tokens'\]"),
        (ours(run_id=["a", "a"]), r"run_id must be unique; repeated: \['a'\]"),
        (ours(status=["ok", "fine"]), r"unknown status \['fine'\] in \['b'\]; use"),
    ],
)
def test_bad_tables_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        load_runs(table)


@pytest.mark.parametrize(
    "mapping, message",
    [({"size": "N"}, r"columns \['size'\] of the mapping"), ({"N": "M"}, r"unknown columns \['M'")],
)
def test_bad_mappings_are_refused(mapping, message):
    with pytest.raises(ValueError, match=message):
        load_runs(FOREIGN, mapping)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no runs table at .*nowhere.csv.*'epoch2024'"):
        load_runs(tmp_path / "nowhere.csv")


def test_conventions_are_known_and_describe_themselves():
    assert Convention().describe() == (
        "N: all parameters, tied head once; C: counted training FLOPs, forward + backward"
    )
    with pytest.raises(ValueError, match="convention N='all' is unknown; use one of"):
        Convention(N="all")
    with pytest.raises(ValueError, match="convention C='8ND' is unknown; use one of"):
        Convention(C="8ND")


def test_a_convention_the_table_cannot_serve_is_refused():
    with pytest.raises(ValueError, match=r"needs columns \['total_params', 'flops'\]"):
        observations(load_runs(FOREIGN), Convention())


def test_nothing_finished_is_refused():
    with pytest.raises(ValueError, match="none of the 2 runs has status 'ok'"):
        observations(load_runs(ours(status=["failed", "failed"])))


def test_three_rows_are_for_looking_not_for_fitting():
    three = load_runs(FOREIGN)
    with pytest.raises(ValueError, match=r"DataFrame has 3 finished runs .*needs at least 4"):
        refuse_too_few(three)
    failed = pd.concat([FOREIGN, FOREIGN.head(1)]).assign(status=["ok"] * 3 + ["failed"])
    with pytest.raises(ValueError, match="3 finished runs"):
        refuse_too_few(load_runs(failed))
    refuse_too_few(load_runs(failed.assign(status="ok")))


def test_curves_need_their_columns():
    curves = pd.DataFrame({"run_id": ["a"], "step": [1], "tokens": [1], "flops": [1.0]})
    assert load_curves(curves.assign(loss=3.0)).loss.tolist() == [3.0]
    with pytest.raises(ValueError, match=r"curves table lacks columns \['loss'\]"):
        load_curves(curves)


def test_a_weight_left_empty_is_refused_by_name(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("run_id,N,D,loss,weight\na,1e6,1e7,3.0,1.5\nb,2e6,1e7,2.9,\n")
    with pytest.raises(ValueError, match=r"weight must be finite and positive.*run_id \['b'\]"):
        load_runs(path)
    path.write_text("run_id,N,D,loss,weight\na,1e6,1e7,3.0,1.5\nb,2e6,1e7,2.9,0.5\n")
    assert load_runs(path).weight.tolist() == [1.5, 0.5]


def test_sizes_from_compute_and_tokens_are_as_many_as_were_trained():
    """C = 6ND and D give N back but for its last bits, which are no further sizes."""
    N, D = (
        g.ravel() for g in np.meshgrid([123456789.0, 7.77e8, 3.1e9], np.geomspace(1e9, 1e12, 9))
    )
    runs = load_runs(pd.DataFrame({"C": 6 * N * D, "D": D, "loss": 3.0 + 1 / D}))
    assert sorted(set(runs.params)) == [123456789.0, 7.77e8, 3.1e9]


def test_sizes_beyond_int64_are_sizes(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("N,D,loss\n44895712000000000000,1e9,3\n9223372036854775808,1e9,3.5\n")
    runs = load_runs(path)
    assert runs.params.tolist() == [44895712e12, 2.0**63]
    assert observations(runs)[0].C.tolist() == [6 * N * 1e9 for N in runs.params]


def test_equal_weights_weigh_nothing_however_large():
    weightless = observations(load_runs(FOREIGN))[0]
    pd.testing.assert_frame_equal(
        observations(load_runs(FOREIGN.assign(weight=1e300)))[0], weightless
    )
    with pytest.raises(
        ValueError, match=r"weight \[1e\+300\] of run_id \['row0002'\] is no 1 / vari"
    ):
        load_runs(FOREIGN.assign(weight=[1.0, 1e300, 2.0]))


def test_text_where_no_fit_needs_a_number_is_told():
    with pytest.warns(
        RunsWarning, match=r"lr \['3e-4, cosine'\] in run_id \['row0002'\] is no number"
    ):
        runs = load_runs(FOREIGN.assign(lr=["1e-3", "3e-4, cosine", ""]))
    assert runs.lr.iloc[0] == 1e-3 and np.isnan(runs.lr.iloc[1])
