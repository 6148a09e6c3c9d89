"""python -m scaling.sweep: train a grid of models, fit the laws, draw the figures.

A mistake is refused before torch is imported, which takes seconds: what needs torch, and what
draws, is imported where it is used.
"""

import contextlib
import math
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf
from rich.console import Console
from rich.text import Text

from scaling import products, results
from scaling.commandline import job_folder, make_console, retell, spare, verb
from scaling.data.config import DataConfig, check_data, read_vocab_size
from scaling.data.curation import describe_curation
from scaling.data.tokens import TokenData, prepare_tokens
from scaling.errors import SweepError, check_choice, check_range
from scaling.files import write_text
from scaling.fitting.settings import FitConfig
from scaling.pages.answer import print_answer
from scaling.pages.cells import cells_section, tell_planned
from scaling.pages.fit_answer import end_with, tell_folder
from scaling.pages.fits import report_sections
from scaling.quantities import count
from scaling.shapes.shape import ModelConfig
from scaling.tables.noise import seed_noise
from scaling.tables.observations import MIN_RUNS
from scaling.tables.runs import load_curves, load_runs
from scaling.training import dispatch, grid, records, strategy, trackers
from scaling.training.cells import Cell, group_trunks, planned_row, saved_share
from scaling.training.grid import CHOICES, GridConfig
from scaling.training.monitor import duration, tell_stopped, watch
from scaling.training.optim import OptimConfig, refuse_optimizer
from scaling.training.precision import refuse_device


@dataclass
class SweepConfig:
    """Everything one sweep needs; None means "derive it"."""

    name: str | None = None  # folder under `results`; None: the grid's name, and data unless enwik8
    results: str = "results"  # where the folder is made
    device: str = "auto"  # auto, cpu, cuda
    precision: str = (
        "fp32"  # tf32, bf16, bf16_pure, fp16, fp8, int8 ... int2[_absmax][_group][_all]
    )
    compile: str = "auto"  # auto: kernels and torch.compile measured per shape; always, never
    workers: int | None = None  # processes; None: one per core, or as many per GPU as a trial says
    valid_tokens: int = 2**18  # of every run's held-out loss
    allow_repeats: bool = False  # let a run see the corpus more than once
    dry_run: bool = False  # print the plan and stop
    overwrite: bool = False  # files of the folder that are not ours
    verbose: bool = False  # print every table, not the answer alone
    checkpoint_s: float = records.Keeping.checkpoint_s  # at least, between two checkpoints
    save_models: bool = False  # every trained model, under the folder's `models`
    track: Any = False  # every cell's curve to tensorboard (true), wandb or mlflow
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    parallel: strategy.ParallelConfig = field(default_factory=strategy.ParallelConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    fit: FitConfig = field(default_factory=FitConfig)


TABLES = ("config.yaml", "runs.csv", "curves.csv", results.CARD)
PRODUCTS = (*TABLES, *results.FOUND)


@verb("sweep", SweepConfig)
def main(config: SweepConfig) -> None:
    """Plan, train what is missing, fit, draw; exit 1 when cells are missing."""
    check(config)
    from scaling.training import parts, pool

    if (launched := strategy.launched()) and launched[0] > 0:  # what to do the first rank says
        if not config.dry_run:
            pool.follow(config.parallel, device=config.device)
        return
    folder = job_folder(Path(config.results) / (config.name or derived_name(config)))
    products.refuse_foreign(folder, PRODUCTS, overwrite=config.overwrite)
    console = make_console()
    launch = dispatch.chosen_launch()  # where jobs go elsewhere, their device is resolved there
    device = pool.resolve_device("auto" if launch else config.device)
    refuse_device(config.precision, device)
    ranks = config.parallel.ranks
    if not (launch or launched):
        pool.check_devices(config.parallel, device)
    workers = pool.default_workers(device, ranks) if config.workers is None else config.workers
    data = prepare(config, console)
    cells = plan_cells(config, data.vocab_size, data.fingerprint)
    grid.check_corpus(cells, data.n_train, data.n_valid, config.allow_repeats)
    if data.parts:
        parts.check_parts(cells, data.parts, config.allow_repeats)
    if config.dry_run:
        todo = records.not_yet_run(cells, folder, config.save_models)
        seconds = pool.expected_seconds(group_trunks(todo), data, device) / (workers * ranks)
        where = f"with {workers} workers on {device}"
        where += f" for the {count(len(todo), 'cell')} left" if len(todo) < len(cells) else ""
        where += f", {config.parallel.label}, nothing lost between ranks," if ranks > 1 else ""
        rows = tabulate_cells(cells)
        told = describe_cells(cells, data.n_train, describe_time(seconds, where))
        rest = f"It would go to {folder.resolve()}. Nothing was trained."
        answer = tell_planned(rows, told, rest)
        print_answer(console, answer, [cells_section(rows)], verbose=config.verbose)
        return
    with tell_stopped(console), records.locked(folder):
        products.claim(folder, PRODUCTS, overwrite=config.overwrite)
        write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.structured(config)))
        train_missing(console, config, cells, data, folder, workers=workers, device=device)
        missing = finish(console, config, cells, data, folder)
    if missing:
        lacking = "is" if missing == 1 else "are"
        sys.exit(
            f"error: {missing} of {count(len(cells), 'cell')} {lacking} missing; the same command "
            "tries again"
        )


def check(config: SweepConfig) -> None:
    """Refuse an impossible configuration before any work; ValueError says why."""
    check_choice("compile", config.compile, CHOICES["compile"])
    check_choice("device", config.device.partition(":")[0], CHOICES["device"])
    check_data(config.data)
    check_range("workers", config.workers, 1)
    check_range("valid_tokens", config.valid_tokens, 1)
    check_range("checkpoint_s", config.checkpoint_s, 0)
    check_range("model.seq_len", config.model.seq_len, 2)
    config.fit.settings()
    trackers.check_tracker(config.track)
    strategy.check_parallel(config.parallel, config.precision)
    strategy.check_launch(config.parallel)
    refuse_optimizer(config.optim.optimizer, config.precision, config.parallel.mode)
    if config.parallel.mode != "none" and config.compile == "always":
        raise ValueError(
            f"compile=always: parallel={config.parallel.mode} is trained eagerly; use compile=auto"
        )
    strategy.check_batches(config.parallel, plan_cells(config, read_vocab_size(config.data), ""))


def derived_name(config: SweepConfig) -> str:
    """Name the folder after the grid, data and family unless default."""
    data = "" if config.data.name == DataConfig.name else f"-{config.data.name}"
    family = "" if config.model.family == ModelConfig.family else f"-{config.model.family}"
    return config.grid.name + data + family


def plan_cells(config: SweepConfig, vocab_size: int, fingerprint: str) -> list[Cell]:
    """Cells of the configured grid."""
    return grid.plan_cells(
        config.grid,
        config.model,
        config.optim,
        vocab_size=vocab_size,
        data=config.data.name,
        data_fingerprint=fingerprint,
        precision=config.precision,
        valid_windows=max(1, config.valid_tokens // config.model.seq_len),
    )


def prepare(config: SweepConfig, console: Console) -> TokenData:
    """Fetch and tokenise, with a status line while it takes time."""
    with console.status(Text(f"data={config.data.name}: preparing")) as status:
        terminal = console.is_terminal
        report = (lambda line: status.update(Text(line))) if terminal else spare(console.print)
        data = prepare_tokens(config.data, report=report)
    console.print(
        f"data={data.name}: {data.n_train:,} training tokens, vocabulary {data.vocab_size:,}, "
        f"validation on {min(config.valid_tokens, data.n_valid):,} tokens",
        soft_wrap=not console.is_terminal,  # where people read it, no word is broken
    )
    return data


def tabulate_cells(cells: list[Cell]) -> pd.DataFrame:
    """A row of the runs table for each planned cell, and its budget and shape."""
    more = ({"budget": cell.flops_budget, "shape": cell.shape.label} for cell in cells)
    return pd.DataFrame([planned_row(c) | extra for c, extra in zip(cells, more, strict=True)])


def describe_cells(cells: list[Cell], n_train: int, about: str) -> str:
    """The FLOPs and tokens of all cells, and the time that they take."""
    trunks = group_trunks(cells)
    saved = f" ({saved_share(trunks):.0%} saved by {count(len(trunks), 'trunk')})"
    return (
        f"{count(len(cells), 'cell')}, {sum(trunk.flops for trunk in trunks):.3g} training FLOPs"
        f"{saved if len(trunks) < len(cells) else ''}, largest run "
        f"{max(cell.tokens for cell in cells):,} of {n_train:,} tokens; {about}."
    )


def describe_time(seconds: float, where: str) -> str:
    """How long what is left takes; NaN seconds are those of models too large to be tried."""
    if math.isnan(seconds):
        return f"models too large to measure a time {where}"
    if seconds == 0:
        return "nothing is left to train"
    return f"about {duration(seconds)} {where} at the speed just measured of one model alone"


def train_missing(
    console: Console,
    config: SweepConfig,
    cells: list[Cell],
    data: TokenData,
    folder: Path,
    *,
    workers: int,
    device: str,
) -> None:
    """Train plan minus done and show how far it is."""
    from scaling.training import pool
    from scaling.training.calibration import choose_kernels
    from scaling.training.service import side_by_side
    from scaling.training.sharing import choose_workers, may_share

    for line in records.set_flawed_aside(folder, cells):
        console.print(line)
    todo = records.not_yet_run(cells, folder, config.save_models)
    if not todo:
        if strategy.launched():
            list(pool.lead([], data, folder, device=device, plan=config.parallel))
        console.print(f"{folder}: all {len(cells)} cells are done, nothing to train")
        return
    if done := len(cells) - len(todo):
        console.print(f"{folder}: {done} of {len(cells)} cells are done already")
    trunks = group_trunks(todo)
    keeping = records.Keeping(config.checkpoint_s, config.save_models)
    shared: dict[str, Any] = {"keeping": keeping, "plan": config.parallel}
    with contextlib.ExitStack() as held:
        if launch := dispatch.chosen_launch():
            events = dispatch.train_elsewhere(
                trunks,
                data,
                folder,
                launch=launch,
                source=config.data,
                device=config.device,
                workers=config.workers,
                compiled=config.compile == "always",  # other machines are not measured
                **shared,
            )
        elif strategy.launched():
            events = pool.lead(trunks, data, folder, device=device, **shared)
        else:
            alone = config.parallel.mode == "none"
            mode = config.compile if alone else "never"
            if alone and may_share(trunks, device, config.workers):
                held.enter_context(side_by_side())
                if config.workers is None:
                    workers = choose_workers(trunks, device, folder, console.print)
            kernels = choose_kernels(trunks, mode, device, folder, workers, console.print)
            options = {"workers": workers, "device": device, "kernels": kernels}
            events = pool.train_here(trunks, data, folder, **options, **shared)
        held.enter_context(contextlib.closing(events))
        track = held.enter_context(trackers.tracked(config.track, folder, trunks))
        watch(console, trunks, events, track)


def finish(
    console: Console, config: SweepConfig, cells: list[Cell], data: TokenData, folder: Path
) -> int:
    """Write tables, fits, figures and the page; return how many cells have no result."""
    rows, points = records.collect(cells, folder)
    if "loss" not in rows:  # no cell has come to an end
        return len(cells)
    missing = len(cells) - int(rows.status.isin(records.FINISHED).sum())
    runs, curves = load_runs(rows), load_curves(points)
    noise = seed_noise(runs)
    if noise is not None and noise.varies:
        runs = runs.assign(weight=noise.weights(runs))
    results.write_tables(folder, runs, curves)
    command = retell("sweep")
    models = {run_id: records.model_folder(folder, run_id) for run_id in runs.run_id}
    results.write_cards(folder, runs, models, asdict(config.data), command)
    if (finished := int((runs.status == "ok").sum())) < MIN_RUNS:
        where = f"their tables are in {folder.resolve()}"
        products.settle(folder, PRODUCTS, TABLES)
        if not finished and not missing:
            reason = runs.reason.iloc[0]
            raise SweepError(f"no run of {len(runs)} has a loss to fit: {reason}; {where}")
        console.print(f"{count(finished, 'run')} finished, a fit needs {MIN_RUNS}; {where}")
        return missing
    made_from = results.data_hash(runs, curves, config.fit)
    if products.is_complete(folder, made_from):
        console.print(f"{folder}: fits and figures are up to date")
        names, refused = [name for name in PRODUCTS if (folder / name).is_file()], {}
        sections = []
    else:
        console.print("fitting and drawing")
        report = results.fit_tables(runs, curves, config.fit)
        sections = report_sections(runs, report)
        names, refused = results.write_found(
            folder,
            runs,
            curves,
            [report, *results.fit_conventions(runs, config.fit)],
            title=f"Sweep {folder.name}",
            command=command,
            facts=facts(runs, cells, data),
            settings=asdict(config),
            beside=TABLES,
        )
        products.settle(folder, PRODUCTS, names, made_from)
    answer = end_with(tell_folder(folder), folder, names, refused)
    print_answer(console, answer, sections, verbose=config.verbose)
    return missing


def facts(runs: pd.DataFrame, cells: list[Cell], data: TokenData) -> list[str]:
    """What a reader of the page should know of the runs."""
    trunks = group_trunks(cells)
    whole, spent = sum(cell.flops for cell in cells), sum(trunk.flops for trunk in trunks)
    lines = [
        f"{len(runs)} runs on data={data.name}: {data.n_train:,} training tokens, "
        f"vocabulary {data.vocab_size:,}",
        f"{spent:.3g} training FLOPs, {runs.wall_s.sum() / 60:.1f} minutes of process "
        f"time in all, on {', '.join(sorted(set(runs.device.dropna())))}",
        f"losses in nats/token on {data.name}'s validation split; standard error over its windows "
        f"{runs.loss_std.median():.3f}, the same windows for every run",
    ]
    if len(trunks) < len(cells):
        lines.append(
            f"{len(cells)} runs on {len(trunks)} trunks: {saved_share(trunks):.0%} of the "
            f"{whole:.3g} FLOPs of separate runs saved"
        )
    if noise := seed_noise(runs):
        lines.append(noise.describe())
    for part in data.parts:
        lines.append(
            f"{part.share:.1%} of the windows from {part.name}: {part.n_train:,} unique tokens"
        )
    corpora = {data.name: data} | {part.name: part.data for part in data.parts}
    for name, corpus in corpora.items():
        if corpus.curation:
            lines.append(f"{name}: {describe_curation(corpus.curation)}")
    if data.entropy_rate == data.entropy_rate:
        lines.append(f"true entropy rate of the source: {data.entropy_rate:.6f} nats/token")
    return lines


if __name__ == "__main__":
    main()
