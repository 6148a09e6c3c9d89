"""A plan for people."""

import pytest

from scaling.pages.plans import (
    describe_budget,
    describe_data,
    describe_inference,
    describe_shape,
    describe_verdict,
    plan_sections,
)
from scaling.pages.text import markdown
from scaling.planning.budgets import parse_budget
from scaling.planning.data_limits import plan_data
from scaling.planning.inference import plan_inference
from scaling.planning.plan import make_plan
from scaling.planning.sources import SOURCES, get_source
from scaling.planning.verdicts import judge
from scaling.shapes.buildable import build

BESIROGLU = get_source("besiroglu2024")


def test_a_plan_reads_well():
    plan = make_plan(
        "512 A100 for 30 days",
        data_limit="100B",
        inference_tokens="2T tokens",
        model=("70B", "1.4T"),
        compare=True,
    )
    page = markdown(plan_sections(plan))
    for part in (
        "512 A100 for 30 days: 1.66e+23 FLOPs",
        "369k A100-hours at 40 % of the dense peak",
        "| parameters N | 38.6B | 29.6B to 53B |",
        "| 2 N_opt | 77.1B | 358B | 4.64 | +0.0061 [+0.0018, +0.012] | 15.7% |",
        "serving 2T tokens",
        "100B tokens at hand",
        "your model, 70B on 1.4T tokens",
        "| kaplan2020 (extrapolated) | 324B | 154B | 0.475 |",
        "kaplan2020: both together cost 1.81 C; its N leaves 85.3B tokens for C. C is C_min",
        "- utilisation 0.4 of the dense peak: assumed",
    ):
        assert part in page


@pytest.mark.parametrize("law", SOURCES)
def test_every_plan_says_its_budget_in_flops(law):
    (first, *_), *_ = (section.text for section in plan_sections(make_plan("1k PF-days", law)))
    assert first.startswith("1k PF-days: 8.64e+22 FLOPs")


def test_a_budget_in_words():
    assert describe_budget(parse_budget("512 A100 for 30 days at 40 %")) == (
        "512 A100 for 30 days at 40 %: 1.66e+23 FLOPs = 1.92k PF-days = 369k A100-hours at 40 % of "
        "the dense peak"
    )


def test_a_shape_in_words():
    built = build(70e9, 6 * 70e9 * 1.4e12, 1.4e12, vocab_size=128_000, seq_len=4096)
    assert "vocabulary 128,000, context 4,096" in describe_shape(built)


def test_a_verdict_in_words():
    gpt3 = judge(175e9, 300e9, BESIROGLU, name="GPT-3")
    words = describe_verdict(gpt3)
    assert words.startswith("GPT-3, 175B on 300B tokens: 1.71 tokens/param, 0.086 times")
    assert "left on the table" in words
    without_loss = judge(175e9, 300e9, get_source("kaplan2020"))
    assert "left on the table" not in describe_verdict(without_loss)


@pytest.mark.parametrize("name", ["besiroglu2024", "hoffmann2022_envelope"])
def test_plenty_of_data_in_words(name):
    words = describe_data(plan_data(1e22, 100e12, get_source(name)))
    assert words == f"100T tokens at hand: more than {name} asks for"


def test_a_demand_in_words():
    words = describe_inference(plan_inference(BESIROGLU, 5.76e23, 2e12))
    assert words.startswith("serving 2T tokens: 48.7B on 1.97T tokens; training within the budget")
    assert "cheapest in 50.5B on 2.01T tokens" in words
    assert words.endswith("its training alone takes 1.06 times the budget")
