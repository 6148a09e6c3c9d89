"""python -m scaling.sweep: train a grid of models, fit the laws, draw the figures."""

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

import hydra
import pandas as pd
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scaling import execution, grid, records, results
from scaling.commandline import CONF, job_suffix, one_line_errors, register, resolve
from scaling.data.corpora import DataConfig
from scaling.data.tokens import TokenData, prepare_tokens
from scaling.files import write_text
from scaling.grid import Cell, GridConfig
from scaling.models.shape import ModelConfig
from scaling.observations import MIN_RUNS
from scaling.optim import OptimConfig
from scaling.quantities import format_quantity
from scaling.results import FitConfig
from scaling.runs import load_curves, load_runs


@dataclass
class SweepConfig:
    """Everything one sweep needs; None means "derive it"."""

    name: str | None = None  # folder under `results`; None: the grid's name, and data unless enwik8
    results: str = "results"
    device: str = "auto"  # auto, cpu, cuda
    precision: str = "fp32"  # fp32, bf16 (autocast)
    workers: int | None = None  # processes; None: one per core, or one per GPU
    valid_tokens: int = 2**18  # of every run's held-out loss
    allow_repeats: bool = False  # let a run see the corpus more than once
    dry_run: bool = False  # print the plan and stop
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    fit: FitConfig = field(default_factory=FitConfig)


register("sweep_schema", SweepConfig)


@hydra.main(version_base=None, config_path=CONF, config_name="sweep")
@one_line_errors
def main(composed: DictConfig) -> None:
    """Plan, train what is missing, fit, draw; exit 1 when cells are missing."""
    config = resolve(composed, SweepConfig)
    console = Console(soft_wrap=True)
    device = execution.resolve_device(config.device)
    workers = execution.default_workers(device) if config.workers is None else config.workers
    if workers < 1:
        raise ValueError(f"workers={workers} must be at least 1")
    plan_cells(config, config.data.vocab_size, "")  # an impossible grid is refused before any work
    data = prepare(config, console)
    cells = plan_cells(config, data.vocab_size, data.fingerprint)
    grid.check_corpus(cells, data.n_train, data.n_valid, config.allow_repeats)
    folder = Path(config.results) / (config.name or derived_name(config))
    if config.dry_run:
        print_plan(console, cells, data, device, workers)
        console.print(f"It would go to {folder.resolve()}. Nothing was trained.")
        return
    with records.locked(folder):
        write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.structured(config)))
        train_missing(console, cells, data, folder, workers=workers, device=device)
        missing = finish(console, config, cells, data, folder)
    if missing:
        sys.exit(
            f"error: {missing} of {len(cells)} cells are missing; the same command tries again"
        )


def derived_name(config: SweepConfig) -> str:
    """Name the folder after the grid, the data unless default, and the job of a multirun."""
    data = "" if config.data.name == DataConfig.name else f"-{config.data.name}"
    return config.grid.name + data + job_suffix()


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
    with console.status(f"data={config.data.name}: preparing") as status:

        def report(line: str) -> None:
            status.update(line)
            if not console.is_terminal:
                console.print(line)

        data = prepare_tokens(config.data, report=report)
    console.print(
        f"data={data.name}: {data.n_train:,} training tokens, vocabulary {data.vocab_size:,}, "
        f"validation on {min(config.valid_tokens, data.n_valid):,} tokens"
    )
    return data


def print_plan(
    console: Console, cells: list[Cell], data: TokenData, device: str, workers: int
) -> None:
    """Print cells, FLOPs, tokens and the time that a short measurement predicts."""
    plan = grid.plan_table(cells, data.n_train)
    table = Table("budget", "shape", "N", "D", "D/N", "steps", "batch", "lr", "run id")
    for cell, row in zip(cells, plan.to_dict("records"), strict=True):
        N, D = row["total_params"], row["tokens"]
        sizes = (f"{cell.flops_budget:.3g}", cell.shape.label, format_quantity(N))
        length = (format_quantity(D), f"{D / N:.1f}", str(row["steps"]), str(row["batch_tokens"]))
        table.add_row(*sizes, *length, f"{row['lr']:.3g}", row["run_id"])
    console.print(table)
    seconds = execution.expected_seconds(cells, data, device) / workers
    console.print(
        f"{len(cells)} cells, {plan.flops.sum():.3g} training FLOPs, largest run "
        f"{plan.tokens.max():,} of {data.n_train:,} tokens; about {duration(seconds)} with "
        f"{workers} workers on {device} at the speed just measured."
    )


def train_missing(
    console: Console,
    cells: list[Cell],
    data: TokenData,
    folder: Path,
    *,
    workers: int,
    device: str,
) -> None:
    """Train plan minus done and show how far it is."""
    todo = records.not_yet_run(cells, folder)
    if not todo:
        console.print(f"{folder}: all {len(cells)} cells are done, nothing to train")
        return
    if done := len(cells) - len(todo):
        console.print(f"{folder}: {done} of {len(cells)} cells are done already")
    labels = {cell.run_id: f"{cell.shape.label} at {cell.flops_budget:.3g}" for cell in todo}
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
    )
    flops = {cell.run_id: cell.flops for cell in todo}
    total = progress.add_task("all cells", total=sum(flops.values()), left="")
    done_flops = dict.fromkeys(labels, 0.0)
    bars, finished = {}, 0
    with progress:
        for event in execution.execute(todo, data, folder, workers=workers, device=device):
            if event.kind == "started":
                bars[event.run_id] = progress.add_task(
                    labels[event.run_id], total=flops[event.run_id], left=""
                )
                continue
            done_flops[event.run_id] = event.flops
            progress.update(bars[event.run_id], completed=event.flops)
            progress.update(total, completed=sum(done_flops.values()))
            left = time_left(progress.tasks[0].elapsed, progress.tasks[0].percentage)
            progress.update(total, left=left)
            if event.row is not None:
                finished += 1
                progress.remove_task(bars.pop(event.run_id))
                progress.console.print(
                    f"[{finished}/{len(todo)}] {labels[event.run_id]}: {verdict(event.row)}; {left}"
                )


def time_left(elapsed: float | None, percentage: float) -> str:
    """Remaining time at the speed so far, from the share of the FLOPs done."""
    if not elapsed or percentage <= 0:
        return ""
    return f"{duration(elapsed * (100 / percentage - 1))} left"


def duration(seconds: float) -> str:
    """Minutes and seconds for people."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def verdict(row: dict) -> str:
    """Say how a run ended, in a few words."""
    if row["status"] != "ok":
        return f"{row['status']}, {row['reason']}"
    speed = row["flops_per_s"] / 1e9
    return f"loss {row['loss']:.4f} nats/token, {row['wall_s']:.0f} s, {speed:.1f} GFLOP/s"


def finish(
    console: Console, config: SweepConfig, cells: list[Cell], data: TokenData, folder: Path
) -> int:
    """Write tables, fits, figures and the page; return how many cells have no result."""
    rows, points = records.collect(cells, folder)
    missing = len(cells) - int(rows.status.isin(records.FINISHED).sum())
    results.write_tables(folder, rows, points)
    runs, curves = load_runs(rows), load_curves(points)
    if (finished := int((runs.status == "ok").sum())) < MIN_RUNS:
        console.print(
            f"{finished} runs finished, a fit needs {MIN_RUNS}; their tables are in "
            f"{folder.resolve()}"
        )
        return missing
    made_from = results.data_hash(runs, curves, config.fit)
    if results.is_fitted(folder, made_from):
        console.print(f"{folder}: fits and figures are up to date")
        optima = pd.read_csv(folder / "optima.csv")
        results.print_optima(console, optima, results.convention_of(config.fit, runs))
    else:
        console.print("fitting and drawing")
        report = results.fit_tables(runs, curves, config.fit)
        figures, refused = results.write_figures(folder, runs, curves, report)
        page = results.results_page(
            f"Sweep {folder.name}", command(), facts(runs, data), runs, report, figures
        )
        write_text(folder / "README.md", page)
        results.write_fits(folder, report, made_from)  # last: it says that the rest is there
        results.print_report(console, runs, report)
        for name, reason in refused.items():
            console.print(f"figure {name} not drawn: {reason}")
    console.print(f"tables, fits, figures and README.md are in {folder.resolve()}")
    return missing


def command() -> str:
    """Return the command line that was given, for the record."""
    return shlex.join(["python", "-m", "scaling.sweep", *sys.argv[1:]])


def facts(runs: pd.DataFrame, data: TokenData) -> list[str]:
    """What a reader of the page should know of the runs."""
    lines = [
        f"{len(runs)} runs on data={data.name}: {data.n_train:,} training tokens, "
        f"vocabulary {data.vocab_size:,}",
        f"{runs.flops.sum():.3g} training FLOPs, {runs.wall_s.sum() / 60:.1f} minutes of process "
        f"time in all, on {', '.join(sorted(set(runs.device.dropna())))}",
        f"losses in nats/token on {data.name}'s validation split; standard error over its windows "
        f"{runs.loss_std.median():.3f}, the same windows for every run",
    ]
    if data.entropy_rate == data.entropy_rate:
        lines.append(f"true entropy rate of the source: {data.entropy_rate:.6f} nats/token")
    return lines


if __name__ == "__main__":
    main()
