"""What could tilt the extension's bowls: rate, batch, beta2 and weight decay where rules ended.

Question  scaling.shapes.rules were measured up to 541k parameters. Does another rate, batch, beta2
          (160 is the first width whose batch gets .95) or weight decay (D/N > 50) give lower losses
          from width 96 to 160, and more so at one end of a bowl, which would move its minimum?
Command   python experiments/extended_bracket.py [MINUTES] (goes on where it was; 0 trains nothing)
Cost      13 trunks with 26 branches, 1.32e14 FLOPs, 25 to 50 minutes of one core, by processor;
          most telling first
Expected  twice the batch gains nothing at width 96; beta2 .99 gains .003 to .01 nats at width 160;
          half the rate gains less than .005 at 160 and loses at 96; decay gains less than .01
          (said later: half the batch loses at 96, a quarter gains more than half at 160)
Result    half the rate is .04 to .26 nats worse, decay .02 to .10, beta2 .99 at most .015, all at
          the rule's batch. That is too large: half of it gains .139 and .092 nats at width 160 (.2
          and .5 tokens per parameter, where no bowl goes), a quarter .195 and .116; at 96 (3 and 6)
          half gains .026 and .012, within the noise of seeds, and twice loses .07 and .04. So wide
          ends of bowls may lie too high; extended.py says how much. results/extended-bracket
"""

import contextlib
import math
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from domain import in_time
from rich.console import Console

from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.files import write_text
from scaling.pages.text import markdown_table
from scaling.shapes.shape import ModelConfig
from scaling.tables.noise import seed_noise
from scaling.tables.runs import load_runs
from scaling.training.cells import group_trunks
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.monitor import watch
from scaling.training.optim import OptimConfig
from scaling.training.pool import train_here
from scaling.training.records import collect, not_yet_run

FOLDER = Path("results/extended-bracket")
REFERENCE, EXTENDED = (
    Path(f"results/{name}-enwik8-cpu/runs.csv") for name in ("reference", "extended")
)
NARROW, WIDE = (8e11, 1.6e12), (6.4e12, 1.28e13)  # a short and a long horizon of one trunk
ARMS = (  # width, budgets, what differs from the rules: keys of OptimConfig, or the seed
    (28, NARROW, {}),  # a run of the reference again: what another processor changes
    (28, NARROW, {"weight_decay": 0.1}),
    (28, NARROW, {"weight_decay": 0.03}),
    (160, WIDE, {}),
    (160, WIDE, {"beta2": 0.99}),
    (96, WIDE, {"batch_scale": 2, "beta2": 0.99}),  # the rule's rate grows with its root
    (160, WIDE, {"batch_scale": 0.5, "beta2": 0.99}),
    (96, WIDE, {"lr_scale": 0.5}),
    (160, WIDE, {"lr_scale": 0.5}),
    (96, WIDE, {"batch_scale": 2}),  # beta2 .95, as the rule says of so many tokens
    (28, NARROW, {"weight_decay": 0.1, "seed": 1}),
    (96, WIDE, {"batch_scale": 0.5}),  # is it fewer tokens a step, or width 160?
    (160, WIDE, {"batch_scale": 0.25, "beta2": 0.99}),
)
SHOWN = ("width", "tokens_per_param", "steps", "differs", "lr", "batch_tokens", "beta2", "loss")


def plan(data, width, budgets, differs):
    """Cells of one arm: branches of one trunk."""
    own = dict(differs)
    grid = GridConfig(budgets=[*budgets], widths=[width], seeds=[own.pop("seed", 0)], min_steps=50)
    facts = {"vocab_size": data.vocab_size, "data": data.name, "data_fingerprint": data.fingerprint}
    return plan_cells(grid, ModelConfig(), OptimConfig(rules="shape", **own), **facts)


def compare(runs):
    """Nats gained against the run of the rules, and twice the spread of such a difference."""
    reference, extended = (load_runs(path) for path in (REFERENCE, EXTENDED))
    known = reference.assign(differs="the rules, reference")
    at = ["width", "flops_budget", "seed"]
    base = pd.concat([known, runs[runs.differs == "the rules"]]).groupby(at).loss.last()
    paired = pd.MultiIndex.from_frame(runs[at]).map(base.to_dict())
    repeated = seed_noise(pd.concat([reference, extended]))
    assert repeated is not None  # three seeds of some sizes are in both
    return runs.assign(gain=paired - runs.loss, noise=2 * math.sqrt(2) * repeated.std * runs.loss)


def main():
    """Train what is missing until the time is over, print and write the record."""
    until = time.monotonic() + 60 * (float(sys.argv[1]) if len(sys.argv) > 1 else math.inf)
    data, tables = prepare_tokens(DataConfig(), report=print), []
    for width, budgets, differs in ARMS:
        cells = plan(data, width, budgets, differs)
        trunks = group_trunks(not_yet_run(cells, FOLDER))
        if trunks and time.monotonic() < until:
            events = train_here(trunks, data, FOLDER, workers=1, device="cpu")
            with contextlib.closing(events):
                watch(Console(soft_wrap=True), trunks, in_time(events, until), None)
        own = collect(cells, FOLDER)[0]
        said = ", ".join(f"{name} {value:g}" for name, value in differs.items()) or "the rules"
        tables.append(own.assign(differs=said))
    runs = pd.concat([table for table in tables if "loss" in table] or [pd.DataFrame()])
    if runs.empty:
        sys.exit("nothing is trained yet")
    table = compare(runs.assign(tokens_per_param=runs.tokens / runs.total_params))
    columns = [*SHOWN, "gain", "noise"]
    write_text(FOLDER / "bracket.csv", table.to_csv(index=False))
    rows = [
        [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row]
        for row in table[columns].replace({np.nan: "-"}).to_numpy(object)
    ]
    head = f"# Rate, batch, beta2 and weight decay beyond the rules\n\n{__doc__}\n"
    if missing := 2 * len(ARMS) - len(table):
        head += f"{missing} of {2 * len(ARMS)} runs are missing. "
    head += "gain: nats below the run of the rules (same width, budget, seed; of the reference "
    head += "where not trained here); noise: 2 sd of it, as seeds repeated in both records say"
    write_text(FOLDER / "README.md", f"{head}\n\n{markdown_table(columns, rows)}\n")
    print(table[columns].to_string(index=False))


if __name__ == "__main__":
    main()
