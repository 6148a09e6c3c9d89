"""Model families side by side: bowls above, compute-optimal sizes below."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from scaling.figures import paper
from scaling.figures.isoflop import SEEDS, draw_bowls, draw_minima, draw_power_law, scale_bowls
from scaling.fitting.result import Fit


@paper.styled
def families_figure(tables: Mapping[str, pd.DataFrame], fits: Mapping[str, Fit]) -> Figure:
    """One column per family: its IsoFLOP bowls, and N_opt(C) through their minima.

    A column has the title of its runs table; without a fit of method "isoflop" of the same title it
    shows the runs alone. The columns have no loss axis in common: losses of different objectives
    cannot be compared.
    """
    convention = paper.one_convention(*fits.values())
    fig = paper.paper_figure(paper.PAGE, 5.2)
    axes = fig.subplots(2, len(tables), squeeze=False)
    laws = []
    budgets = {b for fit in fits.values() for b in fit.minima.budget}
    for (above, below), (title, runs) in zip(axes.T, tables.items(), strict=True):
        fit = fits.get(title)
        drawn = paper.drawn_runs(runs, fit, convention=convention)
        laws.append((below, fit, draw_bowls(above, drawn, fit, among=budgets)))
        scale_bowls(above, drawn)
        above.set_title(title, fontsize=8, loc="left")
    paper.legend_above(fig, columns=5)
    for ax, fit, found in laws:
        if fit is None:
            ax.set_axis_off()
        else:
            draw_power_law(ax, fit, draw_minima(ax, found, "N"), "N", "a")
    apart = "losses of different objectives cannot be compared; exponents and ratios can"
    return paper.finish(fig, convention, apart, SEEDS, paper.interval_note(*fits.values()))
