"""What do ranks hold and send, and how fast are they, beside what the calculators say?

Question  Do `hardware/memory` and `hardware/communication` tell what DDP, ZeRO and FSDP hold and
          send, within 5 %? What would 8 to 512 ranks hold? How does speed change with the ranks?
Command   python experiments/parallel.py [measured] [simulated] [speed] [page]    (none: all)
          With GPUs the ranks are theirs (NCCL); that has not been tried.
Cost      measured 1 minute, simulated 5, speed 2, of two slow cores; nothing is trained
Expected  bytes to 5 %; DDP out of 80 GB for the 11.3B T5 only; a loss of some per cent at 512 GPUs
Result    results/parallel
"""

import os
import platform
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from parallel_page import FOLDER, write_page
from scipy.optimize import nnls

from scaling.files import write_table
from scaling.hardware.communication import communication
from scaling.hardware.devices import get_device
from scaling.hardware.memory import step_peak, training_memory
from scaling.hardware.setup import Setup
from scaling.hardware.speed import Links, step_time
from scaling.planning.placement import network_of
from scaling.shapes.flops import total_params, training_flops_per_token
from scaling.shapes.shape import ModelConfig, Shape, shape_for_width
from scaling.training.measured import measure_step, on_ranks, time_steps
from scaling.training.simulated import simulate_step
from scaling.training.strategy import ParallelConfig

SMALL, WINDOWS = Shape(vocab_size=1024, seq_len=160, n_layers=4, width=128, n_heads=4), 3
PLANS = {  # ranks -> what is measured on them
    1: [{"mode": "none"}, {"mode": "none", "recompute": True}],
    2: [
        *({"mode": mode} for mode in ("ddp", "zero1", "zero2", "fsdp")),
        {"mode": "fsdp", "recompute": True},
        {"mode": "fsdp", "offload": True},
        {"mode": "fsdp", "param_dtype": "bf16"},
    ],
    4: [{"mode": "ddp"}, {"mode": "zero1"}, {"mode": "fsdp"}, {"mode": "hsdp", "sharding_factor": 2}],
}


def t5(width, n_heads, ffn_width):
    """Return a T5 of 24 and 24 layers, whose feed-forward width gives it a published size."""
    return Shape(32_128, 512, 24, width, n_heads, ffn_width=ffn_width, family="t5")


LARGE = {  # model -> shape, windows a rank, what is simulated: (mode, ranks, sharding factor)
    "T5 611M": (t5(1024, 16, 2816), 8, [("none", 1), ("fsdp", 8), ("fsdp", 512)]),
    "T5 2.28B": (t5(2048, 16, 5120), 8, [("none", 1), ("fsdp", 8), ("fsdp", 512)]),
    "T5 11.3B": (
        t5(4096, 32, 16_128),
        8,
        [("none", 1), ("zero2", 64), ("fsdp", 8), ("fsdp", 64), ("fsdp", 512), ("hsdp", 512, 8)],
    ),
    "GPT 7.5B": (
        Shape(50_257, 2048, 36, 4096, 32, ffn_width=16_544),
        1,
        [("none", 1), ("zero2", 64), ("fsdp", 8), ("fsdp", 64), ("fsdp", 512)],
    ),
}
WIDTHS, SPEED_WINDOWS, STEPS = (32, 64, 128), 4, 7
GPU, UTILISATION, HOP = "A100", 0.4, 5e-6  # assumed: share of the peak, s of a hop
RANKS = (8, 16, 32, 64, 128, 256, 512)


def setup_of(plan):
    """Return what the calculators call a strategy that runs here."""
    fsdp = plan.mode in ("zero2", "fsdp", "hsdp")
    return Setup(
        precision="bf16_gathered" if plan.param_dtype == "bf16" else "fp32",
        strategy="fsdp" if fsdp else {"none": "ddp"}.get(plan.mode, plan.mode),
        n_devices=plan.ranks,
        sharding_factor=plan.shards if fsdp else None,
        offload="params" if plan.offload else "none",
        recompute="full" if plan.recompute else "none",
        counting="gpt_cpu" if not torch.cuda.is_available() else "gpt",
        reshard=plan.mode != "zero2",
    )


def measure():
    """Return a row for every strategy and quantity: measured on real ranks, and computed."""
    params, network, rows = total_params(SMALL), network_of(SMALL), []
    for n_ranks, choices in PLANS.items():
        plans = [ParallelConfig(ranks=n_ranks, **choice) for choice in choices]
        found = on_ranks(n_ranks, [(measure_step, (SMALL, plan, WINDOWS)) for plan in plans])
        for plan, ranks in zip(plans, zip(*found, strict=True), strict=True):
            most = pd.DataFrame(ranks).max()  # of the ranks
            setup = setup_of(plan)
            memory = training_memory(params, replace(setup, offload="none"), network, WINDOWS)
            buckets = most.held_gradients if plan.mode in ("ddp", "zero1") else 0
            pairs = {
                "weights": (most.held_weights, memory.weights),
                "gradients": (most.held_gradients, memory.gradients),
                "optimizer": (most.held_optimizer, memory.moments),
                "left by forward": (most.forward, forward_bytes(setup, memory, network)),
                "peak": (
                    most.held_weights + most.held_optimizer + buckets + most.allocated,
                    step_peak(params, replace(setup, offload="none"), network, WINDOWS),
                ),
                "sent": (most.sent, communication(params, setup, network).total),
            }
            for quantity, (measured, computed) in pairs.items():
                row = {"strategy": plan.label, "ranks": n_ranks, "quantity": quantity}
                off = measured / computed - 1 if computed else float(measured > 0)
                rows.append(row | {"measured": measured, "computed": computed, "off": off})
            print(plan.label, {k: f"{m:.0f}/{c:.0f}" for k, (m, c) in pairs.items()}, flush=True)
    return pd.DataFrame(rows)


def forward_bytes(setup, memory, network):
    """Return what lies on a rank between forward and backward, beside what always does."""
    p, rooted = setup.bytes_per_param, network.table_params
    if setup.gathers:
        rooted = total_params(SMALL) if not setup.reshard else rooted
    return memory.activations + memory.logits + setup.gathers * p.gathered * rooted


def simulate():
    """Return a row for every large model and strategy: simulated, and computed."""
    rows = []
    for model, (shape, n_sequences, cases) in LARGE.items():
        params, network = total_params(shape), network_of(shape)
        for mode, n_ranks, *factor in cases:
            plan = ParallelConfig(mode=mode, ranks=n_ranks, sharding_factor=next(iter(factor), None))
            plan.param_dtype = "fp32" if mode == "none" else "bf16"
            seconds = os.times().user
            found = simulate_step(shape, plan, n_sequences)
            setup = setup_of(plan)
            memory = training_memory(params, setup, network, n_sequences)
            row = {"model": model, "params": params, "strategy": mode, "ranks": n_ranks}
            row |= {"sharding_factor": plan.shards, "precision": setup.precision}
            row |= {"n_sequences": n_sequences} | found
            row |= {"peak": found["total"] - found["other"], "planned": memory.total}
            row |= {"computed_state": memory.state}
            row["computed_peak"] = step_peak(params, setup, network, n_sequences)
            row["computed_sent"] = communication(params, setup, network).total
            rows.append(row)
            print(model, plan.label, row, f"{os.times().user - seconds:.0f} s", flush=True)
    return pd.DataFrame(rows)


def time_all():
    """Return a row for every T5, number of ranks and strategy: seconds of a step, here."""
    shapes = [shape_for_width(w, 1024, ModelConfig(family="t5")) for w in WIDTHS]
    rows = []
    for n_ranks in (1, 2, 4):
        modes = ("none", "ddp", "fsdp") if n_ranks > 1 else ("none",)
        cases = [(shape, mode) for shape in shapes for mode in modes]
        jobs = []
        for shape, mode in cases:
            plan = ParallelConfig(mode=mode, ranks=n_ranks if mode != "none" else 1)
            jobs.append((time_steps, (shape, plan, SPEED_WINDOWS, STEPS)))
        load = os.getloadavg()[0]
        for (shape, mode), ranks in zip(cases, zip(*on_ranks(n_ranks, jobs), strict=True), strict=True):
            seconds = np.quantile(ranks[0]["seconds"], (0.5, 0.25, 0.75))
            flops = training_flops_per_token(shape) * shape.window.text * SPEED_WINDOWS
            row = {"model": f"T5 {total_params(shape) / 1e6:.2f}M", "ranks": n_ranks}
            row |= {"params": total_params(shape), "strategy": mode, "flops": flops, "load": load}
            row |= dict(zip(("seconds", "seconds_low", "seconds_high"), seconds, strict=True))
            row |= {"sent": ranks[0]["sent"], "calls": ranks[0]["calls"]}
            row["tokens_per_s"] = SPEED_WINDOWS * shape.window.text / seconds[0]
            rows.append(row | {"flops_per_s": flops / seconds[0]})
            print(row, flush=True)
    return pd.DataFrame(rows)


def fit_links(speed):
    """Return s of a hop and s of a byte that explain what collectives add to a step.

    seconds - seconds of as many ranks that send nothing = calls (n - 1) hop + sent byte, hop and
    byte >= 0, least squares of the relative errors of `seconds`.
    """
    alone = speed[speed.strategy == "none"].set_index(["model", "ranks"]).seconds
    rows = speed[speed.strategy != "none"]
    keys = pd.MultiIndex.from_frame(rows[["model", "ranks"]])
    compute = alone.reindex(keys).to_numpy()
    design = np.column_stack([rows.calls * (rows.ranks - 1), rows.sent]) / rows.seconds.to_numpy()[:, None]
    found, _ = nnls(design, 1 - compute / rows.seconds.to_numpy())
    return found, compute + (design * rows.seconds.to_numpy()[:, None]) @ found


def check_fit(speed):
    """Return the fit with the range of those without one size, and each step as predicted.

    A size is predicted by the others.
    """
    (hop, byte), _ = fit_links(speed)
    rows = speed[speed.strategy != "none"].copy()
    others = {m: fit_links(speed[speed.model != m])[0] for m in dict.fromkeys(speed.model)}
    alone = speed[speed.strategy == "none"].set_index(["model", "ranks"]).seconds
    compute = [alone[key] for key in zip(rows.model, rows.ranks, strict=True)]
    costs = [others[model] for model in rows.model]
    added = [
        c * (n - 1) * cost[0] + s * cost[1]
        for c, n, s, cost in zip(rows.calls, rows.ranks, rows.sent, costs, strict=True)
    ]
    rows["predicted"] = np.add(compute, added)
    hops, bytes_ = np.array([*others.values()]).T
    fit = {"hop": hop, "hop_low": hops.min(), "hop_high": hops.max()}
    fit |= {"byte": byte, "byte_low": bytes_.min(), "byte_high": bytes_.max()}
    return fit, rows[["model", "ranks", "strategy", "seconds", "predicted"]]


def predict():
    """Return the step of the 11.3B T5 on 8 to 512 GPUs, without and with all overlap."""
    shape, device = LARGE["T5 11.3B"][0], get_device(GPU)
    params, network, rows = total_params(shape), network_of(shape), []
    calls = 3 * 2 * shape.n_layers + 2  # gathered twice and scattered, block by block; the root once
    for n_sequences in (8, 16):
        for n in RANKS:
            setup = Setup("bf16_mixed", "fsdp", n, recompute="full")
            flops = training_flops_per_token(shape) * shape.window.text * n_sequences
            sent = communication(params, setup, network)
            row = {"model": "T5 11.3B", "n_sequences": n_sequences, "ranks": n}
            for name, overlap in (("low", 0.0), ("high", 1.0)):
                step = step_time(
                    flops,
                    UTILISATION * device.training_flops(),
                    sent,
                    setup,
                    Links.of(device, HOP),
                    overlap=overlap,
                    calls=calls,
                )
                row |= {"compute": step.compute, "collectives": step.collectives}
                row[f"flops_per_s_{name}"] = flops / step.total
            rows.append(row)
    table = pd.DataFrame(rows)
    for name in ("low", "high"):
        speed = table[f"flops_per_s_{name}"]
        table[f"relative_{name}"] = speed / speed.groupby(table.n_sequences).transform("first")
    return table


def main():
    """Make the parts that were asked for, then the figures and the page of all."""
    asked = sys.argv[1:] or ["measured", "simulated", "speed", "page"]
    warnings.filterwarnings("ignore", module="torch")
    torch.set_num_threads(1)
    for name, make in {"measured": measure, "simulated": simulate, "speed": time_all}.items():
        if name in asked:
            write_table(FOLDER / f"{name}.csv", make())
    processor = {"processor": find_processor(), "cores": os.cpu_count(), "torch": torch.__version__}
    if {"measured", "speed"} & {*asked}:
        write_table(FOLDER / "machine.csv", pd.DataFrame([processor]))
    if "page" not in asked:
        return
    speed = pd.read_csv(FOLDER / "speed.csv")
    fit, steps = check_fit(speed)
    write_table(FOLDER / "fit.csv", pd.DataFrame([fit]))
    write_table(FOLDER / "steps.csv", steps)
    write_table(FOLDER / "predicted.csv", predict())
    write_page({model: (shape, n) for model, (shape, n, _) in LARGE.items()})


def find_processor():
    """Return the name of the GPU or of the processor."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
