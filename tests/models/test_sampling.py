import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from recipes import rebuild
from scipy.stats import chisquare

from scaling.models.build import build_model
from scaling.models.sampling import GREEDY, Sampler, fill_masks, generate, infill
from scaling.shapes.shape import Shape
from scaling.training.optim import Recipe
from scaling.training.trunk import Outcome, TrunkTraining

V = 13
# the next token is always the last plus one; 13 is prime, so that windows start everywhere
CYCLE = np.tile(np.arange(V, dtype=np.uint16), 2500)
SEQ_LEN = {"gpt": 8, "bert": 16, "t5": 32}
STEPS = {"gpt": 150, "bert": 1000, "t5": 1000}
LR = {"gpt": 0.01, "bert": 0.01, "t5": 0.005}
LOGITS = torch.tensor([[2.0, 0.0, 1.0, -1.0, 0.5, 1.5]])


def shape_of(family):
    return Shape(
        vocab_size=V, seq_len=SEQ_LEN[family], n_layers=1, width=32, n_heads=2, family=family
    )


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def trained():
    """A function that returns a model of a family that knows the cycle."""
    known = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def train(family):
        if family not in known:
            recipe = Recipe(
                lr=LR[family],
                batch_size=32 if family == "t5" else 16,
                steps=STEPS[family],
                warmup_steps=10,
                cooldown_steps=STEPS[family] // 5,
                schedule="cooldown",
                beta1=0.9,
                beta2=0.95,
                weight_decay=0.0,
                grad_clip=1.0,
            )
            training = TrunkTraining(shape_of(family), [recipe], CYCLE, CYCLE, valid_windows=16)
            outcome = next(news for news in training.run() if isinstance(news, Outcome))
            assert outcome.status == "ok"
            known[family] = training.model
        return known[family]

    yield train
    torch.set_num_threads(threads)


def cycle(start, n):
    return [(start + i) % V for i in range(n)]


# ---------------------------------------------------------------- logits

ANY_LOGITS = arrays(np.float32, (2, 7), elements=st.floats(-20, 20, width=32)).map(torch.from_numpy)


@given(logits=ANY_LOGITS, top_k=st.integers(1, 9))
def test_top_k_keeps_the_k_largest_and_changes_none(logits, top_k):
    kept = Sampler(top_k=top_k).filter(logits)
    finite = kept.isfinite()
    assert (finite.sum(-1) == min(top_k, 7)).all()
    assert torch.equal(kept[finite], logits[finite])
    for row, stays in zip(logits, finite, strict=True):
        if top_k < 7:
            assert row[stays].min() >= row[~stays].max()


@given(logits=ANY_LOGITS, top_p=st.floats(1e-6, 1.0))
def test_top_p_keeps_the_smallest_set_that_holds_it(logits, top_p):
    stays = Sampler(top_p=top_p).filter(logits).isfinite()
    p = logits.double().softmax(-1)
    held = (p * stays).sum(-1)
    least = p.masked_fill(~stays, 2.0).amin(-1)
    assert (held >= top_p - 1e-5).all()
    alone = stays.sum(-1) == 1
    assert (alone | (held - least < top_p + 1e-5)).all()  # without its least it would not do
    assert (p.masked_fill(stays, 0.0).amax(-1) <= least).all()


@given(logits=ANY_LOGITS)
def test_no_filter_changes_nothing(logits):
    assert torch.equal(GREEDY.filter(logits), logits)
    assert torch.equal(Sampler(top_k=7).filter(logits), logits)


def test_top_p_is_of_what_top_k_left():
    p = torch.tensor([[0.4, 0.3, 0.2, 0.1]])
    assert Sampler(top_p=0.5).filter(p.log()).isfinite().sum() == 2
    assert Sampler(top_k=2, top_p=0.5).filter(p.log()).isfinite().sum() == 1  # 0.4 of 0.7


@given(logits=ANY_LOGITS, temperature=st.floats(1e-3, 50), seed=st.integers(0, 99))
@example(logits=torch.tensor([[0.0, 1e-45]]), temperature=2.0, seed=0)
def test_one_token_left_is_greedy(logits, temperature, seed):
    greedy = GREEDY(logits)
    assert torch.equal(greedy, torch.from_numpy(logits.numpy().argmax(-1)))
    for one in ({"top_k": 1}, {"top_p": 1e-12}):
        drawn = Sampler(temperature, generator=seeded(seed), **one)(logits)
        assert torch.equal(drawn, greedy)


def test_a_vanishing_temperature_is_greedy():
    logits = LOGITS.expand(100, -1)
    assert (Sampler(1e-30, generator=seeded())(logits) == 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 1.0},
        {"temperature": 0.5},
        {"temperature": 2.0, "top_k": 4},
        {"temperature": 1.0, "top_p": 0.8},
        {"temperature": 1.5, "top_k": 5, "top_p": 0.9},
    ],
)
def test_tokens_come_as_often_as_the_filtered_softmax_says(options):
    n = 20_000
    drawn = Sampler(**options, generator=seeded(7))(LOGITS.expand(n, -1))
    filters = {k: v for k, v in options.items() if k != "temperature"}
    p = Sampler(**filters).filter(LOGITS / options["temperature"]).double().softmax(-1)[0]
    counts = torch.bincount(drawn, minlength=6)
    possible = p > 0
    assert counts[~possible].sum() == 0
    assert filters == {} or not possible.all()
    assert chisquare(counts[possible], n * p[possible] / p[possible].sum()).pvalue > 1e-3


def test_the_generator_decides():
    def draw(seed):
        return Sampler(1.0, generator=seeded(seed))(LOGITS.expand(50, -1))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k=0 keeps no token"),
        ({"top_p": 0.0}, r"top_p=0\.0 must be above 0"),
        ({"top_p": 1.5}, r"top_p=1\.5 must be above 0 and at most 1"),
        ({"temperature": -1.0}, r"temperature=-1\.0 must be 0"),
        ({"temperature": float("nan")}, "temperature=nan must be 0"),
        ({"temperature": 1.0}, r"pass generator=torch\.Generator"),
    ],
)
def test_impossible_choices_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Sampler(**options)


# ---------------------------------------------------------------- GPT


@pytest.mark.parametrize("n_prompt", [1, 5, 8, 30])
def test_a_gpt_that_knows_the_cycle_continues_it(n_prompt, trained):
    written = generate(trained("gpt"), cycle(3, n_prompt), 40)
    assert written == cycle(3 + n_prompt, 40)


def test_only_the_last_context_counts():
    model = build_model(shape_of("gpt"), 3)
    long, short = [7] * 20 + cycle(2, 8), cycle(2, 8)
    assert generate(model, long, 1) == generate(model, short, 1)


def test_sampled_text_stays_in_the_vocabulary_and_follows_the_seed():
    model = build_model(shape_of("gpt"), 3)
    texts = [generate(model, [0], 60, Sampler(5.0, generator=seeded(seed))) for seed in (0, 0, 1)]
    assert all(0 <= token < V for token in texts[0])
    assert len(set(texts[0])) > V // 2
    assert texts[0] == texts[1] != texts[2]


def test_greedy_is_top_k_1_is_a_vanishing_top_p():
    model = build_model(shape_of("gpt"), 3)
    greedy = generate(model, [1, 2], 20)
    for one in ({"top_k": 1}, {"top_p": 1e-12}):
        narrow = Sampler(3.0, generator=seeded(), **one)
        assert generate(model, [1, 2], 20, narrow) == greedy


def test_nothing_is_generated_if_nothing_is_asked_for():
    assert generate(build_model(shape_of("gpt")), [1], 0) == []


@pytest.mark.parametrize(
    ("tokens", "n", "message"),
    [
        ([], 1, "has no token"),
        ([3, 13], 1, r"tokens \[13\] are outside of the vocabulary of 13"),
        ([-1], 1, r"tokens \[-1\] are outside"),
        ([1], -1, "n=-1 tokens cannot"),
    ],
)
def test_impossible_prompts_are_refused(tokens, n, message):
    with pytest.raises(ValueError, match=message):
        generate(build_model(shape_of("gpt")), tokens, n)


def test_another_family_is_sent_to_its_own_function():
    with pytest.raises(
        ValueError, match="needs a model of family 'gpt', not 'bert'; use fill_mask"
    ):
        generate(build_model(shape_of("bert")), [1], 1)
    with pytest.raises(ValueError, match="family 'bert', not 't5'; use infill"):
        fill_masks(build_model(shape_of("t5")), [1], [0])
    with pytest.raises(ValueError, match="family 't5', not 'gpt'; use generate"):
        infill(build_model(shape_of("gpt")), [1], [(0, 1)])


# ---------------------------------------------------------------- BERT


@pytest.mark.long
@pytest.mark.parametrize("start", [0, 5, 11])
def test_a_bert_that_knows_the_cycle_fills_masks(start, trained):
    text = cycle(start, 16)
    found = fill_masks(trained("bert"), text, [2, 9])
    assert [candidates[0].token for candidates in found] == [text[2], text[9]]
    assert all(candidates[0].probability > 0.5 for candidates in found)


def test_the_truth_is_hidden():
    model = build_model(shape_of("bert"), 2)
    text = cycle(0, 16)
    lied = [*text[:4], 12, *text[5:]]
    assert fill_masks(model, text, [4]) == fill_masks(model, lied, [4])
    assert fill_masks(model, text, [5]) != fill_masks(model, lied, [5])


def test_candidates_are_the_softmax_among_the_ids_of_the_tokenizer():
    model = build_model(shape_of("bert"), 2)
    (candidates,) = fill_masks(model, cycle(0, 16), [4], n_candidates=V)
    probabilities = [c.probability for c in candidates]
    assert sorted(c.token for c in candidates) == list(range(V))  # the mask is none of them
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-6)
    shown = torch.tensor([[*cycle(0, 4), V, *cycle(5, 11)]])
    logits = model(shown, torch.tensor([[4]]))[0, 0, :V]
    wanted = logits.softmax(-1)[[c.token for c in candidates]].tolist()
    assert probabilities == pytest.approx(wanted, rel=1e-5)


def test_arrays_of_a_corpus_are_texts_too():
    text = np.array(cycle(0, 16), np.uint16)
    bert, gpt, t5 = (build_model(shape_of(family), 2) for family in ("bert", "gpt", "t5"))
    assert fill_masks(bert, text, np.array([4])) == fill_masks(bert, cycle(0, 16), [4])
    assert generate(gpt, text, 5) == generate(gpt, cycle(0, 16), 5)
    assert infill(t5, text, [(3, 5)]) == infill(t5, cycle(0, 16), [(3, 5)])


def test_no_mask_no_candidates():
    assert fill_masks(build_model(shape_of("bert")), [1, 2], []) == []


@pytest.mark.parametrize(
    ("tokens", "positions", "message"),
    [
        (cycle(0, 17), [0], "takes 17 positions, more than seq_len 16"),
        ([1, 2], [2], r"positions \[2\] lie outside of the text; count from 0 to 1"),
        ([1, 2], [-1], r"positions \[-1\] lie outside"),
        ([1, 13], [0], "outside of the vocabulary"),
    ],
)
def test_impossible_masks_are_refused(tokens, positions, message):
    with pytest.raises(ValueError, match=message):
        fill_masks(build_model(shape_of("bert")), tokens, positions)


def test_no_candidates_at_all_are_refused():
    with pytest.raises(ValueError, match="n_candidates=0 must be from 1 to 13"):
        fill_masks(build_model(shape_of("bert")), [1], [0], n_candidates=0)


# ---------------------------------------------------------------- T5

T5 = shape_of("t5")
SPANS = [(9, 12), (32, 34)]  # as in training a text of 34 ends hidden: 5 tokens in 2 spans


@pytest.mark.long
@pytest.mark.parametrize("start", [0, 6, 11])
def test_a_t5_that_knows_the_cycle_infills_spans(start, trained):
    text = cycle(start, T5.window.text)
    filled = infill(trained("t5"), text, SPANS)
    assert filled == [text[9:12], text[32:34]]
    assert rebuild(text, SPANS, filled) == text


def test_what_a_decoder_writes_lands_in_its_spans(monkeypatch):
    model, text = build_model(T5), cycle(0, T5.window.text)
    said = torch.tensor([[V, *text[9:12], V + 1, *text[32:34], T5.table_rows - 1]])

    def knowing(inputs, written):
        assert written.tolist() == [[T5.table_rows - 1, *said[0, : written.shape[1] - 1]]]
        return torch.nn.functional.one_hot(said[:, : written.shape[1]], T5.table_rows)

    monkeypatch.setattr(model, "forward", knowing)
    assert infill(model, text, SPANS) == [text[9:12], text[32:34]]


def test_sampling_with_one_token_left_is_greedy():
    model = build_model(T5, 4)
    text = cycle(0, T5.window.text)
    sampled = infill(model, text, SPANS, Sampler(4.0, top_k=1, generator=seeded()))
    assert sampled == infill(model, text, SPANS)


def test_writing_ends_though_the_mark_never_comes():
    model = build_model(T5, 4)
    for seed in range(5):
        filled = infill(model, cycle(0, 34), SPANS, Sampler(9.0, top_k=9, generator=seeded(seed)))
        assert len(filled) == 2
        assert sum(map(len, filled)) <= T5.window.targets
        assert all(0 <= token < V for span in filled for token in span)


@pytest.mark.parametrize(
    ("n", "spans", "message"),
    [
        (20, [(0, 1), (2, 3), (4, 5)], "3 spans are more than the 2 sentinels of seq_len 32"),
        (20, [(5, 5)], r"span \(5, 5\) must begin at 0"),
        (20, [(4, 8), (7, 9)], r"span \(7, 9\) must begin at 8"),
        (20, [(18, 21)], r"span \(18, 21\).*by 20, the end of the text"),
        (40, [(0, 1)], "takes 41 positions, more than seq_len 32"),
    ],
)
def test_impossible_spans_are_refused(n, spans, message):
    with pytest.raises(ValueError, match=message):
        infill(build_model(T5), cycle(0, n), spans)
