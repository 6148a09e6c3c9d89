import json

import pytest

from scaling.planning.given import plan_given, read_given
from scaling.planning.placement import network_of
from scaling.planning.plan import make_plan
from scaling.planning.sources import get_source
from scaling.shapes.architecture import architecture_of, count_groups, training_flops_per_token
from scaling.shapes.shape import Shape

LAW = get_source("besiroglu2024")
SIZES = dict(vocab_size=32_000, hidden_size=4096, num_hidden_layers=32, num_attention_heads=32)
SIZES |= dict(num_key_value_heads=8, intermediate_size=14336, max_position_embeddings=32_768)
MISTRAL = SIZES | {"model_type": "mistral", "sliding_window": 4096}
MIXTRAL = SIZES | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}


@pytest.fixture
def given(tmp_path):
    def write(config):
        file = tmp_path / "config.json"
        file.write_text(json.dumps(config))
        return file

    return write


def test_a_given_model_buys_what_its_flops_allow(given):
    plan = plan_given(read_given(given(MISTRAL)), LAW, 1e23, seq_len=4096)
    assert plan.total_params == plan.active_params == 7_241_732_096
    assert plan.D * training_flops_per_token(plan.architecture) == pytest.approx(1e23)
    matrices = 7_241_732_096 - 32_000 * 4096 - 65 * 4096
    assert plan.flops_per_token == 6 * matrices + 3 * 4 * 32 * 4096 * 4096
    assert plan.serving.set_index("format").cache_per_token["bf16"] == 2 * 2 * 32 * 8 * 128
    assert plan.total_params == plan.verdict.N and plan.verdict.D == plan.D
    assert plan.verdict.loss.value == plan.dense_loss.value
    assert any("attention within 4,096 tokens" in note for note in plan.notes)
    assert plan.spent == 1


def test_a_mixture_is_judged_by_the_parameters_of_a_token(given):
    plan = plan_given(read_given(given(MIXTRAL)), LAW, 1e24, tokens=2e12)
    assert plan.active_params == 12_879_925_248 == plan.verdict.N
    assert plan.dense_loss.value < plan.verdict.loss.value
    assert plan.D == 2e12 and plan.spent == pytest.approx(plan.flops / 1e24)
    assert any("do not speak of mixtures" in note for note in plan.notes)
    assert any("context 32,768 tokens" in note for note in plan.notes)


def test_a_plan_carries_its_architecture_and_its_recipe(given):
    plan = make_plan(1e23, architecture=given(MISTRAL), tokens="1T", seq_len=4096)
    assert plan.given is not None and plan.recipe is not None
    assert plan.spent == plan.given.spent and plan.recipe.D == 1e12
    parts = plan.to_dict()
    assert parts["given"]["groups"][0]["group"] == "token table"
    assert parts["recipe"]["rule"] == plan.recipe.rule
    json.dumps(parts, allow_nan=False)


def test_what_cannot_be_trained_is_refused(given):
    model = read_given(given(MISTRAL))
    with pytest.raises(ValueError, match="longer than the data"):
        plan_given(model, LAW, 1e12)
    learned = SIZES | {"model_type": "gpt2", "n_positions": 1024, "n_layer": 2, "n_head": 4}
    with pytest.raises(ValueError, match="longer than the position table of the given gpt2, 1,024"):
        plan_given(read_given(given(learned)), LAW, 1e23, seq_len=2048)
    with pytest.raises(ValueError, match=r"model=.*config.json: model_type 'x' is unknown"):
        read_given(given(SIZES | {"model_type": "x"}))


def test_our_own_shape_takes_the_same_memory_as_an_architecture():
    shape = Shape(vocab_size=100, seq_len=16, n_layers=2, width=32, n_heads=4, n_kv_heads=2)
    own, same = network_of(shape), network_of(architecture_of(shape))
    for name in ("attention", "kv", "hidden", "layer_params", "params", "table_params", "gated"):
        assert getattr(own, name) == getattr(same, name)


def test_a_layer_of_experts_is_gathered_whole(given):
    architecture = read_given(given(MIXTRAL)).architecture
    blocks = count_groups(architecture).set_index("group").total
    layer = (blocks.attention + blocks.router + blocks.experts) // 32
    network = network_of(architecture)
    assert network.layer_params == layer
    assert network.hidden == 2 * 14336  # but a token's activations pass two
