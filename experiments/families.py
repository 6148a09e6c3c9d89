"""Do GPT, BERT and T5 follow the same law? One table and figure, each family fitted by itself.

Question  a, b and tokens per parameter of decoder (causal LM), encoder (masked LM) and
          encoder-decoder (span corruption) on the same text at the same budgets
Command   python -m scaling.sweep grid=reference name=reference-enwik8-cpu    (the GPTs)
          python -m scaling.sweep -m grid=families family=bert,t5
          python experiments/families.py    (of the record's runs, where these folders are absent)
Cost      140 models beside the reference sweep, an hour on two cores; the last half a minute
Expected  exponents alike; fewer tokens per parameter for T5, whose N counts two stacks
Rule      fixed beforehand: budgets on a plateau are left out, runs weigh by the noise of their
          budget's seeds, and only what is "ok" is defended (scaling/tables/noise.py)
Result    at 6.4e12 FLOPs BERT and T5 want 128 [90.6, 162] and 55.7 [30, 129] tokens per parameter
          where a GPT wants 12.8 (isoflop_power); two budgets of BERT on a plateau are left out. Per
          predicted token they are closer, a hypothesis of the page. results/families
"""

import warnings
from pathlib import Path

import pandas as pd

from scaling.errors import FitError
from scaling.figures.families import families_figure
from scaling.figures.saving import save_figure
from scaling.files import write_text
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import prepare
from scaling.pages.text import markdown_table
from scaling.quantities import format_quantity
from scaling.results import read_tables
from scaling.tables.noise import find_plateaus, seed_noise
from scaling.tables.observations import Convention, RunsWarning
from scaling.tables.runs import load_runs, runs_to_csv

FOLDER = Path("results/families")
SWEEPS = {
    "gpt": "results/reference-enwik8-cpu",
    "bert": "results/family-bert",
    "t5": "results/family-t5",
}
TITLES = {"gpt": "GPT, causal LM", "bert": "BERT, masked LM", "t5": "T5, span corruption"}
METHODS = {"isoflop": fit_isoflop, "isoflop_power": fit_isoflop_power, "parametric": fit_parametric}
CONVENTION = Convention("total", "counted")
DIGITS = {"a": ".3f", "b": ".3f", "tokens_per_param": ".3g"}


def fitted(family, runs, budgets):
    """Return one row per method and budget (FLOPs), and the isoflop fit if there is one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsWarning)  # the page tells of plateaus
        data = prepare(runs, convention=CONVENTION)
    share = float((runs.predicted_tokens / runs.tokens).median())
    rows, bowls = [], None
    for method, fit in METHODS.items():
        row = {"family": family, "method": method, "runs": len(data.obs)}
        try:
            found = fit(data)
        except FitError as error:
            refused = {"status": "refused", "reason": str(error)}
            rows += [row | {"C": C} | refused for C in budgets]
            continue
        bowls = found if method == "isoflop" else bowls
        exponents = found.exponents()
        for C in budgets:
            ratio = found.tokens_per_param(C)
            numbers = {"a": exponents["N_exponent"], "b": exponents["D_exponent"]}
            numbers |= {"tokens_per_param": ratio, "N_opt": found.N_opt(C)}
            told = {"C": C, "predicted_share": share}
            for name, n in numbers.items():
                told |= {name: n.value, f"{name}_low": n.low, f"{name}_high": n.high}
            rows.append(row | told | {"status": ratio.status, "reason": found.reason})
    return rows, bowls


def told(runs):
    """Say what seeds tell of the noise, and which budgets are left out for it."""
    noise = seed_noise(runs)
    plateaus = ", ".join(f"{C:.3g} FLOPs ({std:.1%})" for C, std in find_plateaus(runs).items())
    left = f"; left out, as seeds on a plateau differ by so much: {plateaus}" if plateaus else ""
    return ("one seed" if noise is None else noise.describe()) + left


def cells(row):
    """Return a row of the printed table."""
    yield from (TITLES[row["family"]], row["method"])
    for name, digits in DIGITS.items():
        value, low, high = (row.get(name + end, float("nan")) for end in ("", "_low", "_high"))
        yield f"{value:{digits}} [{low:{digits}}, {high:{digits}}]" if value == value else "-"
    yield format_quantity(row["N_opt"]) if row["N_opt"] == row["N_opt"] else "-"
    yield row["status"] + (f": {row['reason']}" if row["reason"] else "")


def per_predicted(table):
    """Return rows of tokens/param counted in predicted tokens, a line per budget and method."""
    known = table[table.tokens_per_param.notna() & (table.method != "parametric")]
    for (C, method), rows in known.groupby(["C", "method"], sort=False):
        each = {row["family"]: row for row in rows.to_dict("records")}
        yield [f"{C:.3g}", method, *(counted(each.get(family)) for family in TITLES)]


def counted(row):
    """Return a ratio and its interval in predicted tokens."""
    if row is None:
        return "-"
    ends = ("", "_low", "_high")
    value, low, high = (row["predicted_share"] * row[f"tokens_per_param{end}"] for end in ends)
    return f"{value:.3g} [{low:.3g}, {high:.3g}]" + ("" if row["status"] == "ok" else "*")


def defended(table):
    """Say which ratios stand, and which methods each family lacks."""
    for family, rows in table.groupby("family", sort=False):
        ok = rows[rows.status == "ok"]
        lost = ", ".join(f"{r.method} {r.status}" for r in rows[rows.status != "ok"].itertuples())
        range_of = "nothing"
        if len(ok):
            low, high = ok.tokens_per_param_low.min(), ok.tokens_per_param_high.max()
            range_of = f"{low:.3g} to {high:.3g} tokens/param ({', '.join(ok.method)})"
        yield f"- {TITLES[family]}: {range_of}" + (f"; not {lost}" if lost else "")


def page(table, runs):
    """Return the README of the record."""
    head = ["family", "method", "a", "b", "tokens/param", "N_opt", "status"]
    trained = "\n".join(
        f"- {TITLES[family]}: {len(own)} runs of {own.flops.sum():.3g} FLOPs, {told(own)}"
        for family, own in runs.groupby("family", sort=False)
    )
    last = table[table.C.max() == table.C]
    return f"""# GPT, BERT and T5: each its own law

Made by `python -m scaling.sweep -m grid=families family=bert,t5` and
`python experiments/families.py`; the GPTs are those of `results/reference-enwik8-cpu`.
All on enwik8 with the same tokenizer, context and ladder of widths.

{trained}

{CONVENTION.describe()}; D: tokens of text, for every family. Ratio and N_opt at
{table.C.max():.3g} FLOPs, the largest budget that all have; brackets: 90 % bootstrap intervals.

{markdown_table(head, [[*cells(row)] for row in last.to_dict("records")])}

**What can be defended** at {table.C.max():.3g} FLOPs, from the ends of the intervals of methods
that are ok:

{chr(10).join(defended(last))}

**What cannot be compared**: the losses. A causal model predicts every token from those before it, a
masked one 19 of 128 from both sides (one in ten of them in plain sight), T5 29 of 141, of which the
sentinels are nearly free. N of a T5 counts two stacks of the depth that a GPT of its width has one
of; D counts the text that a window uses up (128, 128 and 141 tokens), not the tokens predicted:
`runs.csv` has those beside it, as `input_tokens` (positions of the encoder, or of the only stack)
and `predicted_tokens`. Exponents and tokens per parameter can be compared, with that in mind.

**A hypothesis**: it is the *predicted* tokens per parameter that are alike. Counted so:

{markdown_table(["C (FLOPs)", "method", *TITLES.values()], [*per_predicted(table)])}

Against it speaks that the exponents a differ, so that ratios which meet at one budget part at
others; that the intervals of BERT and T5 are wide enough for much else; that a prediction from both
sides or of a span is no prediction of a next token; and that it was thought of after these runs. A
test would mask two shares of the tokens: the ratio in tokens of text should halve where the share
doubles.

![Bowls and compute-optimal sizes of the three families](families.png)

Files: `runs.csv` (one row per model, column `family`), `families.csv` (the table, in full
precision).
"""


def read_families():
    """Return the runs of each family, from its sweep or, where that is absent, the record."""
    record = load_runs(FOLDER / "runs.csv").drop(columns="weight", errors="ignore")
    for family, folder in SWEEPS.items():
        own = record[record.family == family]
        runs = read_tables(Path(folder))[0] if Path(folder).exists() else own
        runs = runs.reset_index(drop=True)
        noise = seed_noise(runs)
        yield family, runs if noise is None else runs.assign(weight=noise.weights(runs))


def main():
    """Read the three sweeps, fit each, write table, figure and page."""
    tables = dict(read_families())
    common = set.intersection(
        *({*runs.flops_budget.dropna()} - {*find_plateaus(runs)} for runs in tables.values())
    )
    found = {family: fitted(family, runs, sorted(common)) for family, runs in tables.items()}
    table = pd.DataFrame([row for rows, _ in found.values() for row in rows])
    table["reason"] = table.reason.fillna("")
    print(table.drop(columns="reason").to_string())
    runs = pd.concat(tables.values(), ignore_index=True)
    fits = {TITLES[f]: fit for f, (_, fit) in found.items() if fit is not None}
    figure = families_figure({TITLES[f]: t for f, t in tables.items()}, fits)
    write_text(FOLDER / "runs.csv", runs_to_csv(runs))
    write_text(FOLDER / "families.csv", table.to_csv(index=False))
    write_text(FOLDER / "README.md", page(table, runs))
    save_figure(figure, FOLDER / "families.png")


if __name__ == "__main__":
    main()
