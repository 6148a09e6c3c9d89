"""Counts of published models from their configurations, and what a configuration is refused for."""

import json

import pytest

from scaling.shapes.architecture import count_params
from scaling.shapes.hugging_face import FAMILIES, describe_uncounted, read_architecture, read_config


def make_config(model_type, vocab, width, layers, heads, kv=None, ffn=0, **more):
    sizes = dict(vocab_size=vocab, hidden_size=width, num_hidden_layers=layers)
    sizes |= dict(num_attention_heads=heads, num_key_value_heads=kv or heads)
    sizes |= dict(intermediate_size=ffn, max_position_embeddings=4096)
    return {"model_type": model_type} | sizes | more


def make_gpt2(width, layers, heads):
    sizes = dict(n_embd=width, n_layer=layers, n_head=heads, n_positions=1024, n_ctx=1024)
    return {"model_type": "gpt2", "vocab_size": 50257, "n_inner": None} | sizes


LATENT = dict(qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, kv_lora_rank=512)
MIXTRAL = make_config("mixtral", 32_000, 4096, 32, 32, 8, 14336)
MIXTRAL |= dict(num_local_experts=8, num_experts_per_tok=2)
TIED = dict(tie_word_embeddings=True)
PUBLISHED = {  # name: configuration, all parameters, those that a token passes
    "Llama-2-7B": (make_config("llama", 32_000, 4096, 32, 32, None, 11008), 6_738_415_616),
    "Llama-3-8B": (make_config("llama", 128_256, 4096, 32, 32, 8, 14336), 8_030_261_248),
    "Llama-3-70B": (make_config("llama", 128_256, 8192, 80, 64, 8, 28672), 70_553_706_496),
    "Llama-3.2-1B": (
        make_config("llama", 128_256, 2048, 16, 32, 8, 8192, **TIED),
        1_235_814_400,
    ),
    "Mistral-7B": (make_config("mistral", 32_000, 4096, 32, 32, 8, 14336), 7_241_732_096),
    "GPT-2": (make_gpt2(768, 12, 12), 124_439_808),
    "GPT-2 XL": (make_gpt2(1600, 48, 25), 1_557_611_200),
    "Qwen2.5-7B": (make_config("qwen2", 152_064, 3584, 28, 28, 4, 18944), 7_615_616_512),
    "Qwen3-8B": (
        make_config("qwen3", 151_936, 4096, 36, 32, 8, 12288, head_dim=128),
        8_190_735_360,
    ),
    "Gemma-2B": (make_config("gemma", 256_000, 2048, 18, 8, 1, 16384, head_dim=256), 2_506_172_416),
    "Gemma-2-9B": (
        make_config("gemma2", 256_000, 3584, 42, 16, 8, 14336, head_dim=256),
        9_241_705_984,
    ),
    "Pythia-160M": (make_config("gpt_neox", 50_304, 768, 12, 12, None, 3072), 162_322_944),
    "Pythia-6.9B": (make_config("gpt_neox", 50_432, 4096, 32, 32, None, 16384), 6_857_302_016),
    "BLOOM": (
        {"model_type": "bloom", "vocab_size": 250_880, "n_embed": 14336, "n_layer": 70}
        | {"num_attention_heads": 112},
        176_247_271_424,
    ),
    "Mixtral-8x7B": (MIXTRAL, 46_702_792_704, 12_879_925_248),
    "OLMoE-1B-7B": (
        make_config("olmoe", 50_304, 2048, 16, 16, 16, 1024)
        | dict(num_experts=64, num_experts_per_tok=8),
        6_919_161_856,
        1_282_017_280,
    ),
    "Qwen1.5-MoE-A2.7B": (
        make_config("qwen2_moe", 151_936, 2048, 24, 16, 16, 5632)
        | dict(num_experts=60, num_experts_per_tok=4, moe_intermediate_size=1408)
        | dict(shared_expert_intermediate_size=5632),
        14_315_784_192,
    ),
    "Qwen3-30B-A3B": (
        make_config("qwen3_moe", 151_936, 2048, 48, 32, 4, 6144, head_dim=128)
        | dict(num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768),
        30_532_122_624,
    ),
    "DeepSeek-V2-Lite": (
        make_config("deepseek_v2", 102_400, 2048, 27, 16, 16, 10944, q_lora_rank=None)
        | dict(n_routed_experts=64, n_shared_experts=2, num_experts_per_tok=6)
        | dict(moe_intermediate_size=1408, first_k_dense_replace=1, **LATENT),
        15_706_484_224,
    ),
    "DeepSeek-V3": (
        make_config("deepseek_v3", 129_280, 7168, 61, 128, 128, 18432, q_lora_rank=1536)
        | dict(n_routed_experts=256, n_shared_experts=1, num_experts_per_tok=8)
        | dict(moe_intermediate_size=2048, first_k_dense_replace=3, **LATENT),
        671_026_404_352,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parameters_of_a_published_model(name):
    config, total, *active = PUBLISHED[name]
    found = read_architecture(config)
    assert count_params(found) == total
    assert active in ([], [count_params(found, active=True)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' is unknown; known are llama, mistral"),
        ({"hidden_size": None}, "hidden_size is missing; a mixtral needs it, a whole number"),
        ({"hidden_size": "big"}, "hidden_size='big' must be a whole number, 0 or more"),
        ({"num_hidden_layers": True}, "num_hidden_layers=True must be a whole number"),
        ({"num_hidden_layers": 0}, "n_layers must be 1 or more"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings='no' must be true or false"),
        ({"num_key_value_heads": 5}, "kv_heads 5 must divide n_heads 32"),
        ({"num_local_experts": 0}, "a mixture of 0 experts cannot send a token to 2"),
        ({"num_local_experts": None}, "num_experts or num_local_experts is missing"),
        ({"num_experts_per_tok": 9}, "a mixture of 8 experts cannot send a token to 9"),
        ({"intermediate_size": 0}, "expert_width must be 1 or more"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        read_architecture(MIXTRAL | changes)


def test_a_file_that_is_no_configuration_is_refused(tmp_path):
    file = tmp_path / "config.json"
    with pytest.raises(ValueError, match="cannot be read, No such file"):
        read_config(file)
    for text, message in [("{", "is no JSON"), ("[1]", "must be an object of names")]:
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_config(file)
    file.write_text(json.dumps(MIXTRAL))
    assert read_config(tmp_path) == MIXTRAL  # a folder of weights has one


def test_of_a_model_that_sees_the_part_that_reads_is_counted():
    seeing = {"model_type": "mixtral_sees", "text_config": MIXTRAL, "vision_config": {"a": 1}}
    assert read_architecture(seeing) == read_architecture(MIXTRAL)
    assert describe_uncounted(seeing) == ["the part that sees (vision_config): not counted"]


@pytest.mark.long
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("family", FAMILIES)
def test_counts_equal_those_of_the_built_model(family):
    transformers = pytest.importorskip("transformers")
    import torch

    more = dict(num_experts_per_tok=2, num_experts=4, num_local_experts=4, n_routed_experts=4)
    more |= dict(moe_intermediate_size=16, q_lora_rank=12, n_group=1, topk_group=1, pad_token_id=0)
    if family in ("mixtral", "olmoe", "qwen2_moe", "qwen3_moe"):
        del more["n_routed_experts"]
    if family.startswith("deepseek"):
        del more["num_experts"], more["num_local_experts"]
    if family != "olmoe":  # which has none
        more["head_dim"] = 16
    config = make_config(family, 101, 32, 3, 4, 2, 48, **more)
    config |= dict(n_embd=32, n_layer=3, n_head=4, n_positions=64)  # as some name them
    made = transformers.AutoConfig.for_model(**config)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(made)
    told = json.loads(made.to_json_string(use_diff=True))
    assert count_params(read_architecture(told)) == sum(p.numel() for p in model.parameters())
