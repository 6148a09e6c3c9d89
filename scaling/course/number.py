"""One number bit by bit in every format, as the course draws it."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from scaling.figures import paper

FIELDS = {"sign": "#f2c879", "exponent": "#6fb36b", "fraction": "#9db8e8"}  # apart in grey
BOX, GAP = 1.0, 0.45  # widths of a bit, and between two fields
ROOM = 11.0  # for the name of a format
LONGEST = 32 * BOX + 2 * GAP


@paper.styled
def bits_figure(table: pd.DataFrame) -> Figure:
    """Boxes of every bit, and beside them what they say; `scaling.hardware.formats.bits_table`."""
    fig = paper.paper_figure(paper.PAGE, 0.62 * len(table) + 0.75)
    ax = fig.add_subplot()
    for i, row in enumerate(table.to_dict("records")):
        ax.text(-0.6, -2 * i, row["format"], ha="right", va="center", fontsize=8, weight="bold")
        x = 0.0
        fields = row["bits"].split()
        for bits, colour in zip(fields, _colours(len(fields)), strict=True):
            for bit in bits:
                box = Rectangle((x, -2 * i - 0.5), BOX, 1, fc=colour, ec="0.35", lw=0.5)
                ax.add_patch(box)
                ax.text(x + BOX / 2, -2 * i, bit, ha="center", va="center", fontsize=6.5)
                x += BOX
            x += GAP
        told = f"{row['stored']:.12g}   error {row['error']:.2g}, spacing {row['spacing']:.2g}, "
        told += f"from {row['lowest']:.4g} to {row['largest']:.4g}"
        ax.text(0, -2 * i - 1.0, told, va="center", fontsize=6.5, color="0.2")
    ax.set(xlim=(-ROOM / 2, LONGEST + 0.5), ylim=(-2 * len(table) + 0.4, 0.9))
    ax.set_axis_off()
    handles = [Patch(fc=colour, ec="0.35", lw=0.5) for colour in FIELDS.values()]
    fig.legend(handles, [*FIELDS], loc="outside upper left", ncols=3)
    notes = f"{table.value[0]:.16g} in every format, rounded to the nearest, ties to even; an "
    notes += "integer has no exponent, its rest is two's complement"
    fig.supxlabel(notes, x=0.01, ha="left", fontsize=7, color="0.25")
    return fig


def _colours(fields: int) -> list[str]:
    colours = [*FIELDS.values()]
    return colours if fields == 3 else [colours[0], colours[2]]
