"""Whether a figure can be read: nothing covers anything, and all is where it belongs."""

from itertools import combinations, pairwise

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from scaling.figures.saving import laid_out

TOUCH = 0.75  # points by which boxes may overlap: letters do not fill theirs


def drawn(fig):
    """Draw a figure without a file, and check what can be seen; return it."""
    with laid_out(fig):
        fig.draw_without_rendering()
        problems = find_problems(fig)
    assert not problems, "\n".join(problems)
    return fig


def find_problems(fig):
    """Everything that collides, is cut off, or lies outside of its panel, in words."""
    scale = fig.dpi / 72
    found = [*_outside_the_figure(fig, scale)]
    for i, ax in enumerate(fig.axes):
        found += [f"axes {i}: {told}" for told in _touching_ticks(ax)]
        found += [f"axes {i}: {told}" for told in _lost_marks(ax)]
    texts = [(told, box.padded(-TOUCH * scale)) for told, box in text_boxes(fig)]
    for (one, box), (other, beside) in combinations(texts, 2):
        if box.overlaps(beside):
            found.append(f"{one!r} covers {other!r}")
    for text, box in texts:
        for i, ax in enumerate(fig.axes):
            if box.count_contains(_marks(ax)):
                found.append(f"{text!r} covers a mark of axes {i}")
    return found


def text_boxes(fig):
    """What every visible text says, and its box in pixels; of legends their texts one by one."""
    texts = [t for t in fig.findobj(Text) if t.get_visible() and t.get_text().strip()]
    ticks = {id(t) for ax in fig.axes for t in _hidden_ticks(ax)}
    return [
        (text.get_text(), Text.get_window_extent(text)) for text in texts if id(text) not in ticks
    ]


def _hidden_ticks(ax):
    """Labels of ticks that matplotlib keeps but does not draw: those outside of the view."""
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        room = 1e-9 * abs(high - low)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            hidden = not ax.axison or not axis.get_visible()
            if hidden or not low - room <= tick.get_loc() <= high + room:
                yield from (tick.label1, tick.label2)


def _touching_ticks(ax):
    for axis, low, high in ((ax.xaxis, "x0", "x1"), (ax.yaxis, "y0", "y1")):
        labels = [t for t in axis.get_ticklabels() if t.get_visible() and t.get_text()]
        boxes = [(t.get_text(), t.get_window_extent()) for t in labels]
        boxes.sort(key=lambda entry, low=low: getattr(entry[1], low))
        for (one, a), (other, b) in pairwise(boxes):
            if getattr(b, low) <= getattr(a, high):
                yield f"tick {one} touches {other}"


def _outside_the_figure(fig, scale):
    page = fig.bbox.padded(TOUCH * scale)
    for told, box in text_boxes(fig):
        if box.x0 < page.x0 or box.x1 > page.x1 or box.y0 < page.y0 or box.y1 > page.y1:
            yield f"{told!r} leaves the figure"


def _marks(ax):
    """Places of all markers in pixels, shape (n, 2)."""
    places = [np.empty((0, 2))]
    for line in ax.get_lines():
        if line.get_marker() not in ("", "None", None, " ") and line.get_visible():
            xy, every = line.get_xydata(), line.get_markevery()
            xy = xy if every is None else xy[every]
            if len(xy):
                places.append(line.get_transform().transform(xy))
    for dots in ax.collections:
        if isinstance(dots, PathCollection) and len(dots.get_offsets()):
            places.append(dots.get_offset_transform().transform(dots.get_offsets()))
    found = np.concatenate(places)
    return found[np.isfinite(found).all(axis=1)]


def _lost_marks(ax):
    room = Bbox(ax.bbox.get_points()).padded(0.5)
    marks = _marks(ax)
    if lost := len(marks) - int(room.count_contains(marks)):
        yield f"{lost} of {len(marks)} marks lie outside of the panel"
