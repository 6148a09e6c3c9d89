import functools
import math
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recipes import TINY

from scaling.data.order import window_order
from scaling.models.kernels import PLAIN, Kernels
from scaling.shapes.shape import Shape
from scaling.training.trunk import (
    Branching,
    Outcome,
    Point,
    TrunkTraining,
    look_steps,
)

SHAPE = Shape(vocab_size=16, seq_len=8, n_layers=1, width=16, n_heads=1)
pytestmark = pytest.mark.usefixtures("one_thread")
RECIPE = replace(TINY, batch_size=16, steps=150, warmup_steps=10, cooldown_steps=30)
CYCLE = np.tile(np.arange(16, dtype=np.uint16), 2000)  # the next token is always the last plus one


HORIZONS = [replace(RECIPE, steps=n, cooldown_steps=n // 5) for n in (40, 90, 150)]
STOPS = (0, 17, 40)  # news told by a trunk before it is stopped


def trunk(recipes=(RECIPE,), **options):
    return TrunkTraining(SHAPE, recipes, CYCLE, CYCLE, valid_windows=32, **options)


def train(recipe=RECIPE, **options):
    news = list(trunk([recipe], **options).run())
    return [n for n in news if isinstance(n, Point)], news[-1]


@functools.cache
def train_once():
    return train()


@functools.cache
def stop_and_go_on():
    """News of a trunk, and of every stop the state, the horizons to do and the news told."""
    training, seen, left = trunk(HORIZONS), [], {}
    for news in training.run():
        on_trunk = isinstance(news, Branching) or (isinstance(news, Point) and news.branch is None)
        for stop in [n for n in STOPS if on_trunk and len(seen) >= n and n not in left]:
            to_do = [h for h in HORIZONS if h not in ended(seen)]
            left[stop] = training.state(), to_do, len(seen) + isinstance(news, Point)
        seen.append(news)
    return seen, left


def test_a_cycle_is_learned():
    points, outcome = train_once()
    assert outcome.status == "ok"
    assert outcome.loss < 0.05 < points[0].loss
    assert outcome.steps == points[-1].step == 150


def windows(index):
    """Windows of nine tokens that share one with the next."""
    return torch.from_numpy(CYCLE[index[:, None] * 8 + np.arange(9)].astype(np.int64))


def test_the_held_out_loss_is_that_of_a_plain_loop():
    """The loop against the shortest program that says the same."""
    from scaling.models.gpt import GPT
    from scaling.training.optim import lr_at

    _, outcome = train_once()
    model = GPT(SHAPE, 0)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    gains = [p for p in model.parameters() if p.ndim == 1]
    plain = torch.optim.AdamW(
        [dict(params=decayed), dict(params=gains, weight_decay=0.0)],
        betas=(0.9, 0.95),
        weight_decay=0.1,
        foreach=False,
    )
    order = window_order(np.arange(150 * 16), (len(CYCLE) - 1) // 8, 0).reshape(150, 16)
    for step in range(150):
        for group in plain.param_groups:
            group["lr"] = lr_at(step, RECIPE)
        plain.zero_grad()
        model.loss(windows(order[step])).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        plain.step()
    with torch.no_grad():
        held_out = model.loss(windows(np.arange(32))).mean()
    assert outcome.loss == pytest.approx(held_out.item(), rel=1e-3)


def test_a_run_repeats_bit_for_bit_and_the_seed_matters():
    short = replace(RECIPE, steps=50, cooldown_steps=10)
    first, again, other = (train(short, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first[1].loss != other[1].loss


def test_bf16_stays_close_to_fp32():
    (_, exact), (_, rough) = train_once(), train(precision="bf16")
    assert rough.loss != exact.loss
    assert rough.loss == pytest.approx(exact.loss, abs=0.05)


def test_a_run_away_rate_is_diverged_not_an_exception():
    points, outcome = train(recipe=replace(RECIPE, lr=300.0, grad_clip=1e9))
    assert outcome.status == "diverged"
    assert "lower the" in outcome.reason
    assert math.isnan(outcome.loss)
    assert outcome.steps == points[-1].step < 150


def test_nan_is_diverged(monkeypatch):
    from scaling.models.gpt import GPT

    monkeypatch.setattr(GPT, "loss", lambda self, w: self.table.weight.sum() * math.nan + w[:, 1:])
    points, outcome = train()
    assert outcome.status == "diverged"
    assert "training loss became nan by step 1;" in outcome.reason
    assert len(points) == 1


def test_curve_points_average_all_steps_between():
    points, _ = train_once()
    steps = [0, *(p.step for p in points)]
    assert [p.middle for p in points] == [(a + 1 + b) / 2 for a, b in pairwise(steps)]
    assert all(isinstance(p.loss, float) for p in points)


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_all_horizons_look_at_the_same_steps(one, other):
    low, high = sorted((one, other))
    assert look_steps(low) == {step for step in look_steps(high) if step <= low}
    assert all(b - a <= 1 + 0.08 * a for a, b in pairwise(sorted(look_steps(high))))


def of_branch(news, branch):
    """Curve and outcome of one horizon, as a run of its own would tell them."""
    start = HORIZONS[branch].steps - HORIZONS[branch].cooldown_steps
    points = [n for n in news if isinstance(n, Point)]
    curve = [
        (p.step, p.middle, p.loss, p.lr)
        for p in points
        if p.branch == branch or (p.branch is None and p.step <= start)
    ]
    [end] = [n for n in news if isinstance(n, Outcome) and n.branch == branch]
    return curve, replace(end, branch=0)


@pytest.mark.parametrize("branch", [0, 1, 2])
def test_a_branch_is_bit_for_bit_the_run_of_that_length(branch):
    points, alone = train(HORIZONS[branch])
    curve, end = of_branch(stop_and_go_on()[0], branch)
    assert curve == [(p.step, p.middle, p.loss, p.lr) for p in points]
    assert end == alone


@pytest.mark.parametrize("stop", STOPS)
def test_a_stopped_trunk_goes_on_bit_for_bit(stop):
    seen, left = stop_and_go_on()
    state, to_do, first = left[stop]
    rest = list(trunk(to_do, state=state).run())
    shift = len(HORIZONS) - len(to_do)
    assert [renumbered(n, shift) for n in rest] == seen[first:]


def ended(news):
    return [HORIZONS[n.branch] for n in news if isinstance(n, Outcome)]


def renumbered(news, shift):
    return news if news.branch is None else replace(news, branch=news.branch + shift)


def test_a_diverging_trunk_keeps_the_horizons_that_it_has_finished(monkeypatch):
    monkeypatch.setattr("scaling.training.trunk.DIVERGED_ABOVE", -100.0)  # judged from step 100 on
    ends = [n for n in trunk(HORIZONS).run() if isinstance(n, Outcome)]
    assert [(e.branch, e.status) for e in ends] == [(0, "ok"), (1, "ok"), (2, "diverged")]
    assert 100 < ends[2].steps < 120  # on the trunk
    assert "lower the lr" in ends[2].reason


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_schedules_without_a_cooldown_end_where_the_trunk_does(schedule):
    points, end = train(replace(RECIPE, schedule=schedule, cooldown_steps=0))
    assert end.status == "ok"
    assert points[-1].step == end.steps == 150
    assert points[-1].lr == pytest.approx(0.01 if schedule == "constant" else 0.001, rel=0.05)


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("default")
def test_a_compiled_run_stays_close_to_the_eager_one():
    short = replace(RECIPE, steps=20, cooldown_steps=4)
    (_, eager), (_, compiled) = train(short), train(short, kernels=Kernels(compiled=True))
    assert compiled.loss == pytest.approx(eager.loss, rel=1e-3)


def test_the_outcome_measures_the_spread_of_windows():
    _, outcome = train(recipe=replace(RECIPE, steps=20))
    assert isinstance(outcome, Outcome)
    assert 0 < outcome.loss_std < outcome.loss


def test_our_own_kernels_train_as_torchs_do(monkeypatch):
    short = replace(RECIPE, steps=60, cooldown_steps=12, weight_decay=0.1, grad_clip=0.3)
    (points, ours), (again, _) = (train(short) for _ in range(2))
    assert points == again
    torchs, theirs = train(short, kernels=Kernels())
    found, right = ([p.loss for p in ps] for ps in (points, torchs))
    assert found == pytest.approx(right, abs=1e-4) and found != right
    assert ours.loss == pytest.approx(theirs.loss, abs=1e-4)
    monkeypatch.setattr("scaling.training.casting.library", lambda: "no C compiler")
    without = trunk()
    assert (without.native, without.computed_by) == (None, f"{PLAIN.label}: no C compiler")
    assert trunk(precision="bf16").computed_by == f"{PLAIN.label}: precision=bf16"
