"""Does loss follow bits as a law? Weights rounded after training, and weights trained rounded.

Question  What do 8, 6, 4, 3 and 2 bits a weight cost, after training against N and D/N, and in
          training as a smaller N_eff(bits)?
Command   python experiments/precision.py [MINUTES]   (what is trained already is not repeated;
          after MINUTES of training the page is written from what there is)
Cost      46 trunks of which a page needs the first 5; about 90 minutes on one core
Expected  after training: cost ~ D^.5 / N^.3 e^(-bits / .6); in training: N_eff = N (1 - e^(-bits/2))
Result    results/precision
"""

import contextlib
import sys
import time
from pathlib import Path

from rich.console import Console

from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.shapes.shape import ModelConfig
from scaling.training.cells import group_trunks
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.monitor import watch
from scaling.training.optim import OptimConfig
from scaling.training.pool import train_here
from scaling.training.records import Keeping, not_yet_run

FOLDER = Path("results/precision")
HORIZONS = [6, 24]  # tokens per parameter
LONG = [6, 12, 24, 48, 96]  # of the models that are quantised after training
STAGES = [  # widths, seed, precisions: what a page needs first comes first
    ([16, 24, 32], 0, ["fp32", "int4_all", "int2_all", "int3_all", "int6_all"]),
    ([16, 24, 32], 1, ["fp32", "int4_all", "int2_all", "int3_all", "int6_all"]),
    ([16, 24, 32], 0, ["int8_all"]),
    ([16, 24, 32], 1, ["int8_all"]),
    ([48], 0, ["fp32", "int4_all", "int2_all", "int3_all", "int6_all", "int8_all"]),
    ([48], 1, ["fp32", "int4_all", "int2_all", "int3_all", "int6_all", "int8_all"]),
]


def plan(data):
    """Return the cells of every stage."""
    facts = {"vocab_size": data.vocab_size, "data": data.name, "data_fingerprint": data.fingerprint}
    for widths, seed, precisions in STAGES:
        for precision in precisions:
            ratios = LONG if (precision, seed) == ("fp32", 0) else HORIZONS
            grid = GridConfig(arm_widths=widths, arm_tokens_per_param=ratios, seeds=[seed])
            optim = OptimConfig(rules="shape")
            yield plan_cells(grid, ModelConfig(), optim, precision=precision, **facts)


def train(data, minutes):
    """Train what is missing, one core at a time, until the minutes are over."""
    console, until = Console(soft_wrap=True), time.monotonic() + 60 * minutes
    for cells in plan(data):
        trunks = group_trunks(not_yet_run(cells, FOLDER, models=True))
        keeping = Keeping(models=True)
        events = train_here(trunks, data, FOLDER, workers=1, device="cpu", keeping=keeping)
        with contextlib.closing(events):
            watch(console, trunks, in_time(events, until), None)
        if time.monotonic() > until:
            return


def in_time(events, until):
    """Pass events on until the time is over."""
    for event in events:
        yield event
        if time.monotonic() > until:
            return


def main():
    """Train what is missing, measure, fit, write."""
    data = prepare_tokens(DataConfig(), report=print)
    train(data, float(sys.argv[1]) if len(sys.argv) > 1 else float("inf"))


if __name__ == "__main__":
    main()
