"""Does loss follow bits as a law? Weights rounded after training, and weights trained rounded.

Question  What do 8, 6, 4, 3 and 2 bits a weight cost, after training against N and D/N, and in
          training as a smaller N_eff(bits)?
Command   python experiments/precision.py [MINUTES]   (what is trained already is not repeated;
          after MINUTES of training the page is written from what there is)
Cost      48 trunks, 9.7e7 training tokens, about two hours on one core; the page needs the first 15
Expected  after training: cost ~ D^.5 / N^.3 e^(-bits / .6); in training: N_eff = N(1 - e^(-bits/2))
Result    results/precision
"""

import contextlib
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from precision_page import write_record
from rich.console import Console

from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.errors import FitError
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
HORIZONS = [6, 24]  # tokens per parameter
LONG = [6, 12, 24, 48, 96]  # of the models that are quantised after training
FEW, MORE = ["int4_all", "int2_all", "int3_all"], ["int6_all", "int8_all"]
ABSMAX = [
    "int8_absmax_all",
    "int4_absmax_all",
    "int2_absmax_all",
]  # to compare the two kinds of scales
STAGES = [  # widths, seed, precisions: what a page needs first comes first
    ([16, 24, 32], 0, ["fp32"]),
    ([16, 24], 0, FEW),
    ([16], 0, MORE),
    ([16, 24, 32], 0, ABSMAX),
    ([32], 0, FEW),
    ([16], 1, ["fp32", *FEW]),
    ([24, 32], 0, MORE),
    ([24, 32], 1, ["fp32", *FEW]),
    ([16, 24, 32], 1, MORE),
    ([48], 0, ["fp32", *FEW, *MORE]),
    ([48], 1, ["fp32", *FEW, *MORE]),
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
SURE = 2.0  # standard errors above zero, from which a cost enters a fit in logarithms
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
        trunks = group_trunks(not_yet_run(cells, FOLDER, models=True))
        keeping = Keeping(models=True)
        events = train_here(trunks, data, FOLDER, workers=1, device="cpu", keeping=keeping)
        with contextlib.closing(events):
            watch(console, trunks, in_time(events, until), None)


def in_time(events, until):
    """Pass events on until the time is over."""
    for event in events:
        yield event
        if time.monotonic() > until:
            return


def measure(runs, data):
    """Return what rounding costs every fp32 model; what is in costs.csv is not measured again."""
    path = FOLDER / "costs.csv"
    known = pd.read_csv(path) if path.is_file() else pd.DataFrame({"run_id": []})
    fp32 = runs.loc[(runs.precision == "fp32") & (runs.status == "ok")]
    first = fp32.sort_values(["total_params", "tokens"]).run_id.iloc[len(fp32) // 2]
    one = (
        known.loc[known.run_id.isin(fp32.run_id) & (known.format == "fp16")]
        if len(known)
        else known
    )
    found = [known]
    for run_id in fp32.run_id[~fp32.run_id.isin(known.run_id)]:
        storages = [*EVERY, *(OTHERS if run_id == first and one.empty else [])]
        found.append(rounding_costs(model_folder(FOLDER, run_id), storages, data, WINDOWS))
    costs = pd.concat(found, ignore_index=True)
    write_table(path, costs)
    return costs


def fit_training(runs):
    """Fit N_eff(bits) and, beside it, laws without bits; return fits by name, and all runs.

    Runs whose scales are not learned (absmax) enter no fit.
    """
    runs = load_runs(runs)
    obs, _ = observations(runs, CONVENTIONS["all"])
    kinds = [parse_precision(name) for name in runs.set_index("run_id").precision[obs.run_id]]
    obs["bits"] = [float(kind.storage.bits if kind.storage else FP32) for kind in kinds]
    obs["scales"] = ["learned" if kind.learned or not kind.storage else "absmax" for kind in kinds]
    obs["ratio"] = (obs["D"] / obs["N"]).round()
    obs["seed"] = runs.set_index("run_id").seed[obs.run_id].to_numpy()
    used = obs.loc[obs.scales == "learned"]
    data = Prepared.of(used, CONVENTIONS["all"], noise=seed_noise(runs))
    known = {"E": load_fit(REFERENCE).params["E"]}  # which so few sizes cannot tell
    fp32 = Prepared.of(obs.loc[obs.bits == FP32], CONVENTIONS["all"])
    fits = {
        name: fit_parametric(runs, SETTINGS, law=law, constraints=known)
        for name, runs, law in (
            ("trained_in_bits", data, "trained_in_bits"),
            ("bits ignored", data, "chinchilla"),
            ("fp32 runs alone", fp32, "chinchilla"),
        )
    }
    return fits, obs


def fit_rounding(costs, runs, parts):
    """Fit what rounding costs; return the fit, its lack of fit and the observations."""
    obs, _ = observations(load_runs(runs), CONVENTIONS[parts])
    integers = costs.loc[costs.format.str.startswith("int") & (costs.parts == parts)]
    plain = integers.loc[(integers.per == "channel") & integers.activations.isna()]
    table = plain[["run_id", "bits", "cost", "cost_std"]].merge(obs, on="run_id")
    table["repeat"] = table.groupby(["N", "D", "bits"]).ngroup()
    used = table.loc[table.cost > SURE * table.cost_std].assign(L=lambda t: t.cost)
    try:
        fit = fit_parametric(Prepared.of(used, CONVENTIONS[parts]), SETTINGS, law="rounding_cost")
    except FitError as error:
        return None, str(error), table
    residuals = residuals_of(used, LAWS["rounding_cost"], fit.params)
    measured = used.assign(weight=(used.cost / used.cost_std) ** 2)  # of windows, not of seeds
    lack = lack_of_fit(residuals, measured, len(fit.params))
    if fit.status == "ok" and lack is not None and lack.rejected:
        fit = replace(fit, status="rejected", reason=lack.describe())
    return fit, lack, table


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
    runs, _ = collect(cells, FOLDER)
    runs = runs.loc[runs.status.isin(FINISHED)]
    costs = measure(runs, data)
    fits, obs = fit_training(runs)
    rounding = {parts: fit_rounding(costs, runs, parts) for parts in CONVENTIONS}
    shares = effective_shares(obs, fits["fp32 runs alone"])
    write_record(FOLDER, runs, len(cells), costs, fits, obs, shares, rounding)


if __name__ == "__main__":
    main()
