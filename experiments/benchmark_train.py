"""How fast a training step is, against plain PyTorch and against the limit of the machine.

Question  tokens/s and FLOP/s for every shape of the demo and two wider ones; ratio to an eager GPT
          of stock modules, and share of the measured fp32 matmul peak; one thread each
Command   python experiments/benchmark_train.py [widths=16,64]
Cost      three to six minutes: the plain GPT, ours and transformers' GPT-2, if it is installed,
          take turns
Expected  1.4 times the plain GPT in the geometric mean, nowhere below 1.1
Result    tokens/s over those of an eager GPT, geometric mean of 17 shapes: 1.73 (1.17 to 2.89) with
          AVX2 and 1.73 (1.30 to 2.81) with AVX-512; over those of transformers' GPT-2 2.27 (1.62 to
          3.23) and 2.15 (1.68 to 2.73). From width 64 up 37% to 75% and 45% to 76% of the fastest
          matrix product. Both AMD EPYC; results/benchmark-train, a folder for every processor
"""

import contextlib
import importlib.util
import multiprocessing
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import gmean
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from scaling.files import write_text
from scaling.pages.text import markdown_table
from scaling.shapes.flops import total_params, training_flops_per_token
from scaling.shapes.shape import ModelConfig
from scaling.training.calibration import (
    candidates,
    machine_key,
    race_kernels,
    random_training,
    take_steps,
)
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.optim import OptimConfig
from scaling.training.worker import settle_process

FOLDER = Path("results/benchmark-train")
DEMO = GridConfig(budgets=[2e11, 4e11, 8e11, 1.6e12])
WIDER = (96, 128)
BLOCKS, BLOCK_S = 7, 0.4


class PlainGPT(nn.Module):
    """A pre-norm GPT as one writes it from stock modules."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.table = nn.Embedding(shape.vocab_size, shape.width)
        self.places = nn.Embedding(shape.seq_len, shape.width)
        self.blocks = nn.ModuleList(PlainBlock(shape) for _ in range(shape.n_layers))
        self.norm = nn.LayerNorm(shape.width, bias=False)
        self.head = nn.Linear(shape.width, shape.vocab_size, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x, y):
        """Return the mean cross-entropy."""
        h = self.table(x) + self.places(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            h = block(h)
        logits = self.head(self.norm(h))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.reshape(-1))


class PlainBlock(nn.Module):
    """Attention and feed-forward with residuals."""

    def __init__(self, shape):
        super().__init__()
        w, self.heads = shape.width, shape.n_heads
        self.norms = nn.ModuleList(nn.LayerNorm(w, bias=False) for _ in range(2))
        self.qkv, self.out = nn.Linear(w, 3 * w, bias=False), nn.Linear(w, w, bias=False)
        self.up, self.down = nn.Linear(w, 4 * w, bias=False), nn.Linear(4 * w, w, bias=False)

    def forward(self, h):
        """Return the residual stream after the block."""
        B, T, W = h.shape
        q, k, v = self.qkv(self.norms[0](h)).split(W, dim=2)
        q, k, v = (t.view(B, T, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.out(mixed.transpose(1, 2).contiguous().view(B, T, W))
        return h + self.down(F.gelu(self.up(self.norms[1](h))))


def plain_stepper(cell, device="cpu"):
    """Return a function that does one step of the plain GPT: its own batch, default AdamW.

    On a GPU as one writes it there: bf16, fused AdamW, batches that are moved from pinned memory.
    """
    on_gpu, rng = device != "cpu", np.random.default_rng(0)
    model = PlainGPT(cell.shape).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=cell.recipe.lr, fused=on_gpu or None)
    low = torch.autocast("cuda", torch.bfloat16) if on_gpu else contextlib.nullcontext()
    tokens = rng.integers(0, cell.shape.vocab_size, 10**6).astype(np.uint16)
    T = cell.shape.seq_len

    def step():
        starts = rng.integers(0, len(tokens) - T - 1, cell.recipe.batch_size)
        windows = [torch.from_numpy(tokens[i : i + T + 1].astype(np.int64)) for i in starts]
        batch = torch.stack(windows)
        if on_gpu:
            batch = batch.pin_memory().to(device, non_blocking=True)
        with low:
            loss = model(batch[:, :-1], batch[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def transformers_stepper(cell):
    """Return a function that does one step of transformers' GPT-2 of the same shape."""
    from transformers import GPT2Config, GPT2LMHeadModel

    shape, rng = cell.shape, np.random.default_rng(0)
    sizes = {"n_embd": shape.width, "n_layer": shape.n_layers, "n_head": shape.n_heads}
    dropped = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=shape.vocab_size, n_positions=shape.seq_len, **sizes, **dropped)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=cell.recipe.lr)

    def step():
        drawn = rng.integers(0, shape.vocab_size, (cell.recipe.batch_size, shape.seq_len))
        batch = torch.from_numpy(drawn)
        optimizer.zero_grad(set_to_none=True)
        model(batch, labels=batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def our_stepper(cell):
    """Return a function that does one step as a sweep does it, by the fastest kernels."""
    training = random_training(cell, "cpu")
    seconds = race_kernels(training, candidates(cell, "cpu"))
    training.use(min(seconds, key=seconds.__getitem__))

    return partial(take_steps, training, 1)


STEPPERS = {
    "plain": plain_stepper,
    "ours": our_stepper,
    "transformers": transformers_stepper,
}
KINDS = [kind for kind in STEPPERS if kind != "transformers" or importlib.util.find_spec(kind)]


def worker(kind, cell, pipe):
    """Body of a process: one block of steps whenever it is told to; sends CPU-s per step."""
    torch.set_num_threads(1)
    if kind == "ours":
        settle_process()
    step = STEPPERS[kind](cell)
    for _ in range(5):
        step()
    while pipe.recv():
        steps, started = 0, time.process_time()
        while time.process_time() - started < BLOCK_S:
            step()
            steps += 1
        pipe.send((time.process_time() - started) / steps)


def matmul_peak():
    """Return FLOP/s of the fastest fp32 product that torch has here, one thread."""
    a, b = torch.randn(2, 1024, 1024)
    best = 0.0
    products = [torch.matmul]
    if torch.backends.mkldnn.is_available():
        products.append(lambda a, b: torch.ops.scaling.product(a, b))
    for product in products:
        for _ in range(12):
            started = time.perf_counter()
            product(a, b)
            best = max(best, 2 * 1024**3 / (time.perf_counter() - started))
    return best


def race(cell):
    """Return median seconds per step of each kind, in blocks that take turns."""
    context, seconds, pipes = multiprocessing.get_context("spawn"), {}, {}
    for kind in KINDS:
        pipes[kind], theirs = context.Pipe()
        context.Process(target=worker, args=(kind, cell, theirs)).start()
        theirs.close()
    for _ in range(BLOCKS):
        for kind, pipe in pipes.items():
            pipe.send(True)
            seconds.setdefault(kind, []).append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    return {kind: float(np.median(values)) for kind, values in seconds.items()}


def row_of(cell, peak):
    """Return one row of the table."""
    seconds, ours = race(cell), {}
    tokens, per_token = cell.tokens_per_step, training_flops_per_token(cell.shape)
    for kind, s in seconds.items():
        ours |= {f"{kind}_tokens_per_s": tokens / s, f"{kind}_flops_per_s": tokens * per_token / s}
    best = seconds["ours"]
    sizes = {"shape": cell.shape.label, "width": cell.shape.width, "N": total_params(cell.shape)}
    shares = {"ratio": seconds["plain"] / best, "share": tokens * per_token / best / peak}
    return sizes | {"batch_tokens": tokens} | ours | shares


def cells_of(widths):
    """Return one cell per width: the demo's, with the batch of its shortest horizon."""
    facts = {"vocab_size": 1024, "data": "random", "data_fingerprint": "random"}
    demo = plan_cells(DEMO, ModelConfig(), OptimConfig(), **facts)
    grid = GridConfig(budgets=[1.6e12], widths=[*WIDER], min_steps=1)
    wider = plan_cells(grid, ModelConfig(), OptimConfig(rules="shape"), **facts)
    first = {cell.shape.width: cell for cell in reversed([*demo, *wider])}
    return [first[w] for w in sorted(first) if widths is None or w in widths]


def hot_spots(cell):
    """Return where the time of a step goes: the ten costliest operators."""
    torch.set_num_threads(1)
    step = our_stepper(cell)
    for _ in range(5):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as measured:
        for _ in range(20):
            step()
    events = sorted(measured.key_averages(), key=lambda e: -e.self_cpu_time_total)
    whole = sum(e.self_cpu_time_total for e in events)
    return [
        [e.key, f"{e.self_cpu_time_total / whole:.1%}", str(e.count // 20)] for e in events[:10]
    ]


def page(table, peak, cells):
    """Return the README of the record."""
    mean = gmean(table.ratio)
    wide = table[table.width >= min(64, table.width.max())].share
    head = ["shape", "N", "batch", *(f"{k}, GFLOP/s" for k in KINDS), "ratio", "share of peak"]
    rows = [
        [r["shape"], f"{r['N']:,}", str(r["batch_tokens"])]
        + [f"{r[f'{k}_flops_per_s'] / 1e9:.1f}" for k in KINDS]
        + [f"{r['ratio']:.2f}", f"{r['share']:.0%}"]
        for r in table.to_dict("records")
    ]
    spots = {c.shape.label: hot_spots(c) for c in (cells[0], cells[-1])}
    profiles = "\n\n".join(
        f"{name}:\n\n" + markdown_table(["operator", "share of CPU time", "calls a step"], lines)
        for name, lines in spots.items()
    )
    machine = machine_key("cpu").replace("_", " ")
    return f"""# Training speed

Made by `python experiments/benchmark_train.py` on {machine}, one thread.
Medians of {BLOCKS} blocks that take turns, in CPU seconds, as others may use the machine. *plain*
is an eager GPT of stock PyTorch modules with default AdamW; *ours* computes by the kernels that are
fastest here, *ratio* is its speed over plain's; the peak is the fastest fp32 product of 1024 x 1024
matrices, {peak / 1e9:.0f} GFLOP/s.

{markdown_table(head, rows)}

Ratio, geometric mean: **{mean:.2f}** (target 1.4), least {table.ratio.min():.2f} (target 1.1).
Share of the peak from width 64 up: {wide.min():.0%} to {wide.max():.0%}.
{tell_peer(table)}

## Where a step's time goes
{profiles}
"""


def tell_peer(table):
    """Return what is said of transformers' GPT-2."""
    if "transformers" not in KINDS:
        return "transformers is not installed: its GPT-2 was skipped."
    ratio = table.ours_tokens_per_s / table.transformers_tokens_per_s
    return (
        f"Ratio to transformers' GPT-2, geometric mean: {gmean(ratio):.2f} ({ratio.min():.2f} to "
        f"{ratio.max():.2f})."
    )


def overview():
    """Return the page that has a line for every processor."""
    rows = []
    for path in sorted(FOLDER.glob("*/benchmark.csv")):
        ratio, name = pd.read_csv(path).ratio, path.parent.name
        rows.append([name, str(len(ratio)), f"{gmean(ratio):.2f}", f"{ratio.min():.2f}"])
    head = ["processor and torch", "shapes", "geometric mean", "least"]
    return f"""# Training speed

Our training step over that of an eager GPT of stock PyTorch modules, same shape, batch and thread.
Made by `python experiments/benchmark_train.py`; the folder of that name has the rest.

{markdown_table(head, rows)}
"""


def main():
    """Measure, print and write."""
    arguments = dict(a.split("=") for a in sys.argv[1:])
    wanted = arguments.get("widths")
    cells = cells_of(None if wanted is None else {int(w) for w in wanted.split(",")})
    settle_process()
    peak = matmul_peak()
    table = pd.DataFrame([row_of(cell, peak) for cell in cells])
    text = page(table, peak, cells)
    print(text)
    own = FOLDER / machine_key("cpu")
    write_text(own / "benchmark.csv", table.assign(peak_flops_per_s=peak).to_csv(index=False))
    write_text(own / "README.md", text)
    write_text(FOLDER / "README.md", overview())


if __name__ == "__main__":
    main()
