import pytest

from scaling.models.shape import ModelConfig, Shape, layers_for_width, shape_for_width


@pytest.mark.parametrize(
    "width, layers",
    [(16, 1), (24, 2), (32, 2), (48, 3), (64, 3), (80, 4), (96, 4), (128, 5), (8192, 81)],
)
def test_ladder_runs_through_the_prototypes_and_chinchilla(width, layers):
    assert layers_for_width(width) == layers


@pytest.mark.parametrize("width", range(4, 1025, 4))
def test_every_width_of_the_ladder_can_be_built(width):
    shape = shape_for_width(width, 1024, ModelConfig())
    assert shape.head_width % 2 == 0
    assert shape.n_heads * shape.head_width == width


@pytest.mark.parametrize(
    "sizes, message",
    [
        (dict(n_heads=3), "width 32 over n_heads 3 must give an even integer head width"),
        (dict(n_heads=32), "must give an even integer head width"),
        (dict(n_layers=0), "n_layers must be at least 1, got 0"),
        (dict(ffn="relu"), "ffn must be 'gelu' or 'swiglu', got 'relu'"),
        (dict(n_heads=4, n_kv_heads=3), "n_kv_heads 3 must divide n_heads 4"),
        (dict(family="rnn"), "model.family='rnn' is not built yet"),
    ],
)
def test_impossible_shapes_are_refused(sizes, message):
    good = dict(vocab_size=64, seq_len=8, n_layers=1, width=32, n_heads=2)
    with pytest.raises(ValueError, match=message):
        Shape(**(good | sizes))
