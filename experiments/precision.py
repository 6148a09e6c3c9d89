"""Does loss follow bits as a law? Weights rounded after training, and weights trained rounded.

Question  What do 8, 6, 4, 3 and 2 bits a weight cost, after training against N and D/N, and in
          training as a smaller N_eff(bits)?
Command   python experiments/precision.py [MINUTES]   (what is trained already is not repeated;
          after MINUTES of training the page is written from what there is; runs that are in
          runs.csv need no record, and fp32 runs that are in costs.csv no model)
Cost      57 trunks, 1.1e8 training tokens, about two hours on one core
Expected  after training: cost ~ D^.5 / N^.3 e^(-bits / .6); in training: N_eff = N(1 - e^(-bits/2))
Result    the law of N_eff is rejected, F(43, 48) = 104 (gamma 3.32 bits); the cost of rounding
          after training follows its law, p = 0.077: it grows as D^0.63 and falls as N^0.09.
          results/precision
"""

import contextlib
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from domain import in_time
from precision_page import write_record
from rich.console import Console

from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.files import write_table
from scaling.fitting.criterion import Criterion
from scaling.fitting.diagnosis import lack_of_fit
from scaling.fitting.parametric import fit_parametric, residuals_of
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import load_fit
from scaling.fitting.settings import FitSettings
from scaling.laws.table import LAWS
from scaling.models.storage import Storage
from scaling.planning.few_bits import FP32
from scaling.shapes.flops import total_params
from scaling.shapes.shape import ModelConfig
from scaling.tables.noise import seed_noise
from scaling.tables.observations import Convention, observations
from scaling.tables.runs import load_runs
from scaling.training.cells import group_trunks
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.monitor import watch
from scaling.training.optim import OptimConfig
from scaling.training.pool import train_here
from scaling.training.precision import parse_precision
from scaling.training.records import FINISHED, Keeping, collect, model_folder, not_yet_run
from scaling.training.shrinking import rounding_costs

FOLDER = Path("results/precision")
RUNS, COSTS = FOLDER / "runs.csv", FOLDER / "costs.csv"
HORIZONS = [6, 24]  # tokens per parameter
LONG = [6, 12, 24, 48, 96]  # of the models that are quantised after training
LEARNED = [f"int{bits}_learned_all" for bits in (4, 2, 8, 3, 6)]
ABSMAX = [f"int{bits}_absmax_all" for bits in (4, 2, 8)]  # to compare the two kinds of scales
STAGES = [  # widths, seed, precisions: what a page needs first comes first
    ([16, 24, 32], 0, ["fp32"]),
    ([16, 24], 0, LEARNED),
    ([16, 24, 32], 1, ["fp32"]),
    ([16, 24], 1, LEARNED),
    ([32], 0, LEARNED),
    ([16, 24, 32], 0, ABSMAX),
    ([32], 1, LEARNED),
    ([48], 0, ["fp32", *LEARNED]),
    ([48], 1, ["fp32", *LEARNED]),
]
ROUNDED = {"all": (8, 6, 4, 3, 2), "blocks": (4, 3, 2)}  # bits after training
EVERY = [Storage(f"int{b}", parts=parts) for parts, bits in ROUNDED.items() for b in bits]
WINDOWS = 256  # held out, of the cost of rounding
OTHERS = [  # of one model: formats, what shares a scale, activations
    *(Storage(name, parts="all") for name in ("fp16", "bf16", "fp8_e4m3", "fp8_e5m2")),
    *(Storage("int4", per, 16, "all") for per in ("tensor", "group")),
    *(Storage("int8", parts="all", activations=bits) for bits in (8, 6, 4)),
]
CONVENTIONS = {"all": Convention("total", "counted"), "blocks": Convention("blocks", "counted")}
REFERENCE = Path("results/reference-enwik8-cpu/fit.json")
SURE = 2.0  # standard errors by which the costs of some bits must be above zero to be fitted
KEYS = ["run_id", "format"]
SETTINGS = FitSettings(Criterion("log", "mse"), 400)


def plan(data):
    """Return the cells of every stage."""
    facts = {"vocab_size": data.vocab_size, "data": data.name, "data_fingerprint": data.fingerprint}
    for widths, seed, precisions in STAGES:
        for precision in precisions:
            ratios = LONG if (precision, seed) == ("fp32", 0) else HORIZONS
            grid = GridConfig(arm_widths=widths, arm_tokens_per_param=ratios, seeds=[seed])
            optim = OptimConfig(rules="shape")
            yield plan_cells(grid, ModelConfig(), optim, precision=precision, **facts)


def train(data, minutes):
    """Train what is missing on one core, until the minutes are over."""
    console, until = Console(soft_wrap=True), time.monotonic() + 60 * minutes
    for cells in plan(data):
        if time.monotonic() > until:
            return
        trunks = group_trunks(missing(cells))
        keeping = Keeping(models=cells[0].precision == "fp32")
        events = train_here(trunks, data, FOLDER, workers=1, device="cpu", keeping=keeping)
        with contextlib.closing(events):
            watch(console, trunks, in_time(events, until), None)


def read(path):
    """Return a table that an earlier call has left, or an empty one."""
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=KEYS)


def missing(cells):
    """Return the cells that neither records nor the table have: of fp32, that nobody rounded."""
    known, costs = (read(path) for path in (RUNS, COSTS))
    fp32 = cells[0].precision == "fp32"
    done = {*known.run_id} & {*costs.run_id} if fp32 else {*known.run_id}
    return [cell for cell in not_yet_run(cells, FOLDER, models=fp32) if cell.run_id not in done]


def gather(cells):
    """Return the runs of all cells: of records, else of the table that was written last."""
    found, _ = collect(cells, FOLDER)
    known = read(RUNS)
    rest = known.loc[~known.run_id.isin(found.get("run_id", []))]
    runs = pd.concat([found, rest], ignore_index=True).set_index("run_id")
    order = [cell.run_id for cell in cells if cell.run_id in runs.index]
    runs = runs.loc[order].reset_index()
    return runs.loc[runs.status.isin(FINISHED)]


def measure(runs, data):
    """Return what rounding costs every fp32 model; what is in costs.csv is not measured again."""
    known = read(COSTS)
    fp32 = runs.loc[(runs.precision == "fp32") & (runs.status == "ok")]
    known = known.loc[known.run_id.isin(fp32.run_id)]
    fp32 = fp32.sort_values(["total_params", "tokens"]).run_id
    middle = "" if (known.format == "fp16").any() else fp32.iloc[len(fp32) // 2]
    found = [known]
    for run_id in fp32[~fp32.isin(known.run_id)]:
        storages = [*EVERY, *(OTHERS if run_id == middle else [])]
        found.append(rounding_costs(model_folder(FOLDER, run_id), storages, data, WINDOWS))
    costs = pd.concat(found, ignore_index=True)
    write_table(COSTS, costs)
    return costs


def fit_training(runs):
    """Fit N_eff(bits) to each kind of scales, and laws without bits; return fits by name, and runs.

    Of the horizons at which bits vary: what a law of N and D misses at others is not of the bits.
    fp32 runs stand in every fit.
    """
    runs = load_runs(runs)
    obs, _ = observations(runs, CONVENTIONS["all"])
    kinds = [parse_precision(name) for name in runs.set_index("run_id").precision[obs.run_id]]
    obs["bits"] = [float(kind.storage.bits if kind.storage else FP32) for kind in kinds]
    obs["scales"] = ["learned" if kind.learned or not kind.storage else "absmax" for kind in kinds]
    obs["ratio"] = (obs["D"] / obs["N"]).round()
    obs["seed"] = runs.set_index("run_id").seed[obs.run_id].to_numpy()
    obs = obs.loc[obs.ratio.isin(HORIZONS)].reset_index(drop=True)
    known, noise = {"E": load_fit(REFERENCE).params["E"]}, seed_noise(runs)  # E: of more sizes

    def fit(law, used, noise=noise):
        data = Prepared.of(obs.loc[used], CONVENTIONS["all"], noise=noise)
        return fit_parametric(data, SETTINGS, law=law, constraints=known)

    fp32, learned = obs.bits == FP32, obs.scales == "learned"
    fits = {
        "trained_in_bits": fit("trained_in_bits", learned),
        "trained_in_bits, absmax": fit("trained_in_bits", fp32 | ~learned),
        "bits ignored": fit("chinchilla", learned),
        "fp32 runs alone": fit("chinchilla", fp32, None),
    }
    obs["missed"] = -residuals_of(obs, LAWS["trained_in_bits"], fits["trained_in_bits"].params)
    return fits, obs


def fit_rounding(costs, runs, parts, count_bits):
    """Fit what rounding costs; return the fit, its lack of fit, what it is of and all costs.

    Of bits at which the cost of every model is sure: of others those that chance has raised would
    enter the logarithms, and not those that it has lowered. Seeds differ more than windows do, and
    alike at all of these bits, so that no cost has more weight than another.
    """
    obs, _ = observations(load_runs(runs), CONVENTIONS[parts])
    integers = costs.loc[costs.format.str.startswith("int") & (costs.parts == parts)]
    plain = integers.loc[(integers.per == "channel") & integers.activations.isna()]
    table = plain[["run_id", "bits", "cost", "cost_std"]].merge(obs, on="run_id")
    table["repeat"] = table.groupby(["N", "D", "bits"]).ngroup()
    sure = (table.cost > SURE * table.cost_std).groupby(table.bits).transform("all")
    used = table.loc[sure].assign(L=lambda t: t.cost, nominal=lambda t: t.bits)
    used["bits"] = count_bits(used.bits)
    fit = fit_parametric(Prepared.of(used, CONVENTIONS[parts]), SETTINGS, law="rounding_cost")
    used["missed"] = -residuals_of(used, LAWS["rounding_cost"], fit.params)
    lack = lack_of_fit(used.missed.to_numpy(), used, len(fit.params))
    if fit.status == "ok" and lack is not None and lack.rejected:
        fit = replace(fit, status="rejected", reason=lack.describe())
    return fit, lack, used, table


def step_bits(bits):
    """Return log2 of the range in steps, 2 (high + offset): bits as the rounding error sees them.

    Nominal bits are those of 2^bits levels; absmax leaves the lowest code unused but in 2 bits.
    """
    levels = {b: Storage(f"int{b}").levels for b in bits.unique()}
    return bits.map({b: np.log2(2 * (high + offset)) for b, (_, high, offset) in levels.items()})


COUNTED = {"bits": lambda bits: bits, "bits of the step": step_bits}


def effective_shares(obs, plain):
    """Return N_eff / N of every run in few bits, N_eff the fp32 size that reaches its loss.

    A / N_eff^alpha = A / N^alpha + L - L_fp32, by the law of the fp32 runs.
    """
    at = ["N", "D", "seed"]
    fp32 = obs.loc[obs.bits == FP32].set_index(at).L
    few = obs.loc[obs.bits < FP32].copy()
    few["added"] = few.L.to_numpy() - fp32.reindex(pd.MultiIndex.from_frame(few[at])).to_numpy()
    A, alpha = plain.params["A"], plain.params["alpha"]
    few["share"] = np.maximum(1 + few.added * few.N**alpha / A, 1e-9) ** (-1 / alpha)
    return few.dropna(subset=["added"])


def main():
    """Train what is missing, measure, fit, write."""
    data = prepare_tokens(DataConfig(), report=print)
    train(data, float(sys.argv[1]) if len(sys.argv) > 1 else float("inf"))
    cells = [cell for stage in plan(data) for cell in stage]
    runs = gather(cells)
    costs = measure(runs, data)
    fits, obs = fit_training(runs)
    rounding = {
        (parts, name): fit_rounding(costs, runs, parts, count)
        for parts in CONVENTIONS
        for name, count in COUNTED.items()
    }
    shares = effective_shares(obs, fits["fp32 runs alone"])
    planned = pd.Series([total_params(cell.shape) for cell in cells]).value_counts().sort_index()
    write_record(FOLDER, runs, planned, costs, fits, obs, shares, rounding)


if __name__ == "__main__":
    main()
