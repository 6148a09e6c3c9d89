import json

import pytest

from scaling.hardware.devices import get_device
from scaling.pages.layouts import layout_section
from scaling.pages.text import markdown
from scaling.planning.budgets import ASSUMED_UTILISATION
from scaling.planning.laid_out import lay_out, plan_laid_out
from scaling.planning.plan import answer
from scaling.planning.request import read_request
from scaling.shapes.architecture import count_params, training_flops_per_token

H100 = get_device("H100")


@pytest.fixture(scope="module")
def cluster():
    return plan_laid_out(read_request("64 H100 for 30 days"), H100, 64)


def test_a_cluster_is_planned_at_the_utilisation_of_its_layout(cluster):
    plan, found, said = cluster
    assert plan.budget.utilisation == pytest.approx(found.mfu[0], rel=0.02)
    assert plan.budget.flops == pytest.approx(64 * 30 * 86_400 * 989e12 * plan.budget.utilisation)
    assert said in plan.notes and not any(ASSUMED_UTILISATION in note for note in plan.notes)
    hours = plan.conversions.set_index("device").device_hours["H100"]
    assert hours == pytest.approx(64 * 30 * 24)
    assert found.mfu[1] < found.mfu[0] < found.mfu[2]


def test_a_named_utilisation_stays():
    for text, options in (("64 H100 for 30 days at 35 %", {}), (1e23, {"utilisation": 0.35})):
        plan, found, said = plan_laid_out(read_request(text, **options), H100, 64)
        assert said == "" and found.mfu is not None
        assert pytest.approx(0.35) == (plan.budget.utilisation or 0.35)
        assert plan.conversions.utilisation.to_numpy() == pytest.approx(0.35)


def test_flops_stay_and_only_their_hours_follow():
    plan, found, said = plan_laid_out(read_request(1e23), H100, 64)
    assert plan.budget.flops == 1e23 and said in plan.notes
    assert set(plan.conversions.utilisation) == {found.mfu[0]}


@pytest.mark.parametrize(
    "budget, device, count, why",
    [
        (1e23, "L40S", 64, "has no links"),
        (1e13, "H100", 8, "far below the smallest of the published runs"),
        (1e34, "H100", 8, "no shape can be built"),
    ],
)
def test_where_no_layout_can_be_estimated_the_assumption_stays(budget, device, count, why):
    plan, found, said = plan_laid_out(read_request(budget), get_device(device), count)
    assert found is None and why in said
    assert any(ASSUMED_UTILISATION in note for note in plan.notes)
    assert said in markdown([layout_section(found, said)])


def test_too_few_devices_are_told_how_many_would_do():
    _, found, _ = plan_laid_out(read_request(1e26), H100, 64)
    assert found.mfu is None and found.fewest == 256
    assert "No layout of 64 fits 90% of their memory; 256 do." in markdown([layout_section(found)])


def test_a_layout_of_ones_own(cluster):
    asked = {"tensor": 4, "pipeline": 4, "recompute": "full"}
    plan = answer(read_request("64 H100 for 30 days", batch_tokens="1M"))
    found = lay_out(plan, H100, 64, asked=asked)
    first = found.table.iloc[0]
    assert (first.tensor, first.pipeline, first["data"], first.recompute) == (4, 4, 4, "full")
    assert found.job.sequences == plan.recipe.sequences == round(1e6 / plan.recipe.seq_len)
    page = markdown([layout_section(found)])
    assert "| DP4 TP4 PP4 |" in page and "full recompute" in page and "as asked" in page
    with pytest.raises(ValueError, match="cannot be on 64 H100: the product"):
        lay_out(plan, H100, 64, asked={"tensor": 7})
    assert cluster[1].job.sequences == cluster[0].recipe.sequences
    assert f"by {cluster[0].recipe.rule}, as the recipe" in markdown([layout_section(cluster[1])])


@pytest.mark.parametrize(
    "asked, message",
    [
        ("fast", "layout='fast' must map"),
        ({"tensor": 0}, "tensor=0 must be a whole number"),
        ({"zero": 4}, "zero=4 must be a stage"),
        ({"recompute": "half"}, "recompute='half'; use none"),
        ({"expert": 2}, "expert=2 divides experts, and this has none"),
        ({"experts": 2}, "unknown names"),
    ],
)
def test_nonsense_is_refused(cluster, asked, message):
    with pytest.raises(ValueError, match=message):
        lay_out(cluster[0], H100, 64, asked=asked)


def test_another_device_than_the_budgets_does_not_change_it():
    request = read_request("64 A100 for 30 days")
    plan, found, said = plan_laid_out(request, H100, 64)
    assert found.mfu and said == "" and plan.budget == request.budget


DENSE = {"model_type": "llama", "vocab_size": 128_256, "hidden_size": 8192}
DENSE |= {"num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8}
DENSE |= {"intermediate_size": 28_672, "max_position_embeddings": 8192}
MIXTURE = {"model_type": "deepseek_v3", "vocab_size": 129_280, "hidden_size": 7168}
MIXTURE |= {"num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128}
MIXTURE |= {"intermediate_size": 18_432, "q_lora_rank": 1536, "kv_lora_rank": 512}
MIXTURE |= {"qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
MIXTURE |= {"n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8}
MIXTURE |= {"moe_intermediate_size": 2048, "first_k_dense_replace": 3}
MIXTURE |= {"max_position_embeddings": 4096}


@pytest.mark.parametrize(
    "config, device, count, asked, degrees",
    [
        (DENSE, "H100", 512, {"tensor": 8, "pipeline": 4}, "DP16 TP8 PP4"),
        (MIXTURE, "H800", 2048, {"tensor": 1, "pipeline": 16, "expert": 64}, "DP128 PP16 EP64"),
    ],
)
def test_a_given_architecture_is_laid_out_itself(tmp_path, config, device, count, asked, degrees):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config | {"tie_word_embeddings": False}))
    request, chip = read_request(3e24, architecture=path), get_device(device)
    plan, found, _ = plan_laid_out(request, chip, count, asked=asked)
    a, step = plan.trained, plan.recipe.batch_tokens
    assert found.job.flops == pytest.approx(training_flops_per_token(a) * step)
    assert found.job.network.params == pytest.approx(count_params(a), rel=1e-4)
    assert f"| {degrees} |" in markdown([layout_section(found)]) and found.table.fits[0]
    seconds = found.table.total_s[0] * plan.given.D / step
    assert plan.hours_on(device) == pytest.approx(seconds * count / 3600, rel=0.01)
