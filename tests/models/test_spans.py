import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from recipes import rebuild

from scaling.data.objectives import hide_spans
from scaling.models.spans import hide, parse_spans, spans_of
from scaling.shapes.shape import Shape

V = 13
T5 = Shape(vocab_size=V, seq_len=32, n_layers=1, width=16, n_heads=1, family="t5")  # two spans


@given(lengths=st.lists(st.integers(1, 6), min_size=4, max_size=4), data=st.data())
def test_the_layout_is_that_of_the_objective_and_parsing_takes_it_back(lengths, data):
    n = sum(lengths)
    text = data.draw(st.lists(st.integers(0, V - 1), min_size=n, max_size=n))
    ends = np.cumsum(lengths).tolist()
    spans = [(ends[0], ends[1]), (ends[2], ends[3])]
    segment = np.repeat(np.arange(4), lengths)[None]
    inputs, targets = hide_spans(np.array([text]), segment, V)
    assert hide(text, spans, T5) == inputs[0].tolist()
    filled = parse_spans(targets[0].tolist(), 2, T5)
    assert filled == [text[start:stop] for start, stop in spans]
    assert rebuild(text, spans, filled) == text
    assert spans_of(inputs[0].tolist(), targets[0].tolist(), T5) == spans


def test_parsing_forgives_what_a_model_writes():
    X, Y, END = V, V + 1, V + 2
    assert parse_spans([9, X, 1, 2, Y, 3, END, 4], 2, T5) == [[1, 2], [3]]
    assert parse_spans([Y, 3, X, 1], 2, T5) == [[1], [3]]
    assert parse_spans([X, 1, X, 2], 2, T5) == [[1], []]
    assert parse_spans([X, 1, Y, 2], 1, T5) == [[1]]
    assert parse_spans([], 2, T5) == [[], []]
