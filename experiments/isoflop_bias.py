"""How far IsoFLOP fits miss the optimum of a noiseless surface, by the width of their grid.

Question  What do parabolas and bowls of two powers add to D_opt at 1e24 FLOPs by their form alone?
Command   python experiments/isoflop_bias.py
Cost      a few seconds on one core
Expected  parabola -0.33, -1.30, -2.90, -5.10 % on the Chinchilla surface (arXiv:2603.22339), more
          where alpha / beta = 3 and where the grids drift; two powers: nothing
Result    parabola as expected, -23 % where alpha = 3 beta; where the grids drift from a third to
          three times the optimum -2 to -8 % even if alpha = beta; two powers below 1e-10 %,
          parametric below 1e-5 %. results/isoflop-bias
"""

from pathlib import Path

import numpy as np
import pandas as pd

from scaling import FitError, load_runs
from scaling.files import write_text
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.settings import FitSettings
from scaling.laws.frontier import optimum
from scaling.laws.table import LAWS
from scaling.tables.observations import observations

TARGET = 1e24
BUDGETS = np.geomspace(1e20, 1e22, 5)
SIZES = 15
WIDTHS = (2, 4, 8, 16)
DRIFTS = (1.0, 3.0)  # the first grid's centre is the optimum over this, the last one's times this
SURFACES = {
    "Chinchilla": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
    "alpha = beta": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.31, "beta": 0.31},
    "alpha = 3 beta": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.465, "beta": 0.155},
}
METHODS = {
    "isoflop": fit_isoflop,
    "isoflop_power": fit_isoflop_power,
    "parametric": fit_parametric,
}


def noiseless_runs(law, width, drift):
    """Return one IsoFLOP grid with C = 6ND, its centres drifting across the optima."""
    rows = []
    for C, off in zip(BUDGETS, np.geomspace(1 / drift, drift, len(BUDGETS)), strict=True):
        middle = optimum("chinchilla", law, C)["N_opt"] * off
        N = middle * np.geomspace(1 / width, width, SIZES)
        loss = LAWS["chinchilla"].loss(law, N=N, D=C / 6 / N)
        rows.append(pd.DataFrame({"N": N, "D": C / 6 / N, "loss": loss}))
    return load_runs(pd.concat(rows, ignore_index=True))


def errors():
    """Yield the relative error of every method's D_opt at the target; NaN where it refuses."""
    for name, law in SURFACES.items():
        truth = optimum("chinchilla", law, TARGET)["D_opt"]
        for drift in DRIFTS:
            for width in WIDTHS:
                data = Prepared.of(observations(noiseless_runs(law, width, drift))[0])
                row = {"surface": name, "drift": drift, "width": width}
                for method, fit in METHODS.items():
                    try:
                        found = fit(data, FitSettings(bootstrap=0)).D_opt(TARGET).value
                    except FitError:
                        found = float("nan")
                    yield row | {"method": method, "D_opt_error": found / truth - 1}


def main():
    """Print and write the errors."""
    table = pd.DataFrame(errors())
    wide = table.pivot(index=["surface", "drift", "width"], columns="method", values="D_opt_error")
    print((100 * wide).to_string(float_format="{:.2e}".format))
    write_text(Path("results/isoflop-bias/bias.csv"), table.to_csv(index=False))


if __name__ == "__main__":
    main()
