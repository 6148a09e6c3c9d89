"""What precision.py writes: tables, laws, figures and the page of results/precision."""

import math

import pandas as pd

from scaling.figures.rounding import rounding_figure, trained_bits_figure, weights_figure
from scaling.figures.saving import save_figure
from scaling.files import write_table, write_text
from scaling.fitting.result import LEVEL
from scaling.pages.text import Column, Section, Table, markdown, shown, shown_interval
from scaling.planning.few_bits import SHIPPED
from scaling.quantities import format_quantity as short
from scaling.tables.runs import runs_to_csv
from scaling.training.records import model_folder
from scaling.training.saved import load_model
from scaling.training.shrinking import weight_grids

PAPER = "Kumar et al. 2024 (arXiv:2411.04330)"
TEST = {False: "reproduced", True: "not reproduced"}


def write_record(folder, runs, planned, costs, fits, obs, shares, rounding):
    """Write the record: runs, costs, fits, laws, figures and README.md; the planner's laws too."""
    law, (cost, _, _, table) = fits["trained_in_bits"], rounding["all", "bits"]
    write_text(folder / "runs.csv", runs_to_csv(runs))
    kept = ["run_id", "N", "D", "ratio", "bits", "scales", "seed", "L", "added", "share"]
    write_table(folder / "shares.csv", shares[kept])
    learned = obs.loc[obs.scales == "learned"]
    laws = list_parameters(fits, rounding)
    write_table(folder / "fits.csv", laws)
    for fit in filter(None, (law, cost)):
        fit.save(folder / f"{fit.law}.json")
        fit.save(SHIPPED[fit.law])
    save_figure(trained_bits_figure(learned, law), folder / "trained.png")
    save_figure(rounding_figure(table, cost), folder / "rounding.png")
    fp32 = runs.loc[runs.precision == "fp32"].sort_values(["total_params", "tokens"]).run_id
    if (largest := model_folder(folder, fp32.iloc[-1])).is_dir():  # else the figure stays
        name, weights, grids = weight_grids(load_model(largest)[0])
        save_figure(weights_figure(weights, grids, name), folder / "weights.png")
    sections = [
        tell_runs(runs, planned),
        show_training(learned, shares, fits, laws),
        compare_scales(shares, fits["trained_in_bits, absmax"]),
        show_rounding(table, rounding, laws),
        show_formats(costs, runs),
        Section(
            "Weights and formats",
            ("The largest matrix of the largest model at its longest horizon.",),
            figures=("weights",),
        ),
    ]
    write_text(folder / "README.md", f"# Loss against bits\n\n{markdown(sections)}\n")


def list_parameters(fits, rounding):
    """Return every parameter of every law, a row each."""
    named = [
        *((name, fit, fit.lack_of_fit) for name, fit in fits.items()),
        *((f"rounding_cost, {' in '.join(k)}", *found[:2]) for k, found in rounding.items()),
    ]
    rows = []
    for name, fit, lack in named:
        for param in fit.params:
            found = fit.param(param)
            row = {"fit": name, "law": fit.law, "parameter": param, "value": found.value}
            row |= {"value_low": found.low, "value_high": found.high, "runs": fit.n_runs}
            row |= {"status": fit.status, "test": "" if lack is None else lack.describe()}
            rows.append(row | {"p_value": float("nan") if lack is None else lack.p_value})
    return pd.DataFrame(rows)


def is_refuted(fit, lack):
    """Whether a fit says that its law is not that of the runs."""
    return fit.status != "ok" or (lack is not None and lack.rejected)


def tell_fit(fit, lack):
    """Say the status of a fit, and what the runs hold against it."""
    tested = "not tested" if lack is None else f"{lack.describe()}, p = {lack.p_value:.2g}"
    return f"status {fit.status}; lack of fit: {tested}"


def tell_interval(fit, name):
    """Write a parameter with its interval."""
    found = fit.param(name)
    return f"{name} = {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def tell_sign(fit, name, above, below):
    """Say which way a power goes, or that its interval holds zero."""
    found = fit.param(name)
    return above if found.low > 0 else below if found.high < 0 else "neither grows nor falls surely"


def tell_runs(runs, planned):
    """Say what was trained, and what of the plan (runs by size) was not."""
    ok = runs.loc[runs.status == "ok"]
    sizes = ", ".join(short(N) for N in sorted(ok.total_params.unique()))
    share = ok.embedding_params / ok.total_params
    there = ok.total_params.value_counts()
    done = ", ".join(f"{there.get(N, 0)} of {n} at {short(N)}" for N, n in planned.items())
    left = "" if len(ok) == planned.sum() else "; the same command trains the rest"
    return Section(
        "What was trained",
        (
            "Made by `python experiments/precision.py`. GPTs on enwik8, vocabulary 1,024, context "
            f"128; losses in nats/token, N {sizes}: all parameters, of which the token table is "
            f"{share.min():.0%} to {share.max():.0%}. So all matrices are rounded, table and head "
            "too, unless *blocks* is said; brackets of parameters are "
            f"{LEVEL:.0%} bootstrap intervals.",
            f"**{len(ok)} of {planned.sum()} planned runs are in this record**: {done}{left}. The "
            "plan: 4 sizes, 2 horizons (6 and 24 tokens per parameter), 6 precisions (fp32, 8, 6, "
            "4, 3 and 2 bits), 2 seeds; at the smaller sizes also 8, 4 and 2 bits with absmax "
            "scales; longer horizons of one fp32 seed, for rounding.",
        ),
    )


def show_training(obs, shares, fits, laws):
    """Losses by bits, N_eff / N, the law and the verdict."""
    law, blind = fits["trained_in_bits"], fits["bits ignored"]
    at, what = ["N", "ratio"], ["added", "share"]
    shares = shares.loc[shares.scales == "learned"]
    rows = shares.pivot_table(index=at, columns="bits", values=what)
    rows.columns = [f"{name} {bits:g}" for name, bits in rows.columns]
    fp32 = obs.loc[obs.bits == 32].groupby(at).L.mean().rename("fp32")
    rows = rows.join(fp32).reset_index()
    bits = sorted(shares.bits.unique(), reverse=True)
    columns = [shown("N", "N", short), shown("ratio", "D/N", "g"), shown("fp32", "fp32", ".4f")]
    columns += [shown(f"added {b:g}", f"{b:g} bits", "+.4f") for b in bits]
    columns += [shown(f"share {b:g}", f"N_eff/N, {b:g}", ".3f") for b in bits]
    lack = law.lack_of_fit
    text = (
        "Weights are rounded in every forward pass (straight-through), with one scale a row: a "
        "learned share of that of the largest weight. The loss is that of the rounded weights. "
        "Columns of bits: added loss over the fp32 run of the same seed, mean of the seeds. N_eff: "
        "the fp32 size that would reach the loss, by the law of the fp32 runs alone. E, which so "
        "few sizes cannot tell, is that of the reference sweep (results/reference-enwik8-cpu): "
        f"{law.params['E']:.3f} nats/token.",
        f"**N_eff = N (1 - e^(-bits / gamma)) is {TEST[is_refuted(law, lack)]} at this scale**: "
        f"{tell_interval(law, 'gamma')} bits; {tell_fit(law, lack)}. The same runs, bits ignored: "
        f"{tell_fit(blind, blind.lack_of_fit)}. Measured loss over the law's: "
        f"{tell_missed(obs, 'bits', '.2%')}; {tell_missed(obs, 'N', '.2%')}.",
        tell_shares(shares),
    )
    tables = Table(rows, tuple(columns)), show_parameters(laws, ("trained_in_bits", "chinchilla"))
    return Section("Trained in few bits", text, tables=tables, figures=("trained",))


def tell_shares(shares):
    """Say how N_eff / N goes with bits, D/N and N, which by the law is with bits alone."""
    low, high = sorted(shares.ratio.unique())
    both = shares.pivot_table(index=["bits", "N", "seed"], columns="ratio", values="share").dropna()
    both["change"] = both[high] - both[low]
    groups = both.groupby("bits").agg(["mean", "sem"]).sort_index(ascending=False)
    spread = "; ".join(
        f"{b:g} bits {row[low, 'mean']:.2f}, {row['change', 'mean']:+.3f} "
        f"({row['change', 'sem']:.3f})"
        for b, row in groups.iterrows()
    )
    by_size = both[[low, high]].mean(axis=1).groupby(["bits", "N"]).mean().unstack()
    sizes = [N for N in by_size if by_size[N].notna().all()]
    grown = ", ".join(
        f"{b:g} bits {row[sizes[-1]] - row[sizes[0]]:+.2f}" for b, row in by_size[::-1].iterrows()
    )
    lacking = 1 - shares.groupby("bits").share.mean()
    steps = ", ".join(f"{lacking[b] / lacking[b + 1]:.1f} from {b} to {b + 1} bits" for b in (2, 3))
    return (
        f"Mean N_eff/N at {low:g} tokens per parameter and its change at {high:g} (standard "
        f"error), which {PAPER} take for a function of the bits alone: {spread}. From N "
        f"{short(sizes[0])} to {short(sizes[-1])} it changes by {grown}. What it lacks of 1 falls "
        f"by {steps}; the law has one factor for every bit."
    )


def tell_missed(table, by, form):
    """Write what a law misses, measured over predicted in logarithms, as means of groups."""
    means = table.groupby(by).missed.mean()
    places = [f"N {short(at)}" if by == "N" else f"{at:g} bits" for at in means.index]
    return ", ".join(f"at {at} {mean:+{form}}" for at, mean in zip(places, means, strict=True))


def compare_scales(shares, law):
    """Set scales that follow the largest weight beside learned ones, where both were trained."""
    at = ["N", "ratio", "seed", "bits"]
    wide = shares.pivot_table(index=at, columns="scales", values="added")
    both = wide.dropna().reset_index()
    columns = (
        *(shown("N", "N", short), shown("ratio", "D/N", "g"), shown("bits", "bits", "g")),
        *(shown("learned", write="+.4f"), shown("absmax", write="+.4f")),
    )
    gain = (both.absmax - both.learned).groupby(both.bits).agg(["mean", "std", "count"])
    gains = "; ".join(
        f"{bits:g} bits {g['mean']:+.4f} (standard error {g['std'] / g['count'] ** 0.5:.4f})"
        for bits, g in gain.iterrows()
    )
    text = (
        "Added loss by how the scales come about, one seed.",
        f"**absmax costs over learned scales**: {gains}. The law of absmax runs: "
        f"{tell_interval(law, 'gamma')} bits; {tell_fit(law, law.lack_of_fit)}.",
    )
    return Section("Learned scales, or the largest weight", text, tables=(Table(both, columns),))


def show_parameters(laws, names):
    """Return the parameters of laws with their intervals."""
    value = shown_interval("value", f"value [{LEVEL:.0%}]")
    columns = (shown("fit"), shown("parameter"), value, shown("status"), shown("runs"))
    return Table(laws.loc[laws.law.isin(names)], columns)


def show_rounding(table, rounding, laws):
    """Costs by bits, the law for all parts and for the blocks, the verdicts."""
    rows = table.assign(ratio=(table["D"] / table["N"]).round())
    rows = rows.groupby(["N", "ratio", "bits"])[["cost", "cost_std"]].mean().reset_index()
    rows["told"] = [f"{r.cost:+.4f} ({r.cost_std:.4f})" for r in rows.itertuples()]
    wide = rows.pivot(index=["N", "ratio"], columns="bits", values="told")
    wide.columns = [f"{bits:g} bits" for bits in wide.columns]
    columns = [shown("N", "N", short), shown("ratio", "D/N", "g"), *map(shown, wide.columns)]
    sure = rounding["all", "bits of the step"][2].groupby("nominal").bits.first()
    texts = [
        "The fp32 models, rounded once after training, one absmax scale a row, no calibration: "
        "added loss over the same 256 held-out windows, standard error in brackets. The fits are "
        "in logarithms, of the bits at which every model surely loses something "
        f"({', '.join(map(str, sure.index))}); the noise that a law may miss is that of the two "
        "seeds, not of the windows.",
        "*Bits of the step* are log2 of the range of the levels in steps, 2 (high + offset): "
        f"{', '.join(f'{step:.2f}' for step in sure)} for {', '.join(map(str, sure.index))} bits, "
        "since absmax leaves the lowest code of 3 bits and more unused. An error that is squared "
        f"falls by 4 a bit of the step: gamma = 1 / ln 4 = {1 / math.log(4):.2f}.",
    ]
    counted = {"all": "all parameters", "blocks": "those of the blocks, which alone are rounded"}
    for (parts, bits), (fit, lack, used, _) in rounding.items():
        texts.append(
            f"**cost = C_T D^gamma_D / N^gamma_N e^(-bits / gamma), {parts}, in {bits}, is "
            f"{TEST[is_refuted(fit, lack)]} at this scale** (N: {counted[parts]}). "
            f"{tell_interval(fit, 'gamma')} bits; {tell_interval(fit, 'gamma_D')}, so that it "
            f"{tell_sign(fit, 'gamma_D', 'grows', 'falls')} with D; "
            f"{tell_interval(fit, 'gamma_N')}, so that it "
            f"{tell_sign(fit, 'gamma_N', 'falls', 'grows')} with N at the same D; "
            f"{tell_fit(fit, lack)}. ln of measured over the law's: "
            f"{tell_missed(used, 'nominal', '.2f')}; {tell_missed(used, 'N', '.2f')}."
        )
    tables = Table(wide.reset_index(), tuple(columns)), show_parameters(laws, ("rounding_cost",))
    return Section("Rounded after training", tuple(texts), tables=tables, figures=("rounding",))


def show_formats(costs, runs):
    """One model in other formats, with other scales and with rounded activations."""
    run_id = costs.loc[costs.format == "fp16"].run_id.iloc[0]
    one = costs.loc[(costs.run_id == run_id) & (costs.parts == "all")]
    row = runs.set_index("run_id").loc[run_id]
    columns = (
        shown("format"),
        Column("one scale per", lambda r: r["per"] if r["bits"] <= 8 else "-"),
        shown("activations", "bits of activations", "g"),
        shown("cost", "added loss", "+.5f"),
        shown("cost_std", "standard error", ".5f"),
    )
    text = (
        f"N {short(row.total_params)} at {row.tokens / row.total_params:.0f} tokens per parameter, "
        "table and head too. A group is 16 weights; activations have the scale of the largest that "
        "256 training windows meet."
    )
    ordered = one.sort_values(["bits", "cost"], ascending=[False, True])
    return Section("One model in many formats", (text,), tables=(Table(ordered, columns),))
