"""Which peak learning rate suits a trunk, and do the rules of scaling.shapes.rules stay near it.

Question  rules.lr_rule with the batch of rules=shape: is it near the best of a x2 bracket, from
          10k parameters up, at short and long horizons? Which power of N do the brackets give?
Command   python experiments/lr_bracket.py (runs already trained are not repeated)
Cost      24 trunks with 64 branches, 4e13 FLOPs, about 10 minutes on two cores
Expected  the best rate falls with N; no best at the edge of its bracket; one rate suits all
          horizons of a shape
Result    from 19k to 540k parameters the rule is within x2 of the best rate and costs at most 0.022
          nats; elsewhere, and for BERT and T5, it extrapolates: bracket it again (optim.lr_scale).
          results/lr-bracket-enwik8-cpu
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.files import write_text
from scaling.shapes.flops import total_params
from scaling.shapes.rules import lr_rule
from scaling.shapes.shape import ModelConfig
from scaling.training.cells import group_trunks
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.monitor import watch
from scaling.training.optim import OptimConfig
from scaling.training.pool import default_workers, train_here
from scaling.training.records import collect, not_yet_run

FOLDER = Path("results/lr-bracket-enwik8-cpu")
HORIZONS = {  # width -> tokens per parameter
    12: (6.0, 24.0, 96.0),
    16: (6.0, 24.0, 96.0),
    28: (1.5, 6.0, 24.0),
    48: (1.5, 6.0, 24.0),
    72: (1.5, 6.0),
    96: (1.5, 3.0),
}
FACTORS = (0.25, 0.5, 1.0, 2.0)  # times the middle
HIGHER = (*FACTORS, 4.0)  # of small models, whose best rate is high


def middle(n_params, batch_tokens):
    """Return where the brackets are centred: a first guess at the rule."""
    return min(0.03, 0.013 * (n_params / 50e3) ** -0.4 * (batch_tokens / 512) ** 0.5)


def bracket(data):
    """Return one cell per width, horizon and factor."""
    for width, ratios in HORIZONS.items():
        grid = GridConfig(arm_widths=[width], arm_tokens_per_param=[*ratios], min_steps=50)
        cells = plan_cells(
            grid,
            ModelConfig(),
            OptimConfig(rules="shape"),
            vocab_size=data.vocab_size,
            data=data.name,
            data_fingerprint=data.fingerprint,
        )
        for cell in cells:
            batch_tokens = cell.recipe.batch_size * cell.shape.seq_len
            for factor in HIGHER if width <= 28 else FACTORS:
                lr = factor * middle(total_params(cell.shape), batch_tokens)
                yield replace(cell, recipe=replace(cell.recipe, lr=lr))


def verdict(group):
    """Return the best rate of one width and horizon: a parabola in ln(lr) through three losses."""
    group = group.sort_values("lr").reset_index(drop=True)
    best = int(group.loss.argmin())
    N, B = group.total_params[0], group.batch_tokens[0]
    found = {"N": N, "batch_tokens": B, "steps": group.steps[0], "rule_lr": lr_rule(N, B)}
    if not 0 < best < len(group) - 1:
        nothing = {"best_lr": math.nan, "best_loss": math.nan, "rule_costs": math.nan}
        return pd.Series(found | nothing | {"status": "at_edge: no answer, widen FACTORS"})
    near = group.iloc[best - 1 : best + 2]
    parabola = np.poly1d(np.polyfit(np.log(near.lr), near.loss, 2))
    best_lr = math.exp(-parabola[1] / (2 * parabola[2]))
    at_rule = np.interp(math.log(found["rule_lr"]), np.log(group.lr), group.loss)
    if near.lr.min() <= found["rule_lr"] <= near.lr.max():
        at_rule = parabola(math.log(found["rule_lr"]))
    lowest = parabola(math.log(best_lr))
    found |= {"best_lr": best_lr, "best_loss": lowest, "rule_costs": at_rule - lowest}
    return pd.Series(found | {"status": "ok"})


def fitted_rule(table):
    """Powers of N and B of the best rate, by least squares, with standard errors."""
    ok = table[table.status == "ok"]
    X = np.stack([np.ones(len(ok)), np.log(ok.N / 50e3), np.log(ok.batch_tokens / 512)], axis=1)
    y = np.log(ok.best_lr.to_numpy(float))
    (log_scale, a, b), (left,), *_ = np.linalg.lstsq(X, y)
    scatter = left / (len(ok) - 3)
    error = np.sqrt(scatter * np.linalg.inv(X.T @ X).diagonal())
    return (
        f"best lr = {math.exp(log_scale):.4f} (N/50e3)^{a:.2f}+-{error[1]:.2f} "
        f"(B/512)^{b:.2f}+-{error[2]:.2f}, scatter {100 * math.sqrt(scatter):.0f} %"
    )


def main():
    """Train what is missing, print and write the bracket."""
    data = prepare_tokens(DataConfig(), report=print)
    cells = list(bracket(data))
    trunks = group_trunks(not_yet_run(cells, FOLDER))
    watch(
        Console(),
        trunks,
        train_here(trunks, data, FOLDER, workers=default_workers("cpu"), device="cpu"),
        None,
    )
    runs, _ = collect(cells, FOLDER)
    runs["loss"] = runs["loss"].fillna(math.inf)
    runs["ratio"] = (runs.tokens / runs.total_params).round(1)
    table = runs.groupby(["width", "ratio"]).apply(verdict, include_groups=False).reset_index()
    print(table.to_string())
    print(fitted_rule(table))
    write_text(FOLDER / "bracket.csv", runs.to_csv(index=False))
    write_text(FOLDER / "verdicts.csv", table.to_csv(index=False))


if __name__ == "__main__":
    main()
