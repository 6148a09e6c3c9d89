"""Do 90 % intervals hold the truth nine times in ten, and by which bootstrap.

Question  How often does the interval of each method and kind of bootstrap hold the truth, on grids
          like ours, with independent runs and with runs that share trunks?
Command   python experiments/coverage.py [simulations=100] [resamples=400]
Cost      about 7 minutes on one core
Expected  85 to 95 % for the defaults (default_kind); less where a method is biased
Result    results/coverage
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track
from scipy.optimize import minimize_scalar

from scaling.errors import FitError
from scaling.files import write_text
from scaling.fitting.bootstrap import default_kind
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.settings import FitSettings
from scaling.laws.table import LAWS
from scaling.tables.observations import observations
from scaling.tables.runs import load_runs

EQUAL = {"E": 2.0, "A": 60.0, "B": 200.0, "alpha": 0.35, "beta": 0.35}
UNEQUAL = {"E": 2.0, "A": 26.0, "B": 400.0, "alpha": 0.27, "beta": 0.40}
DEMO = {"E": 3.6, "A": 438.0, "B": 478.0, "alpha": 0.63, "beta": 0.52}
FOUR, SEVEN = 2e11 * 2.0 ** np.arange(4), 2e11 * 2.0 ** np.arange(7)
DESIGNS = {  # law, budgets, sizes per budget, share of the noise variance that a trunk shares
    "4 x 6, alpha = beta": (EQUAL, FOUR, 6, 0.0),
    "4 x 6, alpha < beta": (UNEQUAL, FOUR, 6, 0.0),
    "4 x 6, the demo's fit": (DEMO, FOUR, 6, 0.0),
    "4 x 6, trunks, the demo's fit": (DEMO, FOUR, 6, 0.7),
    "7 x 7, the demo's fit": (DEMO, SEVEN, 7, 0.0),
    "7 x 7, trunks, the demo's fit": (DEMO, SEVEN, 7, 0.7),
}
NOISE = 0.01  # nats
METHODS = {
    "parametric": (fit_parametric, ("seed", "wild", "pairs")),
    "isoflop": (fit_isoflop, (None,)),
    "isoflop_power": (fit_isoflop_power, ("seed", "wild", "pairs")),
}


def flops_per_token(N):
    """Six per parameter, and what head and attention add in small models."""
    return 6 * N + 190 * np.sqrt(N)


def true_loss(law, C, N):
    """Loss of N parameters trained with C FLOPs."""
    return float(LAWS["chinchilla"].loss(law, N=N, D=C / flops_per_token(N)))


def true_optimum(law, C):
    """N of the lowest loss at C, by search."""
    found = minimize_scalar(
        lambda x: true_loss(law, C, np.exp(x)), bounds=(7, 19), method="bounded"
    )
    return np.exp(found.x)


def simulated(law, budgets, sizes, shared, rng):
    """Observations of one noisy grid; with trunks, the same sizes serve every budget."""
    low, high = true_optimum(law, budgets[0]) / 3, true_optimum(law, budgets[-1]) * 3
    step = 9 ** (1 / (sizes - 1))
    ladder = low * step ** np.arange(np.log(high / low) / np.log(step) + 0.5)
    trunk = dict(zip(ladder, rng.standard_normal(len(ladder)), strict=True))
    rows = []
    for C in budgets:
        best = true_optimum(law, C)
        near = ladder[np.argsort(np.abs(np.log(ladder / best)))[:sizes]]
        for N in near if shared else best * np.geomspace(1 / 3, 3, sizes):
            noise = np.sqrt(1 - shared) * rng.standard_normal()
            noise += np.sqrt(shared) * trunk.get(N, 0.0)
            loss = true_loss(law, C, N) + NOISE * noise
            row = {"total_params": N, "tokens": C / flops_per_token(N), "flops": C, "loss": loss}
            rows.append(row | {"flops_budget": C, "trunk_id": f"{N:.6g}" if shared else ""})
    return observations(load_runs(pd.DataFrame(rows)))[0]


def verdicts(design, seed, n):
    """Yield whether each interval on one simulated grid holds the truth."""
    law, budgets, *_ = DESIGNS[design]
    rng = np.random.default_rng(seed)
    obs = simulated(*DESIGNS[design], rng)
    for method, (fit, kinds) in METHODS.items():
        for kind in kinds:
            try:
                found = fit(Prepared.of(obs), FitSettings(bootstrap=n, kind=kind, seed=seed))
            except FitError:
                continue
            row = {"design": design, "method": method, "kind": found.bootstrap.kind}
            default = default_kind(obs) if method == "parametric" else "seed"
            row["default"] = kind in (None, default)
            for C in (budgets[-1], 10 * budgets[-1]):
                N = true_optimum(law, C)
                L = true_loss(law, C, N)
                truths = {"N_opt": N, "tokens_per_param": C / flops_per_token(N) / N, "L_opt": L}
                for quantity, truth in truths.items():
                    e = getattr(found, quantity)(C)
                    width = np.log(e.high / e.low)
                    held = {"holds": e.low <= truth <= e.high, "width": width}
                    yield row | {"quantity": quantity, "C": C} | held
            if method == "parametric":
                for name in ("alpha", "beta"):
                    e = found.param(name)
                    yield row | {"quantity": name, "holds": e.low <= law[name] <= e.high}
                N, C = true_optimum(law, budgets[-1]), budgets[-1]
                new = true_loss(law, C, N) + NOISE * rng.standard_normal()
                e = found.loss(N=N, D=C / flops_per_token(N), prediction=True)
                yield row | {"quantity": "a new run", "C": C, "holds": e.low <= new <= e.high}


def main():
    """Simulate, print and write the shares."""
    options = dict(a.split("=") for a in sys.argv[1:])
    simulations, n = int(options.get("simulations", 100)), int(options.get("resamples", 400))
    grids = [(design, seed) for design in DESIGNS for seed in range(simulations)]
    rows = [row for d, seed in track(grids, "simulated grids") for row in verdicts(d, seed, n)]
    keys = ["design", "method", "kind", "default", "quantity", "C"]
    table = pd.DataFrame(rows).groupby(keys, dropna=False, sort=False)
    table = table.agg(share=("holds", "mean"), width=("width", "median"), n=("holds", "count"))
    table = table.reset_index()
    folder = Path("results/coverage")
    write_text(folder / "coverage.csv", table.to_csv(index=False))
    head = PAGE.format(simulations=simulations, n=n, error=0.3 / simulations**0.5)
    page = f"{head}\n\n{readable(table)}\n"
    write_text(folder / "README.md", page)
    print(page)


PAGE = """# How often 90 % intervals hold the truth

Made by `python experiments/coverage.py simulations={simulations} resamples={n}`: that many
simulated grids per design (noise 0.01 nats), each fitted again that often. The
standard error of a share of 90 % is {error:.0%}. *Here*: at the largest budget; *x10*: at ten times
it, an extrapolation under the true law. The default kind of each method is bold."""


def readable(table):
    """Shares as a table in Markdown: a row per design, method and kind."""
    last = table.groupby("design").C.transform("min")
    place = np.where(table.C.isna(), "", np.where(last < table.C, " x10", " here"))
    table = table.assign(column=table.quantity + place)
    keys = ["design", "method", "kind", "default"]
    wide = table.pivot(index=keys, columns="column", values="share")[[*dict.fromkeys(table.column)]]
    lines = ["| design | method | kind | " + " | ".join(wide.columns) + " |"]
    lines += ["| --- " * (3 + len(wide.columns)) + "|"]
    for (design, method, kind, default), row in wide.iterrows():
        cells = [f"{share:.0%}" if np.isfinite(share) else "-" for share in row]
        kind = f"**{kind}**" if default else kind
        lines.append("| " + " | ".join([design, method, kind, *cells]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
