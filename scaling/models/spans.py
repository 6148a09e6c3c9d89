"""Hidden spans of one text as a T5 reads and writes them, there and back; plain lists of ids.

vocab_size + i is sentinel i and stands for span i; the last id of the table is the end mark, with
which inputs and outputs end (see `scaling.data.objectives.hide_spans`).
"""

from collections.abc import Sequence

from scaling.shapes.shape import Shape

Span = tuple[int, int]  # start and stop of a stretch of a text


def hide(tokens: Sequence[int], spans: Sequence[Span], shape: Shape) -> list[int]:
    """Put sentinel vocab_size + i for span i of a text, and the end mark behind all.

    With as many spans as in training: the inputs of `scaling.data.objectives.hide_spans`.

    Raises
    ------
    ValueError
        Spans that overlap, are empty or outside of the text, or too many.
    """
    if len(spans) > (most := shape.window.added_ids - 1):
        raise ValueError(
            f"{len(spans)} spans are more than the {most} sentinels of seq_len {shape.seq_len}; "
            "hide fewer, or train with a longer context"
        )
    inputs, position = [], 0
    for i, (start, stop) in enumerate(spans):
        if not position <= start < stop <= len(tokens):
            raise ValueError(
                f"span {(start, stop)} must begin at {position} or later, where the one before "
                f"ends, and end behind its begin by {len(tokens)}, the end of the text"
            )
        inputs += [*tokens[position:start], shape.vocab_size + i]
        position = stop
    return [*inputs, *tokens[position:], shape.table_rows - 1]


def parse_spans(written: Sequence[int], n_spans: int, shape: Shape) -> list[list[int]]:
    """Cut a decoder's output at its sentinels: what stands for span 0, 1, .. n_spans - 1.

    A sentinel that never came leaves its span empty; what precedes all, stands behind a sentinel
    that came before, or behind one that was not asked for is dropped.
    """
    filled: dict[int, list[int]] = {}
    span: list[int] = []
    for token in written:
        if token == shape.table_rows - 1:
            break
        if token < shape.vocab_size:
            span.append(token)
            continue
        span = []
        filled.setdefault(token - shape.vocab_size, span)
    return [filled.get(i, []) for i in range(n_spans)]


def spans_of(inputs: Sequence[int], targets: Sequence[int], shape: Shape) -> list[Span]:
    """Find where in its text an objective hid what `targets` tell: the inverse of `hide`.

    Inputs and targets are one row each of what `scaling.data.objectives.SpanCorruption` makes.
    """
    filled = parse_spans(targets, shape.window.added_ids - 1, shape)
    spans, position = [], 0
    for token in inputs[:-1]:  # the end mark stands for nothing
        n = len(filled[token - shape.vocab_size]) if token >= shape.vocab_size else 1
        if token >= shape.vocab_size:
            spans.append((position, position + n))
        position += n
    return spans
