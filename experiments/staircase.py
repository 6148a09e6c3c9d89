"""Why Kaplan's exponent is not Chinchilla's: the staircase of Porian et al. 2024 at our scale.

Question  How does a in N_opt ~ C^a move when the mistakes of small-scale studies are taken back one
          by one: counting without the head, one long warm-up for all, one horizon for all, one LR
          for all (Porian et al. 2024, arXiv:2406.19146, figure 1: .835 .706 .602 .571 .497)?
Command   python experiments/staircase.py (runs already trained are not repeated)
Cost      52 trunks, 2.8e13 FLOPs, about 6 minutes on two cores
Expected  a falls with every step; the counting is the largest of them
Result    it falls from .73 to .51 with the head and to .44 with the warm-up (parametric); the last
          two steps move it by less than its interval: results/staircase-enwik8-cpu
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console

from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.errors import FitError
from scaling.files import write_text
from scaling.fitting.envelope import fit_envelope
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.shapes.shape import ModelConfig
from scaling.tables.observations import Convention, observations
from scaling.tables.runs import load_curves, load_runs, runs_to_csv
from scaling.training.cells import group_trunks
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.monitor import watch
from scaling.training.optim import OptimConfig
from scaling.training.pool import default_workers, train_here
from scaling.training.records import collect, not_yet_run

FOLDER = Path("results/staircase-enwik8-cpu")
GRID = GridConfig(
    budgets=[1e11, 2e11, 4e11, 8e11],
    sizes=7,
    span=5.0,
    ladder=[8, 12, 16, 20, 24, 28, 36, 44, 48, 60, 72, 80, 96],
    min_steps=20,
)
NAIVE = OptimConfig(
    rules="shape", schedule="constant", lr=0.01, batch_tokens=512, beta2=0.99, warmup_steps=500
)
STEPS = {  # each takes back one more mistake
    "Kaplan's counting": (NAIVE, Convention("blocks", "6ND")),
    "+ head counted": (NAIVE, Convention("total", "6ND")),
    "+ warm-up in proportion": (replace(NAIVE, warmup_steps=None), Convention("total", "6ND")),
    "+ schedule matched to the horizon": (
        replace(NAIVE, warmup_steps=None, schedule="cooldown"),
        Convention("total", "6ND"),
    ),
    "+ LR, batch and beta2 by size": (OptimConfig(rules="shape"), Convention("total", "6ND")),
    "+ FLOPs counted exactly": (OptimConfig(rules="shape"), Convention("total", "counted")),
}


def exponents(name, cells, convention):
    """Yield a by every method for one step of the staircase, or why a method has none."""
    rows, points = collect(cells, FOLDER)
    runs, curves = load_runs(rows), load_curves(points)
    data = Prepared.of(observations(runs, convention)[0], convention)
    methods = {
        "envelope": lambda: fit_envelope(data, curves=curves),
        "isoflop": lambda: fit_isoflop(data),
        "parametric": lambda: fit_parametric(data),
    }
    for method, fit in methods.items():
        row = {"step": name, "N": convention.N, "C": convention.C, "method": method}
        try:
            a = fit().exponents()["N_exponent"]
        except FitError as error:
            yield row | {"status": "refused", "reason": str(error)}
        else:
            yield row | {"a": a.value, "a_low": a.low, "a_high": a.high, "status": a.status}


def main():
    """Train what is missing, fit every step, print and write the staircase."""
    data = prepare_tokens(DataConfig(), report=print)
    shared = {"vocab_size": data.vocab_size, "data": data.name}
    shared |= {"data_fingerprint": data.fingerprint}
    plans = {n: plan_cells(GRID, ModelConfig(), o, **shared) for n, (o, _) in STEPS.items()}
    everything = list({cell.run_id: cell for cells in plans.values() for cell in cells}.values())
    trunks = group_trunks(not_yet_run(everything, FOLDER))
    events = train_here(trunks, data, FOLDER, workers=default_workers("cpu"), device="cpu")
    watch(Console(soft_wrap=True), trunks, events, None)
    stairs = pd.DataFrame(
        [row for name, (_, c) in STEPS.items() for row in exponents(name, plans[name], c)]
    )
    print(stairs.drop(columns="reason").to_string())
    write_text(FOLDER / "runs.csv", runs_to_csv(collect(everything, FOLDER)[0]))
    write_text(FOLDER / "stairs.csv", stairs.to_csv(index=False))


if __name__ == "__main__":
    main()
