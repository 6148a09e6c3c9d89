import pandas as pd
import pytest
from sweep_pairs import sweep

from scaling.tables.comparable import list_differences, match_cells, refuse_incomparable


def test_cells_pair_by_budget_shape_and_seed():
    a, b = sweep(seeds=(0, 1)), sweep(seeds=(1, 2))
    pairs = match_cells(a, b)
    assert len(pairs) == 20
    ids = a.set_index("run_id"), b.set_index("run_id")
    for name in ("flops_budget", "width", "seed"):
        left, right = ids[0].loc[pairs.a, name], ids[1].loc[pairs.b, name]
        assert (left.to_numpy() == right.to_numpy()).all()


def test_a_cell_that_occurs_twice_or_did_not_finish_is_no_pair():
    a, b = sweep(), sweep()
    twice = pd.concat([b, b.assign(run_id=b.run_id + "x", lr=0.02)], ignore_index=True)
    assert match_cells(a, twice).empty
    stopped = b.assign(status=["diverged"] + ["ok"] * (len(b) - 1))
    assert len(match_cells(a, stopped)) == len(a) - 1
    assert match_cells(a.drop(columns="flops_budget"), b).empty


def test_what_pairs_differ_in_is_listed():
    a = sweep()
    b = a.assign(lr=a.lr * 2, optimizer="muon", precision="bf16")
    told = [*list_differences(a, b, match_cells(a, b))]
    assert told == ["lr (b/a 2)", "precision (fp32 / bf16)", "optimizer (of b only)"]


def test_what_a_table_does_not_say_is_named():
    a = sweep()
    assert refuse_incomparable(a, a) == ()
    assert refuse_incomparable(a, a.drop(columns=["data", "seq_len"])) == ("data", "seq_len")
    with pytest.raises(ValueError, match="a has data=enwik8 and b data=other"):
        refuse_incomparable(a, a.assign(data="other"))
