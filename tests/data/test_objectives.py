from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.data.objectives import (
    OBJECTIVES,
    count_windows,
    cut_windows,
    hide_spans,
    make_objective,
    mix64,
    random_numbers,
)
from scaling.shapes.shape import Shape

V = 50
SENTENCE = ["The", "teacher", "teaches", "the", "student"]
CASES = [(family, name) for family, names in OBJECTIVES.items() for name in names]


def objective_of(family, seq_len=16, name=None):
    sizes = dict(vocab_size=V, seq_len=seq_len, n_layers=1, width=8, n_heads=1)
    return make_objective(Shape(family=family, **sizes), name)


def text(n_windows, objective, seed=0):
    n = objective.window.text + objective.overlap
    return np.random.default_rng(seed).integers(0, V, (n_windows, n)).astype(np.uint16)


def words(ids):
    return [[*SENTENCE, "<X>", "<Y>", "<Z>"][i] for i in ids]


def test_spans_of_the_teacher():
    inputs, targets = hide_spans(np.arange(5)[None], np.array([[0, 0, 1, 2, 3]]), 5)
    assert words(inputs[0]) == ["The", "teacher", "<X>", "the", "<Y>", "<Z>"]
    assert words(targets[0]) == ["<X>", "teaches", "<Y>", "student", "<Z>"]


def test_a_longer_span_of_the_teacher_is_one_sentinel():
    inputs, targets = hide_spans(np.arange(5)[None], np.array([[0, 1, 1, 1, 1]]), 5)
    assert words(inputs[0]) == ["The", "<X>", "<Y>"]
    assert words(targets[0]) == ["<X>", "teacher", "teaches", "the", "student", "<Y>"]


def test_the_teacher_masked():
    objective = objective_of("bert", 5, "mlm_mask")  # round(.15 * 5) = 1 of 5
    for draw in range(9):
        tokens, positions, targets = objective(np.arange(5)[None], np.array([draw]), 0)
        (where,) = positions[0]
        assert SENTENCE[targets[0, 0]] == SENTENCE[where]
        assert tokens[0].tolist() == [V if i == where else i for i in range(5)]


@given(
    seq_len=st.integers(3, 150),
    seed=st.one_of(st.none(), st.integers(0, 2**40)),
    first=st.integers(0, 2**40),
)
def test_spans_lose_nothing(seq_len, seed, first):
    objective = objective_of("t5", seq_len)
    window = objective.window
    windows = text(4, objective)
    inputs, targets = objective(windows, first + np.arange(4), seed)
    assert inputs.shape == (4, seq_len) and targets.shape == (4, window.targets)
    sentinels = list(range(V, V + window.added_ids))
    for shown, hidden, original in zip(inputs, targets, windows, strict=True):
        assert [i for i in shown if i >= V] == sentinels
        assert [i for i in hidden if i >= V] == sentinels
        assert shown[0] < V and hidden[0] == V and shown[-1] == hidden[-1] == sentinels[-1]
        assert rebuilt(shown, hidden) == original.tolist()


def rebuilt(shown, hidden):
    """Put every span back where its sentinel stands, token by token."""
    spans = {}
    for token in hidden:
        if token >= V:
            spans[token] = current = []
        else:
            current.append(token)
    return [token for i in shown for token in (spans[i] if i >= V else [i])]


@pytest.mark.parametrize("n_text, n_inputs, n_targets", [(568, 512, 114), (141, 128, 29)])
def test_lengths_of_raffel(n_text, n_inputs, n_targets):
    objective = objective_of("t5", n_inputs)
    inputs, targets = objective(text(2, objective), np.arange(2), 0)
    assert objective.window.text == n_text
    assert (inputs.shape[1], targets.shape[1]) == (n_inputs, n_targets)
    n_hidden = (targets < V).sum(1)
    assert n_hidden.tolist() == [round(0.15 * n_text)] * 2
    assert n_hidden[0] / ((targets[0] >= V).sum() - 1) == pytest.approx(3, abs=0.05)


def test_spans_are_cut_in_all_ways_alike():
    objective = objective_of("t5", 43)  # 47 tokens, 7 hidden in 2 spans: 1 + 6 to 6 + 1
    assert objective.window.text == 47
    inputs, targets = objective(text(12_000, objective), np.arange(12_000), 3)
    length = (targets == V + 1).argmax(1) - 1
    assert np.bincount(length, minlength=7)[1:] / 12_000 == pytest.approx([1 / 6] * 6, abs=0.015)
    gap = (inputs == V).argmax(1)  # 40 shown in two parts: 1 to 39
    assert np.bincount(gap, minlength=40)[1:] / 12_000 == pytest.approx([1 / 39] * 39, abs=0.006)
    assert abs(np.corrcoef(length, gap)[0, 1]) < 0.03


@given(seq_len=st.integers(1, 150), seed=st.one_of(st.none(), st.integers(0, 2**40)))
def test_masking_loses_nothing(seq_len, seed):
    objective = objective_of("bert", seq_len)
    windows = text(4, objective)
    before = windows.copy()
    tokens, positions, targets = objective(windows, np.arange(4), seed)
    n_masked = max(1, round(0.15 * seq_len))
    assert positions.shape == targets.shape == (4, n_masked)
    assert (np.diff(positions, axis=1) > 0).all()
    np.put_along_axis(tokens, positions, targets, 1)
    np.testing.assert_array_equal(tokens, windows)
    np.testing.assert_array_equal(windows, before)


def test_masking_rates():
    objective = objective_of("bert", 128)
    windows = text(8_000, objective)
    tokens, positions, targets = objective(windows, np.arange(8_000), 1)
    shown = np.take_along_axis(tokens, positions, 1)
    n_selected = 8_000 * 19
    assert (shown == V).sum() / n_selected == pytest.approx(0.8, abs=0.005)
    changed = (shown != V) & (shown != targets)
    assert changed.sum() / n_selected == pytest.approx(0.1 * (1 - 1 / V), abs=0.003)
    other = shown[changed]
    assert np.bincount(other, minlength=V) / len(other) == pytest.approx([1 / V] * V, abs=0.005)
    everywhere = np.bincount(positions.ravel(), minlength=128) / 8_000
    assert everywhere == pytest.approx([19 / 128] * 128, abs=0.02)


def test_plain_masking_shows_nothing_else():
    objective = objective_of("bert", 64, "mlm_mask")
    tokens, positions, _ = objective(text(100, objective), np.arange(100), 1)
    assert (np.take_along_axis(tokens, positions, 1) == V).all()
    assert (tokens == V).sum() == positions.size


@pytest.mark.parametrize("family, name", CASES)
@given(cuts=st.lists(st.integers(0, 12), max_size=4), seed=st.one_of(st.none(), st.integers(0, 99)))
def test_batches_do_not_matter(family, name, cuts, seed):
    objective = objective_of(family, 24, name)
    windows, draws = text(12, objective), np.arange(100, 112)
    whole = objective(windows, draws, seed)
    edges = [0, *sorted(cuts), 12]
    parts = [objective(windows[a:b], draws[a:b], seed) for a, b in pairwise(edges) if a < b]
    for array, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert array.dtype == np.int64
        np.testing.assert_array_equal(array, np.concatenate(pieces))


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_draw_and_seed_decide_what_is_hidden(family):
    objective = objective_of(family, 64)
    same = text(1, objective).repeat(6, 0)
    first = objective(same, np.arange(6), 0)[0]
    assert len(np.unique(first, axis=0)) == 6  # another epoch is another draw
    for seed in (1, 2, None):
        assert (objective(same, np.arange(6), seed)[0] != first).any(1).all()


def test_random_numbers_are_splitmix64_and_uniform():
    # the first two of the reference implementation for state 1234567
    state = np.uint64([1234567]) + np.uint64([1, 2]) * np.uint64(0x9E3779B97F4A7C15)
    assert mix64(state).tolist() == [6457827717110365317, 3203168211198807973]
    numbers = random_numbers(np.arange(2_000), 50, 0)
    assert numbers.min() >= 0 and numbers.max() < 1
    deciles = np.histogram(numbers, 10, (0, 1))[0] / numbers.size
    assert deciles == pytest.approx([0.1] * 10, abs=0.005)
    neighbours = [(numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])]
    for a, b in [*neighbours, (numbers, random_numbers(np.arange(2_000), 50, 1))]:
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.015
    np.testing.assert_array_equal(numbers[:, :7], random_numbers(np.arange(2_000), 7, 0))


@pytest.mark.parametrize("family", OBJECTIVES)
@pytest.mark.parametrize("n_tokens", [0, 1, 17, 100, 101])
def test_windows_use_every_token_once(family, n_tokens):
    objective = objective_of(family)
    stream = np.arange(n_tokens)
    n = count_windows(n_tokens, objective)
    windows = cut_windows(stream, np.arange(n), objective)
    assert windows.shape == (n, objective.window.text + objective.overlap)
    used = windows[:, objective.overlap :].ravel()  # a causal model never predicts the first
    np.testing.assert_array_equal(used, stream[objective.overlap :][: len(used)])
    assert n_tokens - len(used) < objective.window.text + 1


def test_all_sizes_see_the_same():
    for family in OBJECTIVES:
        sizes = dict(vocab_size=V, seq_len=16, family=family)
        small = make_objective(Shape(n_layers=1, width=8, n_heads=1, **sizes))
        assert small == make_objective(Shape(n_layers=3, width=64, n_heads=4, **sizes))


@pytest.mark.parametrize(
    "family, name, message",
    [
        ("gpt", "mlm", "objective='mlm' is none of family 'gpt'; choose one of .'clm'"),
        ("bert", "span", "objective='span' is none of family 'bert'"),
    ],
)
def test_objectives_of_other_families_are_refused(family, name, message):
    with pytest.raises(ValueError, match=message):
        objective_of(family, 16, name)


@pytest.mark.parametrize("masked, random", [(0.8, 0.3), (-0.1, 0.5), (0.5, -0.1)])
def test_impossible_shares_are_refused(masked, random):
    objective = objective_of("bert")
    with pytest.raises(ValueError, match=f"masked={masked} and random={random} are shares"):
        type(objective)(objective.window, V, masked, random)
