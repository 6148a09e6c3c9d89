import numpy as np
import pandas as pd
import pytest
from made_tables import made

from scaling.tables.observations import observations
from scaling.tables.runs import load_runs

TABLE = made().head(6)
WORDS = ["finished", "Finished ", "crashed", "killed", "running", "failed"]


@pytest.mark.parametrize("name", ["State", "status", "STATUS", "state"])
def test_states_of_trackers_are_read(name):
    lost = TABLE.loss.where(np.arange(6) != 2)
    runs = load_runs(TABLE.assign(**{name: WORDS}, loss=lost))
    assert runs.status.tolist() == ["ok", "ok", "failed", "failed", "failed", "failed"]
    obs, excluded = observations(runs)
    assert obs.run_id.tolist() == ["row0001", "row0002"]
    assert excluded.reason.tolist()[:2] == ["status failed: crashed", "status failed: killed"]


def test_a_state_of_something_else_is_left_alone():
    runs = load_runs(TABLE.assign(state=["CA", "NY", "WA", "OR", "NM", "TX"]))
    assert runs.status.tolist() == ["ok"] * 6


def test_an_unknown_status_is_refused_with_the_words_that_are_known():
    with pytest.raises(ValueError, match=r"unknown status \['', 'meh'\] in .*crashed, killed"):
        load_runs(TABLE.assign(status=["meh", None, *["ok"] * 4]))


def test_text_in_a_failed_run_is_nothing_to_refuse():
    mixed = TABLE.astype(object)
    mixed.loc[2, "loss"] = "OOM"
    runs = load_runs(mixed.assign(State=["done", "done", "failed", "done", "done", "done"]))
    assert (runs.status == "ok").sum() == 5
    with pytest.raises(ValueError, match=r"loss \['OOM'\] in run_id \['row0003'\] is no number"):
        load_runs(mixed)


def test_a_foreign_status_keeps_its_own_reason():
    table = pd.DataFrame(TABLE.assign(status=["ok"] * 5 + ["failed"], reason=[""] * 5 + ["disk"]))
    assert load_runs(table).reason.tolist()[-1] == "disk"
