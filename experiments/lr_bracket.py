"""Which peak learning rate and batch suit tiny GPTs on enwik8, and does the rule stay close.

Question  optim.lr_rule and optim.batch_rule: are they near the best of a x2 bracket?
Command   python experiments/lr_bracket.py [budget=2e11] (runs already trained are not repeated)
Cost      40 runs of 2e11 FLOPs, about 8 minutes on two cores
Expected  the best rate falls with N and grows with the batch; no best at the edge of its bracket
Result    the rule is the best of its x2 bracket for 7 of 8 pairs of width and batch; for the eighth
          (16 wide, 1024 tokens: capped) it costs 0.005 nats. results/lr-bracket-enwik8-cpu
"""

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.execution import default_workers, execute
from scaling.files import write_text
from scaling.flops import total_params
from scaling.grid import GridConfig, plan_cells
from scaling.models.shape import ModelConfig
from scaling.optim import OptimConfig, lr_rule
from scaling.records import collect, not_yet_run

FOLDER = Path("results/lr-bracket-enwik8-cpu")
WIDTHS = (16, 28, 44, 52)
BATCHES = (512, 1024)
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # times the rule


def bracket(budget, data):
    """Return one cell per width, batch and factor."""
    for width in WIDTHS:
        for batch in BATCHES:
            grid = GridConfig(budgets=[budget], widths=[width], min_steps=50)
            optim = OptimConfig(batch_tokens=batch)
            [cell] = plan_cells(
                grid,
                ModelConfig(),
                optim,
                vocab_size=data.vocab_size,
                data=data.name,
                data_fingerprint=data.fingerprint,
            )
            for factor in FACTORS:
                lr = factor * lr_rule(total_params(cell.shape), batch)
                yield replace(cell, recipe=replace(cell.recipe, lr=lr))


def verdict(group):
    """Return the best rate of one width and batch, from a parabola through the bracket's best."""
    group = group.sort_values("lr").reset_index(drop=True)
    best = int(group.loss.argmin())
    edge = best in (0, len(group) - 1)
    at_rule = group.loss.iloc[len(group) // 2]
    return pd.Series(
        {
            "N": group.total_params[0],
            "rule_lr": group.lr.iloc[len(group) // 2],
            "best_lr": group.lr[best],
            "rule_costs": at_rule - group.loss[best],
            "best_loss": group.loss[best],
            "status": "at_edge" if edge else "ok",
        }
    )


def main():
    """Train what is missing, print and write the bracket."""
    budget = float(dict(a.split("=") for a in sys.argv[1:]).get("budget", 2e11))
    data = prepare_tokens(DataConfig(), report=print)
    cells = list(bracket(budget, data))
    todo = not_yet_run(cells, FOLDER)
    for event in execute(todo, data, FOLDER, workers=default_workers("cpu"), device="cpu"):
        if event.row:
            print(event.row["name"], event.row["batch_tokens"], event.row["lr"], event.row["loss"])
    runs, _ = collect(cells, FOLDER)
    runs["loss"] = runs["loss"].fillna(float("inf"))
    table = runs.groupby(["width", "batch_tokens"]).apply(verdict).reset_index()
    print(table.to_string())
    write_text(FOLDER / "bracket.csv", runs.to_csv(index=False))


if __name__ == "__main__":
    main()
