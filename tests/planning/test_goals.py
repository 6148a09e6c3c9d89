"""The one search against brute force, closed forms and its own invariances."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scaling.hardware.devices import DEVICES
from scaling.planning.allocation import Goals, search, surface_for
from scaling.planning.departures import compute_for
from scaling.planning.goals import solve
from scaling.planning.plan import make_plan
from scaling.planning.serving import Serving
from scaling.planning.sources import get_source
from scaling.planning.surface import Surface

LAW = get_source("besiroglu2024")
SIZES = np.geomspace(1e8, 1e13, 8001)


@settings(max_examples=12)
@given(
    target=st.floats(1.95, 2.3),
    served=st.sampled_from([0.0, 1e12, 1e14]),
    room=st.sampled_from([1.05, 1.5, np.inf]),
    share=st.sampled_from([0.5, 0.8, np.inf]),
    unique=st.sampled_from([0.3, 0.9, np.inf]),
)
def test_nothing_on_a_grid_is_cheaper(target, served, room, share, unique):
    """Budget, target, data, size and a demand at once."""
    N, D, _ = search(LAW, Goals(target=target))
    limit = float(unique * D) if np.isfinite(unique) else None
    goals = Goals(target=target, data_limit=limit, size=share * N)
    N, D, _ = search(LAW, goals)
    assume(np.isfinite(D))
    surface = surface_for(LAW, goals, D)
    goals = replace(goals, budget=room * surface.total(N, D), served=served)
    N, D, _ = search(LAW, goals)
    sizes = np.append(SIZES, min(goals.size, SIZES[-1]))  # where a bound binds, it is steep
    tokens = surface.tokens_for_loss(sizes, target)
    allowed = (goals.size >= sizes) & (surface.total(sizes, tokens) <= goals.budget)
    least = np.nanmin(np.where(allowed, surface.total(sizes, tokens, served), np.nan))
    assert least * 0.998 <= surface.total(N, D, served) <= least * (1 + 1e-9)  # a step of sizes
    assert surface.loss(N, D) == pytest.approx(target, abs=1e-9)
    assert surface.total(N, D) <= goals.budget * (1 + 1e-6) and goals.size * (1 + 1e-9) >= N


def test_a_target_alone_is_the_frontier_turned_around():
    answer = solve(LAW, Goals(target=2.0))
    C = compute_for(LAW, 2.0)
    assert answer.training.value == pytest.approx(C, rel=1e-9)
    assert answer.N.value == pytest.approx(LAW.point(C)["N_opt"], rel=1e-4)
    assert answer.training.low < C < answer.training.high and answer.unreachable == 0
    assert (answer.binding, answer.N.status) == (("target",), "extrapolated")


def test_the_interval_of_a_target_is_that_of_its_draws():
    """Every draw turned around by itself: L_opt of a sum of two powers under 6ND is E + K / C^e."""
    draws, found = LAW.fit.draws, solve(LAW, Goals(target=2.05)).training
    A, B, a, b = (draws[name].to_numpy() for name in ("A", "B", "alpha", "beta"))
    G = (a * A / (b * B)) ** (1 / (a + b))
    K, e = A / G**a * 6 ** (a * b / (a + b)) * (1 + a / b), a * b / (a + b)
    C = (K / (2.05 - draws.E.to_numpy())) ** (1 / e)
    assert (found.low, found.high) == pytest.approx(np.quantile(C, [0.05, 0.95]), rel=0.01)


def test_a_fixed_size_takes_the_tokens_that_the_law_says():
    p = LAW.fit.params
    answer = solve(LAW, Goals(target=2.1, size=8e9, fixed=True))
    D = (p["B"] / (2.1 - p["E"] - p["A"] / 8e9 ** p["alpha"])) ** (1 / p["beta"])
    assert (answer.N.value, answer.D.value) == pytest.approx((8e9, D), rel=1e-6)
    assert answer.binding == ("target", "size")


@given(scale=st.floats(0.2, 5.0))
@settings(max_examples=5)
def test_a_slack_bound_changes_nothing_and_an_active_one_is_met(scale):
    free = solve(LAW, Goals(budget=1e23))
    size = scale * free.N.value
    held = solve(LAW, Goals(budget=1e23, size=size))
    if scale > 1:
        assert held.N.value == free.N.value and held.binding == ("budget",)
    else:
        assert held.N.value == pytest.approx(size) and held.binding == ("budget", "size")
        assert held.loss.value > free.loss.value


def test_latency_and_memory_by_hand():
    """16 bits on an H100 of 3.35 TB/s and 80 GB, 90 % usable."""
    serving = Serving(DEVICES["H100"], latency=0.02, sequences=8.0)
    bounds = serving.largest()
    N = bounds["latency"]
    assert 2 * N + serving.cache_bytes(N) == pytest.approx(0.02 * 3.35e12)
    N = bounds["memory"]
    assert 2 * N + 8 * serving.cache_bytes(N) == pytest.approx(0.9 * 80e9)
    answer = solve(LAW, Goals(budget=5.76e23, serving=serving))
    assert answer.binding == ("budget", "latency" if bounds["latency"] < N else "memory")
    assert answer.N.value == pytest.approx(min(bounds.values()))
    two = Serving(DEVICES["H100"], 2, latency=0.02)
    assert two.largest()["latency"] > 1.9 * bounds["latency"]


def test_without_repeats_data_and_target_meet():
    limit = 500e9
    answer = solve(LAW, Goals(target=2.05, data_limit=limit, repeat=False))
    free = solve(LAW, Goals(target=2.05))
    assert free.D.value > limit * (1 - 1e-6) or answer.N.value == pytest.approx(free.N.value)
    short = solve(LAW, Goals(target=2.0, data_limit=limit, repeat=False))
    assert short.D.value == pytest.approx(limit, rel=1e-4) and short.binding == ("target", "data")
    p = LAW.fit.params
    N = (p["A"] / (2.0 - p["E"] - p["B"] / limit ** p["beta"])) ** (1 / p["alpha"])
    assert short.N.value > 0.99 * N


def test_a_plan_with_a_target_needs_no_budget():
    plan = make_plan(target_loss=2.0, price_per_hour=2, vocab_size=32_000, seq_len=2048)
    assert plan.shape is not None
    assert plan.budget.flops == pytest.approx(plan.D * plan.shape.flops_per_token)
    assert plan.spent == pytest.approx(1) and plan.binding == ("target",)
    bounded = make_plan(1e24, target_loss=2.0)
    assert pytest.approx(plan.N) == bounded.N and bounded.spent < 0.3
    assert bounded.to_dict()["answer"]["constraints"][0]["status"] == "slack"


def test_a_law_of_the_optimum_reaches_a_target():
    law = "results/reference-enwik8-cpu"
    plan = make_plan(target_loss=3.7, law=law)
    assert float(get_source(law).L_opt(plan.law_flops)) == pytest.approx(3.7)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {},
            "budget must be given, as budget=5.76e23 or budget='512 A100 for 30 days', "
            "or a target_loss",
        ),
        ({"target_loss": 1.7}, "'besiroglu2024' has 1.817 nats/token left for an infinite model"),
        (
            {"target_loss": 1.9, "budget": 1e23},
            r"conflicts with budget: .* is target_loss=2.0314 or budget=2.05\de\+25",
        ),
        ({"target_loss": 1.95, "serve_params": "1B"}, "or serve_params=17.3"),
        ({"target_loss": 1.95, "data_limit": "10B"}, "or data_limit=227"),
        ({"budget": 1e23, "serve_params": "70B", "latency": "10 ms"}, "10 ms allows 15.6B param"),
        ({"target_loss": 1.95, "latency": "2 ms"}, r"or latency=\d+"),
        ({"budget": 1e23, "latency": 20}, "latency=20 is no time; write '20 ms'"),
        ({"budget": 1e23, "kv_share": 0.5}, "kv_share: give latency or serve_sequences"),
        ({"budget": 1e20, "law": "kaplan2020", "serve_params": "1B"}, "has no loss for every N"),
        ({"target_loss": 2.0, "law": "hoffmann2022_isoflop"}, "cannot be reached"),
        ({"target_loss": 2.0, "law": "kaplan2020", "data_limit": "1M"}, "has no loss for every N"),
    ],
)
def test_what_cannot_be_is_refused_with_the_nearest_that_can(options, match):
    with pytest.raises(ValueError, match=match):
        make_plan(**options)


def test_the_nearest_that_can_be_can_be():
    for nearest in (
        {"target_loss": 2.0315, "budget": 1e23},
        {"target_loss": 1.9, "budget": 2.06e25},
    ):
        assert "target" in make_plan(**nearest).binding


def test_draws_are_answered_one_by_one():
    surface, drawn = Surface(LAW), Surface(LAW, drawn=True)
    N, D = drawn.cheapest(2.1)
    assert N.shape == (len(LAW.fit.draws),)
    assert drawn.loss(N, D) == pytest.approx(np.full(len(N), 2.1))
    assert N.min() < surface.cheapest(2.1)[0] < N.max()
