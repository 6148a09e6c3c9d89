from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.laws.papers import MUENNIGHOFF_CHECKS, PUBLISHED_LAWS
from scaling.laws.table import LAWS
from scaling.planning.data_limits import plan_data
from scaling.planning.plain import to_plain
from scaling.planning.plan import make_plan
from scaling.planning.sources import get_source, surface_sources

SURFACES = {name: get_source(name) for name in surface_sources()}
MUENNIGHOFF = PUBLISHED_LAWS["muennighoff2023"].params


def options(plan, law):
    return plan.table[plan.table.law == law].set_index("option")


@pytest.mark.parametrize("name", SURFACES)
@settings(max_examples=8)  # of each law
@given(C=st.floats(1e19, 1e25), share=st.floats(0.05, 0.99))
def test_repeating_helps_and_data_helps_more(name, C, share):
    law = SURFACES[name]
    plan = plan_data(C, share * law.point(C)["D_opt"], law)
    table = options(plan, name)
    assert plan.binding
    assert table.loss["unlimited"] <= table.loss["repeated"] + 1e-9
    assert table.loss["repeated"] <= table.loss["one_pass"] + 1e-9
    assert table.loss["one_pass"] < table.loss["optimal_for_data"]
    assert table.epochs["repeated"] >= 1 and (table.epochs[["unlimited", "one_pass"]] == 1).all()
    spent = table.C.drop(["optimal_for_data", "least_compute"])
    assert spent.to_numpy() == pytest.approx(C)
    assert (table.C_over >= 1 - 1e-6).all()
    assert plan.best["option"] == "repeated"


def test_the_published_law_is_minimised():
    C, unique = 1e22, 25e9
    best = plan_data(C, unique, SURFACES["muennighoff2023"]).best
    N = best["N"] * np.geomspace(0.2, 5, 2001)
    losses = LAWS["repeated"].loss(MUENNIGHOFF, N=N, D=C / (6 * N), U=unique)
    assert best["loss"] <= losses.min() + 1e-12
    assert best["loss"] == pytest.approx(losses.min(), abs=1e-6)


def test_the_papers_example_at_its_compute():
    """25B unique tokens at 9.2e21 FLOPs: nothing they name is better than ours."""
    sizes, found = [], []
    for N, D, unique, loss in MUENNIGHOFF_CHECKS:
        best = plan_data(6 * N * D, unique, SURFACES["muennighoff2023"]).best
        assert best["loss"] == pytest.approx(loss, abs=0.002) and best["loss"] <= loss
        sizes.append(N)
        found.append(best["N"])
    assert min(sizes) < found[0] < max(sizes)


def test_four_passes_are_nearly_new_data():
    law = SURFACES["muennighoff2023"]
    plan = plan_data(1e22, law.point(1e22)["D_opt"] / 4, law)
    repeated = options(plan, "muennighoff2023").loc["repeated"]
    assert 3 < repeated.epochs < 5
    assert repeated.loss_gap < 0.01 * repeated.loss


@pytest.mark.parametrize(
    "name, N, D, epochs, loss",
    [  # by hand, 500B unique tokens at 5.76e23 FLOPs: N and D in billions
        ("muennighoff2023", 61.56, 1559, 3.119, 2.0287),
        ("besiroglu2024", 64.04, 1499, 2.998, 1.9775),
        ("hoffmann2022", 34.86, 2754, 5.508, 1.9276),
    ],
)
def test_values_by_hand(name, N, D, epochs, loss):
    plan = plan_data(5.76e23, 500e9, SURFACES[name])
    best = plan.best
    assert (best["N"] / 1e9, best["D"] / 1e9) == pytest.approx((N, D), rel=3e-4)
    assert (best["epochs"], best["loss"]) == pytest.approx((epochs, loss), rel=2e-4)
    assert plan.status == "ok"


def test_data_that_is_used_up_is_said_to_be():
    """1B tokens at 5.76e23: 576 times less compute comes within 0.0004 nats of the least loss."""
    law = SURFACES["besiroglu2024"]
    plan = plan_data(5.76e23, 1e9, law)
    table, least = options(plan, law.name), plan.best
    assert plan.status == "saturated" and least["option"] == "least_compute"
    assert least["loss"] == pytest.approx(table.loss["repeated"] + 0.001, abs=1e-9)
    assert 576 < 5.76e23 / least["C"] < 2000
    cheaper = options(plan_data(least["C"] / 1.01, 1e9, law), law.name).loss["repeated"]
    assert cheaper > least["loss"]  # no other split of less compute comes so near
    at_576 = options(plan_data(1e21, 1e9, law), law.name).loss["repeated"]
    assert 0 < at_576 - table.loss["repeated"] < 0.0004


@pytest.mark.parametrize("name", ["besiroglu2024", "hoffmann2022_envelope"])
def test_plenty_of_data_changes_nothing(name):
    plan = plan_data(1e22, 100e12, get_source(name))
    assert not plan.binding
    assert (plan.table.loss_gap == 0).all()
    assert plan.best["N"] == get_source(plan.best["law"]).point(1e22)["N_opt"]


def test_without_repeats_the_model_grows():
    plan = plan_data(2.36e23, 100e9, SURFACES["besiroglu2024"], repeat=False)
    assert "repeated" not in set(plan.table.option)
    once = options(plan, "besiroglu2024").loc["one_pass"]
    assert once.D == 100e9
    assert pytest.approx(2.36e23 / 6 / 100e9) == once.N
    assert plan.status == "saturated"  # 74 times the size that 100B tokens are optimal for
    assert plan_data(2.36e23, 500e9, SURFACES["besiroglu2024"], repeat=False).status == "ok"


def test_a_law_without_a_surface_borrows_all_of_muennighoff():
    plan = plan_data(1e23, 100e9, get_source("hoffmann2022_envelope"))
    assert set(plan.table.law) == {"muennighoff2023"}
    assert "hoffmann2022_envelope has no loss" in plan.note


def test_repeats_may_be_worthless():
    law = replace(SURFACES["besiroglu2024"], repeats={"R_D": 1e-3, "R_N": 1e6})
    plan = plan_data(1e22, 10e9, law)
    assert plan.best["epochs"] == pytest.approx(1, abs=0.05)
    assert to_plain(plan)["best"]["option"] == plan.best["option"]


@pytest.mark.parametrize(
    ("C", "limit", "match"),
    [
        (1e22, -3, "data_limit must be positive"),
        (1e22, "709B parameters", "data_limit '709B parameters' is no quantity"),
        (0, 1e9, "budget must be positive"),
    ],
)
def test_nonsense_is_refused(C, limit, match):
    with pytest.raises(ValueError, match=match):
        make_plan(C, data_limit=limit)
