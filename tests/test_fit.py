"""What the verb chooses of a table that holds several families."""

import pandas as pd
import pytest

from scaling.fit import FitCommand, derived_folder
from scaling.results import read_tables
from scaling.tables.runs import choose_rows, load_runs


@pytest.fixture
def runs():
    rows = [("gpt", "clm"), ("bert", "mlm"), ("bert", "mlm_mask")]
    table = pd.DataFrame(rows, columns=["family", "objective"])
    return load_runs(table.assign(total_params=1e5, tokens=1e6, flops=1e12, loss=3.0))


def test_a_family_and_an_objective_are_chosen(runs):
    berts = choose_rows(runs, {"family": "bert"})
    assert berts.objective.tolist() == ["mlm", "mlm_mask"]
    one = choose_rows(berts, {"objective": "mlm"})
    assert one.objective.tolist() == ["mlm"]
    assert one.attrs["filter"] == "family == bert and objective == mlm"


def test_without_a_wish_all_rows_stay(runs):
    assert choose_rows(runs) is runs


def test_a_wish_that_the_table_cannot_meet_is_refused(runs):
    with pytest.raises(ValueError, match=r"family=t5: DataFrame has \['bert', 'gpt'\]"):
        choose_rows(runs, {"family": "t5"})
    foreign = load_runs(pd.DataFrame({"N": [1e6], "D": [1e7], "loss": [3.0]}))
    with pytest.raises(ValueError, match="objective: DataFrame has no such column"):
        choose_rows(foreign, {"objective": "clm"})


def test_a_table_is_read_with_a_mapping_and_a_filter(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text("size\tD\tloss\tkind\n1M\t2e7\t3,5\ta\n2M\t2e7\t3,25\tb\n2M\t4e7\t3\tb\n")
    runs, curves = read_tables(path, {"size": "N"}, where={"kind": "b"}, best_of=["size"])
    assert runs.params.tolist() == [2e6] and runs.loss.tolist() == [3.0] and curves is None
    assert runs.attrs["filter"] == "kind == b and lowest loss of each N"


NAMES = {
    "mine.csv": "results/try/mine",
    "results/demo": "results/try/demo",
    "results/demo/runs.csv": "results/try/demo",
    "results/try/mine/runs.csv": "results/try/mine-fit",
}


@pytest.mark.parametrize(("runs", "folder"), NAMES.items())
def test_the_folder_is_named_after_the_table_and_is_not_its_own(runs, folder):
    assert str(derived_folder(FitCommand(runs=runs))) == folder
