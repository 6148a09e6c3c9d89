"""How to train for a domain? Mixed, one after the other, with its own tokenizer, repeated.

Question  BloombergGPT at home: what do 25, 51, 75 and 100 % of domain text cost in general loss and
          gain in domain loss? Is general text first and the domain after it as good? What is a
          tokenizer of the domain worth, what are repeats of 100k tokens beside new ones?
Command   python experiments/domain.py [MINUTES]   (what is trained already is not repeated; after
          MINUTES of training the page is written from what there is)
Cost      2.4e13 FLOPs, 30 to 40 minutes of one core
Expected  results/domain/expected.csv, which is written before the first run
Result    at 68k parameters 51 % of the domain costs +0.129 nats/token on Wikipedia over Wikipedia
          alone and +0.180 on PubMed over PubMed alone; 100k tokens seen 4 times are worth 2.3 to
          2.7 times as many new ones, not 3.7 (R_D = 15.4). results/domain
"""

import contextlib
import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from domain_page import write_record
from domain_tables import DOMAIN, GENERAL, LIMIT, PAPER_R, RATIO
from rich.console import Console

from scaling.data.config import OWN_VOCABULARY, DataConfig
from scaling.data.tokens import TokenData, prepare_tokens
from scaling.files import write_table
from scaling.fitting.result import load_fit
from scaling.laws.table import LAWS
from scaling.shapes.flops import total_params
from scaling.shapes.shape import ModelConfig, shape_for_width
from scaling.training.cells import Cell, group_trunks
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.monitor import watch
from scaling.training.optim import OptimConfig
from scaling.training.pool import train_here
from scaling.training.records import FINISHED, Keeping, collect, not_yet_run

FOLDER = Path("results/domain")
WIDTHS, SEEDS = [16, 24, 36], [0, 1]
SHARES = [0.25, 0.51, 0.75]  # of the domain, beside none and all
PASSES = [1, 2, 4, 8, 16, 32]
CONTINUED = {"1": (1.0, 1.0), "1/2": (1.0, 0.5), "1, 25 % replayed": (0.75, 1.0)}  # share, rate
STAGES = [  # seed, widths, whether passes over the domain; what a page needs first comes first
    (0, WIDTHS, False),
    (0, [16], True),
    (1, [16, 24], False),
    (1, [16], True),
    (0, [24], True),
    (1, [36], False),
    (1, [24], True),
    (0, [36], True),
    (1, [36], True),
]
WINDOWS = 512  # held out, of each corpus
REFERENCE = Path("results/reference-enwik8-cpu/fit.json")


@dataclass(frozen=True)
class Run:
    """One planned run, and what it is for: columns of the runs table."""

    cell: Cell
    data: TokenData
    facts: dict[str, Any]
    keeps: bool = False  # its model, to be trained further


def mix(share: float, tokenizer: str | None = None, limit: int | None = None) -> TokenData:
    """General text and the domain, of which a share of the windows comes."""
    parts = {GENERAL: 1 - share, DOMAIN: share}
    limits = {DOMAIN: limit} if limit else None
    config = DataConfig("mixture", parts=parts, tokenizer=tokenizer, part_tokens=limits)
    return prepare_tokens(config, report=print)


def plan_run(data: TokenData, width: int, tokens: float, seed: int, lr_scale: float = 1.0) -> Cell:
    """Cell of so many tokens; all horizons of a width share a trunk."""
    ratio = tokens / count_params(width)
    grid = GridConfig(arm_widths=[width], arm_tokens_per_param=[ratio], seeds=[seed])
    optim = OptimConfig(rules="shape", lr_scale=lr_scale)
    facts = {"vocab_size": data.vocab_size, "data": data.name, "data_fingerprint": data.fingerprint}
    (cell,) = plan_cells(grid, ModelConfig(), optim, valid_windows=WINDOWS, **facts)
    return cell


def count_params(width: int) -> int:
    """N of a width."""
    return total_params(shape_for_width(width, OWN_VOCABULARY, ModelConfig()))


def plan(seed: int) -> Iterator[Run]:
    """All runs of a seed."""
    union = str(mix(0.51).tokenizer_path)  # trained on both corpora
    general, domain, few = mix(0.0, union), mix(1.0, union), mix(1.0, union, LIMIT)

    def of_parts(data, parts, lr_scale=1.0, **facts):
        for width in WIDTHS:
            for part in parts:
                cell = plan_run(data, width, part * RATIO * count_params(width), seed, lr_scale)
                yield Run(cell, data, {"part": part, "tokenizer": "union"} | facts)

    def of_passes(data, arm):
        for width in WIDTHS:
            for n in PASSES:
                facts = {"arm": arm, "share": 1.0, "tokenizer": "union", "passes": n}
                yield Run(plan_run(data, width, n * LIMIT, seed), data, facts)

    for run in of_parts(general, (0.25, 0.49, 0.75, 1), arm="general", share=0.0):
        yield replace(run, keeps=True)
    yield from of_parts(domain, (0.25, 0.51, 0.75, 1), arm="domain", share=1.0)
    yield from of_passes(domain, arm="new")
    for share in SHARES:
        yield from of_parts(mix(share, union), [1], arm="mixed", share=share)
    starts = {run.cell.shape: run.cell.run_id for run in of_parts(general, [0.49])}
    for name, (share, lr_scale) in CONTINUED.items():
        facts = {"arm": "continued", "share": share, "rewarmed": name}
        for run in of_parts(mix(share, union), [0.51], lr_scale, **facts):
            start = starts[run.cell.shape]
            yield replace(run, cell=replace(run.cell, start_from=start))
    foreign = str(prepare_tokens(DataConfig(GENERAL), report=print).tokenizer_path)
    for tokenizer, path in ((DOMAIN, None), (GENERAL, foreign)):
        data = prepare_tokens(DataConfig(DOMAIN, tokenizer=path), report=print)
        yield from of_parts(data, [1], arm="tokenizer", share=1.0, tokenizer=tokenizer)
    yield from of_passes(few, arm="repeated")


def rank(run: Run) -> int:
    """Number of the stage that a run belongs to."""
    is_pass, cell = "passes" in run.facts, run.cell
    stages = enumerate(STAGES)
    return next(
        number
        for number, (seed, widths, passes) in stages
        if (seed, passes) == (cell.seed, is_pass) and cell.shape.width in widths
    )


def train(runs: Iterable[Run], minutes: float) -> None:
    """Train what is missing on one core, corpus by corpus, until the minutes are over."""
    console, until = Console(soft_wrap=True), time.monotonic() + 60 * minutes
    for _, group in itertools.groupby(runs, lambda run: (run.data.fingerprint, run.keeps)):
        group = [*group]
        if time.monotonic() > until:
            return
        data, keeping = group[0].data, Keeping(models=group[0].keeps)
        cells = not_yet_run([run.cell for run in group], FOLDER, models=keeping.models)
        trunks = group_trunks(cells)
        events = train_here(trunks, data, FOLDER, workers=1, device="cpu", keeping=keeping)
        with contextlib.closing(events):
            watch(console, trunks, in_time(events, until), None)


def in_time(events, until):
    """Pass events on until the time is over."""
    for event in events:
        yield event
        if time.monotonic() > until:
            return


def collect_runs(runs: Sequence[Run]) -> pd.DataFrame:
    """Those that have ended, a row for each thing that they are for."""
    tables = [collect([run.cell], FOLDER)[0].assign(**run.facts) for run in runs]
    ended = pd.concat([table for table in tables if len(table)], ignore_index=True)
    return ended.loc[ended.status.isin(FINISHED)]


def expect() -> pd.DataFrame:
    """What is expected of repeats: the reference sweep's law, Muennighoff's worth of a repeat."""
    params = load_fit(REFERENCE).params | PAPER_R
    rows = []
    for width in WIDTHS:
        N = count_params(width)
        for n in PASSES:
            D = float(n * LIMIT)
            new, again = (float(LAWS["repeated"].loss(params, N=N, D=D, U=U)) for U in (D, LIMIT))
            rows.append({"N": N, "passes": n, "new": new, "repeated": again, "added": again - new})
    return pd.DataFrame(rows)


def main() -> None:
    """Write down what is expected, train what is missing, write the record."""
    if not (FOLDER / "expected.csv").is_file():
        write_table(FOLDER / "expected.csv", expect())
    expected = pd.read_csv(FOLDER / "expected.csv")
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else float("inf")
    runs = sorted((run for seed in SEEDS for run in plan(seed)), key=rank)
    train(runs, minutes)
    write_record(FOLDER, collect_runs(runs), len(runs), expected)


if __name__ == "__main__":
    main()
