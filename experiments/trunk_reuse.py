"""What sharing a trunk costs in loss, and saves in FLOPs.

Question  How far does a branch of a trunk, whose LR, batch and warm-up know nothing of the horizon,
          stay from a run tuned for that horizon? What does the reference grid save?
Command   python experiments/trunk_reuse.py (runs already trained are not repeated)
Cost      2 trunks and 16 runs with the rules of their horizon and x1/2 to x4 their LR,
          8e13 FLOPs, about 15 minutes on two cores
Expected  within seed noise (about 0.008 nats) at the shortest and the longest horizon of a shape;
          35-40 % of the FLOPs at budgets x2 apart
Result    branches end -0.014 to +0.006 nats from tuned runs, and sharing saves 35% of the FLOPs of
          the reference grid. results/trunk-reuse-enwik8-cpu
"""

from pathlib import Path

import pandas as pd
from hydra import compose, initialize_config_dir
from rich.console import Console

from scaling import sweep
from scaling.commandline import CONF, resolve
from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.files import write_text
from scaling.pages.text import markdown_table
from scaling.quantities import format_quantity
from scaling.shapes.shape import ModelConfig
from scaling.sweep import SweepConfig
from scaling.tables.runs import runs_to_csv
from scaling.training.cells import group_trunks, saved_share
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.monitor import watch
from scaling.training.optim import OptimConfig
from scaling.training.pool import default_workers, train_here
from scaling.training.records import collect, not_yet_run

FOLDER = Path("results/trunk-reuse-enwik8-cpu")
HORIZONS = {24: (2e11, 8e11), 48: (2e11, 1.28e13)}  # width -> shortest, longest budget in reference
LR_SCALES = (0.5, 1.0, 2.0, 4.0)


def plan(data, width, optim):
    """Return the cells of one width at its two horizons."""
    grid = GridConfig(budgets=[*HORIZONS[width]], widths=[width], min_steps=20)
    facts = {"vocab_size": data.vocab_size, "data": data.name}
    return plan_cells(grid, ModelConfig(), optim, data_fingerprint=data.fingerprint, **facts)


def compare(branch, tuned):
    """Return one row per horizon: the branch's loss over the best of the tuned runs'."""
    best = tuned.loc[tuned.loss.idxmin()]
    return {
        "width": branch.width,
        "N": branch.total_params,
        "tokens": branch.tokens,
        "flops_budget": branch.flops_budget,
        "branch_loss": branch.loss,
        "tuned_loss": best.loss,
        "difference": branch.loss - best.loss,
        "branch_lr": branch.lr,
        "tuned_lr": best.lr,
        "tuned_at_edge": bool(best.lr in (tuned.lr.min(), tuned.lr.max())),
        "branch_batch": branch.batch_tokens,
        "tuned_batch": best.batch_tokens,
    }


def reference_trunks(data):
    """Return the trunks of the reference grid."""
    with initialize_config_dir(CONF, version_base=None):
        config = resolve(compose("sweep", overrides=["grid=reference"]), SweepConfig)
    return group_trunks(sweep.plan_cells(config, data.vocab_size, data.fingerprint))


def page(table, reference):
    """Return the README of the record."""
    head = [
        "shape",
        "D",
        "D/N",
        "branch",
        "tuned",
        "difference",
        "LR",
        "LR tuned",
        "batch",
        "tuned",
    ]
    rows = [
        [
            f"width {r.width}",
            format_quantity(r.tokens),
            f"{r.tokens / r.N:.1f}",
            f"{r.branch_loss:.4f}",
            f"{r.tuned_loss:.4f}",
            f"{r.difference:+.4f}",
            f"{r.branch_lr:.3g}",
            f"{r.tuned_lr:.3g}" + (" (edge)" if r.tuned_at_edge else ""),
            str(r.branch_batch),
            str(r.tuned_batch),
        ]
        for r in table.itertuples()
    ]
    return f"""# What sharing a trunk costs and saves

Made by `python experiments/trunk_reuse.py` on enwik8. *branch*: held-out loss, nats/token, of a run
that leaves the trunk of its shape, at the shortest and the longest horizon that the reference grid
asks of it. *tuned*: the best of {len(LR_SCALES)} separate runs of that horizon, with batch, warm-up
and LR by the rules of the horizon and the LR at {", ".join(f"x{s:g}" for s in LR_SCALES)}; "edge":
the best is the first or last of them. One seed each; seeds differ by about 0.008 nats.

{markdown_table(head, rows)}

The branches lie {table.difference.min():+.4f} to {table.difference.max():+.4f} nats from the tuned
runs. Sharing trunks saves {saved_share(reference):.0%} of the FLOPs of the reference grid
({sum(len(trunk.cells) for trunk in reference)} runs on {len(reference)} trunks).
"""


def main():
    """Train what is missing, print and write the comparison."""
    data = prepare_tokens(DataConfig(), report=print)
    branches, tuned = [], []
    for width in HORIZONS:
        branches += plan(data, width, OptimConfig(rules="shape"))
        for scale in LR_SCALES:
            tuned += plan(data, width, OptimConfig(lr_scale=scale))
    trunks = group_trunks(not_yet_run([*branches, *tuned], FOLDER))
    events = train_here(trunks, data, FOLDER, workers=default_workers("cpu"), device="cpu")
    watch(Console(soft_wrap=True), trunks, events, None)
    ours, theirs = collect(branches, FOLDER)[0], collect(tuned, FOLDER)[0]
    theirs = theirs[theirs.status == "ok"]
    keys = ["width", "flops_budget"]
    rows = [compare(b, theirs[(theirs[keys] == b[keys]).all(axis=1)]) for _, b in ours.iterrows()]
    table = pd.DataFrame(rows)
    print(table.to_string())
    both = pd.concat([ours, pd.DataFrame(theirs)]).drop_duplicates("run_id")
    write_text(FOLDER / "runs.csv", runs_to_csv(both))
    write_text(FOLDER / "comparison.csv", table.to_csv(index=False))
    write_text(FOLDER / "README.md", page(table, reference_trunks(data)))


if __name__ == "__main__":
    main()
