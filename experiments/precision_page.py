"""What precision.py writes: tables, laws, figures and the page of results/precision."""

import pandas as pd

from scaling.figures.bits import rounding_figure, trained_bits_figure, weights_figure
from scaling.figures.saving import save_figure
from scaling.files import write_table, write_text
from scaling.fitting.result import LEVEL
from scaling.pages.text import Column, Section, Table, make_section, markdown, shown, shown_interval
from scaling.quantities import format_quantity as short
from scaling.tables.runs import runs_to_csv
from scaling.training.records import model_folder
from scaling.training.saved import load_model
from scaling.training.shrinking import weight_grids

PAPER = "Kumar et al. 2024 (arXiv:2411.04330)"


def write_record(folder, runs, planned, costs, fits, plain, obs, shares, rounding):
    """Write the record: runs, costs, fits, laws, figures and README.md."""
    law, (cost, lack, table) = fits["trained_in_bits"], rounding["all"]
    write_text(folder / "runs.csv", runs_to_csv(runs))
    kept = ["run_id", "N", "D", "ratio", "bits", "seed", "L", "added", "share"]
    write_table(folder / "shares.csv", shares[kept])
    laws = laws_table(fits, plain, rounding)
    write_table(folder / "fits.csv", laws)
    law.save(folder / "trained_in_bits.json")
    if cost is not None:
        cost.save(folder / "rounding_cost.json")
    save_figure(trained_bits_figure(obs, law), folder / "trained.png")
    save_figure(rounding_figure(table, cost), folder / "rounding.png")
    largest = (
        runs.loc[runs.precision == "fp32"].sort_values(["total_params", "tokens"]).run_id.iloc[-1]
    )
    name, weights, grids = weight_grids(load_model(model_folder(folder, largest))[0])
    save_figure(weights_figure(weights, grids, name), folder / "weights.png")
    sections = [
        about(runs, planned),
        training_section(obs, shares, fits, laws),
        rounding_section(table, rounding, laws),
        formats_section(costs, runs),
        make_section(
            "Weights and formats", laws.head(0), (), "The largest matrix of the largest model."
        ),
    ]
    sections[-1] = Section(sections[-1].title, sections[-1].text, figures=("weights",))
    write_text(folder / "README.md", f"# Loss against bits\n\n{markdown(sections)}\n")


def about(runs, planned):
    """Say what was trained, and what of the plan was not."""
    ok = runs.loc[runs.status == "ok"]
    sizes = ", ".join(short(N) for N in sorted(ok.total_params.unique()))
    seeds = ok.groupby("precision").seed.nunique().to_dict()
    text = (
        "Made by `python experiments/precision.py`. GPTs on enwik8, vocabulary 1,024, context 128; "
        f"losses in nats/token. N {sizes} (all parameters); the token table is 29 to 84 % of them, so "
        "that N counts it and all matrices are quantised, table and head too, unless *blocks* is said.",
        f"**{len(ok)} of {planned} planned runs** are in this record, on "
        f"{', '.join(sorted(set(ok.device)))}; seeds by precision: "
        + ", ".join(f"{name} {n}" for name, n in sorted(seeds.items()))
        + ". The plan is 4 sizes (N up to 132k), 2 horizons (6 and 24 tokens per parameter), fp32 and "
        "8, 6, 4, 3 and 2 bits, 2 seeds, and longer horizons of fp32; the same command trains what "
        "is missing.",
    )
    return Section("What was trained", text)


def told(fit, lack):
    """One fit in words: status, and what its runs say against it."""
    against = "not tested" if lack is None else f"{lack.describe()}, p = {lack.p_value:.2g}"
    return f"status {fit.status}" + (f" ({fit.reason})" if fit.reason else "") + f"; {against}"


def laws_table(fits, plain, rounding):
    """Every parameter of every law, a row each."""
    named = [
        ("trained_in_bits, all runs", fits["trained_in_bits"], fits["trained_in_bits"].lack_of_fit)
    ]
    named += [
        ("chinchilla, all runs, bits ignored", fits["chinchilla"], fits["chinchilla"].lack_of_fit)
    ]
    named += [("chinchilla, fp32 runs", plain, plain.lack_of_fit)]
    named += [
        (f"rounding_cost, {parts}", fit, lack)
        for parts, (fit, lack, _) in rounding.items()
        if fit is not None
    ]
    rows = []
    for name, fit, lack in named:
        for param in fit.params:
            found = fit.param(param)
            ends = {"value": found.value, "value_low": found.low, "value_high": found.high}
            test = {} if lack is None else {"p_value": lack.p_value, "misfit": lack.misfit}
            test |= {"test": "" if lack is None else lack.describe()}
            row = {"fit": name, "law": fit.law, "parameter": param} | ends
            rows.append(row | {"runs": fit.n_runs, "status": fit.status} | test)
    return pd.DataFrame(rows)


def training_section(obs, shares, fits, laws):
    """Losses by bits, N_eff / N, the law and the verdict."""
    law, blind = fits["trained_in_bits"], fits["chinchilla"]
    wide = shares.groupby(["N", "ratio", "bits"]).agg(
        added=("added", "mean"), share=("share", "mean")
    )
    wide = wide.reset_index()
    fp32 = obs.loc[obs.bits == 32].groupby(["N", "ratio"]).L.mean().rename("fp32")
    rows = wide.pivot(index=["N", "ratio"], columns="bits", values=["added", "share"])
    rows.columns = [f"{what} {bits:g}" for what, bits in rows.columns]
    rows = rows.join(fp32).reset_index()
    bits = sorted(shares.bits.unique(), reverse=True)
    columns = [shown("N", "N", short), shown("ratio", "D/N", "g"), shown("fp32", "fp32", ".4f")]
    columns += [shown(f"added {b:g}", f"{b:g} bits", "+.4f") for b in bits]
    columns += [shown(f"share {b:g}", f"N_eff/N, {b:g}", ".3f") for b in bits]
    by_bits = shares.groupby("bits").share
    spread = "; ".join(
        f"{b:g} bits {by_bits.get_group(b).min():.2f} to {by_bits.get_group(b).max():.2f}"
        for b in bits
    )
    gamma = law.param("gamma")
    lack = law.lack_of_fit
    holds = law.status == "ok" and (lack is None or not lack.rejected)
    verdict = (
        f"**The law is {'reproduced' if holds else 'not reproduced'} at this scale**: N_eff = N (1 - "
        f"e^(-bits/gamma)) with gamma = {gamma.value:.2f} [{gamma.low:.2f}, {gamma.high:.2f}] bits; "
        f"{told(law, lack)}. The same runs without bits: {told(blind, blind.lack_of_fit)}."
    )
    text = (
        "Weights are rounded in every forward pass (straight-through, scales learned as in LSQ, one a "
        "row, table and head too); the loss is that of the rounded weights. Added loss is over the fp32 "
        "run of the same seed; N_eff is the fp32 size that would reach the loss, by the law of the fp32 "
        "runs alone.",
        verdict,
        f"N_eff/N of single runs, which {PAPER} take for a function of the bits alone: {spread}.",
    )
    table = Table(rows, tuple(columns))
    return Section(
        "Trained in few bits",
        text,
        tables=(table, params_table(laws, "trained_in_bits")),
        figures=("trained",),
    )


def params_table(laws, name):
    """Parameters of a law with their intervals."""
    rows = laws.loc[laws.law == name]
    columns = (
        shown("fit"),
        shown("parameter"),
        shown_interval("value", f"value [{LEVEL:.0%}]"),
        shown("status"),
        shown("runs"),
    )
    return Table(rows, columns)


def rounding_section(table, rounding, laws):
    """Costs by bits, the law for all parts and for the blocks, the verdict."""
    ratio = (table.D / table.N).round()
    rows = (
        table.assign(ratio=ratio)
        .groupby(["N", "ratio", "bits"])
        .agg(cost=("cost", "mean"), std=("cost_std", "mean"))
    )
    rows = rows.reset_index()
    rows["told"] = [f"{c:+.4f} ({s:.4f})" for c, s in zip(rows.cost, rows["std"], strict=True)]
    wide = rows.pivot(index=["N", "ratio"], columns="bits", values="told")
    wide.columns = [f"{b:g} bits" for b in wide.columns]
    wide = wide.reset_index()
    columns = (
        shown("N", "N", short),
        shown("ratio", "D/N", "g"),
        *(shown(c) for c in wide.columns[2:]),
    )
    texts = [
        "The fp32 models, rounded once after training, one absmax scale a row, no calibration: added "
        "loss over the same 512 held-out windows, standard error in brackets. Costs within two standard "
        "errors of zero are left out of the fit in logarithms (all of 8 bits), which a reader should "
        "know: it says nothing of them."
    ]
    for parts, (fit, lack, _) in rounding.items():
        if fit is None:
            texts.append(f"No fit for {parts}: {lack}.")
            continue
        found = {n: fit.param(n) for n in ("gamma_D", "gamma_N", "gamma")}
        values = ", ".join(
            f"{n} {e.value:.2f} [{e.low:.2f}, {e.high:.2f}]" for n, e in found.items()
        )
        holds = fit.status == "ok" and (lack is None or not lack.rejected)
        N = (
            "all parameters"
            if parts == "all"
            else "parameters of the blocks, which alone are rounded"
        )
        texts.append(
            f"**{parts}: the law is {'reproduced' if holds else 'not reproduced'} at this scale** (N: {N}): "
            f"{values}; {told(fit, lack)}."
        )
    table = (Table(wide, columns), params_table(laws, "rounding_cost"))
    return Section("Rounded after training", tuple(texts), tables=table, figures=("rounding",))


def formats_section(costs, runs):
    """One model in other formats, with shared scales and with rounded activations."""
    [run_id] = costs.loc[costs.format == "fp16"].run_id.unique()[:1]
    one = costs.loc[(costs.run_id == run_id) & (costs.parts == "all")].sort_values(
        ["bits", "cost"], ascending=False
    )
    row = runs.set_index("run_id").loc[run_id]
    columns = (
        shown("format"),
        Column("a scale per", lambda r: r["per"] if r["bits"] <= 8 else "-"),
        shown("activations", "bits of activations", "g"),
        shown("cost", "added loss", "+.5f"),
        shown("cost_std", "standard error", ".5f"),
    )
    text = f"N {short(row.total_params)} at {row.tokens / row.total_params:.0f} tokens per parameter, table and head too; groups are of 16 weights; activations by the largest that 256 training windows meet."
    return make_section("One model in many formats", one, columns, text)
