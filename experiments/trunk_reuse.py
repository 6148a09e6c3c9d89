"""What sharing a trunk costs in loss, and saves in FLOPs.

Question  How far does a branch of a trunk, whose LR, batch and warm-up know nothing of the horizon,
          stay from a run tuned for that horizon? What does the reference grid save?
Command   python experiments/trunk_reuse.py (runs already trained are not repeated)
Cost      4 trunks and 12 runs with the rules of their horizon and half and twice their LR,
          7e13 FLOPs, about 12 minutes on two cores
Expected  within seed noise (about 0.008 nats) at the shortest and the longest horizon of a shape;
          35-40 % of the FLOPs at budgets x2 apart
Result    results/trunk-reuse-enwik8-cpu
"""

from pathlib import Path

import pandas as pd
from rich.console import Console

from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.execution import default_workers, execute
from scaling.files import write_text
from scaling.grid import GridConfig, group_trunks, plan_cells
from scaling.models.shape import ModelConfig
from scaling.monitor import watch
from scaling.optim import OptimConfig
from scaling.records import collect, not_yet_run

FOLDER = Path("results/trunk-reuse-enwik8-cpu")
HORIZONS = {24: (2e11, 8e11), 48: (2e11, 1.28e13)}  # width -> shortest, longest budget in reference
LR_SCALES = (0.5, 1.0, 2.0)


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


def main():
    """Train what is missing, print and write the comparison."""
    data = prepare_tokens(DataConfig(), report=print)
    branches, tuned = [], []
    for width in HORIZONS:
        branches += plan(data, width, OptimConfig(rules="shape"))
        for scale in LR_SCALES:
            tuned += plan(data, width, OptimConfig(lr_scale=scale))
    trunks = group_trunks(not_yet_run([*branches, *tuned], FOLDER))
    events = execute(trunks, data, FOLDER, workers=default_workers("cpu"), device="cpu")
    watch(Console(soft_wrap=True), trunks, events, None)
    ours, theirs = collect(branches, FOLDER)[0], collect(tuned, FOLDER)[0]
    theirs = theirs[theirs.status == "ok"]
    keys = ["width", "flops_budget"]
    rows = [compare(b, theirs[(theirs[keys] == b[keys]).all(axis=1)]) for _, b in ours.iterrows()]
    table = pd.DataFrame(rows)
    print(table.to_string())
    write_text(FOLDER / "comparison.csv", table.to_csv(index=False))


if __name__ == "__main__":
    main()
