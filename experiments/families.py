"""Do GPT, BERT and T5 follow the same law? One table and figure, each family fitted by itself.

Question  a, b and tokens per parameter of decoder (causal LM), encoder (masked LM) and
          encoder-decoder (span corruption) on the same text at the same budgets
Command   python -m scaling.sweep grid=reference name=reference-enwik8-cpu    (the GPTs)
          python -m scaling.sweep -m grid=families family=bert,t5
          python experiments/families.py
Cost      140 models beside the reference sweep, an hour on two cores; the last half a minute
Expected  exponents alike; fewer tokens per parameter for T5, whose N counts two stacks
Result    results/families
"""

from pathlib import Path

import pandas as pd

from scaling.errors import FitError
from scaling.figures.families import families_figure
from scaling.figures.saving import save_figure
from scaling.files import write_text
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.pages.text import markdown_table
from scaling.quantities import format_quantity
from scaling.results import read_tables
from scaling.tables.noise import seed_noise
from scaling.tables.observations import Convention, observations
from scaling.tables.runs import runs_to_csv

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


def fitted(family, runs, C):
    """Return one row per method, at C FLOPs, and the isoflop fit if there is one."""
    obs, _ = observations(runs, CONVENTION)
    rows, bowls = [], None
    for method, fit in METHODS.items():
        row = {"family": family, "method": method, "runs": len(obs), "C": C}
        try:
            found = fit(Prepared.of(obs, CONVENTION))
        except FitError as error:
            rows.append(row | {"status": "refused", "reason": str(error)})
            continue
        bowls = found if method == "isoflop" else bowls
        exponents, ratio = found.exponents(), found.tokens_per_param(C)
        numbers = {"a": exponents["N_exponent"], "b": exponents["D_exponent"]}
        numbers |= {"tokens_per_param": ratio, "N_opt": found.N_opt(C)}
        for name, n in numbers.items():
            row |= {name: n.value, f"{name}_low": n.low, f"{name}_high": n.high}
        rows.append(row | {"status": ratio.status, "reason": found.reason})
    return rows, bowls


def told(runs):
    """Say what seeds tell of the noise."""
    noise = seed_noise(runs)
    return "one seed" if noise is None else noise.describe()


def cells(row):
    """Return a row of the printed table."""
    yield from (TITLES[row["family"]], row["method"])
    for name, digits in DIGITS.items():
        value, low, high = (row.get(name + end, float("nan")) for end in ("", "_low", "_high"))
        yield f"{value:{digits}} [{low:{digits}}, {high:{digits}}]" if value == value else "-"
    yield format_quantity(row["N_opt"]) if row["N_opt"] == row["N_opt"] else "-"
    yield row["status"] + (f": {row['reason']}" if row["reason"] else "")


def page(table, runs):
    """Return the README of the record."""
    head = ["family", "method", "a", "b", "tokens/param", "N_opt", "status"]
    trained = "\n".join(
        f"- {TITLES[family]}: {len(own)} runs of {own.flops.sum():.3g} FLOPs, {told(own)}"
        for family, own in runs.groupby("family", sort=False)
    )
    return f"""# GPT, BERT and T5: each its own law

Made by `python -m scaling.sweep -m grid=families family=bert,t5` and
`python experiments/families.py`; the GPTs are those of `results/reference-enwik8-cpu`.
All on enwik8 with the same tokenizer, context and ladder of widths.

{trained}

{CONVENTION.describe()}; D: tokens of text, for every family. Ratio and N_opt at
{table.C.max():.3g} FLOPs, the largest budget that all have; brackets: 90 % bootstrap intervals.

{markdown_table(head, [[*cells(row)] for row in table.to_dict("records")])}

**What cannot be compared**: the losses. A causal model predicts every token from those before it, a
masked one 19 of 128 from both sides (one in ten of them in plain sight), T5 29 of 141, of which the
sentinels are nearly free. N of a T5 counts two stacks of the depth that a GPT of its width has one
of; D counts the text that a window uses up (128, 128 and 141 tokens), not the tokens predicted:
`runs.csv` has those beside it, as `input_tokens` (positions of the encoder, or of the only stack)
and `predicted_tokens`. Exponents and tokens per parameter can be compared, with that in mind.

![Bowls and compute-optimal sizes of the three families](families.png)

Files: `runs.csv` (one row per model, column `family`), `families.csv` (the table, in full
precision).
"""


def main():
    """Read the three sweeps, fit each, write table, figure and page."""
    tables = {family: read_tables(Path(folder))[0] for family, folder in SWEEPS.items()}
    C = min(runs.flops_budget.max() for runs in tables.values())
    found = {family: fitted(family, runs, C) for family, runs in tables.items()}
    table = pd.DataFrame([row for rows, _ in found.values() for row in rows])
    table["reason"] = table.reason.fillna("")
    print(table.drop(columns="reason").to_string())
    runs = pd.concat(tables.values(), ignore_index=True)
    if "weight" in runs:  # of a family whose noise changes with N; its mean is 1
        runs["weight"] = runs.weight.fillna(1.0)
    fits = {TITLES[f]: fit for f, (_, fit) in found.items() if fit is not None}
    figure = families_figure({TITLES[f]: t for f, t in tables.items()}, fits)
    write_text(FOLDER / "runs.csv", runs_to_csv(runs))
    write_text(FOLDER / "families.csv", table.to_csv(index=False))
    write_text(FOLDER / "README.md", page(table, runs))
    save_figure(figure, FOLDER / "families.png")


if __name__ == "__main__":
    main()
