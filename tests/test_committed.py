"""What lies under results/ in git: complete, readable, and what the code of today says of it."""

import importlib
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_readme import ROOT

from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.optima import optima_table
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import load_fit
from scaling.fitting.settings import FitConfig, FitSettings
from scaling.pages.cards import write_sweep_card
from scaling.results import fit_tables, read_config, read_tables
from scaling.shapes.rules import lr_rule
from scaling.tables.observations import observations, refuse_mixed_objectives
from scaling.tables.runs import load_runs

RECORDS = ["demo-enwik8-cpu", "reference-enwik8-cpu", "synthetic-cpu"]


PAGES = {"published/epoch2024": "epoch2024 out=results/published/epoch2024"}


@pytest.fixture(scope="module", params=RECORDS)
def record(request):
    return ROOT / "results" / request.param


def quantities(folder, method):
    fits = pd.read_csv(folder / "fits.csv")
    chosen = fits[(fits.method == method) & fits.C.isna()]
    return chosen.set_index("quantity")


def test_a_record_is_complete_and_holds_no_debris(record):
    names = {p.name for p in record.iterdir() if p.name[0] != "." and p.name != "records"}
    figures = {f"{name}.png" for name in ("compute", "isoflop", "contour", "ratio")}
    tables = {"config.yaml", "runs.csv", "curves.csv", "fits.csv", "optima.csv", "README.md"}
    assert figures | tables | {"audit.csv", "fit.json"} <= names
    assert {n.rsplit(".")[-1] for n in names} <= {"csv", "json", "yaml", "md", "png", "html"}


def test_its_card_is_that_of_its_runs(record):
    """As the sweep writes it with its tables; older ones were written later, from the same."""
    runs, _ = read_tables(record)
    made = re.search(r"Made by `(.*?)`", (record / "README.md").read_text())
    data = {"parts": None, **read_config(record)["data"]}
    title = f"Models of {record.name}"
    assert made is not None
    card = write_sweep_card(title, runs, data, made[1])
    assert (record / "MODEL_CARD.md").read_text() == card


@pytest.mark.parametrize("name", [*RECORDS[:2], "published/epoch2024"])
def test_its_page_is_small_and_says_how_it_was_made(name):
    page = (ROOT / "results" / name / "report.html").read_text()
    assert len(page.encode()) < 500_000
    command = f"python -m scaling.report runs={PAGES.get(name, f'results/{name}')}"
    assert f"<code>{command}</code>" in page


def test_every_committed_figure_is_fit_to_print():
    listing = subprocess.run(["git", "ls-files", "results/*.png"], cwd=ROOT, capture_output=True)
    for name in listing.stdout.decode().split() or pytest.skip("no checkout"):
        with Image.open(ROOT / name) as image:
            assert image.info["dpi"] == pytest.approx((300, 300), rel=1e-3), name


def test_its_fit_reads_back_and_says_what_its_table_says(record):
    fit = load_fit(record / "fit.json")
    kept = quantities(record, "parametric")
    assert {name: kept.value[name] for name in fit.params} == fit.params
    assert fit.param("E").low == pytest.approx(kept.low["E"])


def test_its_fits_are_those_that_the_code_finds_today(record):
    runs, curves = read_tables(record)
    report = fit_tables(runs, curves, FitConfig(bootstrap=0, audit=False))
    kept = pd.read_csv(record / "optima.csv").set_index(["C", "method"]).sort_index()
    now = optima_table(report).set_index(["C", "method"]).sort_index()
    assert kept.index.tolist() == now.index.tolist()
    for quantity in ("N_opt", "D_opt", "L_opt", "tokens_per_param"):
        np.testing.assert_allclose(kept[quantity], now[quantity], rtol=1e-5)
    answer = load_fit(record / "answer.json")
    for name, ends in report[answer.method].sampled.items():
        assert answer.sampled[name] == pytest.approx(ends, rel=1e-9)


def test_every_run_of_it_finished(record):
    runs, curves = read_tables(record)
    assert (runs.status == "ok").all()
    assert curves is not None
    assert set(curves.run_id) == set(runs.run_id)


def test_every_bowl_of_the_demo_closes():
    optima = pd.read_csv(ROOT / "results" / "demo-enwik8-cpu" / "optima.csv")
    bowls = optima[optima.method == "isoflop_bowl"]
    assert bowls.status.tolist() == ["ok"] * 4
    assert (bowls.N_opt.diff().dropna() > 0).all()


def test_the_entropy_rate_of_the_synthetic_source_is_found():
    """The interval of E holds the truth and is narrower than half of what is left to learn."""
    folder = ROOT / "results" / "synthetic-cpu"
    page = (folder / "README.md").read_text()
    truth = float(page.split("true entropy rate of the source: ")[1].split(" ")[0])
    E = quantities(folder, "parametric").loc["E"]
    lowest = pd.read_csv(folder / "runs.csv").loss.min()
    assert E.low < truth < E.high
    assert E.high - E.low < (lowest - truth) / 2


def test_the_learning_rate_rule_stays_within_its_measured_bracket():
    verdicts = pd.read_csv(ROOT / "results" / "lr-bracket-enwik8-cpu" / "verdicts.csv")
    for row in verdicts.itertuples():
        assert row.rule_lr == pytest.approx(lr_rule(row.N, row.batch_tokens))
    answered = verdicts[verdicts.status == "ok"]
    assert len(answered) >= 0.8 * len(verdicts)
    assert (verdicts[verdicts.status != "ok"].N < 19_000).all()
    assert (np.abs(np.log(answered.rule_lr / answered.best_lr)) < np.log(2)).all()
    assert answered.rule_costs.median() < 0.002
    assert (answered.rule_costs < 0.025).all()


def test_counting_the_head_takes_kaplans_exponent_down():
    stairs = pd.read_csv(ROOT / "results" / "staircase-enwik8-cpu" / "stairs.csv")
    a = stairs.pivot(index="step", columns="method", values="a")
    first, second = stairs.step.unique()[:2]
    for method in ("envelope", "parametric"):
        assert a[method][first] - a[method][second] > 0.1
    assert a.isoflop.dropna().between(0.4, 0.6).all()


def test_the_published_fits_are_all_as_expected():
    checks = pd.read_csv(ROOT / "results" / "published" / "checks.csv")
    assert checks.ok.all()
    assert (checks.verdict == "reproduced").sum() >= 12
    ratio = checks[(checks.entry == "epoch2024") & checks.quantity.str.contains("tokens_per_param")]
    assert (ratio.ours.sub(17.92).abs() < 0.005).any()


def test_the_benchmark_reached_its_targets():
    table = pd.read_csv(ROOT / "results" / "benchmark-fit" / "benchmark.csv")
    seconds = table[table.rows == 240].set_index(["task", "solver"]).cpu_s
    assert seconds["fit", "L-BFGS-B"] > 100 * seconds["fit", "ours"]
    assert seconds["refits", "L-BFGS-B"] > 50 * seconds["refits", "ours"]
    assert seconds["refits", "ours"] < 4


def test_default_intervals_cover():
    """Of the methods whose intervals a reader may trust; 2.1 points of binomial error each."""
    table = pd.read_csv(ROOT / "results" / "coverage" / "coverage.csv")
    here = table[table.default & table.quantity.isin(["N_opt", "tokens_per_param"])]
    here = here[here.groupby("design").C.transform("min") == here.C]
    shares = here[here.method.isin(["parametric", "isoflop_power"])].share
    assert len(shares) == 24
    assert shares.between(0.80, 0.97).all()
    assert shares.mean() > 0.86


def test_bowls_cover_under_laws_that_are_not_theirs():
    """On average over truths; at eight times the largest budget no method does."""
    table = pd.read_csv(ROOT / "results" / "coverage" / "truths.csv")
    known = table[(table.quantity == "N_opt") & (table.truth != "Chinchilla")]
    shares = known.groupby(["method", "times"]).share.mean()
    assert shares["isoflop_power"][[1, 2]].between(0.80, 0.97).all()
    assert shares["isoflop"][[1, 2]].between(0.80, 0.97).all()
    assert shares["isoflop_power"][8] < 0.85


def test_every_bowl_of_the_reference_closes_and_the_ratio_rises():
    optima = pd.read_csv(ROOT / "results" / "reference-enwik8-cpu" / "optima.csv")
    bowls = optima[optima.method == "isoflop_bowl"].sort_values("C")
    assert bowls.status.tolist() == ["ok"] * 7
    assert (bowls.N_opt.diff().dropna() > 0).all()
    assert bowls.tokens_per_param.iloc[-1] > 1.4 * bowls.tokens_per_param.iloc[0]


@pytest.mark.parametrize(
    ("record", "before"),
    [
        ("extended-enwik8-cpu", "reference-enwik8-cpu"),
        ("reference-gpu", "extended-enwik8-cpu"),
    ],
)
def test_nothing_that_was_known_counts_as_predicted(record, before):
    folder = ROOT / "results" / record
    known = 1.01 * pd.read_csv(ROOT / "results" / before / "runs.csv").flops_budget.max()
    runs = pd.read_csv(folder / "runs.csv")
    runs = runs[runs.part.isin(["grid", "seed", "again"])]
    assert pd.read_csv(folder / "verdicts.csv").C.min() > known
    assert {*pd.read_csv(folder / "losses.csv").runs} == {int((runs.flops_budget > known).sum())}


def test_what_is_known_before_the_gpu_was_trained_by_the_rules(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT / "experiments")
    extended = importlib.import_module("extended")
    before = extended.trained_before(extended.GPU)
    assert {*before.seq_len} == {128} and {*before.vocab_size} == {1024}
    assert before.groupby("width").batch_tokens.nunique().max() == 1
    assert before.flops_budget.max() == 1.024e14


@pytest.mark.parametrize("record", ["extended-enwik8-cpu", "reference-gpu"])
def test_twenty_lies_above_what_the_largest_bowls_say(record):
    table = pd.read_csv(ROOT / "results" / record / "conventions.csv")
    quoted = table[(table.method == "isoflop_power") & (table.status == "ok")]
    assert {*quoted.N} == {"total", "non_embedding"}
    assert quoted.tokens_per_param_high.max() < 20


@pytest.mark.parametrize(("family", "budgets"), [("gpt", 7), ("bert", 3), ("t5", 5)])
def test_every_family_closes_its_bowls(family, budgets):
    """Two more budgets of BERT are on a plateau and are left out."""
    runs = load_runs(ROOT / "results" / "families" / "runs.csv")
    mine = runs[runs.family == family]
    fit = fit_isoflop(Prepared.of(observations(mine)[0]), FitSettings(bootstrap=0))
    assert (fit.minima.status == "ok").all()
    assert len(fit.minima) == budgets
    assert (mine.predicted_tokens <= mine.input_tokens).all()
    with pytest.raises(ValueError, match="whose losses cannot be compared"):
        refuse_mixed_objectives(runs)
