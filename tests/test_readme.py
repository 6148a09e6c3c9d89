"""The README promises nothing that the project does not hold."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_it_fits_on_two_screens():
    assert len(README.splitlines()) <= 200


def test_its_numbers_are_those_of_the_committed_demo():
    page = (ROOT / "results" / "demo-enwik8-cpu" / "README.md").read_text()
    section = README.split("## What the demo found")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert len(rows) >= 7
    assert [row for row in rows if row not in page] == []


def test_its_published_fits_are_those_of_the_committed_record():
    page = (ROOT / "results" / "published" / "README.md").read_text()
    section = README.split("## The published fits")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert len(rows) >= 9
    assert [row for row in rows if row not in page] == []


def test_its_speed_is_that_of_the_committed_benchmark():
    table = pd.read_csv(ROOT / "results" / "benchmark-fit" / "benchmark.csv")
    seconds = table[table.rows == 240].set_index(["task", "solver"]).cpu_s
    for task, peer in (("fit", "L-BFGS-B"), ("refits", "L-BFGS-B"), ("refits", "L-BFGS-B tight")):
        ratio = seconds[task, peer] / seconds[task, "ours"]
        assert f"{ratio:.0f} times" in README, task


def test_its_training_speed_is_that_of_the_committed_benchmark():
    folder = ROOT / "results" / "benchmark-train" / "AMD_EPYC_AVX512_torch_2_13_0_cpu"
    table = pd.read_csv(folder / "benchmark.csv")
    mean, low, high = np.exp(np.log(table.ratio).mean()), table.ratio.min(), table.ratio.max()
    wide = table[table.width >= 64].share
    assert f"**{mean:.2f}** times the tokens/s" in README
    assert f"of {len(table)} shapes ({low:.2f} to {high:.2f})" in README
    assert f"{wide.min():.0%} to {wide.max():.0%} of the fastest matrix product" in README
    assert (wide > 0.5).tolist() == [False] * 4 + [True]


def test_the_truth_that_it_finds_is_that_of_the_committed_sweep():
    folder = ROOT / "results" / "synthetic-cpu"
    fits = pd.read_csv(folder / "fits.csv").set_index(["method", "quantity"])
    E = fits.sort_index().loc[[("parametric", "E")]].iloc[0]
    lowest = pd.read_csv(folder / "runs.csv").loss.min()
    said = f"whose lowest loss is {lowest:.3f} says E = {E.value:.3f} [{E.low:.3f}, {E.high:.3f}]"
    assert said in " ".join(README.split())


def test_what_trunks_cost_is_what_the_record_says():
    table = pd.read_csv(ROOT / "results" / "trunk-reuse-enwik8-cpu" / "comparison.csv")
    assert f"[{table.difference.min():.3f} to {table.difference.max():+.3f} nats]" in README
    assert not table.tuned_at_edge.any()


def test_what_the_families_want_is_what_the_record_says():
    table = pd.read_csv(ROOT / "results" / "families" / "families.csv")
    rows = table[(table.C.max() == table.C) & (table.method == "isoflop_power")]
    each = {row["family"]: row for row in rows.to_dict("records")}

    def told(family):
        low, high = (each[family][f"tokens_per_param_{end}"] for end in ("low", "high"))
        return f"{each[family]['tokens_per_param']:.3g} [{low:.3g}, {high:.3g}]"

    gpt = each["gpt"]["tokens_per_param"]
    said = f"want {told('bert')} and {told('t5')} tokens per parameter where a GPT wants {gpt:.3g}"
    assert said in " ".join(README.split())
    assert (rows.status == "ok").all()


def test_what_a_domain_costs_is_what_the_record_says():
    rows = pd.read_csv(ROOT / "results/domain/mixing.csv").query("share == 0.51")
    row = rows.sort_values("N").iloc[-1]
    said = " ".join(README.split())
    assert f"{row.general_added:+.3f} nats/token on Wikipedia over Wikipedia alone" in said
    assert f"{row.domain_added:+.3f} on PubMed over PubMed alone" in said
    four = pd.read_csv(ROOT / "results/domain/repeats.csv").query("passes == 4").worth
    assert f"seen 4 times are worth {four.min():.1f} to {four.max():.1f} times as many" in said


def test_how_well_an_mfu_is_estimated_is_what_the_record_says():
    runs = pd.read_csv(ROOT / "results/utilisation/runs.csv")
    near = np.abs(np.log(runs.mfu / runs.mfu_reported)) < np.log(1.25)
    said = f"{100 * near.mean():.0f} % of {len(runs)} published runs within x1.25"
    assert said in " ".join(README.split())


def test_its_headline_is_the_answer_of_the_reference_and_of_nothing_rejected():
    folder = ROOT / "results" / "reference-enwik8-cpu"
    page, said = (folder / "README.md").read_text(), " ".join(README.split())
    answer = page.split("## The answer\n")[1].split("\n## ")[0]
    method, ratio = re.search(r"^(\w+): .* ([\d.]+ \[[\d., ]+\]) tokens/param", answer).groups()
    assert f"**{ratio} tokens per parameter** ({method};" in said
    optima = pd.read_csv(folder / "optima.csv")
    assert (optima.status[optima.method == method] == "ok").all()
    law = pd.read_csv(folder / "audit.csv").set_index("law").loc["chinchilla"]
    widened = f"x{law.inflation:.2f} for the additive law on the reference"
    assert f"{widened}, which then holds {law.coverage:.0%}".replace("%", " %") in said
    assert law.status == "rejected"
    fits = pd.read_csv(folder / "fits.csv")
    lack = fits.lack_of_fit[fits.method == "parametric"].iloc[0]
    assert f"reject the additive law** ({lack.split(',')[0]}, 14) = " in said


def test_how_often_intervals_hold_is_what_the_record_says():
    table = pd.read_csv(ROOT / "results" / "coverage" / "truths.csv")
    own = table[(table.method == "isoflop_power") & (table.quantity == "N_opt")]
    others = own[own.truth != "Chinchilla"].groupby("times").share.mean()
    one, two, eight = (f"{others[times]:.0%}".replace("%", " %") for times in (1, 2, 8))
    said = " ".join(README.split())
    assert f"N_opt in {one} of the draws at the largest budget, {two} at twice and {eight}" in said


def test_everything_in_its_tree_exists_and_nothing_is_left_out():
    tree = README.split("```text\n")[1].split("```")[0]
    heads = (re.split(r"  +(?=\S)", line.strip())[0] for line in tree.splitlines() if line.strip())
    named = {name.rstrip("/") for head in heads for name in head.split(", ")}
    top = {p.name for p in ROOT.iterdir() if not p.name.startswith(".")} - {"dist"}
    modules = {p.name for p in (ROOT / "scaling").iterdir() if p.name[0] not in "_."}
    assert top | modules <= {Path(n).name for n in named}
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "scaling" / name).exists(), name


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("block", BLOCKS)
def test_its_python_runs(block):
    """Audited are three laws instead of all: the others take most of the time."""
    few = "from scaling.fitting import audit\n"
    few += "audit.list_audited = lambda: ('chinchilla', 'chinchilla_tied', 'kaplan')\n"
    command = [sys.executable, "-c", few + block]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_it_has_python_to_run():
    assert BLOCKS
