import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling import fit_law
from scaling.planning.departures import compute_of_size
from scaling.planning.inference import equal_loss, plan_inference
from scaling.planning.plain import to_plain
from scaling.planning.sources import get_source, surface_sources
from scaling.planning.surface import Surface

SURFACES = {name: get_source(name) for name in surface_sources()}


@pytest.mark.parametrize("name", SURFACES)
@settings(max_examples=5)
@given(C=st.floats(1e19, 1e26), demand=st.floats(1e8, 1e15))
def test_nothing_on_a_grid_is_cheaper(name, C, demand):
    law = SURFACES[name]
    plan, best = plan_inference(law, C, demand), law.point(C)
    same, here = plan.same_loss, plan.planned
    N = same.N * np.geomspace(0.5, 2, 201)
    total = 6 * N * Surface(law).tokens_for_loss(N, best["L_opt"]) + 2 * N * demand
    assert same.total_flops <= np.nanmin(total) * (1 + 1e-9)
    assert same.total_flops == pytest.approx(6 * same.N * same.D + 2 * same.N * demand)
    assert law.loss(same.N, same.D).value == pytest.approx(best["L_opt"])
    assert best["N_opt"] > same.N > here.N * (1 - 1e-6)
    assert 0 <= plan.saving < 1
    assert here.training_flops == pytest.approx(C) and here.loss > best["L_opt"]
    again = Surface(law).cheapest(here.loss, demand)  # nothing of its loss costs less
    assert again == pytest.approx((here.N, here.D), rel=1e-3)


@pytest.mark.parametrize("name", SURFACES)
def test_without_demand_the_optimum_stays(name):
    plan, best = plan_inference(SURFACES[name], 5.76e23, 0), SURFACES[name].point(5.76e23)
    for one in (plan.planned, plan.same_loss):
        assert pytest.approx((best["N_opt"], best["D_opt"]), rel=1e-3) == (one.N, one.D)
    assert plan.saving == pytest.approx(0, abs=1e-8)


def test_more_demand_asks_for_a_smaller_model():
    law = SURFACES["besiroglu2024"]
    plans = [plan_inference(law, 5.76e23, demand) for demand in (1e11, 1e12, 1e13)]
    assert plans[0].planned.N > plans[1].planned.N > plans[2].planned.N
    assert plans[0].saving < plans[1].saving < plans[2].saving


def test_the_papers_example():
    """Figure 1: 13B quality and 2T tokens served: 7B saves 1.7e22 FLOPs, 17 %."""
    law = SURFACES["hoffmann2022"]
    plan = plan_inference(law, compute_of_size(law, 13e9), 2e12)
    assert pytest.approx(7e9, rel=0.03) == plan.same_loss.N
    assert plan.saving == pytest.approx(0.17, abs=0.01)
    assert plan.optimum.total_flops - plan.same_loss.total_flops == pytest.approx(1.7e22, rel=0.05)


def test_smaller_for_cheap_inference_is_a_number():
    plan = plan_inference(SURFACES["besiroglu2024"], 5.76e23, 2e12)
    table = plan.table.set_index("factor")
    assert table.over[1.0] == pytest.approx(1)
    assert 1 - table.over.min() <= plan.saving + 1e-9
    assert (table.training_flops.drop(1.0) > table.training_flops[1.0]).all()
    assert table.inference_flops[0.5] == pytest.approx(table.inference_flops[1.0] / 2)
    assert to_plain(plan)["table"][0]["factor"] == 0.25


def test_a_law_of_counted_flops_counts_its_own(grid):
    law = get_source(fit_law(grid(noise=0.005), bootstrap=0))
    plan, best = plan_inference(law, 1e13, 0), law.point(1e13)
    same = plan.same_loss
    assert pytest.approx(best["N_opt"], rel=1e-3) == same.N
    assert same.total_flops == pytest.approx(1e13, rel=1e-6)
    assert same.total_flops > 6.1 * same.N * same.D
    assert pytest.approx(best["N_opt"], rel=1e-3) == plan.planned.N


def test_a_model_too_small_never_gets_there():
    surface = Surface(SURFACES["hoffmann2022"])
    assert np.isnan(surface.tokens_for_loss(1e6, 2.0))
    assert np.isnan(equal_loss(surface, (1e9, 20e9), 2.0, 0, [1e-3]).D).all()


@pytest.mark.parametrize(
    "name, demand, N, D, total, saving",
    [  # by hand: N and D in billions
        ("besiroglu2024", 1e12, 57.65, 1703, 7.043e23, 0.0251),
        ("besiroglu2024", 10e12, 34.43, 3698, 1.453e24, 0.2879),
        ("hoffmann2022", 1e12, 33.97, 2854, None, 0.0108),
        ("hoffmann2022", 10e12, 20.62, 5560, None, 0.2045),
    ],
)
def test_values_by_hand(name, demand, N, D, total, saving):
    plan = plan_inference(SURFACES[name], 5.76e23, demand)
    same = plan.same_loss
    assert pytest.approx((N, D), rel=3e-4) == (same.N / 1e9, same.D / 1e9)
    assert plan.saving == pytest.approx(saving, abs=6e-5)
    assert total is None or same.total_flops == pytest.approx(total, rel=4e-4)


def test_the_same_loss_overspends_and_the_plan_does_not():
    """10T served: 6 * 34.43e9 * 3.698e12 is 1.326 times the budget, so the plan is smaller."""
    plan = plan_inference(SURFACES["besiroglu2024"], 5.76e23, 10e12)
    assert plan.overspent == pytest.approx(1.326, abs=0.001)
    assert plan.planned.training_flops == pytest.approx(5.76e23)
    assert plan.planned.total_flops < plan.same_loss.total_flops


def test_a_data_limit_holds_for_what_is_served():
    """500B unique tokens: 64.04B on 1.499T without a demand, so fewer parameters with one."""
    law = SURFACES["besiroglu2024"]
    plan = plan_inference(law, 5.76e23, 10e12, data_limit=500e9)
    assert pytest.approx(64.04e9, rel=1e-3) == plan.optimum.N
    free = plan_inference(law, 5.76e23, 10e12)
    assert free.planned.N < plan.planned.N < plan.optimum.N  # repeats are worth less than size
    assert plan.planned.loss > plan.optimum.loss > free.optimum.loss
    once = plan_inference(law, 5.76e23, 10e12, data_limit=500e9, repeat=False).planned
    assert pytest.approx(500e9, rel=1e-6) == once.D
    assert once.training_flops == pytest.approx(5.76e23)
    assert plan_inference(law, 5.76e23, 10e12, data_limit=1e15).data_limit is None


def test_used_up_data_ask_for_less_compute():
    plan = plan_inference(SURFACES["besiroglu2024"], 5.76e23, 1e12, data_limit=1e9)
    assert plan.planned == plan.same_loss
    assert plan.planned.training_flops < 0.01 * 5.76e23
    assert plan.planned.loss == pytest.approx(2.790675 + 0.001, abs=1e-5)


def test_a_law_of_the_optimum_only_is_refused():
    with pytest.raises(ValueError, match="'kaplan2020' has no loss for every N and D"):
        plan_inference(get_source("kaplan2020"), 1e21, 1e9)
