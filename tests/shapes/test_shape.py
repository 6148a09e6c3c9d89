import pytest

from scaling.shapes.shape import (
    FAMILIES,
    ModelConfig,
    Shape,
    Window,
    layers_for_width,
    shape_for_width,
    span_counts,
    span_text,
)


@pytest.mark.parametrize(
    "width, layers",
    [(16, 1), (24, 2), (32, 2), (48, 3), (64, 3), (80, 4), (96, 4), (128, 5), (8192, 81)],
)
def test_ladder_runs_through_the_prototypes_and_chinchilla(width, layers):
    assert layers_for_width(width) == layers


def test_every_width_of_the_ladder_can_be_built():
    for width in range(4, 1025, 4):
        shape = shape_for_width(width, 1024, ModelConfig())
        assert shape.head_width % 2 == 0, width
        assert shape.n_heads * shape.head_width == width


@pytest.mark.parametrize(
    "sizes, message",
    [
        (dict(n_heads=3), "width 32 over n_heads 3 must give an even integer head width"),
        (dict(n_heads=32), "must give an even integer head width"),
        (dict(n_layers=0), "n_layers must be at least 1, got 0"),
        (dict(ffn="relu"), "ffn must be 'gelu' or 'swiglu', got 'relu'"),
        (dict(n_heads=4, n_kv_heads=3), "n_kv_heads 3 must divide n_heads 4"),
        (dict(family="rnn"), "model.family='rnn' is not built yet; choose one of .'gpt', 'bert', "),
        (dict(family="t5", seq_len=2), "seq_len 2 is too short for family 't5'"),
    ],
)
def test_impossible_shapes_are_refused(sizes, message):
    good = dict(vocab_size=64, seq_len=8, n_layers=1, width=32, n_heads=2)
    with pytest.raises(ValueError, match=message):
        Shape(**(good | sizes))


@pytest.mark.parametrize(
    "family, seq_len, window",
    [
        ("gpt", 128, Window(text=128, inputs=128, targets=128, added_ids=0)),
        ("bert", 128, Window(text=128, inputs=128, targets=19, added_ids=1)),
        ("t5", 128, Window(text=141, inputs=128, targets=29, added_ids=8)),
        ("t5", 512, Window(text=568, inputs=512, targets=114, added_ids=29)),  # Raffel et al. 2020
        ("bert", 1, Window(text=1, inputs=1, targets=1, added_ids=1)),
    ],
)
def test_lengths_of_a_window(family, seq_len, window):
    shape = shape_for_width(16, 1024, ModelConfig(family=family, seq_len=seq_len))
    assert shape.window == window
    assert shape.table_rows == 1024 + window.added_ids


def test_no_longer_text_fits_the_encoder():
    def corrupted(n_text):
        n_hidden, n_spans = span_counts(n_text)
        return n_text - n_hidden + n_spans + 1

    for seq_len in range(3, 2050):
        n_text = span_text(seq_len)
        assert (corrupted(n_text), corrupted(n_text + 1)) == (seq_len, seq_len + 1)


def test_a_width_means_the_same_for_every_family():
    shapes = [shape_for_width(48, 1024, ModelConfig(family=family)) for family in FAMILIES]
    assert len({(s.width, s.n_layers, s.n_heads, s.hidden, s.vocab_size) for s in shapes}) == 1
