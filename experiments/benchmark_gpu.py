"""How fast training is on a GPU: graphs, compiled blocks, several workers, seeds as one model.

Question  tokens/s and share of the measured matmul peak (MFU) for five widths, of plain PyTorch
          and of our steps: launched one by one, as a graph, compiled, in tf32, by several workers
          at a time, and of several seeds batched into one model
Command   python experiments/benchmark_gpu.py [small] [limit=540] [results=results]
Cost      under ten minutes on one GPU; small: under two. Measured rows are kept, and not again
Expected  a graph is several times a plain loop at width 64, and little more at 768
Result    an H100, width 64: 9.11 times a plain loop, 33.83 times by 16 models side by side (MPS);
          width 256: 2.21 times, 3.16 compiled, 12.4% of the matmul peak. Wider ones and batched
          seeds are not measured yet. results/benchmark-gpu; without a GPU it says so and ends
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from benchmark_train import plain_stepper

from scaling.files import write_text
from scaling.models.kernels import Kernels
from scaling.pages.text import markdown_table
from scaling.shapes.flops import total_params, training_flops_per_token
from scaling.shapes.shape import ModelConfig
from scaling.training.batched import Members
from scaling.training.calibration import machine_key, random_training, take_steps
from scaling.training.casting import set_products
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.optim import OptimConfig
from scaling.training.origins import ask_worker
from scaling.training.service import find_service, side_by_side
from scaling.training.sharing import measure_together
from scaling.training.worker import settle_process

DEVICE, MEASURED_S, PRECISION = "cuda:0", 1.5, "bf16"
STEPS = 50  # of ours between two looks at the clock
WIDTHS, COMPILED = (64, 256, 128, 768, 512), (64, 256, 768)
PEAK_SIZE, COLUMNS = 8192, ["machine", "shape", "N", "batch_tokens", "kind", "models"]
COLUMNS += ["tokens_per_s", "flops_per_s", "mfu", "peak_flops_per_s", "failure"]
KINDS = {
    "plain": "an eager GPT of stock modules, fused AdamW, windows cut on the host",
    "launched": "our step, every kernel launched by itself",
    "graph": "our step as one CUDA graph, as a sweep takes it",
    "tf32": "that graph of a step in precision=tf32",
    "compiled": "that graph of a compiled step",
    "workers": "graphs in as many processes at a time",
    "batched": "as many seeds in one batched model, its step as one CUDA graph",
}
ALONE = ("plain", "launched", "graph", "tf32", "compiled")


def tasks(small):
    """List what is measured in one process: width, kind, models at a time; what says most first."""
    counts = (1, 4) if small else (1, 2, 4, 8, 16)
    for widths in (WIDTHS[:2], () if small else WIDTHS[2:]):
        for width in widths:
            kinds = ALONE[:3] if small else ALONE if width in COMPILED else ALONE[:-1]
            yield width, [(kind, 1) for kind in kinds]
        yield from ((w, [("workers", n) for n in counts]) for w in widths if w <= 256)
        yield from ((w, [("batched", n) for n in counts[1:4]]) for w in widths if w <= 128)


def cell_of(width):
    """Return a cell of this width, context 256, with the batch of its size."""
    grid = GridConfig(budgets=[1e16], widths=[width], min_steps=1)
    optim, facts = OptimConfig(rules="shape"), {"data": "random", "data_fingerprint": "random"}
    model = ModelConfig(seq_len=256)
    return plan_cells(grid, model, optim, vocab_size=1024, precision=PRECISION, **facts)[0]


def matmul_peak(dtype, precision):
    """Return FLOP/s of the fastest of ten products of square matrices, by CUDA's own clock."""
    set_products(precision)
    a, b = torch.randn(2, PEAK_SIZE, PEAK_SIZE, device=DEVICE).to(dtype)
    best = 0.0
    for _ in range(12):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        torch.matmul(a, b)
        end.record()
        torch.cuda.synchronize()
        best = max(best, 2 * PEAK_SIZE**3 / start.elapsed_time(end) * 1e3)
    return best


def peaks():
    """Return the measured peak of every format."""
    wanted = {"bf16": torch.bfloat16, "tf32": torch.float32, "fp32": torch.float32}
    return {name: matmul_peak(dtype, name) for name, dtype in wanted.items()}


def batched_step(cell, n):
    """Return a function that does one step of n seeds in one model, recorded."""
    members = Members(cell.shape, range(n), cell.recipe, DEVICE, PRECISION)
    size = (n, cell.recipe.batch_size, cell.shape.seq_len + 1)
    windows = torch.randint(cell.shape.vocab_size, size, device=DEVICE)
    rates = torch.full((n,), cell.recipe.lr, device=DEVICE)
    beside, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(beside):
        for _ in range(3):
            members.step(windows, rates)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        members.step(windows, rates)
    return graph.replay


def steps_per_s(cell, kind, n):
    """Return steps per second of all models together, in this process; and what failed, if so."""
    failure, training = "", None
    if kind in ("plain", "batched"):
        step = plain_stepper(cell, DEVICE) if kind == "plain" else batched_step(cell, n)
    else:
        cell = replace(cell, precision="tf32") if kind == "tf32" else cell
        training = random_training(cell, DEVICE, Kernels(compiled=kind == "compiled"))
        training.static = None if kind == "launched" else training.static

        def step():
            take_steps(training, STEPS)

    each = n if training is None else STEPS
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < MEASURED_S:
        for _ in range(10 if training is None else 1):
            step()
            done += each
        torch.cuda.synchronize()
    if training is not None and training.static is not None:
        failure = training.static.failure
    return done / (time.perf_counter() - began), failure


def speeds_here(cell, kinds):
    """Measure one after the other in this process: steps per second, and what failed."""
    found = []
    for kind, n in kinds:
        if kind != "plain":  # which comes first
            settle_process(DEVICE)
        try:
            found.append(steps_per_s(cell, kind, n))
        except Exception as error:  # out of memory, no compiler: a row that says so
            found.append((np.nan, f"{type(error).__name__}: {error}".splitlines()[0][:200]))
        torch.cuda.empty_cache()
    return found


def speeds(cell, kinds):
    """Return steps per second and a failure of each; NaN where it cannot be done."""
    if kinds[0][0] != "workers":
        return ask_worker(speeds_here, cell, kinds)
    found = dict(measure_together(cell, DEVICE, [n for _, n in kinds]))
    return [(found[n], "") if n in found else (np.nan, "a worker failed") for _, n in kinds]


def row_of(cell, kind, n, speed, failure, peak, machine):
    """Return one row of the table."""
    tokens_per_s = speed * cell.tokens_per_step
    flops_per_s = tokens_per_s * training_flops_per_token(cell.shape)
    sizes = [machine, cell.shape.label, total_params(cell.shape), cell.tokens_per_step]
    values = [*sizes, kind, n, tokens_per_s, flops_per_s, flops_per_s / peak, peak, failure]
    return dict(zip(COLUMNS, values, strict=True))


def page(table, rates, machine, left):
    """Return the README of the record."""
    plain = table[table.kind == "plain"].set_index("shape").tokens_per_s
    head = ["shape", "N", "batch", "kind", "models", "tokens/s", "MFU", "times plain"]
    lines = []
    for r in table.sort_values(["N", "kind", "models"]).to_dict("records"):
        times = r["tokens_per_s"] / plain[r["shape"]] if r["shape"] in plain.index else np.nan
        sizes = [r["shape"], f"{r['N']:,}", f"{r['batch_tokens']:,}", r["kind"], str(r["models"])]
        lines.append([*sizes, f"{r['tokens_per_s']:,.0f}", f"{r['mfu']:.1%}", f"{times:.2f}"])
    failed = [f"- {r.shape} {r.kind} x{r.models}: {r.failure}" for r in table.itertuples()
              if isinstance(r.failure, str) and r.failure]  # fmt: skip
    said = ", ".join(f"{name} {rate / 1e12:.0f}" for name, rate in rates.items())
    kinds = "\n".join(f"- *{name}*: {meaning}" for name, meaning in KINDS.items())
    unmeasured = f"\nNot measured, for want of time: {', '.join(left)}.\n" if left else ""
    failures = "\n## What failed\n" + "\n".join(failed) + "\n" if failed else ""
    return f"""# Training speed on a GPU

Made by `python experiments/benchmark_gpu.py` on {machine.replace("_", " ")}; precision={PRECISION},
context 256, vocabulary 1024. tokens/s of all models together; MFU is counted training FLOP/s over
the measured peak of {PRECISION} products of {PEAK_SIZE} x {PEAK_SIZE} matrices (TFLOP/s: {said}).
NVIDIA's multi-process service (MPS): {find_service()}.

{kinds}

{markdown_table(head, lines)}
{unmeasured}{failures}"""


def main():
    """Measure what is not measured yet, print and write."""
    if not torch.cuda.is_available():
        sys.exit(print("benchmark_gpu skipped: torch sees no GPU here"))
    small = "small" in sys.argv
    given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    limit = float(given.get("limit", 90 if small else 540))
    folder = Path(given.get("results", "results")) / "benchmark-gpu"
    with side_by_side():
        text = measure(small, limit, folder)
    write_text(folder / "README.md", text)
    print(text)


def measure(small, limit, folder):
    """Measure what the table in the folder lacks, until the time is over; return the page."""
    began, path, machine = time.perf_counter(), folder / "benchmark.csv", machine_key(DEVICE)
    rows = pd.read_csv(path).to_dict("records") if path.is_file() else []
    rows = [row for row in rows if row["machine"] == machine]
    known = {(row["shape"], row["kind"], row["models"]) for row in rows}
    rates, left = ask_worker(peaks), []
    for width, kinds in tasks(small):
        cell = cell_of(width)
        label = cell.shape.label
        kinds = [(kind, n) for kind, n in kinds if (label, kind, n) not in known]
        if time.perf_counter() - began > limit:
            left += [f"{label} {kind} x{n}" for kind, n in kinds]
            continue
        found = speeds(cell, kinds) if kinds else []
        for (kind, n), told in zip(kinds, found, strict=True):
            rows.append(row_of(cell, kind, n, *told, rates[PRECISION], machine))
            print(label, kind, n, f"{rows[-1]['tokens_per_s']:,.0f} tokens/s", flush=True)
        write_text(path, pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False))
    return page(pd.DataFrame(rows, columns=COLUMNS), rates, machine, left)


if __name__ == "__main__":
    main()
