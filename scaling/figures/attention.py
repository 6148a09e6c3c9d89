"""Where the heads of a model look: one map for each head of each layer."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from scaling.figures import paper

MOST_LABELS = 24  # tokens that are named


@paper.styled
def attention_figure(maps: np.ndarray, tokens: Sequence[str]) -> Figure:
    """Draw attention weights: a row of panels a layer, a panel a head, dark where much is seen.

    Parameters
    ----------
    maps : array of shape (layers, heads, T, T)
        Rows are positions that look, columns those that are looked at; rows sum to 1.
    tokens : sequence of str, T of them
    """
    layers, heads, n, _ = maps.shape
    side = min(2.4, paper.PAGE / heads)
    fig = paper.paper_figure(max(side * heads, 3.5), 0.4 + side * layers)
    for layer, row in enumerate(fig.subplots(layers, heads, squeeze=False)):
        for head, ax in enumerate(row):
            ax.imshow(maps[layer, head], cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
            ax.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=7)
            ax.spines[:].set_visible(True)
            ax.set_xticks([])
            ax.set_yticks([])
            named = range(n) if n <= MOST_LABELS else []
            if head == 0 and named:
                ax.set_yticks([*named], [*tokens], fontsize=5)
            if layer == layers - 1 and named:
                ax.set_xticks([*named], [*tokens], fontsize=5, rotation=90)
            ax.tick_params(length=0)
    note = "rows look, columns are looked at; white 0, black 1; rows sum to 1"
    fig.supxlabel(note, x=0.01, ha="left", fontsize=7, color="0.25")
    return fig
