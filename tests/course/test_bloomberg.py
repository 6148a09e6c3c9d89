import pytest

from scaling.course.bloomberg import (
    RULE_NAME,
    bloomberg_budgets,
    bloomberg_table,
)

BUDGETS = bloomberg_budgets().set_index("budget")
TABLE = bloomberg_table().set_index(["budget", "law"])


def test_its_budgets_disagree():
    C = BUDGETS.C
    assert C["reported"] == 2.36e23
    assert C["cluster"] == pytest.approx(C["reported"], rel=0.02)  # 512 A100 for 53 days
    assert C["6ND"] == pytest.approx(1.73e23, rel=0.002)
    assert C["planned"] == pytest.approx(4.8e23, rel=0.01)  # 1.3M GPU-hours
    assert C["planned, as 6ND"] == pytest.approx(3.58e23, rel=0.001)  # recomputation left out
    assert C["course"] == pytest.approx(4.2e23)
    assert "8.2 ND" in BUDGETS.note["reported"]


def test_the_rule_asks_for_44b_and_less_than_a_trillion():
    row = TABLE.loc[("reported", RULE_NAME)]
    assert row.N_opt == pytest.approx(44e9, rel=0.01)
    assert row.D_opt == pytest.approx(0.9e12, rel=0.02)


def test_without_recomputation_the_plan_asks_for_55b():
    row = TABLE.loc[("planned, as 6ND", RULE_NAME)]
    assert row.N_opt == pytest.approx(54.62e9, rel=1e-3)
    assert row.D_opt == pytest.approx(1.092e12, rel=1e-3)


def test_the_courses_1_4t_tokens_belong_to_no_budget_of_50b_by_the_rule():
    row = TABLE.loc[("planned", RULE_NAME)]
    assert row.N_opt == pytest.approx(63e9, rel=0.01)
    assert TABLE.loc[("planned", "hoffmann2022_isoflop")].D_opt == pytest.approx(1.4e12, rel=0.02)


@pytest.mark.parametrize("budget", BUDGETS.index)
def test_data_was_the_limit_except_for_kaplan(budget):
    rows = TABLE.loc[budget]
    assert rows.data_limits.drop("kaplan2020").all()
    assert not rows.data_limits["kaplan2020"]
    assert (rows.D_seen_over.drop("kaplan2020") < 1).all()
    assert rows.N_over["kaplan2020"] < 0.2
