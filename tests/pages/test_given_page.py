"""A given architecture and a recipe, for people."""

import json

import pytest

from scaling.pages.given import given_section
from scaling.pages.recipe import recipe_section
from scaling.pages.text import markdown
from scaling.planning.given import plan_given, read_given
from scaling.planning.recipe import plan_recipe
from scaling.planning.sources import get_source

LLAMA = {"model_type": "llama", "vocab_size": 128_256, "hidden_size": 4096}
LLAMA |= {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}
LLAMA |= {"intermediate_size": 14336, "max_position_embeddings": 8192}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    file = tmp_path_factory.mktemp("llama") / "config.json"
    file.write_text(json.dumps(LLAMA))
    return read_given(file)


def test_a_given_architecture_reads_well(llama):
    plan = plan_given(llama, get_source("besiroglu2024"), 8.69e23, tokens=15e12)
    page = markdown([given_section(plan)])
    for part in (
        "llama: 32 layers x 4,096, 32 heads of 128, 8 for keys, vocabulary 128,256",
        "8,030,261,248 parameters; 5.791e+10 training FLOPs a token, 22.2% of them in attention",
        "the given llama, 8.03B on 15T tokens: 1.87e+03 tokens/param",
        "over-trained by besiroglu2024",
        "at its compute besiroglu2024 asks for",
        "| feed-forward | 5,637,144,576 | 5,637,144,576 | 5,637,144,576 |",
        "| bf16 | 16.1 | 131 | 1.07 |",
        "- context 8,192 tokens: the longest that the configuration names",
    ):
        assert part in page


def test_of_a_law_without_a_surface_no_loss_is_told(llama):
    plan = plan_given(llama, get_source("kaplan2020"), 1e24)
    page = markdown([given_section(plan)])
    assert "loss by" not in page and "at its compute kaplan2020 asks for" in page


def test_a_recipe_reads_well(llama):
    recipe = plan_recipe(llama.architecture, 300e9, 2.0)
    page = markdown([recipe_section(recipe)])
    for part in (
        "By brown2020 (ok): 143,051 steps of 256 sequences of 8,192",
        "AdamW with beta1 0.9, beta2 0.95, weight decay 0.1; gradients clipped at 1",
        "AdamW averages over B/(lr * decay * D) =",
        "Chosen by: of the rules that tell both rate and batch",
        "| kaplan2020 | 7.71e-05 | - | 7.74M | N 1k to 1.5B | outside: N x4.65 | quoted |",
        "| - | C 1e+17 to 2e+19 | outside: C x",
        "- zhang2024: Zhang et al. 2024, arXiv:2410.21676",
        "| GPT-3 6.7B | 6.7B | 300B | 0.00012 | 2M |",
    ):
        assert part in page
