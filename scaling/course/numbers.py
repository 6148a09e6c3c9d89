"""Numbers that statements need and that stand in no table of the course."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from scaling.course.bloomberg import AT_HAND, CLUSTER, COURSE_D, COURSE_N, RATE, REPORTED, D, N
from scaling.course.claims import (
    COURSE_BYTES,
    COURSE_TRAINING,
    SHARDED_DEVICES,
    STAGES,
    billion_table,
    memory_table,
)
from scaling.course.tables import KNOWN_MODELS, LINES, allocation_table
from scaling.hardware.devices import GB, get_device
from scaling.hardware.formats import FORMATS, bits_of, project
from scaling.laws.papers import KAPLAN_CONSTANTS, PF_DAY, PUBLISHED_LAWS
from scaling.laws.papers import TOKENS_PER_PARAM_RULE as RULE
from scaling.laws.table import LAWS
from scaling.planning.budgets import parse_budget
from scaling.planning.data_limits import plan_data
from scaling.planning.sources import get_source
from scaling.quantities import format_quantity as short
from scaling.shapes.shape import Shape

MANY = 2**20  # devices, where "up to" is reached
CHINCHILLA = 5.76e23  # FLOPs
FIELDS = {"fp32": (1, 8, 23), "fp16": (1, 5, 10), "bf16": (1, 8, 7)}  # sign, exponent, mantissa
MODELS = {model.name: model for model in KNOWN_MODELS}
BEATEN = ("Gopher", "GPT-3", "Jurassic-1", "MT-NLG")
LLAMA_13B = (13e9, 1e12)  # parameters, tokens; Touvron et al. 2023, arXiv:2302.13971
Tables = Mapping[str, pd.DataFrame]
Numbers = Iterator[tuple[str, float]]


def more_tables(tables: Tables) -> dict[str, pd.DataFrame]:
    """Tables beside those of `course_tables` in which statements look their numbers up."""
    parts = (_memory, _formats, _sharding, _compute, _laws, _losses, _bloomberg, _writing)
    derived = pd.DataFrame(
        [pair for part in parts for pair in part(tables)], columns=["name", "value"]
    )
    lines = allocation_table([CHINCHILLA], [*LINES, "hoffmann2022_rounded", "besiroglu2024"])
    return {"billion": billion_table(), "at_chinchilla": lines, "derived": derived}


def describe_numbers() -> dict[str, str]:
    """Write the numbers that the reasons name."""
    billion, law = billion_table(), get_source("hoffmann2022")
    for_24, for_80, ours = (short(tokens) for tokens in billion.tokens)
    ratio = get_source("besiroglu2024").tokens_per_param(CHINCHILLA)
    return {
        "tokens_for_24": for_24,
        "tokens_for_80": for_80,
        "tokens_ours": ours,
        "train_gb": f"{billion.total.iloc[-1]:.3g}",
        "pi_fp32": f"{float(project(math.pi, 'fp32')):.12g}",
        "course_ratio": f"{COURSE_D / COURSE_N:g}",
        "course_C": f"{6 * COURSE_N * COURSE_D:.2g}",
        "besiroglu_interval": f"[{ratio.low:.3g}, {ratio.high:.3g}]",
        "bend": f"{_slope(law, 1e20, 0) / _slope(law, 1e24, 0):.2g}",
    }


def _memory(tables: Tables) -> Numbers:
    sizes, one = tables["memory_sizes"].set_index(["params", "bits"]), billion_table().iloc[-1]
    device = get_device("A100").memory_bytes
    yield "state at 16 bits over 32", sizes.state_gb[1e9, 16] / sizes.state_gb[1e9, 32]
    yield "extra bytes", COURSE_TRAINING - COURSE_BYTES["weights"]
    yield "Adam over weights", one.moments / one.weights
    yield "500B over 1B", sizes.course_train_gb[500e9, 32] / sizes.course_train_gb[1e9, 32]
    yield "1B on 80 GB", one.total * 1e9 / device
    yield "largest on 80 GB", device / COURSE_TRAINING
    yield "GPUs for 500B", sizes.course_train_gb[500e9, 32] * GB / device
    yield "states of 7.5B", tables["memory"].total[0] / GB
    yield "V100 memory", get_device("V100").memory_bytes / GB


def _formats(tables: Tables) -> Numbers:
    found = tables["formats"].set_index("format")
    for name, fields in FIELDS.items():
        yield f"{name} as {'+'.join(map(str, fields))}", _count_bits(name, fields)
    yield "cut pi in fp32", float(project(3.141592, "fp32"))
    yield "sign bit of pi", float(bits_of(math.pi, "fp32")[0])
    yield "sign bit of -pi", float(bits_of(-math.pi, "fp32")[0])
    yield "pi", math.pi
    yield "digits of fp16", (FORMATS["fp16"].mantissa_bits + 1) * math.log10(2)
    yield "bf16's largest over fp32's", found.largest["bf16"] / found.largest["fp32"]
    smallest = found.smallest_normal
    yield "fp16's smallest over bf16's", smallest["fp16"] / smallest["bf16"]
    yield "bf16's integers", 2 / found.spacing_at_1["bf16"]


def _count_bits(name: str, fields: tuple[int, int, int]) -> int:
    """Bits of a format; 0 if its sign, exponent and mantissa are not these."""
    f = FORMATS[name]
    return f.bits if (f.sign_bits, f.exponent_bits, f.mantissa_bits) == fields else 0


def _sharding(tables: Tables) -> Numbers:
    t5, stages = tables["memory_t5"], tables["memory"].set_index("stage")
    as_measured = (t5.ddp_fits == t5.ddp_measured) & (t5.fsdp_fits == t5.fsdp_measured)
    many = {stage: replace(setup, n_devices=MANY) for stage, setup in STAGES.items()}
    fp32 = {stage: replace(setup, precision="fp32") for stage, setup in many.items()}
    for setups, end in ((many, ""), (fp32, " in fp32")):
        limit = memory_table(stages=setups).set_index("stage").over
        yield f"limit of ZeRO-1{end}", limit["ZeRO-1"]
        yield f"limit of ZeRO-2{end}", limit["ZeRO-2"]
    yield "FSDP over ZeRO-3", stages.over["FSDP, factor 64"] / stages.over["ZeRO-3"]
    yield "gradients of ZeRO-1 over DDP", stages.gradients["ZeRO-1"] / stages.gradients["DDP"]
    yield "weights of ZeRO-2 over DDP", stages.weights["ZeRO-2"] / stages.weights["DDP"]
    yield "models that fit as measured", as_measured.sum()
    kept = COURSE_BYTES["activations and temporaries"]
    sharded = kept + (COURSE_TRAINING - kept) / SHARDED_DEVICES
    yield "24 bytes over 64 GPUs", COURSE_TRAINING / sharded


def _compute(tables: Tables) -> Numbers:
    yield "models near table D.1", (tables["pf_days"].difference.abs() < 0.005).sum()
    yield "V100 for a day", 1e15 / get_device("V100").training_flops()
    yield "A100 for a day", 1e15 / get_device("A100").training_flops()
    yield "PF-day", PF_DAY
    yield "TFLOP/s", parse_budget("1 A100 for 1 hour at 1 TFLOP/s").flops / 3600
    seen = tables["tokens"].query("yardstick == '20 per parameter'").set_index("model").trained
    for model, share in seen.items():
        yield f"seen over 20 N: {model}", share
        yield f"short of 20 N: {model}", 1 / share
    large, small = MODELS["Gopher"], MODELS["Chinchilla"]
    yield "Chinchilla's tokens over Gopher's", small.D / large.D
    yield "Chinchilla's compute over Gopher's", small.N * small.D / (large.N * large.D)
    yield "Gopher's size over Chinchilla's", large.N / small.N
    yield "raw tokens for 1.4T at 3 %", COURSE_D / 0.03
    sizes = tables["models_by_date"].set_index("model").N
    yield "BLOOM over BERT-Base", sizes["BLOOM"] / sizes["BERT-Base"]
    yield "last of the chart over its largest", sizes.iloc[-1] / sizes.max()


def _laws(tables: Tables) -> Numbers:
    law, bent = get_source("besiroglu2024"), get_source("hoffmann2022")
    C = CHINCHILLA
    yield "D_opt at ten times the compute", law.point(10 * C)["D_opt"] / law.point(C)["D_opt"]
    yield "loss at ten times the compute", 10 ** -KAPLAN_CONSTANTS["L(C_min)"]["alpha_C"]
    yield "loss at twice the tokens", 2 ** -KAPLAN_CONSTANTS["L(D)"]["alpha_D"]
    yield "loss at twice the parameters", 2 ** -KAPLAN_CONSTANTS["L(N)"]["alpha_N"]
    E = bent.fit.params["E"]
    yield "slope of L - E at 1e20 over 1e24", _slope(bent, 1e20, E) / _slope(bent, 1e24, E)
    gopher = MODELS["Gopher"]
    yield "C at twice the tokens", (6 * gopher.N * 2 * gopher.D) / (6 * gopher.N * gopher.D)
    for name, times, word in (
        ("hoffmann2022_envelope", 4, "four"),
        ("hoffmann2022", 4, "four"),
        ("kaplan2020", 10, "ten"),
    ):
        N_opt = allocation_table([C, times * C], [name]).N_opt
        yield f"{name} at {word} times the compute", N_opt[1] / N_opt[0]
    plan = plan_data(C, 500e9, law).table.query("law == @law.name").set_index("option")
    yield "price of 500B tokens", plan.loss_gap["repeated"]


def _slope(law, C: float, E: float) -> float:
    """Slope of ln(L_opt - E) against ln C."""
    low, high = (math.log(law.point(c)["L_opt"] - E) for c in (C, 1.01 * C))
    return (high - low) / math.log(1.01)


def _losses(tables: Tables) -> Numbers:
    best, gpt3 = MODELS["Chinchilla"], MODELS["GPT-3"]
    for name in ("besiroglu2024", "hoffmann2022", "kaplan2020"):
        law = PUBLISHED_LAWS[name] if name != "besiroglu2024" else get_source(name).fit
        losses = {
            model: float(LAWS[law.law].loss(law.params, N=MODELS[model].N, D=MODELS[model].D))
            for model in (*BEATEN, best.name)
        }
        beaten = sum(losses[model] > losses[best.name] for model in BEATEN)
        yield f"models that Chinchilla beats by {name}", beaten
        small = float(LAWS[law.law].loss(law.params, N=LLAMA_13B[0], D=LLAMA_13B[1]))
        yield f"LLaMA-13B above GPT-3 by {name}", small - losses[gpt3.name]


def _bloomberg(tables: Tables) -> Numbers:
    yield "GPU hours", parse_budget(f"{CLUSTER} at {RATE}").device_hours
    yield "reported over ND", REPORTED / (N * D)
    yield "seen over 20 N: BloombergGPT", D / (RULE * N)
    yield "tokens at hand", AT_HAND
    yield "epochs seen", D / AT_HAND
    parts = tables["bloomberg_parts"]
    told = parts.drop_duplicates("kind").set_index("kind").kind_tokens
    yield "tokens of the two kinds", told.sum()
    yield "share of finance", 100 * told["finance"] / told.sum()
    yield "share of general text", 100 * told["general"] / told.sum()
    yield "parts as printed", (np.abs(parts.percent - parts.printed_percent) < 0.1).sum()
    yield "finance parts", parts.tokens[parts.kind == "finance"].sum()


def _writing(tables: Tables) -> Numbers:
    way = tables["choices"].set_index("way")
    yield "kept by top-p 0.7", (way.loc["top-p 0.7", ["first", "second", "third"]] > 0).sum()
    first = {name: float(p) for name, p in zip(way.index, way["first"], strict=True)}
    for T in ("0.5", "2"):
        share = first[f"temperature {T}"] / first["temperature 1"]
        yield f"first at temperature {T} over 1", share
    small = Shape(1024, 128, n_layers=2, width=64, n_heads=2)
    gpt, t5 = (replace(small, family=family) for family in ("gpt", "t5"))
    yield "predictions of a pass", gpt.window.targets
    hidden, spans = t5.window.text + t5.window.added_ids - t5.window.inputs, t5.window.added_ids - 1
    yield "ids behind the last missing token", t5.window.targets - hidden - spans
