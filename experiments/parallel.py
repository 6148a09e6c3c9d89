"""What ranks hold and send, and how fast they are, beside what the calculators say.

Question  Do `hardware/memory` and `hardware/communication` tell what DDP, ZeRO and FSDP hold and
          send, within 5 %? What would 8 to 512 ranks hold? How does speed change with the ranks?
Command   python experiments/parallel.py [measured] [simulated] [speed] [page]    (none: all)
          With GPUs the ranks are theirs (NCCL); that has not been tried.
Cost      measured 2 minutes of CPU, simulated 6, speed 3; nothing is trained
Expected  bytes to 5 %; DDP beyond 80 GB for the 11.3B T5 only; some per cent lost at 512 GPUs
Result    states as computed, what the forward pass leaves within 0.5 %, peaks within 4.3 %, of 8 to
          512 simulated ranks within 3.28 %; sent bytes within 0.6 %, but torch's ZeRO-1 sends 50.6
          % more than the paper's. Gloo on CPUs only. results/parallel
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
    1: [ParallelConfig(), ParallelConfig(recompute=True)],
    2: [
        *(ParallelConfig(mode, 2) for mode in ("ddp", "zero1", "zero2", "fsdp")),
        ParallelConfig("fsdp", 2, recompute=True),
        ParallelConfig("fsdp", 2, offload=True),
        ParallelConfig("fsdp", 2, param_dtype="bf16"),
    ],
    4: [
        *(ParallelConfig(mode, 4) for mode in ("ddp", "zero1", "fsdp")),
        ParallelConfig("hsdp", 4, 2),
    ],
}


def t5(width, n_heads, ffn_width):
    """Return a T5 of 24 and 24 layers, whose feed-forward width gives it a published size."""
    return Shape(32_128, 512, 24, width, n_heads, ffn_width=ffn_width, family="t5")


def sharded(mode, ranks, factor=None):
    """Return FSDP as it is used at this size: gathered and computed in bf16, fp32 shards."""
    return ParallelConfig(mode, ranks, factor, param_dtype="bf16")


FEW = [ParallelConfig(), sharded("fsdp", 8), sharded("fsdp", 64)]
MANY = [*FEW, sharded("zero2", 64), sharded("fsdp", 512)]
LARGE = {  # model -> shape, windows a rank, what is simulated
    "T5 611M": (t5(1024, 16, 2816), 8, FEW),
    "T5 2.28B": (t5(2048, 16, 5120), 8, FEW),
    "T5 11.3B": (t5(4096, 32, 16_128), 8, [*MANY, sharded("hsdp", 512, 8)]),
    "GPT 7.5B": (Shape(50_257, 2048, 36, 4096, 32, ffn_width=16_544), 1, MANY),
}
WIDTHS, SPEED_WINDOWS, STEPS = (32, 64, 128), 4, 5
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
    """Return a row for every strategy and quantity, measured on real ranks: the most of them."""
    rows = []
    for n_ranks, plans in PLANS.items():
        found = on_ranks(n_ranks, [(measure_step, (SMALL, plan, WINDOWS)) for plan in plans])
        for plan, ranks in zip(plans, zip(*found, strict=True), strict=True):
            most = pd.DataFrame(ranks).max()
            buckets = most.held_gradients if plan.mode in ("ddp", "zero1") else 0
            between_steps = most.held_weights + most.held_optimizer + buckets
            quantities = {
                "weights": most.held_weights,
                "gradients": most.held_gradients,
                "optimizer": most.held_optimizer,
                "left by forward": most.forward,
                "peak": between_steps + most.allocated,
                "sent": most.sent,
            }
            for quantity, measured in quantities.items():
                row = {"strategy": plan.label, "ranks": n_ranks, "quantity": quantity}
                rows.append(row | {"measured": measured})
            print(rows[-len(quantities) :], flush=True)
    return pd.DataFrame(rows)


def compare_measured(measured):
    """Return the rows of `measure` with what the calculators say of them, and how far it is off."""
    params, network = total_params(SMALL), network_of(SMALL)
    plans = {plan.label: plan for plans in PLANS.values() for plan in plans}
    computed = []
    for row in measured.itertuples():
        setup = setup_of(plans[row.strategy])
        kept = replace(setup, offload="none")  # on a CPU the host's memory is the device's
        memory = training_memory(params, kept, network, WINDOWS)
        rooted = network.table_params if setup.reshard else params
        gathered = setup.gathers * setup.bytes_per_param.gathered * rooted
        quantities = {
            "weights": memory.weights,
            "gradients": memory.gradients,
            "optimizer": memory.moments,
            "left by forward": memory.activations + memory.logits + gathered,
            "peak": step_peak(params, kept, network, WINDOWS),
            "sent": communication(params, setup, network).total,
        }
        computed.append(quantities[row.quantity])
    table = measured.assign(computed=computed)
    return table.assign(off=(table.measured / table.computed - 1).fillna(0.0))


def simulate():
    """Return a row for every large model and strategy: bytes of one simulated rank."""
    rows = []
    for model, (shape, n_sequences, plans) in LARGE.items():
        for plan in plans:
            seconds = os.times().user
            row = {"model": model, "params": total_params(shape), "strategy": plan.label}
            row |= {"ranks": plan.ranks, "sharding_factor": plan.shards}
            row |= {"n_sequences": n_sequences} | simulate_step(shape, plan, n_sequences)
            rows.append(row)
            print(row, f"{os.times().user - seconds:.0f} s", flush=True)
    return pd.DataFrame(rows)


def compare_simulated(simulated):
    """Return the rows of `simulate` with what the calculators, and so the planner, say of them."""
    rows = []
    for row in simulated.to_dict("records"):
        shape, n_sequences, plans = LARGE[row["model"]]
        setup = setup_of({plan.label: plan for plan in plans}[row["strategy"]])
        params, network = total_params(shape), network_of(shape)
        memory = training_memory(params, setup, network, n_sequences)
        row["peak"] = row["total"] - row["other"]  # without the rotary tables and the batch
        row["computed_state"] = memory.state
        row["computed_peak"] = step_peak(params, setup, network, n_sequences)
        row["planned"] = memory.total  # with gradients kept, as for several passes a step
        row["computed_sent"] = communication(params, setup, network).total
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.assign(off=table.peak / table.computed_peak - 1)


def compute_factors():
    """Return the computed peak of every large model at every sharding factor; 1 is DDP in fp32."""
    rows = []
    for model, (shape, n_sequences, _) in LARGE.items():
        params, network = total_params(shape), network_of(shape)
        for factor in (1, 2, 4, *RANKS):
            ddp, fsdp = ParallelConfig(), ParallelConfig("fsdp", factor, param_dtype="bf16")
            setup = setup_of(ddp if factor == 1 else fsdp)
            peak = step_peak(params, setup, network, n_sequences)
            rows.append({"model": model, "factor": factor, "peak": peak})
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
        for (shape, mode), found in zip(cases, on_ranks(n_ranks, jobs)[0], strict=True):
            seconds = np.quantile(found["seconds"], (0.5, 0.25, 0.75))
            flops = training_flops_per_token(shape) * shape.window.text * SPEED_WINDOWS
            row = {"model": f"T5 {total_params(shape) / 1e6:.2f}M", "ranks": n_ranks}
            row |= {"params": total_params(shape), "strategy": mode, "flops": flops, "load": load}
            row |= dict(zip(("seconds", "seconds_low", "seconds_high"), seconds, strict=True))
            row |= {"sent": found["sent"], "calls": found["calls"]}
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
    compute, seconds = alone.reindex(keys).to_numpy(), rows.seconds.to_numpy()
    design = np.column_stack([rows.calls * (rows.ranks - 1), rows.sent])
    return nnls(design / seconds[:, None], 1 - compute / seconds)[0]


def check_fit(speed):
    """Return the fit with the range of those without one size, and each step as predicted.

    A size is predicted by the others.
    """
    hop, byte = fit_links(speed)
    rows = speed[speed.strategy != "none"].copy()
    others = {m: fit_links(speed[speed.model != m]) for m in dict.fromkeys(speed.model)}
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


def compute_states():
    """Return bytes of states of 7.5B parameters on each of 64, beside the ZeRO paper's."""
    printed = {"ddp": 120e9, "zero1": 31.4e9, "zero2": 16.6e9, "zero3": 1.9e9}
    rows = []
    for strategy, published in printed.items():
        row = {"strategy": strategy, "published": published}
        for precision in ("bf16_mixed", "fp32"):
            row[precision] = training_memory(7.5e9, Setup(precision, strategy, 64)).state
        rows.append(row)
    return pd.DataFrame(rows)


def predict():
    """Return the step of the 11.3B T5 on 8 to 512 GPUs, without and with all overlap."""
    shape, device = LARGE["T5 11.3B"][0], get_device(GPU)
    params, network, rows = total_params(shape), network_of(shape), []
    calls = (
        3 * 2 * shape.n_layers + 2
    )  # gathered twice and scattered, block by block; the root once
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
    tables = {
        "measured_computed": compare_measured(pd.read_csv(FOLDER / "measured.csv")),
        "simulated_computed": compare_simulated(pd.read_csv(FOLDER / "simulated.csv")),
        "factors": compute_factors(),
        "states": compute_states(),
        "fit": pd.DataFrame([fit]),
        "steps": steps,
        "predicted": predict(),
    }
    for name, table in tables.items():
        write_table(FOLDER / f"{name}.csv", table)
    write_page(tables | {"speed": speed, "machine": pd.read_csv(FOLDER / "machine.csv")})


def find_processor():
    """Return the name of the GPU or of the processor."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = (
        Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    )
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
