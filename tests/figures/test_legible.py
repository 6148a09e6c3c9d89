"""The check of figures finds what it is there for."""

import pytest
from legible import find_problems
from matplotlib.figure import Figure


@pytest.fixture
def fig():
    fig = Figure(figsize=(5, 4), dpi=100)
    ax = fig.add_subplot()
    ax.plot([0, 1], [0, 1], "o")
    ax.set(xlim=(-0.5, 1.5), ylim=(-0.5, 1.5))
    return fig


def problems(fig):
    fig.draw_without_rendering()
    return find_problems(fig)


def test_a_sound_figure_has_no_problem(fig):
    assert problems(fig) == []


def test_ticks_that_touch(fig):
    fig.axes[0].set_xticks([0.4, 0.5], ["100M", "300M"])
    assert problems(fig) == ["axes 0: tick 100M touches 300M", "'100M' covers '300M'"]


def test_texts_that_cover_each_other_or_a_mark(fig):
    ax = fig.axes[0]
    ax.text(1, 0.2, "one")
    ax.text(1.05, 0.22, "other")
    assert problems(fig) == ["'one' covers 'other'"]
    ax.annotate("name", (0, 0), (-5, -3), textcoords="offset points")
    assert problems(fig)[1:] == ["'name' covers a mark of axes 0"]


def test_what_leaves_its_figure_or_panel(fig):
    ax = fig.axes[0]
    ax.text(1.4, 0.5, "far too long for the figure")
    ax.scatter([0.5, 2], [0.5, 0.5])
    told = problems(fig)
    assert "'far too long for the figure' leaves the figure" in told
    assert "axes 0: 1 of 4 marks lie outside of the panel" in told
