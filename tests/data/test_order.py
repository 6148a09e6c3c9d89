import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.data import order
from scaling.data.objectives import make_objective
from scaling.data.order import (
    BLOCK,
    Mixture,
    counts_in_block,
    draw_windows,
    hash_numbers,
    mix_places,
    permute,
    window_order,
)
from scaling.shapes.shape import Shape

OBJECTIVE = make_objective(Shape(vocab_size=50, seq_len=4, n_layers=1, width=8, n_heads=1))


def test_small_corpora_keep_the_order_of_our_records():
    """Run ids of committed records stand for these numbers."""
    orders = [np.random.default_rng([7, epoch]).permutation(1000) for epoch in range(3)]
    np.testing.assert_array_equal(
        window_order(np.arange(2500), 1000, 7), np.concatenate(orders)[:2500]
    )


@pytest.mark.parametrize("listed", [True, False])
@given(available=st.integers(1, 50), epochs=st.integers(1, 4), seed=st.integers(0, 9))
def test_no_window_repeats_within_an_epoch(listed, available, epochs, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "LISTED_WINDOWS", 100 if listed else 0)
        seen = window_order(np.arange(available * epochs), available, seed)
    assert all(sorted(epoch) == list(range(available)) for epoch in seen.reshape(epochs, available))


@given(n=st.integers(1, 5000), key=st.integers(0, 2**64 - 1))
def test_permutations_lose_nothing(n, key):
    assert sorted(permute(np.arange(n), n, np.uint64(key))) == list(range(n))


def test_a_place_decides_alone():
    n, places = 10**9 + 7, np.array([0, 5, 10**9, 123_456_789])
    whole = window_order(np.concatenate([places, places + n]), n, 3)
    np.testing.assert_array_equal(window_order(places[::-1], n, 3), whole[:4][::-1])
    assert (whole[:4] != whole[4:]).all() and (window_order(places, n, 4) != whole[:4]).all()


def test_computed_orders_pass_for_random():
    n = 2**22 + 1
    seen = window_order(np.arange(100_000), n, 0)
    assert len(np.unique(seen)) == 100_000
    shares = np.histogram(seen, bins=64, range=(0, n))[0] / 100_000 * 64
    assert shares == pytest.approx(np.ones(64), abs=0.12)
    assert abs(np.corrcoef(seen[:-1], seen[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(seen, np.arange(100_000))[0, 1]) < 0.01
    assert abs((seen % 2).mean() - 0.5) < 0.005
    keys = [hash_numbers(0, epoch) for epoch in range(2000)]  # one place over many epochs
    first = np.array([permute(np.array([0, 1]), 97, key) for key in keys])
    assert np.bincount(first[:, 0], minlength=97) / 2000 == pytest.approx(
        np.full(97, 1 / 97), abs=0.01
    )
    assert abs(np.corrcoef(first.T)[0, 1]) < 0.07


@settings(max_examples=30)
@given(
    weights=st.lists(st.integers(0, 60), min_size=1, max_size=5).filter(any),
    first=st.integers(0, 3 * BLOCK),
    seed=st.integers(0, 9),
)
def test_mixtures_keep_their_shares_and_go_through_each_part_in_turn(weights, first, seed):
    shares = [weight / sum(weights) for weight in weights]
    part, within = mix_places(np.arange(4 * BLOCK), shares, seed)
    counts = np.array(counts_in_block(shares))
    assert (np.abs(counts - BLOCK * np.array(shares)) < 1).all()
    for block in part.reshape(4, BLOCK):
        assert np.bincount(block, minlength=len(shares)).tolist() == counts.tolist()
    for number, count in enumerate(counts):
        assert sorted(within[part == number]) == list(range(4 * count))
    again = mix_places(np.arange(first, 4 * BLOCK), shares, seed)
    np.testing.assert_array_equal(again[0], part[first:])
    np.testing.assert_array_equal(again[1], within[first:])


def test_windows_of_a_mixture_are_those_of_its_parts():
    low, high = np.arange(0, 41, dtype=np.uint16), np.arange(100, 141, dtype=np.uint16)
    windows = draw_windows(Mixture((low, high), (0.3, 0.7)), np.arange(BLOCK), OBJECTIVE, 0)
    of_high = windows[:, 0] >= 100
    assert of_high.sum() == 700
    assert ((windows >= 100).all(1) == of_high).all()
    seen = windows[of_high][:, 0]
    assert set(seen) == {*range(100, 140, 4)}
    alone = draw_windows(Mixture((low, high), (0.0, 1.0)), np.arange(20), OBJECTIVE, 0)
    assert (alone >= 100).all()


@pytest.mark.parametrize(
    "shares, message",
    [
        ((0.5, 0.4), "data.parts=.* sum to 0.9"),
        ((1.5, -0.5), "shares are >= 0 and sum to 1"),
        ((), "sum to 0"),
        ((0.9999, 0.0001), "a share of 0.0001 is none of 1000 windows"),
        ((float("nan"), 1.0), "sum to nan"),
    ],
)
def test_mixtures_that_do_not_add_up_are_refused(shares, message):
    with pytest.raises(ValueError, match=message):
        Mixture(tuple(np.arange(9) for _ in shares), shares)


MEMORY = """
import resource, sys
import numpy as np, torch
from scaling.data.shards import Stream, count_ids, find_shards
from scaling.shapes.shape import Shape
from scaling.training.trunk import TrunkTraining
torch.set_num_threads(1)
tokens = Stream(find_shards(sys.argv[1], "uint16"))
shape = Shape(vocab_size=64, seq_len=128, n_layers=1, width=16, n_heads=1)
from scaling.training.optim import Recipe
recipe = Recipe(lr=1e-3, batch_size=64, steps=int(sys.argv[2]), warmup_steps=1, cooldown_steps=1,
    schedule="cooldown", beta1=.9, beta2=.95, weight_decay=0., grad_clip=1.)
training = TrunkTraining(shape, [recipe], tokens, tokens, valid_windows=64)
outcome = list(training.run())[-1]
assert outcome.status == "ok", outcome
count_ids(tokens, 64)
print(len(tokens), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak_memory(folder, n_tokens, steps):
    """Peak resident memory in bytes of a process that trains on a sparse file of so many ids."""
    path = folder / f"{n_tokens}.bin"
    with path.open("wb") as file:
        file.truncate(2 * n_tokens)
    command = [sys.executable, "-c", MEMORY, str(path), str(steps)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    length, peak = map(int, done.stdout.split())
    assert length == n_tokens
    return peak


@pytest.mark.long
def test_the_memory_of_a_worker_does_not_depend_on_the_corpus(tmp_path):
    peaks = {n: peak_memory(tmp_path, n, steps=100) for n in (10**7, 10**9, 10**10)}
    print({f"{n:.0e}": f"{peak / 1e6:.1f} MB" for n, peak in peaks.items()})
    assert max(peaks.values()) - min(peaks.values()) < 100e6, peaks  # a listed order has 32 MB
    assert abs(peaks[10**10] - peaks[10**9]) < 20e6, peaks
