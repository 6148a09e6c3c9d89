"""Three doublings beyond the reference on a CPU, then on a GPU; all predicted first.

Question  Laws that fit results/reference-enwik8-cpu alike part beyond it: at 1.024e14 FLOPs they
          say 10 to 36 tokens per parameter. Which are right, and is it about 20?
Command   python experiments/extended.py predict, and commit what it writes; then
          python experiments/extended.py train [MINUTES] (goes on where it was); then
          python experiments/extended.py page (of what is there). predict gpu, page gpu: of the
          grid that experiments/gpu.py trains, from all runs of the CPU
Cost      predict 2 minutes; train 1.4e15 FLOPs: 3 to 12 hours of one core, by processor
Expected  predictions.csv and predicted_runs.csv, of the runs before and of the rules as they are:
          should a bracket (experiments/extended_bracket.py) change the rates, runs reach lower
          losses than those of the reference, which no law here knows. Half the batch (said before
          it was tried): gains less than .02 nats at the wide ends, nothing at the narrow ones, and
          moves N_opt by less than 5 %; two seeds more at a context of 256: 11 to 18 tokens per
          parameter, an interval half as wide
Result    not 20 where N is total: 14.6 [13.5, 15.7] tokens per parameter at 1.02e+14 FLOPs, and
          13.3 [12.3, 15] at 1.02e+15 on a GPU, where one of five sizes is missing. It depends on
          the vocabulary: at 4e+12 4,096 tokens say 7.99 [6.64, 9.95] where 1,024 say 12.4.
          Half of the rule's batch moves N_opt by more than was said: it gains .011 to .021 nats
          from width 96 up, loses below, and says 12.5 [11.6, 13.6] instead of 14.7 at 2.56e+13, 13
          [11.7, 14.2] instead of 14.9 at 5.12e+13. A context of 256 says 12.9 [11, 15.4].
          For this N bending frontiers foretold the ratio, straight ones and Kaplan's form the loss;
          kaplan_general the losses of single runs, to 0.74% and 0.77%.
          results/extended-enwik8-cpu and results/reference-gpu
"""

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from extended_page import APART, doubt_batch, write_page
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

ROOT, REFERENCE = Path(__file__).parents[1], Path("results/reference-enwik8-cpu")
CONVENTIONS = tuple(Convention(N, "counted") for N in ("total", "non_embedding"))
COUNT = {"total": total_params, "non_embedding": non_embedding_params}
SETTINGS = FitSettings(bootstrap=1000, seed=0)
SIDE = "grid.budgets=[2e12,4e12]"  # two, so that bowls of one setting make a frontier
LONG = "grid.widths=[36,48,60,72,96]"  # about the optimum of the reference there
RATES = "optim.lr_scale=1.65"  # within 12 % those of a width in the reference; the rule goes by N
ONE_CELL = ["grid.budgets=[3.24e14]", "grid.widths=[224]"]


@dataclass(frozen=True)
class Stage:
    """A grid beyond what was trained before."""

    title: str
    commands: str  # that make its page
    folder: Path
    grid: str  # conf/grid/NAME.yaml
    budgets: int  # of the grid's, that are trained
    before: tuple[Path, ...]  # folders of the runs that predict it
    sweeps: Mapping[str, tuple[int, list[str]]]  # runs, and keys of the verb, in this order

    @property
    def grid_keys(self) -> Any:
        """Keys of the grid, with the budgets that are trained."""
        grid = OmegaConf.load(ROOT / "conf" / "grid" / f"{self.grid}.yaml").grid
        grid.budgets = grid.budgets[: self.budgets]
        return grid


CPU = Stage(
    "Three doublings beyond the reference",
    "`python experiments/extended.py predict`, `train` and `page`",
    Path("results/extended-enwik8-cpu"),
    "extended",
    3,
    (REFERENCE,),
    {
        "grid": (18, []),
        "context": (30, [SIDE, LONG, "grid.seeds=[0,1,2]", "model.seq_len=256"]),
        "vocabulary": (10, [SIDE, "grid.widths=[28,36,48,60,72]", "data.vocab_size=4096", RATES]),
        "half_batch": (12, ["grid.budgets=[2.56e13,5.12e13]", "optim.batch_scale=0.5"]),
        "seed": (1, ["grid.budgets=[1.024e14]", "grid.seeds=[1]"]),  # at the lowest run's width
    },
)
GPU = Stage(
    "Five doublings more, on a GPU",
    "`python experiments/extended.py predict gpu`, `experiments/gpu.py` and `extended.py page gpu`",
    Path("results/reference-gpu"),
    "reference_gpu",
    4,  # for which enwik8's 28.6M tokens are not repeated more than eight times
    (REFERENCE, CPU.folder),
    {
        "grid": (20, []),
        "again": (2, ["grid.budgets=[1.024e14]", "grid.widths=[128]", "grid.seeds=[0,1]"]),
        "slower": (1, [*ONE_CELL, "optim.lr_scale=0.6"]),
        "faster": (1, [*ONE_CELL, "optim.lr_scale=1.6"]),
    },
)


def planned(stage):
    """Cells of the grid; what is predicted of them is no matter of text or tokenizer."""
    merged = OmegaConf.merge(OmegaConf.structured(GridConfig), stage.grid_keys)
    grid: Any = OmegaConf.to_object(merged)
    facts = {"vocab_size": 1024, "data": "enwik8", "data_fingerprint": ""}
    return plan_cells(grid, ModelConfig(), OptimConfig(rules="shape"), **facts)


def trained_before(stage):
    """Runs of one setting that were known before this stage."""
    tables = [load_runs(folder / "runs.csv") for folder in stage.before]
    alike = [runs[~runs.part.isin(APART)] if "part" in runs else runs for runs in tables]
    return pd.concat(alike, ignore_index=True)


def fit_every(data, curves, largest):
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
        bent = {"C_edge": 1.01 * largest}
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


def predict(stage=CPU):
    """Write what the runs before say of the budgets and of every run, before any is trained."""
    optima, runs, budgets, cells = [], [], stage.grid_keys.budgets, planned(stage)
    before, curves = trained_before(stage), None
    if len(stage.before) == 1:  # a cloud of curves of one sweep
        curves = load_curves(pd.read_csv(REFERENCE / "curves.csv"))
    for convention in CONVENTIONS:
        data = prepare(before, convention=convention)
        for method, fit in fit_every(data, curves, budgets[-1]):
            facts = {"method": method, "N": convention.N}
            optima += [facts | {"C": C} | spread(fit, C) for C in budgets]
            if fit.method != "parametric":
                continue
            for cell in cells:
                N = COUNT[convention.N](cell.shape)
                e = fit.loss(N=N, D=cell.tokens, prediction=True)
                at = {"C": cell.flops_budget, "width": cell.shape.width, "N_params": N}
                row = facts | at | {"tokens": cell.tokens, "loss": e.value}
                runs.append(row | {"loss_low": e.low, "loss_high": e.high, "status": e.status})
            print(method, convention.N, flush=True)
    write_text(stage.folder / "predictions.csv", pd.DataFrame(optima).to_csv(index=False))
    write_text(stage.folder / "predicted_runs.csv", pd.DataFrame(runs).to_csv(index=False))


def lowest_width():
    """Width of the lowest run of the largest budget."""
    runs = pd.read_csv(CPU.folder / "records" / "grid" / "runs.csv")
    largest = runs[runs.flops_budget == runs.flops_budget.max()]
    return int(largest.width[largest.loss.idxmin()])


def train(minutes=np.inf):
    """Train what is missing on the CPU, as a person would; stopped and started again it goes on."""
    until = time.monotonic() + 60 * float(minutes)
    for name, (_, keys) in CPU.sweeps.items():
        if name == "seed":
            keys = [*keys, f"grid.widths=[{lowest_width()}]"]
        words = ["grid=extended", f"name={name}", f"results={CPU.folder}/records", "workers=1"]
        words += ["fit.audit=false", "fit.bootstrap=200", *keys]  # `page` fits anew
        left = until - time.monotonic()
        try:
            verb = [sys.executable, "-m", "scaling.sweep", *words]
            subprocess.run(verb, check=True, timeout=left if np.isfinite(left) else None)
        except subprocess.TimeoutExpired:
            print("the time is over; the same command goes on")
            return


def page(stage=CPU):
    """Write the page of what is trained so far."""
    told = f"# {stage.title}\n\nMade by {stage.commands}, in this order"
    parts = {name: n for name, (n, _) in stage.sweeps.items()}
    cells = [(cell.flops_budget, cell.shape.width) for cell in planned(stage)]
    settings = replace(SETTINGS, bootstrap=400)
    doubts = doubt_batch(pd.read_csv(CPU.folder / "batches.csv")) if stage is GPU else []
    before = trained_before(stage)
    print(write_page(stage.folder, told, before, parts, cells, settings, doubts))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["predict" | "page" as verb, *named] if named in ([], ["gpu"]):
            {"predict": predict, "page": page}[verb](GPU if named else CPU)
        case ["train"]:
            train()
        case ["train", minutes] if minutes != "gpu":
            train(minutes)
        case _:
            sys.exit("error: say predict [gpu], train [MINUTES] or page [gpu]; see the header")
