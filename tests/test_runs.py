import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.runs import (
    COLUMNS,
    CURVE_COLUMNS,
    Convention,
    default_convention,
    load_curves,
    load_runs,
    observations,
    runs_to_csv,
)

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


@given(st.lists(positive, min_size=1, max_size=5), st.floats(1e-9, 99.0), st.text(max_size=9))
def test_runs_read_back_exactly(tmp_path_factory, flops, loss, name):
    n, name = len(flops), "".join(c for c in name if c.isprintable()) + "x"
    table = pd.DataFrame({"run_id": [f"{i:04d}" for i in range(n)], "name": name})
    runs = load_runs(table.assign(total_params=7, tokens=10**12, flops=flops, loss=loss))
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    path.write_text(runs_to_csv(runs), encoding="utf-8")
    pd.testing.assert_frame_equal(load_runs(path), runs[load_runs(path).columns], check_exact=True)


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


def test_runs_of_one_trunk_share_a_cluster():
    obs, _ = observations(load_runs(ours(trunk_id=["", "t"])))
    assert obs.cluster.tolist() == ["a", "t"]


def test_budgets_are_found_where_none_are_planned():
    C = np.array([1e18, 1.02e18, 0.99e18, 3e18, 3.1e18])
    obs, _ = observations(load_runs(pd.DataFrame({"C": C, "N": 1e8, "loss": 3.0})))
    np.testing.assert_allclose(obs.budget.iloc[[0, 1, 2]], np.exp(np.log(C[:3]).mean()))
    np.testing.assert_allclose(obs.budget.iloc[[3, 4]], np.exp(np.log(C[3:]).mean()))


def test_another_convention_derives_the_budget_again():
    runs = load_runs(ours(flops_budget=[3e5, 3e5]))
    assert observations(runs)[0].budget.tolist() == [3e5, 3e5]
    again = observations(runs, Convention("total", "6ND"))[0]
    np.testing.assert_allclose(again.budget, np.sqrt(again.C.prod()))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0, "many"])
@pytest.mark.parametrize("column, name", [("N", "params"), ("D", "tokens"), ("loss", "loss")])
def test_impossible_values_are_named(column, name, bad):
    table = FOREIGN.astype(object)
    table.loc[1, column] = bad
    with pytest.raises(ValueError, match=rf"{name} must be finite and positive.*'row0002'"):
        load_runs(table)


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
    with pytest.raises(ValueError, match=r"no runs table at .*nowhere.csv"):
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


def test_curves_need_their_columns():
    curves = pd.DataFrame({"run_id": ["a"], "step": [1], "tokens": [1], "flops": [1.0]})
    assert load_curves(curves.assign(loss=3.0)).loss.tolist() == [3.0]
    with pytest.raises(ValueError, match=r"curves table lacks columns \['loss'\]"):
        load_curves(curves)
