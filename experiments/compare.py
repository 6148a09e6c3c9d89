"""Which recipe is better at the demo's budgets: GELU or SwiGLU, AdamW or Muon.

Question  how much compute do SwiGLU and Muon save, each at its own learning rate, with two seeds,
          and does the gain grow with compute?
Command   python experiments/compare.py [MINUTES] (goes on where it was; 0 trains nothing), which
          ends with python -m scaling.compare for each pair
Cost      90 GPTs on 42 trunks and the brackets, 4e13 FLOPs, 20 minutes of one core
Expected  expected.csv, written before the first run of the sweeps
Rule      fixed beforehand: the rate of an arm is the rule's times the geometric mean of what a
          bracket says at two widths (seed 0, not one of the sweep's); arms share widths, budgets,
          seeds, text and its order; nothing is left out but what diverged
Result    SwiGLU saves compute, 1.088 [1.041, 1.135] times, and Muon too, 1.249 [1.195, 1.290]; both
          gains grow with compute, so quote them at a budget. results/compare
"""

import contextlib
import itertools
import math
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from domain import in_time
from lr_bracket import verdict
from rich.console import Console

from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.files import write_text
from scaling.pages.text import markdown_table
from scaling.shapes.shape import ModelConfig
from scaling.tables.runs import runs_to_csv
from scaling.training.cells import group_trunks
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.monitor import watch
from scaling.training.optim import OptimConfig
from scaling.training.pool import train_here
from scaling.training.records import collect, not_yet_run

FOLDER = Path("results/compare")
ARMS = {  # feed-forward, optimizer
    "gelu-adamw": ("gelu", "adamw"),
    "swiglu": ("swiglu", "adamw"),
    "muon": ("gelu", "muon"),
}
BASE = "gelu-adamw"
KNOWN = ("results/demo-enwik8-cpu", "results/reference-enwik8-cpu")  # two sweeps that are there
GRID = {
    "budgets": [2e11, 4e11, 8e11],  # of the demo's, without the last, which costs as much as these
    "sizes": 5,
    "span": 2.6,
    "ladder": [20, 24, 28, 36, 48, 60, 72],
}
SEEDS = (1, 2)
STAGES = (4e11, 8e11)  # budgets up to here first, so that what is trained can be compared early
BRACKET = {"arm_widths": [28, 48], "arm_tokens_per_param": [6.0]}
FACTORS = (0.5, 1.0, 2.0)  # times the rule, and beyond until the best is between two others
EXPECTED = """arm,gain,gain_low,gain_high,says
swiglu,1.05,0.97,1.15,the same at every budget as far as three budgets can tell
muon,1.2,1.0,1.5,larger at larger budgets as the table's share falls but not to be told from none
"""


def plan(data, arm, lr_scale, **grid):
    """Cells of one arm."""
    ffn, optimizer = ARMS[arm]
    facts = {"vocab_size": data.vocab_size, "data": data.name, "data_fingerprint": data.fingerprint}
    optim = OptimConfig(rules="shape", optimizer=optimizer, lr_scale=lr_scale)
    return plan_cells(GridConfig(**grid), ModelConfig(ffn=ffn), optim, **facts)


def train(cells, data, until):
    """Train what is missing on one core until the time is over; return the runs that ended."""
    for width in sorted({cell.shape.width for cell in cells}):
        trunks = group_trunks(not_yet_run([c for c in cells if c.shape.width == width], FOLDER))
        if trunks and time.monotonic() < until:
            events = train_here(trunks, data, FOLDER, workers=1, device="cpu")
            with contextlib.closing(events):
                watch(Console(soft_wrap=True), trunks, in_time(events, until), None)
    return collect(cells, FOLDER)[0]


def bracket(data, arm, until):
    """Return the runs of an arm's bracket, widened until the best rates lie inside."""
    factors, runs = [*FACTORS], pd.DataFrame()
    while len(factors) < 8:
        cells = [c for factor in factors for c in plan(data, arm, factor, **BRACKET)]
        runs = train(cells, data, until).assign(arm=arm)
        if len(runs) < len(cells):
            break
        runs["loss"] = runs["loss"].fillna(math.inf)
        best = {np.argmin(own.sort_values("lr").loss) for _, own in runs.groupby("width")}
        wider = [factors[0] / 2] * (0 in best) + [factors[-1] * 2] * (len(factors) - 1 in best)
        if not wider:
            break
        factors = sorted([*factors, *wider])
    return runs


def compare(a, b, name):
    """Let the verb compare two sweeps; return its table of budgets, or why it refused."""
    words = [f"a={a}", f"b={b}", "at=1e13", f"out={FOLDER / name}"]
    command = [sys.executable, "-m", "scaling.compare", *words]
    done = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    if done.returncode:
        return None, done.stderr.strip().splitlines()[-1].removeprefix("error: ")
    return pd.read_csv(FOLDER / name / "gain.csv"), ""


def count_products(gains, runs):
    """Lines on what the gain of Muon is if its Newton-Schulz products count as compute."""
    ok = gains[gains.status == "ok"]
    share = (runs.optimizer_flops / runs.flops).groupby(runs.total_params).mean()
    for row in ok.to_dict("records"):
        own = runs[runs.flops_budget == row["budget"]]
        best = own.groupby("total_params").loss.mean().idxmin()
        counted = row["gain"] / (1 + share[best])
        yield (
            f"- {row['budget']:.3g} FLOPs: they are {share[best]:.1%} of the lowest size's C; gain "
            f"{row['gain']:.3f} without them, {counted:.3f} with them"
        )


def write_page(rates, tables, planned):
    """Compare what there is, and write the record's page."""
    base, expected = FOLDER / f"{BASE}.csv", pd.read_csv(FOLDER / "expected.csv")
    parts = [
        "# GELU against SwiGLU, AdamW against Muon",
        f"Made by `python experiments/compare.py` on {platform.machine()} CPUs, one thread a run. "
        "enwik8, one tokenizer, the same widths, budgets, seeds 1 and 2 and order of text for all "
        "arms; each arm at its own rate (`rates.csv`, brackets of seed 0 in `bracket.csv`). "
        "`expected.csv` was written before the first run.",
        "## What was trained",
    ]
    done = [f"- {arm}: {len(tables.get(arm, ()))} of {n} runs" for arm, n in planned.items()]
    parts.append("\n".join(done) or "Nothing yet: the brackets are not closed.")
    if len(rates):
        columns = ["arm", "width", "rule_lr", "best_lr", "best_loss", "status"]
        cells = [
            [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row]
            for row in rates[columns].to_numpy(object)
        ]
        parts += ["## Learning rates", markdown_table(columns, cells)]
    pairs = {arm: (base, FOLDER / f"{arm}.csv") for arm in ARMS if arm != BASE and arm in tables}
    pairs |= {"reference": KNOWN}
    for name, (a, b) in pairs.items():
        gains, why = compare(a, b, name)
        parts.append(f"## {name}")
        if gains is None:
            parts.append(f"No comparison: {why}.")
            continue
        page = (FOLDER / name / "README.md").read_text()
        parts.append(page.split("## The answer\n")[1].split("\n## ")[0].strip())
        told = pd.DataFrame(expected[expected.arm == name]).to_dict("records")
        parts += [
            f"Expected: {e['gain']} [{e['gain_low']}, {e['gain_high']}], {e['says']}." for e in told
        ]
        if name == "muon":
            head = "C counts no product of the optimizer. With Newton-Schulz counted:"
            parts.append("\n".join([head, "", *count_products(gains, tables[name])]))
        parts.append(f"[All of it]({name}/README.md)\n\n![{name}]({name}/gain.png)")
    write_text(FOLDER / "README.md", "\n\n".join(parts) + "\n")


def main():
    """Write down what is expected, bracket, train what is missing, compare, write the record."""
    until = time.monotonic() + 60 * (float(sys.argv[1]) if len(sys.argv) > 1 else math.inf)
    if not (FOLDER / "expected.csv").is_file():
        write_text(FOLDER / "expected.csv", EXPECTED)
    data = prepare_tokens(DataConfig(), report=print)
    found = [bracket(data, arm, until) for arm in ARMS]
    brackets = pd.concat(found, ignore_index=True)
    best, tables, planned = pd.DataFrame(), {}, {}
    if "loss" in brackets:
        best = brackets.groupby(["arm", "width"]).apply(verdict, include_groups=False).reset_index()
        print(best.to_string())
        write_text(FOLDER / "bracket.csv", runs_to_csv(brackets))
        write_text(FOLDER / "rates.csv", best.to_csv(index=False))
    if len(best) == len(ARMS) * len(BRACKET["arm_widths"]) and (best.status == "ok").all():
        scales = np.exp(np.log(best.best_lr / best.rule_lr).groupby(best.arm).mean()).round(2)
        cells = {arm: plan(data, arm, scales[arm], **GRID, seeds=[*SEEDS]) for arm in ARMS}
        planned = {arm: len(own) for arm, own in cells.items()}
        every = [cell for own in cells.values() for cell in own]
        for largest, seed in itertools.product(STAGES, SEEDS):
            stage = [c for c in every if c.seed == seed and c.flops_budget <= largest]
            train(stage, data, until)
        for arm, own in cells.items():
            runs = collect(own, FOLDER)[0]
            if len(runs):
                tables[arm] = runs
                write_text(FOLDER / f"{arm}.csv", runs_to_csv(runs))
    write_page(best, tables, planned)


if __name__ == "__main__":
    main()
