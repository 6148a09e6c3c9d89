"""Round numbers on logarithmic axes, as many as their labels leave room for."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from matplotlib.ticker import Locator, MaxNLocator

from scaling.quantities import format_quantity

STEPS = ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))  # labelled ticks of a decade, densest first
EVENLY = 3.0  # on an axis of fewer times between its ends ticks are evenly spaced
SIZE = 8  # points, of a tick's label
EM = 0.68  # widths of a letter over its size, the widest that labels have on average
APART = 5  # points between two labels
MARKUP = re.compile(r"\\[a-z]+|[{}$^_]")  # of mathematical text, takes no room


class RoundTicks(Locator):
    """Ticks whose labels never touch: chosen when drawn, by the length that the axis has then.

    In a figure of one size it is the shortest so far: a layout makes room for labels, and would
    never settle where that room decides which ones there are.

    Parameters
    ----------
    write : function of a value that returns its label
    """

    axis: Any  # matplotlib sets it

    def __init__(self, write: Callable[[float], str]):
        self.write = write
        self.shortest: dict[tuple, float] = {}

    def __call__(self) -> list[float]:
        """Ticks of the axis as it is now."""
        return self.tick_values(*sorted(self.axis.get_view_interval()))

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Ticks between two positive values."""
        ax = self.axis.axes
        across = self.axis.axis_name == "x"
        length = (ax.bbox.width if across else ax.bbox.height) * 72 / ax.figure.dpi
        view = (*ax.figure.get_size_inches(), vmin, vmax)
        length = self.shortest[view] = min(length, self.shortest.get(view, length))
        room = self._width if across else lambda value: 1.1 * SIZE
        return readable_ticks(vmin, vmax, length, room).tolist()

    def _width(self, value: float) -> float:
        return EM * SIZE * len(MARKUP.sub("", self.write(value)))


def readable_ticks(
    low: float, high: float, length: float, room: Callable[[float], float]
) -> np.ndarray:
    """Round numbers in [low, high] whose labels are apart, two of them wherever there is room.

    Parameters
    ----------
    low, high : float
        Ends of a logarithmic axis.
    length : float
        Of the axis, points.
    room : function of a value that returns what its label takes of the length
    """
    found = np.array([])
    for choice in _choices(low, high):
        ticks = choice[(choice >= low) & (choice <= high)]
        places = length * np.log(ticks / low) / np.log(high / low)
        halves = np.array([room(tick) for tick in ticks]) / 2
        if np.all(np.diff(places) >= halves[1:] + halves[:-1] + APART):
            found = ticks if len(ticks) > len(found) else found
            if len(found) > 1:
                break
    return found


def _choices(low: float, high: float) -> Iterable[np.ndarray]:
    """Sets of round numbers, the best first."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    if high / low > EVENLY:
        yield from (np.outer(decades, steps).ravel() for steps in STEPS)
        yield from (decades[::every] for every in range(2, len(decades)))
    for n in range(8, 0, -1):
        yield np.asarray(MaxNLocator(n, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))


def powers_of_ten(value: float) -> str:
    """2e11 as mathematical text, 2 x 10^11."""
    mantissa, exponent = f"{value:.2e}".split("e")
    front = f"{float(mantissa):g}"
    times = "" if front == "1" else front + r"{\times}"
    return f"${times}10^{{{int(exponent)}}}$"


def suffixed(value: float) -> str:
    """20000 as 20k; powers of ten beyond the trillions."""
    if not 1 <= value < 1e15:
        return powers_of_ten(value)
    return format_quantity(value)
