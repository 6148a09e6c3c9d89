import numpy as np
import pytest
import torch

from scaling.data.tokenizer import train_tokenizer
from scaling.models.build import build_model
from scaling.models.sampling import Sampler
from scaling.shapes.shape import Shape
from scaling.training import samples

TEXT = ["the history of the film was great: good", "the book was boring: bad, and long"] * 4


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXT, 280)


def model_of(family, **changes):
    options = {"n_layers": 2, "width": 16, "n_heads": 2} | changes
    return build_model(Shape(280, 64, family=family, **options))


@pytest.mark.parametrize("kv_heads", [None, 1])
def test_attention_maps_are_those_of_the_model(kv_heads):
    """With them the values of the first block are mixed to what its attention returns."""
    model = model_of("gpt", n_kv_heads=kv_heads)
    tokens = [5, 9, 200, 31, 9]
    maps = samples.attention_maps(model, tokens)
    assert maps.shape == (2, 2, 5, 5)
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-5)
    assert np.triu(maps[0, 0], 1).max() == 0
    with torch.no_grad():
        block = model.blocks[0]
        x = block.attention_norm(model.table(torch.tensor([tokens])) / samples.TABLE_STD)
        G = model.shape.kv_heads
        heads = block.attention.qkv(x).view(1, 5, 2 + 2 * G, -1).transpose(1, 2)
        v = heads[0, 2 + G :].repeat_interleave(2 // G, 0)
        mixed = (torch.from_numpy(maps[0]) @ v).transpose(0, 1).flatten(1)
        expected = block.attention(x, model.rotary)[0]
        torch.testing.assert_close(block.attention.out(mixed), expected, rtol=1e-4, atol=1e-5)


def test_a_bert_looks_both_ways():
    assert samples.attention_maps(model_of("bert"), [5, 9, 200])[0, 0, 0, 2] > 0


def test_candidates_are_probabilities_and_those_of_the_sampler(tokenizer):
    sampler = Sampler(1.0, top_k=2, generator=torch.Generator().manual_seed(0))
    table = samples.list_candidates(model_of("gpt"), tokenizer, [1, 2], 280, sampler)
    assert table.probability.sum() == pytest.approx(1)
    assert table.drawn.sum() == pytest.approx(1) and (table.drawn > 0).sum() == 2
    greedy = samples.list_candidates(model_of("gpt"), tokenizer, [1, 2], 3, Sampler())
    assert greedy.drawn.tolist() == [1, 0, 0] and greedy.probability.is_monotonic_decreasing


def test_writing_ends_where_the_text_ends(tokenizer):
    model, end = model_of("gpt"), samples.find_end(tokenizer)
    assert end == 0
    with torch.no_grad():
        model.table.weight.zero_()  # all tokens alike: greedy takes the first, the end
    table = samples.continue_text(model, tokenizer, [5], 7, {"greedy": {}})
    assert table.tokens[0] == 0 and table.text[0] == "" and np.isnan(table.distinct[0])


def test_a_task_has_its_examples_and_its_label():
    prompt, label = samples.write_task(3, np.random.default_rng(0))
    lines = prompt.removeprefix(samples.INSTRUCTION).split("\n")
    assert len(lines) == 4 and lines[-1].endswith(":")
    for line in [*lines[:3], lines[3] + label]:
        review, found = line.split(":")
        assert review.split()[-1] in samples.WORDS[found]


def test_accuracy_has_an_interval_and_long_prompts_are_refused(tokenizer):
    table = samples.score_shots(model_of("gpt"), tokenizer, [0], tasks=8)
    row = table.iloc[0]
    assert 0 <= row.accuracy_low <= row.accuracy <= row.accuracy_high <= 1
    with pytest.raises(ValueError, match=r"more than the 64 of the context; give fewer"):
        samples.score_shots(model_of("gpt"), tokenizer, [20], tasks=1)


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_held_out_windows_are_filled(family, tokenizer):
    model, ids = model_of(family), np.arange(1000, dtype=np.uint16) % 280
    table = samples.fill_windows(model, tokenizer, ids, [0, 1])
    assert {*table.window} == {0, 1} and table.right.dtype == bool
    filled = samples.fill_gaps(model, tokenizer, "the [?] was [?].", Sampler())
    assert filled.gap.tolist() == [1, 2]


def test_vectors_are_rows_of_the_table(tokenizer):
    model = model_of("gpt")
    table = samples.list_vectors(model, tokenizer, [7, 7, 8])
    assert table.norm[0] == table.norm[1] == pytest.approx(model.table.weight[7].norm().item())
    assert table.vector[0].startswith(f"{model.table.weight[7, 0].item():+.4f}")
