import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling import fit_law
from scaling.planning.departures import compute_of_size
from scaling.planning.inference import equal_loss, plan_inference, tokens_for_loss
from scaling.planning.plan import to_plain
from scaling.planning.sources import get_source, surface_sources

SURFACES = {name: get_source(name) for name in surface_sources()}


@pytest.mark.parametrize("name", SURFACES)
@settings(max_examples=20)
@given(C=st.floats(1e19, 1e26), demand=st.floats(1e8, 1e15))
def test_nothing_on_a_grid_is_cheaper(name, C, demand):
    law = SURFACES[name]
    plan = plan_inference(law, C, demand)
    N = plan.N * np.geomspace(0.5, 2, 201)
    total = 6 * N * tokens_for_loss(law, N, plan.loss) + 2 * N * demand
    assert plan.total_flops <= np.nanmin(total) * (1 + 1e-9)
    assert plan.total_flops == pytest.approx(6 * plan.N * plan.D + 2 * plan.N * demand)
    assert law.loss(plan.N, plan.D).value == pytest.approx(law.point(C)["L_opt"])
    assert law.point(C)["N_opt"] > plan.N
    assert 0 <= plan.saving < 1


@pytest.mark.parametrize("name", SURFACES)
def test_without_demand_the_optimum_stays(name):
    plan, best = plan_inference(SURFACES[name], 5.76e23, 0), SURFACES[name].point(5.76e23)
    assert pytest.approx((best["N_opt"], best["D_opt"]), rel=1e-4) == (plan.N, plan.D)
    assert plan.saving == pytest.approx(0, abs=1e-8)


def test_more_demand_asks_for_a_smaller_model():
    law = SURFACES["besiroglu2024"]
    plans = [plan_inference(law, 5.76e23, demand) for demand in (1e11, 1e12, 1e13)]
    assert plans[0].N > plans[1].N > plans[2].N
    assert plans[0].saving < plans[1].saving < plans[2].saving


def test_the_papers_example():
    """Figure 1: 13B quality and 2T tokens served: 7B saves 1.7e22 FLOPs, 17 %."""
    law = SURFACES["hoffmann2022"]
    plan = plan_inference(law, compute_of_size(law, 13e9), 2e12)
    assert pytest.approx(7e9, rel=0.03) == plan.N
    assert plan.saving == pytest.approx(0.17, abs=0.01)
    assert plan.optimal_total_flops - plan.total_flops == pytest.approx(1.7e22, rel=0.05)


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
    assert pytest.approx(best["N_opt"], rel=1e-4) == plan.N
    assert plan.total_flops == pytest.approx(1e13, rel=1e-6)
    assert plan.total_flops > 6.1 * plan.N * plan.D


def test_a_model_too_small_never_gets_there():
    assert np.isnan(tokens_for_loss(SURFACES["hoffmann2022"], 1e6, 2.0))
    assert np.isnan(equal_loss(SURFACES["hoffmann2022"], 1e21, 0, [1e-3]).D).all()


def test_a_law_of_the_optimum_only_is_refused():
    with pytest.raises(ValueError, match="'kaplan2020' has no loss for every N and D"):
        plan_inference(get_source("kaplan2020"), 1e21, 1e9)
