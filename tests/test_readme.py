"""The pages that people read promise nothing that the project does not hold."""

import importlib
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gmean
from test_conf import LAUNCHERS, composed

import scaling
from scaling.commandline import resolve
from scaling.fitting.estimate import Status
from scaling.sweep import SweepConfig
from scaling.training.trackers import EXTRAS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [
    *("README.md", ".github/CONTRIBUTING.md", "conf/README.md"),
    *("experiments/README.md", "results/README.md"),
]
QUESTIONS, RESULTS = ((ROOT / page).read_text() for page in PAGES[-2:])
ROWS = [row.split(" | ") for row in QUESTIONS.splitlines() if row.startswith("| [")]
ANSWERS = [row for row in ROWS if "](../results/" in row[1]]
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
NUMBER = re.compile(r"(?<![\w.^-])[-+]?(?:\d[\d,]*)?\.?\d+(?:e[-+]?\d+)?")


def words(text):
    return " ".join(text.split())


def test_it_fits_on_a_page_and_a_half():
    assert len(README.splitlines()) <= 110


def test_its_answers_are_those_of_the_committed_sweeps():
    section = README.split("## The answer\n")[1].split("\n## ")[0]
    for name in ("demo-enwik8-cpu", "reference-enwik8-cpu", "extended-enwik8-cpu", "reference-gpu"):
        page = (ROOT / "results" / name / "README.md").read_text()
        found = re.search(
            r"^(?:- )?(.*\]) tokens per parameter at (\S+) FLOPs, .* N_opt (.*\]) parameters, "
            r"D_opt (.*\]) tokens; N_opt grows as C\^a with a = (.*\]) \(isoflop_power, ok;",
            page.split("## The answer\n")[1],
            re.MULTILINE,
        )
        ratio, C, N, D, a = found.groups()
        [row] = [row for row in section.splitlines() if row.startswith("|") and f"/{name}/" in row]
        assert [cell.strip() for cell in row.split(" | ")[1:]] == [C, N, D, ratio, f"{a} |"]
        for said in re.findall(r"(\d+) GPTs|([\d.]+) minutes", row):
            kind = r"{} (runs on|of \d+ runs)" if said[0] else r"{}(\.\d+)? minutes of process"
            assert re.search(kind.format(re.escape(said[0] or said[1])), page)


def test_without_the_token_table_the_answer_is_what_the_records_say():
    demo, reference = (
        row.split(" | ")
        for name in ("demo", "reference")
        for row in (ROOT / "results" / f"{name}-enwik8-cpu/README.md").read_text().splitlines()
        if row.startswith("| non_embedding") and row.split(" | ")[1] == "isoflop_power"
    )
    said = f"the demo says {demo[4]} and C^{demo[2].split()[0]}, the reference {reference[4]}."
    assert said in words(README).replace("> ", "")


@pytest.mark.parametrize("row", ANSWERS, ids=lambda row: row[0].split("](")[1].rstrip(")"))
def test_every_number_of_an_answer_stands_in_its_record(row):
    """As it is printed there or rounded; that it is the right one, the tests below tell of some."""
    records = re.findall(r"\]\(\.\./(results/[^)]+)\)", row[1])
    pages = [page.read_text() for name in records for page in (ROOT / name).rglob("README.md")]
    stated = np.abs([float(n.replace(",", "")) for n in NUMBER.findall(" ".join(pages))])
    for number in NUMBER.findall(re.sub(r"\[[^]]*\]\([^)]*\)", "", row[1])):
        value, half = (
            abs(float(number.replace(",", ""))),
            0.5001 * 10.0 ** -len(number.partition(".")[2]),
        )
        off = [np.abs(scale * stated - value).min() for scale in (1, 100, 0.01)]
        assert min(off) <= half, f"{number} of {row[0]}"


def test_its_speed_is_that_of_the_committed_benchmark():
    table = pd.read_csv(ROOT / "results" / "benchmark-fit" / "benchmark.csv")
    seconds = table[table.rows == 240].set_index(["task", "solver"]).cpu_s
    for task, peer in (("fit", "L-BFGS-B"), ("refits", "L-BFGS-B"), ("refits", "L-BFGS-B tight")):
        ratio = seconds[task, peer] / seconds[task, "ours"]
        assert f"{ratio:.0f} times as long" in QUESTIONS, task


def test_its_training_speed_is_that_of_the_committed_benchmark():
    records, plain, peers, shares = ROOT / "results" / "benchmark-train", [], [], []
    for kernels in ("AVX2", "AVX512"):
        table = pd.read_csv(records / f"AMD_EPYC_{kernels}_torch_2_13_0_cpu" / "benchmark.csv")
        plain.append(summarise(table.ratio))
        peers.append(summarise(table.ours_tokens_per_s / table.transformers_tokens_per_s))
        wide = table[table.width >= 64].share
        shares.append(f"{wide.min():.0%} to {wide.max():.0%}")
        assert f"geometric mean of {len(table)} shapes: " in QUESTIONS
    first, second = ("{} ({} to {})".format(*ratio) for ratio in plain)
    assert f"{first} with AVX2 and {second} with AVX-512" in QUESTIONS
    for (mean, low, high), by in zip(plain, (", by shape", ""), strict=True):
        assert f"{mean} ({low} to {high}{by}) times" in words(README)
    assert "GPT-2 {} ({} to {}) and {} ({} to {}).".format(*peers[0], *peers[1]) in QUESTIONS
    assert f"{peers[0][0]} and {peers[1][0]} times as transformers' GPT-2" in words(README)
    assert f"width 64 up {shares[0]} and {shares[1]} of the fastest matrix product" in QUESTIONS


def test_its_speed_on_a_gpu_is_that_of_the_committed_benchmark():
    table = pd.read_csv(ROOT / "results" / "benchmark-gpu" / "benchmark.csv")
    speed = table.set_index(["shape", "kind", "models"]).tokens_per_s
    times = {key: speed[key] / speed[key[0], "plain", 1] for key in speed.index}
    narrow = f"{times['64x3', 'graph', 1]:.1f} times as fast as a plain loop's at width 64"
    many = f"sixteen models side by side train {times['64x3', 'workers', 16]:.1f} times"
    fast, faster = times["256x8", "graph", 1], times["256x8", "compiled", 1]
    wide = f"at width 256 a step is {fast:.1f} times as fast, compiled {faster:.1f} times"
    for said in (narrow, many, wide):
        assert said in words(README)


def test_what_laws_said_beforehand_is_what_was_committed():
    said = pd.read_csv(ROOT / "results" / "reference-gpu" / "predictions.csv")
    said = said[(said.N == "total") & (said.C == 1.024e15)]
    for rows, words_ in (
        (said, "they said {} to {}"),
        (said[said.fit_status == "ok"], "ok {} to {}"),
    ):
        ends = (f"{end:.3g}" for end in (rows.tokens_per_param.min(), rows.tokens_per_param.max()))
        assert words_.format(*ends) in words(README)


def test_what_published_runs_say_is_what_a_plan_says():
    e = scaling.make_plan("5.76e23").tokens_per_param
    assert f"says {e.value:.1f} [{e.low:.1f}, {e.high:.1f}] at 5.76e23 FLOPs" in words(README)


def test_what_another_vocabulary_or_context_says_is_what_the_record_says():
    page = (ROOT / "results" / "extended-enwik8-cpu" / "README.md").read_text()
    rows = [row.split(" | ") for row in page.splitlines()]
    said = {tuple(row[1:3]): row[5] for row in rows if len(row) == 8 and row[3] == "total"}
    wide, rule, long = said["4096", "128"], said["1024", "128"].split()[0], said["1024", "256"]
    told = f"4,096 tokens say {wide} where 1,024 say {rule}, windows of 256 say {long}."
    assert told in words(README)


def test_what_half_the_batch_says_is_what_the_record_says():
    table = pd.read_csv(ROOT / "results" / "extended-enwik8-cpu" / "batches.csv")
    total = table[table.N == "total"].set_index(["batch", "budget"])
    for C, half in total.loc["half of it"].iterrows():
        ratio, low, high = half[
            ["tokens_per_param", "tokens_per_param_low", "tokens_per_param_high"]
        ]
        rule = total.tokens_per_param["the rule's", C]
        told = f"{ratio:.3g} [{low:.3g}, {high:.3g}] instead of {rule:.3g} at {C:.3g}"
        assert told.replace("e+", "e") in words(README)


def summarise(ratio):
    """Geometric mean and range, as the pages write them."""
    return [f"{x:.2f}" for x in (gmean(ratio), ratio.min(), ratio.max())]


def test_the_truth_that_it_finds_is_that_of_the_committed_sweep():
    folder = ROOT / "results" / "synthetic-cpu"
    fits = pd.read_csv(folder / "fits.csv").set_index(["method", "quantity"])
    E = fits.sort_index().loc[[("parametric", "E")]].iloc[0]
    lowest = pd.read_csv(folder / "runs.csv").loss.min()
    said = f"whose lowest loss is {lowest:.3f} says E = {E.value:.3f} [{E.low:.3f}, {E.high:.3f}]"
    assert said in words(RESULTS)


def test_published_optima_are_reached_as_often_as_the_record_says():
    checks = pd.read_csv(ROOT / "results" / "published" / "checks.csv")
    optima = checks[checks.source.str.startswith("reference optimum") & (checks.quantity == "E")]
    assert (optima.verdict == "reproduced").all()
    assert f"all {len(optima)} reference optima" in words(RESULTS)


def test_what_trunks_cost_is_what_the_record_says():
    table = pd.read_csv(ROOT / "results" / "trunk-reuse-enwik8-cpu" / "comparison.csv")
    said = f"{table.difference.min():.3f} to {table.difference.max():+.3f} nats from tuned runs"
    assert said in QUESTIONS
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
    assert said in QUESTIONS
    assert (rows.status == "ok").all()


def test_what_a_domain_costs_is_what_the_record_says():
    rows = pd.read_csv(ROOT / "results/domain/mixing.csv").query("share == 0.51")
    row = rows.sort_values("N").iloc[-1]
    assert f"{row.general_added:+.3f} nats/token on Wikipedia over Wikipedia alone" in QUESTIONS
    assert f"{row.domain_added:+.3f} on PubMed over PubMed alone" in QUESTIONS
    four = pd.read_csv(ROOT / "results/domain/repeats.csv").query("passes == 4").worth
    assert f"seen 4 times are worth {four.min():.1f} to {four.max():.1f} times as many" in QUESTIONS


def test_how_well_an_mfu_is_estimated_is_what_the_record_says():
    runs = pd.read_csv(ROOT / "results/utilisation/runs.csv")
    near = np.abs(np.log(runs.mfu / runs.mfu_reported)) < np.log(1.25)
    share = f"{100 * near.mean():.0f} % of {len(runs)}"
    assert f"{share} published runs within x1.25" in words(README)
    assert f"{share} runs within a factor 1.25" in QUESTIONS


def test_what_a_sweep_gains_is_what_the_record_says():
    for name, optimum in (("SwiGLU", "swiglu"), ("Muon", "muon")):
        page = (ROOT / "results" / "compare" / optimum / "README.md").read_text()
        gain = re.search(r"needs (\S+ \[[^]]*\]) times the compute", page)[1]
        assert re.search(rf"{name}[^;.]*?{re.escape(gain)}", QUESTIONS), name
        assert "**The gain grows with compute**" in page


def test_the_law_that_it_does_not_quote_is_rejected_and_what_it_does_is_not():
    folder = ROOT / "results" / "reference-enwik8-cpu"
    optima = pd.read_csv(folder / "optima.csv")
    assert (optima.status[optima.method == "isoflop_power"] == "ok").all()
    law = pd.read_csv(folder / "audit.csv").set_index("law").loc["chinchilla"]
    widened = f"x{law.inflation:.2f} for the additive law on the reference"
    said = f"{widened}, which then holds {law.coverage:.0%}".replace("%", " %")
    assert said in words(RESULTS)
    assert law.status == "rejected"
    lack = re.search(
        r"parametric: rejected \((F\(\d+, \d+\) = [\d.]+)", (folder / "README.md").read_text()
    )
    assert f"reject the additive law** ({lack[1]})" in words(README)


def test_how_often_intervals_hold_is_what_the_record_says():
    table = pd.read_csv(ROOT / "results" / "coverage" / "truths.csv")
    own = table[(table.method == "isoflop_power") & (table.quantity == "N_opt")]
    others = own[own.truth != "Chinchilla"].groupby("times").share.mean()
    one, two, eight = (f"{others[times]:.0%}".replace("%", " %") for times in (1, 2, 8))
    said = f"N_opt in {one} of the draws at the largest budget, {two} at twice and {eight}"
    assert said in words(RESULTS) and said in QUESTIONS


def test_everything_in_the_tree_exists_and_nothing_is_left_out():
    tree = (ROOT / ".github" / "CONTRIBUTING.md").read_text().split("```text\n")[1].split("```")[0]
    heads = (re.split(r"  +(?=\S)", line.strip())[0] for line in tree.splitlines() if line.strip())
    named = {name.rstrip("/") for head in heads for name in head.split(", ")}
    top = {p.name for p in ROOT.iterdir() if not p.name.startswith(".")} - {"dist"}
    modules = {p.name for p in (ROOT / "scaling").iterdir() if p.name[0] not in "_."}
    assert top | modules <= {Path(n).name for n in named}
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "scaling" / name).exists(), name


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    text, folder = (ROOT / page).read_text(), (ROOT / page).parent
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", text) + re.findall('src="([^"]+)"', text)
    assert [target for target in targets if not (folder / target).exists()] == []


@pytest.mark.parametrize("folder", ["results", "experiments"])
def test_its_list_is_what_the_command_makes(folder):
    made = runpy.run_path(str(ROOT / "experiments" / "gallery.py"))
    page = (ROOT / folder / "README.md").read_text()
    assert page == made["renew"](folder), "run python experiments/gallery.py"


def test_the_gallery_shows_every_committed_figure():
    listing = subprocess.run(["git", "ls-files", "results/*.png"], cwd=ROOT, capture_output=True)
    figures = listing.stdout.decode().split() or pytest.skip("no checkout")
    assert [p for p in figures if f"({p.removeprefix('results/')}): " not in RESULTS] == []


def test_what_a_package_index_shows_has_no_link_that_only_a_clone_can_follow():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    text = README
    for change in project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"][
        "substitutions"
    ]:
        text = re.sub(change["pattern"], change["replacement"], text)
    assert re.findall(r"\]\((?!http)[^)]*\)", text) == []
    assert "[demo]" not in text and "the demo, 24 GPTs" in text


def test_every_tracker_is_told_of():
    text = (ROOT / "conf" / "README.md").read_text()
    assert [name for name in EXTRAS if f"`track={name}`" not in text] == []


def test_every_status_is_explained():
    assert [status for status in get_args(Status) if f"| `{status}` | " not in RESULTS] == []


def test_the_package_is_cited_and_started_as_it_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"version = {{{project['version']}}}" in README
    assert f"{{{{{project['authors'][0]['name']}}}}}" in README
    module, name = project["scripts"]["scaling"].split(":")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.long
def test_the_sweeps_that_pages_show_are_configurations():
    for module, extra in LAUNCHERS.values():
        pytest.importorskip(module, reason=f"pip install -e '.[{extra}]'")
    text = (ROOT / "conf" / "README.md").read_text().replace("\\\n", " ")
    shown = re.findall(r"^(?:torchrun .* -m|python -m) scaling\.sweep (.+)$", text, re.MULTILINE)
    assert len(shown) > 9
    for line in shown:
        keys = [key for key in shlex.split(line, comments=True) if key != "-m"]
        keys = [key.replace("=N", "=2").replace("$", "/") for key in keys]
        keys = [key if "{" in key else key.split(",")[0] for key in keys]  # of -m the first
        assert resolve(composed(*keys), SweepConfig)


@pytest.mark.parametrize("block", BLOCKS)
def test_its_python_runs(block):
    command = [sys.executable, "-c", block]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_it_has_python_to_run():
    assert BLOCKS
