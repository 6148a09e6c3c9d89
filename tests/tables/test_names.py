"""What a mapping says wins; what it leaves open is derived, suggested or explained."""

import numpy as np
import pandas as pd
import pytest
from made_tables import answer, made, true_optimum

from scaling.fitting.prepared import prepare
from scaling.tables.names import BATCH_SIZE, SEQ_LEN, STEPS, find_role
from scaling.tables.observations import Convention, RunsWarning, default_convention
from scaling.tables.runs import load_runs

TABLE = made()
N_OPT, L_OPT = true_optimum(6.4e19)


def test_the_law_is_found_without_a_mapping():
    assert answer(TABLE) == pytest.approx((N_OPT, L_OPT), rel=1e-4)


def test_a_sum_of_columns_is_n():
    head = TABLE.N // 5
    parts = TABLE.drop(columns=["N", "C"]).assign(body=TABLE.N - head, head=head, table=10**8)
    assert load_runs(parts, {"body+head": "N"}).params.tolist() == TABLE.N.tolist()
    with_spaces = load_runs(parts, {" body + head * 1.0": "N"})
    assert with_spaces.params.tolist() == TABLE.N.tolist()


def test_a_product_with_a_number_mends_a_unit():
    table = TABLE.assign(N=TABLE.N / 1e6, C=TABLE.C / 1e9)
    runs = load_runs(table, {"N*1e6": "N", "C*1e+9": "C"})
    np.testing.assert_allclose(runs[["params", "flops"]], TABLE[["N", "C"]])


def test_names_that_look_like_sums_are_names():
    runs = load_runs(TABLE.rename(columns={"N": "a+b", "D": "c*2"}), {"a+b": "N", "c*2": "D"})
    assert runs.params.tolist() == TABLE.N.tolist()


@pytest.mark.parametrize("extra", ["total_params", "non_embedding_params", "params"])
def test_what_is_mapped_to_n_is_n(extra):
    table = TABLE.rename(columns={"N": "used"}).assign(**{extra: TABLE.N * 16})
    for runs in (
        load_runs(table, {"used": "N"}),
        load_runs(table.drop(columns="C"), {"used": "N"}),
    ):
        assert runs.params.tolist() == TABLE.N.tolist()
        assert default_convention(runs).N == "as_given"


def test_active_parameters_are_fitted_where_they_are_mapped():
    table = TABLE.rename(columns={"N": "active"}).assign(total_params=TABLE.N * 16)
    assert answer(table, columns={"active": "N"})[0] == pytest.approx(N_OPT, rel=1e-3)


def test_what_is_mapped_wins_over_the_name_itself():
    table = TABLE.assign(val_loss=TABLE.loss, loss=99.0, tokens=1, seen=TABLE.D).drop(columns="D")
    runs = load_runs(table, {"val_loss": "loss", "seen": "D"})
    assert runs.loss.tolist() == TABLE.loss.tolist()
    assert runs.tokens.tolist() == TABLE.D.tolist()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"N": [1]}, r"columns=\{'N': \[1\]\} must map names to names"),
        ({1: "N"}, "must map names to names"),
        ("size", "columns='size' must map names to names"),
        ({"lose": "loss"}, r"columns \['lose'\] of the mapping.*did you mean 'loss'\?"),
        ({"N*width": "N"}, r"columns \['width'\] of the mapping are not in the table"),
        ({"2*3": "N"}, "names no column"),
        ({"N": "loss", "D": "loss"}, r"both mean \['loss'\]"),
        ({"name*2": "N"}, "name 'tiny' is no number"),
    ],
)
def test_mappings_that_cannot_be_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        load_runs(TABLE.assign(name="tiny"), columns)


def test_steps_times_batch_is_d_and_told():
    steps = np.round(TABLE.D / 2**19)
    table = pd.DataFrame({"N": TABLE.N, "loss": TABLE.loss, "train_steps": steps})
    for batch in (
        {"tokens_per_batch": 2**19},
        {"global_batch_size": 256, "sequence_length": 2**11},
    ):
        with pytest.warns(RunsWarning, match=r"D is taken as train_steps\*"):
            runs = load_runs(table.assign(warmup_steps=10, **batch))
        assert runs.tokens.tolist() == (steps * 2**19).tolist()
    two = table.assign(batch_size=256, micro_batch_size=8, global_batch_size=256, seq_len=2**11)
    with pytest.raises(ValueError, match=r"lacks \['tokens'\]"):
        load_runs(two)
    runs = load_runs(two, {"train_steps*batch_size*seq_len": "D"})
    assert runs.tokens.tolist() == (steps * 2**19).tolist()


def test_a_role_is_one_column_only():
    assert find_role(["lr", "numSteps", "warmup_steps"], STEPS) == "numSteps"
    assert find_role(["step", "steps"], STEPS) is None
    assert find_role(["per_device_batch_size"], BATCH_SIZE) is None
    assert find_role(["contextLength", "max_len"], SEQ_LEN) == "contextLength"


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (("num_params", "tokens_seen", "val/loss"), "num_params: N"),
        (("model_size", "trainTokens", "eval_nll"), "trainTokens: D"),
        (("params_embedding", "x", "train_loss"), "train_loss: loss"),
        (("modelParams", "totalGFLOPs", "loss"), "totalGFLOPs: C"),
    ],
)
def test_likely_columns_are_suggested(names, hint):
    table = (
        TABLE[["N", "D", "loss"]].set_axis([*names], axis=1).assign(tokens_per_s=1.0, vocab_size=9)
    )
    with pytest.raises(ValueError, match=rf"perhaps columns=.*{hint}") as told:
        load_runs(table)
    assert "tokens_per_s:" not in str(told.value) and "vocab_size:" not in str(told.value)


def test_a_perplexity_is_no_loss():
    table = TABLE.drop(columns="loss").assign(val_ppl=np.exp(TABLE.loss))
    with pytest.raises(ValueError, match="the loss is the natural logarithm of 'val_ppl'"):
        load_runs(table)


def test_one_column_per_run_is_explained():
    wide = pd.DataFrame({"Step": [1, 2]} | {f"run{i} - val/loss": [3.0, 2.5] for i in range(4)})
    with pytest.raises(
        ValueError, match=r"one column per run.*'val/loss' of .*'run0'.* one row per"
    ):
        load_runs(wide)
    swapped = TABLE.T.reset_index(names="quantity")
    with pytest.raises(ValueError, match=r"stand in the first column.*exchange rows and columns"):
        load_runs(swapped)


def test_a_filter_takes_the_old_name_and_runs_before_the_checks():
    other = TABLE.assign(loss=-1.0, kind="reward")
    both = pd.concat([TABLE.assign(kind="text"), other]).rename(columns={"N": "size"})
    runs = load_runs(both, {"size": "N"}, where={"kind": "Text"})
    assert len(runs) == len(TABLE)
    one = load_runs(both, {"size": "N"}, where={"kind": "text", "size": f"{TABLE.N[0]:,}"})
    assert one.params.tolist() == [TABLE.N[0]]
    with pytest.raises(ValueError, match="where='x' must map columns to values"):
        load_runs(TABLE, where="x")
    with pytest.raises(ValueError, match="where: N 'many' is no quantity"):
        load_runs(TABLE, where={"N": "many"})


def test_convention_of_a_mapped_size():
    data = prepare(TABLE.assign(total_params=TABLE.N * 3), {"N": "N"})
    assert data.convention == Convention("as_given", "as_given")
