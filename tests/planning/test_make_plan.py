import json

import numpy as np
import pytest

import scaling
from scaling.planning.plan import make_plan
from scaling.planning.request import read_request
from scaling.planning.sources import SOURCES


@pytest.fixture(scope="module")
def full():
    return make_plan(
        "512 A100 for 30 days",
        data_limit="100B",
        inference_tokens="2T tokens",
        model=("70B", "1.4T"),
        compare=True,
    )


def test_the_api_has_it():
    plan = scaling.make_plan(budget="512 A100 for 30 days", law="besiroglu2024")
    assert isinstance(plan, scaling.Plan)


def test_curation_asks_for_more_raw_text():
    assert make_plan(1e20).raw_tokens is None
    plan = make_plan(1e20, kept_share=0.02)
    assert plan.raw_tokens == pytest.approx(50 * plan.D)
    limited = make_plan(1e22, kept_share=0.02, data_limit="1B")  # repeats are collected once
    assert limited.raw_tokens == pytest.approx(50e9)
    assert plan.to_dict()["raw_tokens"] == plan.raw_tokens


def test_chinchillas_budget():
    plan = make_plan(5.76e23)
    assert pytest.approx(plan.tokens_per_param.value, abs=1) == 18
    assert plan.tokens_per_param.low < 20 < plan.tokens_per_param.high
    assert plan.shape is not None
    assert pytest.approx((plan.N_opt.value, plan.shape.tokens)) == (plan.N, plan.D)
    assert pytest.approx(plan.D_opt.value, rel=0.05) == plan.D
    assert plan.binding == ("budget",) and plan.law_flops == 5.76e23
    assert plan.shape.total_params == pytest.approx(plan.N, rel=0.02)
    assert plan.shape.tokens * plan.shape.flops_per_token == pytest.approx(5.76e23)
    assert plan.departures is not None
    assert [*plan.departures.factor] == [0.5, 1.0, 2.0]
    assert plan.status == "extrapolated"


@pytest.mark.parametrize("law", SOURCES)
def test_every_law_plans(law):
    plan = make_plan("1k PF-days", law)
    assert plan.law == law and plan.citation and plan.N_meaning
    assert plan.shape is not None
    assert plan.shape.params == pytest.approx(plan.N_opt.value, rel=0.02)
    assert (plan.departures is None) == (law in {"kaplan2020"} or "_env" in law or "_iso" in law)
    assert repr(plan).startswith("1k PF-days: ")


def test_a_binding_data_limit_decides_what_to_train(full):
    assert full.data.binding
    assert full.binding == ("budget", "data", "serving")
    assert full.data.best["N"] > full.inference.planned.N == full.N
    alone = make_plan("512 A100 for 30 days", data_limit="100B")
    assert (alone.data.best["N"], alone.binding) == (alone.N, ("budget", "data"))
    assert pytest.approx(alone.data.best["D"], rel=0.06) == alone.D == alone.shape.tokens
    assert full.N_opt.value > full.N
    assert full.shape.total_params == pytest.approx(full.N, rel=0.02)


def test_a_long_context_takes_tokens_and_the_plan_follows():
    """At 131,072 tokens attention costs 12 L T a FLOPs a token beside 6N."""
    plan = make_plan(5.76e23, seq_len=131_072)
    s, tokens = plan.shape.shape, plan.shape.tokens
    per_token = 6 * plan.shape.total_params + 12 * s.n_layers * 131_072 * s.width
    assert plan.shape.flops_per_token == pytest.approx(per_token, rel=1e-3)
    assert tokens * per_token == pytest.approx(5.76e23, rel=1e-3)
    assert plan.law_flops == pytest.approx(5.76e23 * 6 * plan.N / per_token, rel=0.03)
    assert pytest.approx(plan.D_opt.value, rel=0.03) == plan.D == tokens
    (told,) = (note for note in plan.notes if note.startswith("a token of this shape costs"))
    assert "attention over 131,072 tokens" in told


def test_used_up_data_leave_compute():
    plan = make_plan(5.76e23, data_limit="1B")
    assert plan.binding == ("data",) and plan.data.status == "saturated"
    spent = plan.shape.tokens * plan.shape.flops_per_token
    assert spent == pytest.approx(plan.data.best["C"]) and plan.spent < 0.002
    assert make_plan(5.76e23).spent == pytest.approx(1)


@pytest.mark.parametrize("law", ["kaplan2020", "hoffmann2022", "hoffmann2022_isoflop"])
def test_below_the_runs_of_a_law_it_says_so(law):
    plan = make_plan(1e10, law)
    assert plan.status == "extrapolated"
    assert any("of the smallest of the runs behind the law" in note for note in plan.notes)


def test_a_loss_above_blind_guessing_is_no_answer():
    """At 1e10 FLOPs it says 43.5 nats; a vocabulary of 256 is guessed at ln 256 = 5.545."""
    notes = make_plan(1e10, "muennighoff2023").notes
    assert any("is above ln 256 = 5.545 of guessing blindly" in note for note in notes)
    assert make_plan(1e10, "muennighoff2023").status == "extrapolated"
    assert not any("blindly" in note for note in make_plan(1e20, "muennighoff2023").notes)


def test_a_plan_is_json(full):
    text = json.dumps(full.to_dict(), allow_nan=False)
    read = json.loads(text)
    assert read["N_opt"]["value"] == full.N_opt.value
    assert read["budget"]["pf_days"] == full.budget.pf_days
    assert read["shape"]["shape"]["n_layers"] == full.shape.shape.n_layers
    assert len(read["comparison"]) == len(SOURCES)
    assert read["comparison"][1]["L_opt"] is None  # NaN has no JSON
    assert read["verdict"]["verdict"] == "about optimal"


def test_a_plan_in_short(full):
    assert repr(full) == (
        "512 A100 for 30 days: 21.3B parameters on 1.22T tokens, by besiroglu2024 (extrapolated)"
    )


def test_the_door_takes_what_a_request_takes():
    with pytest.raises(TypeError, match="colour"):
        make_plan(1e20, colour="red")


def test_a_request_holds_numbers():
    request = read_request("1 PF-day", data_limit="100B", inference_tokens="2T", model=("7B", "1T"))
    assert request.budget.flops == 8.64e19 and request.law.name == "besiroglu2024"
    assert (request.data_limit, request.inference_tokens) == (100e9, 2e12)
    assert request.model == (7e9, 1e12)


def test_assumptions_are_notes():
    assert any(note.startswith("device-hours at utilisation 0.4") for note in make_plan(1e22).notes)
    said = make_plan("8 A100 for 9 days", utilisation=0.3, seq_len=1024, vocab_size=50_000)
    assert not any("assumed" in note or "derived" in note for note in said.notes)
    assert (said.conversions.utilisation == 0.3).all()


def test_a_shape_has_the_vocabulary_and_the_context_of_the_laws_own_runs(grid):
    runs = grid(noise=0.01).assign(vocab_size=512, seq_len=64)
    fit = scaling.fit_law(runs, bootstrap=0)
    shape = make_plan(1e13, fit).shape
    assert (shape.shape.vocab_size, shape.shape.seq_len) == (512, 64)
    assert all("that of the law's runs" in line for line in shape.assumptions)
    named = make_plan(1e13, fit, vocab_size=300).shape
    assert (named.shape.vocab_size, named.shape.seq_len) == (300, 64)


def test_runs_of_several_contexts_name_none(grid):
    runs = grid(noise=0.01)
    runs = runs.assign(vocab_size=512, seq_len=[64, 128] * (len(runs) // 2))
    with pytest.warns(scaling.RunsWarning, match="seq_len"):
        fit = scaling.fit_law(runs, bootstrap=0)
    shape = make_plan(1e13, fit).shape
    assert "vocabulary 512: that of the law's runs" in shape.assumptions[0]
    assert "derived from N" in shape.assumptions[1]


def test_a_users_own_fit_plans(grid):
    fit = scaling.fit_law(grid(noise=0.01), bootstrap=20)
    plan = make_plan(1e13, fit, compare=True)
    assert plan.comparison is not None
    assert plan.comparison.law[0] == "DataFrame"
    assert plan.comparison.N_opt[0] == pytest.approx(plan.N_opt.value)
    assert plan.shape is not None
    assert plan.shape.total_params == pytest.approx(plan.N, rel=0.1)


def test_a_budget_too_small_for_any_shape_still_answers():
    plan = make_plan(1e3)
    assert plan.shape is None and np.isfinite(plan.N_opt.value)
    assert any(note.startswith("no shape: ") for note in plan.notes)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"budget": -1}, "budget must be positive"),
        ({"budget": "512 A101 for 3 days"}, "device 'A101' is unknown"),
        ({"budget": 1e20, "utilisation": 1.2}, "utilisation 1.2 is no share"),
        ({"budget": 1e20, "law": "chinchila"}, "law 'chinchila' is neither one of"),
        ({"budget": 1e20, "seq_len": 10**12}, "longer than the data, D="),
        ({"budget": 1e22, "seq_len": 4096, "data_limit": 4000}, "longer than the data, D=4e"),
        ({"budget": 1e20, "vocab_size": 10**9}, "too small for a vocabulary of 1,000,000,000"),
        ({"budget": 1e20, "data_limit": 0}, "data_limit must be positive"),
        ({"budget": 1e20, "kept_share": 0}, r"kept_share=0 must be a share in \(0, 1\]"),
        ({"budget": 1e20, "kept_share": "2 %"}, "kept_share='2 %' must be a share"),
        ({"budget": 1e20, "inference_tokens": -1}, "inference_tokens must be zero or more"),
        ({"budget": 1e20, "law": "kaplan2020", "inference_tokens": 1}, "has no loss for every N"),
        ({"budget": 1e20, "model": (0, 1)}, "your model: N must be positive"),
    ],
)
def test_nonsense_is_refused_by_name(options, match):
    with pytest.raises(ValueError, match=match):
        make_plan(**options)
