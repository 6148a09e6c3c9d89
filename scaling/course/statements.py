"""Every statement of the course beside what comes out here: reproduced, or differing and why."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import pandas as pd

from scaling.course.bloomberg import (
    CLUSTER,
    COURSE_D,
    COURSE_N,
    RATE,
    REPORTED,
    D,
    N,
    bloomberg_budgets,
)
from scaling.course.claims import billion_table, course_table, zhao_table
from scaling.course.tables import (
    COURSE_MODELS,
    KNOWN_MODELS,
    STAGES,
    allocation_table,
    memory_table,
    pf_days_table,
)
from scaling.hardware.devices import get_device
from scaling.hardware.formats import FORMATS, project
from scaling.laws.frontier import optimum
from scaling.laws.papers import PUBLISHED_LAWS
from scaling.laws.papers import TOKENS_PER_PARAM_RULE as RULE
from scaling.planning.budgets import parse_budget
from scaling.planning.sources import get_source
from scaling.quantities import format_quantity as short

REPRODUCED, DIFFERS, NOT_COMPUTED = "reproduced", "differs", "not computed"
NEAR = 1e-9
ABOUT_24 = (21.6, 26.4)  # GB, 10 % either side
MANY = 2**20  # devices, where "up to" is reached
ROUNDED_INPUTS = 0.015  # 52.5 to 53.5 days are 1 % either side, 101.5 to 102.5 TFLOP/s another half


@dataclass(frozen=True)
class Statement:
    """What the course says, and what comes out here.

    Attributes
    ----------
    section : {"tokens", "PF-days", "memory", "formats", "ZeRO and FSDP", "BloombergGPT", "laws"}
    statement : str
        In words, with the printed number.
    low, high : float, in `unit`
        What rounds to the printed number, or the printed range.
    ours : float, in `unit`
        NaN where nothing here computes it.
    unit : str
    how : str
        The formula behind ours.
    why : str
        Why ours differs, or what it rests on.
    """

    section: str
    statement: str
    low: float
    high: float
    ours: float
    unit: str
    how: str
    why: str = ""

    @property
    def verdict(self) -> str:
        """Whether ours lies within what the statement allows."""
        if np.isnan(self.ours):
            return NOT_COMPUTED
        slack = NEAR * abs(self.ours)
        inside = self.low - slack <= self.ours <= self.high + slack
        return REPRODUCED if inside else DIFFERS


def rounds_to(printed: float, digits: int) -> tuple[float, float]:
    """Ends of what rounds to a positive number printed in so many significant digits."""
    half = 0.5 * 10.0 ** (np.floor(np.log10(printed)) - digits + 1)
    return float(printed - half), float(printed + half)


def statements_table(statements: Iterator[Statement] | None = None) -> pd.DataFrame:
    """One row per statement, one column per attribute of `Statement`, and the verdict."""
    found = [*(course_statements() if statements is None else statements)]
    names = [field.name for field in fields(Statement)]
    table = pd.DataFrame([asdict(s) for s in found], columns=names)
    return table.assign(verdict=[s.verdict for s in found])


def course_statements() -> Iterator[Statement]:
    """All statements, in the order of the course."""
    yield from _tokens()
    yield from _pf_days()
    yield from _devices()
    yield from _memory()
    yield from _formats()
    yield from _sharding()
    yield from _bloomberg()
    yield from _laws()


def _tokens() -> Iterator[Statement]:
    for model in COURSE_MODELS:
        printed = model.course_optimum
        said = f"{model.name}: about {printed / 1e12:g}T tokens are optimal"
        ours = RULE * model.N
        yield Statement("tokens", said, *rounds_to(printed, 2), ours, "tokens", "20 N")
    bloom = {m.name: m for m in KNOWN_MODELS}["BLOOM"]
    why = "the course itself gives 366B where it repeats BloombergGPT's figure 1"
    said = "BLOOM saw 350B tokens"
    yield Statement("tokens", said, *rounds_to(350e9, 2), bloom.D, "tokens", "figure 1", why)


def _pf_days() -> Iterator[Statement]:
    table = pf_days_table().set_index("model")
    near = (table.difference.abs() < 0.005).sum()
    said = f"table D.1: PF-days of {len(table)} models"
    how = "models within 0.5 % of 6ND (T5: 3ND) / 8.64e19"
    yield Statement("PF-days", said, len(table), len(table), int(near), "models", how)
    rows = (
        ("T5-3B: about 100 PF-days", "T5-3B", 100, 1, "3ND / 8.64e19", ""),
        ("GPT-3: 3,640 PF-days", "GPT-3 175B", 3640, 3, "6ND / 8.64e19", ""),
        (
            "GPT-3: about 3,700 PF-days",
            "GPT-3 175B",
            3700,
            2,
            "6ND / 8.64e19",
            "rounded up: its own 3,640 rounds to 3,600",
        ),
    )
    for said, model, printed, digits, how, why in rows:
        ours = float(table.pf_days[model])
        yield Statement("PF-days", said, *rounds_to(printed, digits), ours, "PF-days", how, why)


def _devices() -> Iterator[Statement]:
    how = "1e15 FLOP/s over the dense peak of {} TFLOP/s"
    for name, printed, why in (
        ("V100", 8, ""),
        ("A100", 2, "2 needs the doubled peak of 2:4 sparsity, which dense training never sees"),
    ):
        peak = get_device(name).training_flops()
        said = f"1 PF-day: {printed} {name} at full efficiency for a day"
        ends, used = rounds_to(printed, 1), how.format(f"{peak / 1e12:g}")
        yield Statement("PF-days", said, *ends, 1e15 / peak, "devices", used, why)


def _formats() -> Iterator[Statement]:
    def of(said, printed, ours, how, unit="", why=""):
        return Statement("formats", said, printed, printed, float(ours), unit, how, why)

    for name, bits in (("fp32", (1, 8, 23)), ("fp16", (1, 5, 10)), ("bf16", (1, 8, 7))):
        f = FORMATS[name]
        same = (f.sign_bits, f.exponent_bits, f.mantissa_bits) == bits
        said = f"{name.upper()}: {'+'.join(map(str, bits))} bits"
        yield of(said, sum(bits), f.bits if same else 0, "the format's own fields", "bits")
    int8 = FORMATS["int8"]
    yield of("FP16 reaches 65,504", 65504, FORMATS["fp16"].largest, "(2 - 2^-10) 2^15")
    for name, printed in (("fp16", 3.140625), ("bf16", 3.140625), ("int8", 3)):
        said, how = f"pi in {name.upper()} is {printed:.7g}", "rounded to the nearest, ties to even"
        yield of(said, printed, project(np.pi, name), how)
    for end, printed, ours in (("to", 127, int8.largest), ("from", -128, int8.lowest)):
        yield of(f"INT8 (1+7 bits) goes {end} {printed}", printed, ours, "two's complement")


def _memory() -> Iterator[Statement]:
    def of(said, printed, digits, ours, how, why="", unit="GB"):
        return Statement("memory", said, *rounds_to(printed, digits), float(ours), unit, how, why)

    table = course_table().set_index(["params", "bits"])
    for bits, printed in ((32, 4), (16, 2), (8, 1)):
        said, how = f"1B parameters at {bits} bits are {printed} GB to store", "N bits / 8"
        yield of(said, printed, 1, table.store_gb[1e9, bits], how)
    ratio = table.state_gb[1e9, 16] / table.state_gb[1e9, 32]
    why = "an fp32 copy of the weights and fp32 moments remain: bf16 mixed precision keeps 16 bytes"
    how = "weights, gradients and Adam in bf16 mixed precision over fp32"
    yield of("16 bits halve what training takes too", 0.5, 1, ratio, how, why, unit="x")
    claims = billion_table().set_index("claim")
    first, other, ours = (claims.loc[name] for name in claims.index)
    yield of(
        "fp32 keeps 16 bytes per parameter between steps: weights 4, gradients 4, Adam 8",
        16,
        2,
        table.state_gb[1e9, 32],
        "weights + gradients + moments, 1B",
    )
    how = f"16 bytes, and activations of one sequence of {short(ours.tokens)} tokens at work"
    why = (
        f"about: within 10 %; 24 GB at {short(first.tokens)} tokens, as activations grow with the "
        "tokens at work on a device and not with N"
    )
    said = "1B parameters need about 24 GB to train in fp32"
    yield Statement("memory", said, *ABOUT_24, float(ours.total), "GB", how, why)
    why = (
        f"'20 times the weights' takes the 20 extra bytes for a factor; it would need "
        f"{short(other.tokens)} tokens at work at once"
    )
    yield of("1B parameters need 80 GB to train", 80, 1, ours.total, how, why)


def _sharding() -> Iterator[Statement]:
    def of(said, printed, ours, how, why="", unit="x less"):
        ends = rounds_to(printed, 2)
        return Statement("ZeRO and FSDP", said, *ends, float(ours), unit, how, why)

    many = {name: replace(setup, n_devices=MANY) for name, setup in STAGES.items()}
    limit = memory_table(stages=many).set_index("stage").over
    over = memory_table().set_index("stage").over
    how = "16 bytes over {} as devices grow in number"
    yield of("stage 1 shards optimizer states: up to 4x less", 4, limit["ZeRO-1"], how.format(4))
    yield of("stage 2 shards gradients too: up to 8x less", 8, limit["ZeRO-2"], how.format(2))
    yield of("stage 3 shards parameters too: 64 GPUs, 64x less", 64, over["ZeRO-3"], "16 / (16/64)")
    how = "bytes under DDP over bytes under FSDP"
    yield of("FSDP with factor 1 replicates, as DDP does", 1, over["FSDP, factor 1"], how, unit="x")
    ratio = over["FSDP, factor 64"] / over["ZeRO-3"]
    yield of("FSDP with the largest factor shards fully, as ZeRO-3", 1, ratio, how, unit="x")
    ratio = over["FSDP, factor 8"]
    yield of("FSDP between is hybrid: factor 8 on 64 GPUs", 8, ratio, how, unit="x less")
    zhao = zhao_table()
    agree = (zhao.ddp_fits == zhao.ddp_measured) & (zhao.fsdp_fits == zhao.fsdp_measured)
    said = "T5 611M and 2.28B run under DDP and FSDP on 80 GB, 11.3B only under FSDP"
    how = "models that fit, or do not, as measured: fp32, 8 devices, recomputation"
    yield of(said, len(zhao), agree.sum(), how, unit="models")
    said = "7 % less TFLOP/s per GPU from 8 to 512 GPUs"
    why = "measured on a network that nothing here models"
    yield Statement("ZeRO and FSDP", said, 7, 7, float("nan"), "%", "-", why)


def _bloomberg() -> Iterator[Statement]:
    budgets = bloomberg_budgets().set_index("budget").C
    gpu_hours = parse_budget(f"{CLUSTER} at {RATE}").device_hours

    def of(said, printed, digits, ours, unit, how, why=""):
        return Statement("BloombergGPT", said, *rounds_to(printed, digits), ours, unit, how, why)

    yield of("512 A100 x 53 days = 0.65M GPU-hours", 0.65e6, 2, gpu_hours, "GPU-hours", "512*53*24")
    said, why = "2.36e23 FLOPs = that at 102 TFLOP/s", "within the rounding of 53 days and 102"
    ends = (REPORTED * (1 - ROUNDED_INPUTS), REPORTED * (1 + ROUNDED_INPUTS))
    how = "GPU-hours * 3600 s * 102 TFLOP/s"
    yield Statement("BloombergGPT", said, *ends, budgets["cluster"], "FLOPs", how, why)
    why = "with recomputation a step costs 4 forwards, not 3"
    yield of("2.36e23 FLOPs are about 8ND", 8, 1, REPORTED / (N * D), "", "C / (N D)", why)
    yield of("6ND is 1.73e23", 1.73e23, 3, budgets["6ND"], "FLOPs", "6 * 50.6e9 * 569e9")
    planned = budgets["planned"]
    yield of("1.3M GPU-hours are 4.8e23 FLOPs", 4.8e23, 2, planned, "FLOPs", "at 102 TFLOP/s")
    asked = float(np.sqrt(REPORTED / (6 * RULE)))
    how = "sqrt(C / 120) at 2.36e23, what was reported"
    yield of("at 2.36e23 the 20x rule asks for 44B", 44e9, 2, asked, "parameters", how)
    yield of("... and 0.9T tokens", 0.9e12, 1, RULE * asked, "tokens", "20 N")
    why = "at 4.8e23, the budget named for planning, it would be 63B"
    yield of("the optimum is 50B parameters", 50e9, 1, asked, "parameters", how, why)
    why = (
        f"50B on 1.4T is {COURSE_D / COURSE_N:g} tokens per parameter and {budgets['course']:.2g} "
        f"FLOPs by 6ND: the planned budget, not the reported one"
    )
    yield of("... and 1.4T tokens", 1.4e12, 2, RULE * asked, "tokens", "20 N", why)


def _laws() -> Iterator[Statement]:
    C = 5.76e23
    lines = allocation_table([C]).set_index("law")
    said = "at 5.76e23 approach {} asks for 67-73B"
    how = "log-log line through table {}"
    why = "the line through its own table asks for less; the text rounds to Chinchilla's 70B"
    for number, approach, table in ((1, "envelope", "3"), (2, "isoflop", "A3")):
        N = float(lines.N_opt[f"hoffmann2022_{approach}"])
        yield Statement(
            "laws",
            said.format(number),
            67e9,
            73e9,
            N,
            "parameters",
            how.format(table),
            why if number == 2 else "",
        )
    for name, printed in (("hoffmann2022", 40e9), ("hoffmann2022_rounded", 32e9)):
        law = PUBLISHED_LAWS[name]
        N = float(optimum(law.law, law.params, C)["N_opt"])
        said = f"approach 3 asks for {printed / 1e9:g}B ({name})"
        how = "closed form of the law"
        yield Statement("laws", said, *rounds_to(printed, 2), N, "parameters", how)
    ratio = get_source("besiroglu2024").tokens_per_param(C)
    said = "besiroglu2024 asks for about 18-20 tokens per parameter"
    how = f"our fit of their points, 90 % interval [{ratio.low:.3g}, {ratio.high:.3g}]"
    yield Statement("laws", said, 17.5, 20.5, float(ratio), "tokens/param", how)
