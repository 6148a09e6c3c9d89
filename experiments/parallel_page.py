"""The figures and the page of results/parallel (see experiments/parallel.py)."""

from pathlib import Path

from scaling.figures.saving import save_figure
from scaling.figures.sharding import factor_figure, layout_figure, speed_figure
from scaling.files import write_text
from scaling.hardware.devices import get_device
from scaling.hardware.layout import layout_table
from scaling.hardware.setup import Setup
from scaling.pages.text import Column, Section, make_section, markdown, shown

FOLDER = Path("results/parallel")
GB = 1e9
REPORTED = 0.93  # Zhao et al. 2023, section 5.4: T5-11B, 7 % less TFLOP/s per GPU at 512 than at 8
LAYOUTS = {  # as the course shows them, on four devices
    "DDP": Setup(n_devices=4),
    "ZeRO-1": Setup(strategy="zero1", n_devices=4),
    "ZeRO-2": Setup(strategy="zero2", n_devices=4),
    "ZeRO-3, FSDP": Setup(strategy="fsdp", n_devices=4),
    "FSDP, hybrid 2": Setup(strategy="fsdp", n_devices=4, sharding_factor=2),
}
QUANTITIES = ("weights", "gradients", "optimizer", "left by forward", "peak", "sent")
REASONS = (
    "`sent` of ZeRO-1: torch sums all gradients on every rank and then sends the weights around, "
    "3 (n-1)/n of them; the paper's stage 1, which the calculators count, 2 (n-1)/n.",
    "`sent` of DDP: beside the gradients torch sends the model's buffers (the tables of rotary "
    "positions) in every step.",
    "`peak` with recomputation: the calculators add up the largest of what one layer holds, which "
    "are not all there at once.",
    "`optimizer`: Adam counts its steps in 4 bytes a tensor; ZeRO-1 splits by whole tensors, so "
    "that ranks hold unequal parts (the most of them is shown).",
    "Bytes are those of the collectives as they are asked for, counted as rings send them: gloo "
    "itself makes a reduce-scatter of all-reduces, and sends more.",
    "Offload: on a CPU the host's memory is the device's, so what is measured lies in it; the "
    "traffic between the two is computed only.",
)


def write_gb(value):
    """Return bytes as GB, three digits."""
    return f"{value / GB:,.3g}"


def show_measured(table):
    """Return the section of measured bytes: a row a strategy, each with how far it is off."""
    wide = table.pivot(index=["ranks", "strategy"], columns="quantity", values=["measured", "off"])
    wide.columns = [f"{quantity} {kind}" for kind, quantity in wide.columns]

    def cell(quantity):
        def write(row):
            size = f"{row[f'{quantity} measured'] / 1e6:.3f}"
            off = row[f"{quantity} off"]
            return f"{size} ({off:+.1%})" if abs(off) >= 5e-4 else size

        return Column(quantity, write)

    order = list(dict.fromkeys(table.strategy))
    rows = wide.reset_index().set_index("strategy").loc[order].reset_index()
    worst = (
        table[~table.strategy.str.startswith("zero1") | (table.quantity != "sent")].off.abs().max()
    )
    text = (
        "A GPT of 918,656 parameters, 3 windows of 160 tokens a rank, fp32 unless said otherwise. "
        "MB (1e6 bytes) on the rank that holds most, after the backward pass, between forward and "
        "backward, at the peak of a step, and sent in a step; in brackets how far measured is "
        f"from computed, where it is 0.05 % or more. Largest difference but for ZeRO-1's: "
        f"{worst:.1%}. Weights, gradients and states are the sums of the tensors; what forward "
        "leaves and the peak are what torch's allocator handed out."
    )
    columns = (shown("strategy"), *map(cell, QUANTITIES))
    section = make_section("Bytes held and sent, measured", rows, columns, text)
    return Section(section.title, section.text, REASONS, section.tables)


def show_simulated(table, factors):
    """Return the section of simulated ranks."""
    device = get_device("A100").memory_bytes
    table = table.assign(fits=table.peak <= 0.9 * device)
    columns = (
        *(shown("model"), shown("strategy"), shown("computed_state", "states, computed", write_gb)),
        *(shown("state", "states", write_gb), shown("peak", "peak", write_gb, star="fits")),
        shown("computed_peak", "peak, computed", write_gb),
        *(shown("off", "off", "+.2%"), shown("planned", "planner", write_gb)),
        *(shown("sent", "sent", write_gb), shown("computed_sent", "sent, computed", write_gb)),
    )
    text = (
        "One rank of so many, with fake tensors and a process group without partners: every "
        "operation and collective of one step is called, without memory. GB a rank; *: fits 90 % "
        f"of a device of {device / GB:g} GB. `none` is DDP in fp32, whose ranks each hold what one "
        "process does; else bf16 gathered and computed, shards in fp32. T5: 8 windows of 512 "
        "tokens, GPT: 1 of 2,048. The shapes have the published sizes and are ours. `planner` is "
        "`hardware.memory.training_memory`, which counts all gradients beside all activations.",
        f"Simulated and computed peaks differ by {table.off.abs().max():.2%} at most.",
    )
    section = make_section("8 to 512 ranks, simulated", table, columns, *text)
    checked = (
        "Checked against real memory: the tracker that is used here, on real ranks of the small "
        "model above, where it and the allocator agree (tests/training/test_measured.py).",
        "Not checked: fragmentation, workspace and buffers of NCCL and CUDA, which no fake tensor "
        "has; and GPU kernels. The operators are those of the CPU, whose norms keep fp32 copies "
        "that fused kernels do not: activations on a GPU are smaller.",
        "ZeRO-1 and DDP's wrapper cannot be built of fake tensors; they are measured above.",
    )
    return Section(section.title, section.text, checked, section.tables, ("factors",))


def show_published(states, simulated):
    """Return the section of the papers' numbers."""
    columns = (
        shown("strategy"),
        *(
            shown(n, h, write_gb)
            for n, h in (("published", "published"), ("bf16_mixed", "computed"))
        ),
        shown("fp32", "computed, fp32", write_gb),
    )
    own = simulated[(simulated.model == "GPT 7.5B") & simulated.ranks.isin([1, 64])]
    found = ", ".join(f"{r.strategy} {write_gb(r.state)}" for r in own.itertuples())
    big = simulated[simulated.model.str.startswith("T5") & simulated.ranks.isin([1, 8])]
    peaks = ", ".join(f"{r.model} {r.strategy} {write_gb(r.peak)}" for r in big.itertuples())
    text = (
        "Rajbhandari et al. 2020 (ZeRO, arXiv:1910.02054), figure 1: GB of weights, gradients and "
        "Adam's states on each of 64 devices for 7.5B parameters, in 16-bit with an fp32 copy "
        "(2 + 2 + 12 bytes). What trains here holds fp32 (4 + 4 + 8 bytes): the same where all or "
        f"nothing is sharded, more in stages 1 and 2. Simulated: {found}. Torch's own ZeRO-2 keeps "
        "FSDP's shards of everything between steps, and whole weights within one.",
        "Zhao et al. 2023 (PyTorch FSDP, arXiv:2304.11277): T5 of 611M and 2.28B train with DDP "
        f"and FSDP on GPUs of 80 GB, 11.3B with FSDP only. Simulated peaks, GB: {peaks}.",
    )
    return make_section("Beside what is published", states, columns, *text)


def show_speed(speed, steps, fit, predicted, machine):
    """Return the sections of speed."""
    columns = (
        *(shown("model"), shown("ranks"), shown("strategy"), shown("seconds", "s a step", ".3f")),
        Column("quartiles", lambda r: f"{r['seconds_low']:.3f} to {r['seconds_high']:.3f}"),
        shown("tokens_per_s", "tokens/s a rank", ",.0f"),
        Column("TFLOP/s a rank", lambda r: f"{r['flops_per_s'] / 1e12:.4f}"),
        shown("load", "load before", ".1f"),
    )
    m = machine.iloc[0]
    text = (
        f"{m.processor}, {m.cores} cores, torch {m.torch}; one thread a rank, so that 4 ranks "
        f"share {m.cores} cores. Medians and quartiles of 5 steps of 4 windows a rank. `load "
        "before`: processes that wanted a core in the minute before. `none`: as "
        "many processes side by side that send nothing, which is what contention alone costs."
    )
    here = make_section("Speed against ranks, here", speed, columns, text)
    here = Section(here.title, here.text, (), here.tables, ("speed",))
    off = (steps.predicted / steps.seconds - 1).abs()
    f = fit.iloc[0]
    rate = 1 / f.byte / 1e6 if f.byte else float("inf")
    model_text = (
        "Seconds = compute + calls (n - 1) hop + bytes / bandwidth - overlap; compute is what "
        "`none` takes. Fitted (no overlap: gloo computes on the same cores): a hop of "
        f"{f.hop * 1e3:.3g} ms [{f.hop_low * 1e3:.3g}, {f.hop_high * 1e3:.3g}], "
        f"{rate:,.3g} MB/s ({f.byte * 1e9:.3g} [{f.byte_low * 1e9:.3g}, "
        f"{f.byte_high * 1e9:.3g}] ns a byte); in brackets the range of the fits "
        "that leave one size out. Each size predicted "
        f"by the other two: off by {off.median():.0%} in the median and {off.max():.0%} at most: "
        "two numbers for shared memory on shared cores, no more than a rough guide.",
    )
    rows = predicted.assign(
        tera_low=predicted.flops_per_s_low / 1e12, tera_high=predicted.flops_per_s_high / 1e12
    )
    gpus = (
        *(shown("n_sequences", "windows a GPU"), shown("ranks", "GPUs")),
        *(shown("compute", "compute, s", ".2f"), shown("collectives", "collectives, s", ".2f")),
        *(
            shown("tera_low", "TFLOP/s, no overlap", ".0f"),
            shown("tera_high", "all overlap", ".0f"),
        ),
        *(shown("relative_low", "over 8 GPUs, none", ".3f"), shown("relative_high", "all", ".3f")),
    )
    last = predicted[predicted.ranks == predicted.ranks.max()].iloc[0]
    links = get_device("A100").links_source
    told = (
        f"The same model with the links of the device table: A100, {links}. T5 11.3B, 16-bit, "
        "fully sharded, every layer computed again. Assumed, not measured: 40 % of the dense peak "
        "while computing, 5 us a hop. Model FLOPs, without what is computed again.",
        "Reported: 7 % less for each GPU at 512 than at 8 (Zhao et al. 2023, section 5.4, repeated "
        f"by the course). Predicted for 8 windows: {1 - last.relative_low:.1%} less without any "
        f"overlap and {1 - last.relative_high:.1%} less with all of it. Without a network nothing "
        "here tests it.",
    )
    fitted = make_section(
        "A model of the step",
        steps,
        (
            *(shown("model"), shown("ranks"), shown("strategy")),
            *(shown("seconds", write=".3f"), shown("predicted", write=".3f")),
        ),
        *model_text,
    )
    return [here, fitted, make_section("8 to 512 GPUs, predicted", rows, gpus, *told)]


def write_page(tables):
    """Draw the figures and write the page."""
    simulated = tables["simulated_computed"]
    fsdp = simulated[simulated.strategy.str.match("none|fsdp|hsdp")]
    points = fsdp.rename(columns={"sharding_factor": "factor"})
    speed = tables["speed"]
    bars = speed.assign(
        flops_per_s_low=speed.flops / speed.seconds_high,
        flops_per_s_high=speed.flops / speed.seconds_low,
    )
    names = {"none": "none, nothing sent", "ddp": "DDP", "fsdp": "FSDP"}
    bars["strategy"] = bars.strategy.map(names)
    device = get_device("A100").memory_bytes
    figures = {
        "layout": layout_figure(layout_table(LAYOUTS)),
        "factors": factor_figure(tables["factors"], points, device),
        "speed": speed_figure(bars, tables["predicted"], REPORTED),
    }
    for name, figure in figures.items():
        save_figure(figure, FOLDER / f"{name}.png")
    pictures = "Who holds what: a layer in its backward pass, by strategy."
    sections = [
        Section("The strategies", (pictures,), figures=("layout",)),
        show_measured(tables["measured_computed"]),
        show_simulated(simulated, tables["factors"]),
        show_published(tables["states"], simulated),
        *show_speed(*(tables[n] for n in ("speed", "steps", "fit", "predicted", "machine"))),
    ]
    head = (
        "# Distribution and memory, run for real\n\n"
        "Made by `python experiments/parallel.py` (the parts `measured`, `simulated`, `speed` and "
        "`page`). On a machine with GPUs the same command puts a rank on each and measures NCCL; "
        "that has not been tried.\n\n"
    )
    files = "\n\nEvery table stands beside this page as CSV, in 8 digits.\n"
    write_text(FOLDER / "README.md", head + markdown(sections) + files)
