"""Tables and fits -> matplotlib figures; never fits, no pyplot; `saving` alone writes files."""

from scaling.figures.compute import compute_figure
from scaling.figures.contour import contour_figure
from scaling.figures.every import all_figures
from scaling.figures.isoflop import isoflop_figure
from scaling.figures.ratio import ratio_figure
from scaling.figures.triptych import triptych_figure

__all__ = [
    "all_figures",
    "compute_figure",
    "contour_figure",
    "isoflop_figure",
    "ratio_figure",
    "triptych_figure",
]
