"""Train for a domain as BloombergGPT did: mixed, one after the other, or from few tokens often?

Question  What do 25, 51, 75 and 100 % of domain text cost in general loss and gain in domain loss?
          Is general text first and the domain after it as good? What is a tokenizer of the domain
          worth, and what are repeats of 100k tokens worth beside new ones?
Command   python experiments/domain.py [MINUTES]   (what is trained already is not repeated; after
          MINUTES of training the page is written from what there is)
Cost      3.4e13 FLOPs, about 40 minutes on one core that other work leaves alone
Expected  results/domain/expected.csv, which is written before the first run
Result    results/domain
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from domain_page import write_record
from rich.console import Console

from scaling.data.config import OWN_VOCABULARY, DataConfig
from scaling.data.tokens import TokenData, prepare_tokens
from scaling.files import write_table
from scaling.fitting.result import load_fit
from scaling.laws.table import LAWS
from scaling.planning.sources import SOURCES
from scaling.shapes.flops import total_params
from scaling.shapes.shape import ModelConfig, shape_for_width
from scaling.training.cells import Cell, group_trunks
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.monitor import watch
from scaling.training.optim import OptimConfig
from scaling.training.pool import train_here
from scaling.training.records import FINISHED, Keeping, collect, not_yet_run

FOLDER = Path("results/domain")
GENERAL, DOMAIN = "enwik8", "pubmed"
WIDTHS, SEEDS = [16, 28, 44], [0, 1]
RATIO = 569 / 50.6  # tokens per parameter, BloombergGPT's
SHARES = [0.25, 0.51, 0.75]  # of the domain, beside none and all
LIMIT = 100_000  # unique tokens of a domain that has no more
PASSES = [1, 2, 4, 8, 16, 32]
CONTINUED = {"1": (1.0, 1.0), "1/2": (1.0, 0.5), "1, 25 % replayed": (0.75, 1.0)}  # share, rate
WINDOWS = 1024  # held out, of each corpus
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
    """All runs of a seed; what a page needs first comes first."""
    union = str(mix(0.51).tokenizer_path)  # trained on both corpora
    general, domain, few = mix(0.0, union), mix(1.0, union), mix(1.0, union, LIMIT)

    def of_parts(data, parts, lr_scale=1.0, **facts):
        for width in WIDTHS:
            for part in parts:
                cell = plan_run(data, width, part * RATIO * count_params(width), seed, lr_scale)
                yield Run(cell, data, {"part": part, "tokenizer": "union"} | facts)

    for run in of_parts(general, (0.25, 0.49, 0.75, 1), arm="general", share=0.0):
        yield replace(run, keeps=True)
    yield from of_parts(domain, (0.25, 0.51, 0.75, 1), arm="domain", share=1.0)
    for share in SHARES:
        yield from of_parts(mix(share, union), [1], arm="mixed", share=share)
    for arm, data in (("new", domain), ("repeated", few)):
        for width in WIDTHS:
            for n in PASSES:
                facts = {"arm": arm, "share": 1.0, "tokenizer": "union", "passes": n}
                yield Run(plan_run(data, width, n * LIMIT, seed), data, facts)
    starts = {run.cell.shape: run.cell.run_id for run in of_parts(general, [0.49])}
    for name, (share, lr_scale) in CONTINUED.items():
        facts = {"arm": "continued", "share": share, "rewarmed": name}
        for run in of_parts(mix(share, union), [0.51], lr_scale, **facts):
            start = starts[run.cell.shape]
            yield replace(run, cell=replace(run.cell, start_from=start))
    for tokenizer in (DOMAIN, GENERAL):
        facts = {"arm": "tokenizer", "share": 1.0, "tokenizer": tokenizer}
        yield from of_parts(mix(1.0, tokenizer), [1], **facts)


def train(runs: Sequence[Run], minutes: float) -> None:
    """Train what is missing on one core, corpus by corpus, until the minutes are over."""
    console, until = Console(soft_wrap=True), time.monotonic() + 60 * minutes
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        key = run.cell.seed, run.data.fingerprint, run.keeps, run.facts["arm"] == "continued"
        groups.setdefault(key, []).append(run)
    for group in groups.values():
        data, keeping = group[0].data, Keeping(models=group[0].keeps)
        cells = not_yet_run([run.cell for run in group], FOLDER, models=keeping.models)
        trunks = group_trunks(cells)
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


def collect_runs(runs: Sequence[Run]) -> pd.DataFrame:
    """Those that have ended, a row for each thing that they are for."""
    tables = [collect([run.cell], FOLDER)[0].assign(**run.facts) for run in runs]
    ended = pd.concat([table for table in tables if len(table)], ignore_index=True)
    return ended.loc[ended.status.isin(FINISHED)]


def expect() -> pd.DataFrame:
    """What is expected of repeats: the reference sweep's law, Muennighoff's worth of a repeat."""
    params = load_fit(REFERENCE).params | SOURCES["muennighoff2023"]().repeats
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
    runs = [run for seed in SEEDS for run in plan(seed)]
    train(runs, float(sys.argv[1]) if len(sys.argv) > 1 else float("inf"))
    write_record(FOLDER, collect_runs(runs), len(runs))


if __name__ == "__main__":
    main()
