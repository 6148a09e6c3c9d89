"""Three doublings beyond the reference, predicted first: "about 20" decided by running.

Question  Laws that fit results/reference-enwik8-cpu alike part beyond it: at 1.024e14 FLOPs they
          say 9 to 36 tokens per parameter. Which are right, and is it about 20?
Command   python experiments/extended.py predict, and commit what it writes; then
          python experiments/extended.py train [MINUTES] (goes on where it was); then
          python experiments/extended.py page (of what is there)
Cost      predict 2 minutes; train 9.5e14 FLOPs: 2 to 7 hours of one core, by processor
Expected  results/extended-enwik8-cpu/predictions.csv and predicted_runs.csv, of the reference alone
          and of the rules as they are: should a bracket (experiments/extended_bracket.py) change
          the rates, runs reach lower losses than those of the reference, which no law here knows
Result    not finished, 30 runs are missing. So far 13.5 [12, 16] tokens per parameter at 5.12e13
          FLOPs where N is total, which leaves out 20; Kaplan's form predicted the losses of single
          runs best, to 0.42%. results/extended-enwik8-cpu
"""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from extended_page import write_page
from omegaconf import OmegaConf

from scaling.files import write_text
from scaling.fitting.audit import audit_laws, list_audited
from scaling.fitting.envelope import fit_envelope
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import prepare
from scaling.fitting.settings import FitSettings
from scaling.laws.frontier import QUANTITIES, optimum
from scaling.shapes.flops import non_embedding_params, total_params
from scaling.shapes.shape import ModelConfig
from scaling.tables.observations import Convention
from scaling.tables.runs import load_curves, load_runs
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.optim import OptimConfig

FOLDER, REFERENCE = Path("results/extended-enwik8-cpu"), Path("results/reference-enwik8-cpu")
CONVENTIONS = tuple(Convention(N, "counted") for N in ("total", "non_embedding"))
COUNT = {"total": total_params, "non_embedding": non_embedding_params}
SETTINGS = FitSettings(bootstrap=1000, seed=0)
GRID = OmegaConf.load("conf/grid/extended.yaml").grid
SIDE = "grid.budgets=[2e12,4e12]"  # two, so that bowls of one setting make a frontier
RATES = "optim.lr_scale=1.65"  # within 12 % those of a width in the reference; the rule goes by N
SWEEPS = {  # keys of the verb, in this order; the second seed's width is the lowest run's
    "grid": [],
    "context": [SIDE, "grid.widths=[36,48,60,72,96]", "model.seq_len=256"],
    "vocabulary": [SIDE, "grid.widths=[28,36,48,60,72]", "data.vocab_size=4096", RATES],
    "seed": ["grid.budgets=[1.024e14]", "grid.seeds=[1]"],
}


def planned():
    """Cells of the grid; what is predicted of them is no matter of text or tokenizer."""
    grid: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(GridConfig), GRID))
    facts = {"vocab_size": 1024, "data": "enwik8", "data_fingerprint": ""}
    return plan_cells(grid, ModelConfig(), OptimConfig(rules="shape"), **facts)


def fit_every(data, curves):
    """Yield every law and method of the house with its fit, or why it refused.

    Beside the bowls' own frontier, which bends up to twice the largest budget and then goes on
    straight: a straight line, and one that bends up to the largest budget predicted.
    """
    audit = audit_laws(data, SETTINGS)
    for law in list_audited():
        yield law, replace(fit_parametric(data, SETTINGS, law=law), inflation=audit.inflation(law))
    for fit in (fit_isoflop(data, SETTINGS), fit_isoflop_power(data, SETTINGS)):
        yield fit.method, fit
        budgets = fit.minima.budget[fit.minima.status == "ok"].to_numpy(float)
        yield f"{fit.method}_line", straightened(fit, budgets)
        bent = {"C_edge": 1.01 * GRID.budgets[-1]}
        yield (
            f"{fit.method}_bent",
            replace(fit, params={**fit.params, **bent}, draws=fit.draws.assign(**bent)),
        )
    if curves is not None:
        yield "envelope", fit_envelope(data, SETTINGS, curves)


def straightened(fit, budgets):
    """Return a frontier whose parabolas in ln C became the lines nearest to them at its budgets."""
    x = np.log(budgets / fit.params["C_ref"])
    slope, height = np.polyfit(x, x**2, 1)  # of the line nearest to x^2

    def straight(values):
        found = dict(values)
        for symbol in "NDL":
            c = found.pop(f"{symbol}_curvature", 0.0)
            found[f"{symbol}_ref"] = found[f"{symbol}_ref"] * np.exp(c * height)
            found[f"{symbol}_exponent"] = found[f"{symbol}_exponent"] + c * slope
        found.pop("C_edge", None)
        return found

    return replace(fit, params=straight(fit.params), draws=pd.DataFrame(straight(fit.draws)))


def spread(fit, C):
    """One row: what a fit says of C, with intervals, and those as its earlier misses widen them.

    Of the refits that have a minimum at C: a third of Farseer's have none (`unbounded`).
    """
    drawn = optimum(
        fit.law, {name: fit.draws[name].to_numpy() for name in fit.params}, C, fit.compute
    )
    known = np.isfinite(drawn["N_opt"])
    fit, row = replace(fit, draws=fit.draws[known]), {"unbounded": 1 - known.mean()}
    for name in QUANTITIES:
        e = getattr(fit, name)(C)
        wide = [e.value * (end / e.value) ** fit.inflation for end in (e.low, e.high)]
        row |= {name: e.value, f"{name}_low": e.low, f"{name}_high": e.high, "status": e.status}
        row |= {f"{name}_wide_low": wide[0], f"{name}_wide_high": wide[1]}
    return row | {"inflation": fit.inflation, "kind": fit.bootstrap.kind, "fit_status": fit.status}


def predict():
    """Write what the reference says of the budgets and of every run, before any is trained."""
    optima, runs = [], []
    curves = load_curves(pd.read_csv(REFERENCE / "curves.csv"))
    for convention in CONVENTIONS:
        data = prepare(REFERENCE / "runs.csv", convention=convention)
        for method, fit in fit_every(data, curves):
            facts = {"method": method, "N": convention.N}
            optima += [facts | {"C": C} | spread(fit, C) for C in GRID.budgets]
            if fit.method != "parametric":
                continue
            for cell in planned():
                N = COUNT[convention.N](cell.shape)
                e = fit.loss(N=N, D=cell.tokens, prediction=True)
                at = {"C": cell.flops_budget, "width": cell.shape.width, "N_params": N}
                row = facts | at | {"tokens": cell.tokens, "loss": e.value}
                runs.append(row | {"loss_low": e.low, "loss_high": e.high, "status": e.status})
            print(method, convention.N, flush=True)
    write_text(FOLDER / "predictions.csv", pd.DataFrame(optima).to_csv(index=False))
    write_text(FOLDER / "predicted_runs.csv", pd.DataFrame(runs).to_csv(index=False))


def lowest_width():
    """Width of the lowest run of the largest budget."""
    runs = pd.read_csv(FOLDER / "records" / "grid" / "runs.csv")
    largest = runs[runs.flops_budget == runs.flops_budget.max()]
    return int(largest.width[largest.loss.idxmin()])


def train(minutes=np.inf):
    """Train what is missing, as a person would; stopped and started again it goes on."""
    until = time.monotonic() + 60 * float(minutes)
    for name, keys in SWEEPS.items():
        if name == "seed":
            keys = [*keys, f"grid.widths=[{lowest_width()}]"]
        words = ["grid=extended", f"name={name}", f"results={FOLDER}/records", "workers=1"]
        words += ["fit.audit=false", "fit.bootstrap=200", *keys]  # `page` fits anew
        left = until - time.monotonic()
        try:
            verb = [sys.executable, "-m", "scaling.sweep", *words]
            subprocess.run(verb, check=True, timeout=left if np.isfinite(left) else None)
        except subprocess.TimeoutExpired:
            print("the time is over; the same command goes on")
            return


def page():
    """Write the page of what is trained so far."""
    planned_runs = {"grid": len(planned()), "seed": 1, "context": 10, "vocabulary": 10}
    reference = load_runs(REFERENCE / "runs.csv")
    print(write_page(FOLDER, reference, planned_runs, replace(SETTINGS, bootstrap=400)))


if __name__ == "__main__":
    {"predict": predict, "train": train, "page": page}[sys.argv[1]](*sys.argv[2:])
