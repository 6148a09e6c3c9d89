"""The whole road, as a user walks it: real processes, real training, a folder of results."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sweeps import TINY
from verbs import SCREEN, count_lines, end_of

from scaling import fit, plot, results, sweep
from scaling.training.records import locked, write_record

ROOT = Path(__file__).parents[1]
NS = np.array([3e4, 1e5, 3e5, 1e6])
IMPORTS = {"sweep": "import scaling.training.pool, scaling.results, torch._dynamo"}
pytestmark = pytest.mark.filterwarnings("default")


def environment(folder):
    cache = folder.parent / "cache"  # one for all tests of this session
    return os.environ | {"SCALING_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def scaling(verb):
    def run(name, *arguments, cwd):
        return verb(name, IMPORTS.get(name, ""))(*arguments, cwd=cwd, environment=environment(cwd))

    return run


@pytest.fixture(scope="module")
def swept(tmp_path_factory, scaling):
    """A finished sweep: its working folder and what it printed."""
    cwd = tmp_path_factory.mktemp("sweep")
    done = scaling("sweep", *TINY, "workers=1", cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return cwd, done.stdout


def test_a_sweep_leaves_a_complete_folder(swept):
    cwd, printed = swept
    folder = cwd / "results" / "smoke-synthetic"
    names = {p.name for p in folder.iterdir()}
    assert {"config.yaml", "runs.csv", "curves.csv", "fits.csv", "README.md"} <= names
    assert "report.html" in names
    assert [p.name for p in cwd.iterdir()] == ["results"]  # Hydra leaves nothing behind
    runs = pd.read_csv(folder / "runs.csv")
    assert len(runs) == 8
    assert (runs.status == "ok").all()
    assert "tokens per parameter" in printed
    told = printed.split("fitting and drawing\n")[1]
    assert count_lines(told) <= SCREEN and told.startswith("No answer to quote: ")
    percents = re.findall(r"^(\d+) %: \d of 8 cells done", printed, re.MULTILINE)
    assert percents[-1] == "100" and len(percents) <= 11
    page = (folder / "README.md").read_text()
    assert "N: all parameters, tied head once; C: counted training FLOPs" in page
    assert str(folder) in printed
    assert "true entropy rate of the source" in page


def test_a_second_sweep_trains_nothing_and_says_so(swept, scaling):
    cwd, _ = swept
    before = (cwd / "results" / "smoke-synthetic" / "runs.csv").read_bytes()
    again = scaling("sweep", *TINY, cwd=cwd)
    assert again.returncode == 0
    assert "all 8 cells are done, nothing to train" in again.stdout
    assert "fits and figures are up to date" in again.stdout
    assert (cwd / "results" / "smoke-synthetic" / "runs.csv").read_bytes() == before


@pytest.mark.long
def test_what_is_missing_in_a_folder_is_made_again(swept, scaling, tmp_path):
    cwd, _ = swept
    shutil.copytree(cwd / "results", tmp_path / "results")
    folder = tmp_path / "results" / "smoke-synthetic"
    names = {p.name for p in folder.iterdir()}
    for name in ("README.md", "ratio.png"):
        (folder / name).unlink()
    again = scaling("sweep", *TINY, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "nothing to train" in again.stdout and "fitting and drawing" in again.stdout
    assert {p.name for p in folder.iterdir()} == names


def test_a_page_of_the_user_is_not_overwritten(scaling, tmp_path):
    folder = tmp_path / "results" / "smoke-synthetic"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("mine")
    refused = scaling("sweep", *TINY, cwd=tmp_path)
    assert refused.returncode == 1
    assert "README.md was not written by this program" in refused.stderr
    assert "overwrite=true" in refused.stderr and not refused.stdout
    assert [p.name for p in folder.iterdir()] == ["README.md"]


@pytest.mark.long
def test_a_failed_cell_is_named_and_the_command_fails(swept, scaling, tmp_path):
    cwd, _ = swept
    source = cwd / "results" / "smoke-synthetic" / "records"
    target = tmp_path / "results" / "smoke-synthetic" / "records"
    target.mkdir(parents=True)
    for path in source.glob("*.json"):
        (target / path.name).write_bytes(path.read_bytes())
    run_id = pd.read_csv(source.parent / "runs.csv").run_id[0]
    victim = target / f"{run_id}.json"
    victim.unlink()
    victim.mkdir()  # its record can never be written
    run = scaling("sweep", *TINY, "grid.widths=[4,8]", cwd=tmp_path)
    assert run.returncode != 0
    assert "1 of 4 cells is missing" in run.stderr
    assert run_id in run.stderr + run.stdout


def test_a_second_sweep_into_a_folder_in_use_is_refused(swept, scaling, tmp_path):
    folder = tmp_path / "results" / "smoke-synthetic"
    with locked(folder):
        second = scaling("sweep", *TINY, cwd=tmp_path)
    assert second.returncode == 1
    assert f"is in use by the sweep with process id {os.getpid()}" in second.stderr
    assert "name=NAME" in second.stderr
    assert "Traceback" not in second.stderr
    assert {p.name for p in folder.iterdir()} == {".lock"}


@pytest.mark.long
def test_when_all_runs_diverge_the_command_says_why_and_keeps_no_stale_fit(
    swept, scaling, tmp_path
):
    cwd, _ = swept
    shutil.copytree(cwd / "results", tmp_path / "results")
    folder = tmp_path / "results" / "smoke-synthetic"
    for path in folder.glob("records/*.json"):
        record = json.loads(path.read_text())
        record["row"] |= {"status": "diverged", "reason": "loss became nan", "loss": np.nan}
        write_record(folder, {name: record[name] for name in ("row", "curve")})
    run = scaling("sweep", *TINY, cwd=tmp_path)
    assert run.returncode == 1 and "Traceback" not in run.stderr + run.stdout
    assert run.stderr == (
        "error: no run of 8 has a loss to fit: loss became nan; their tables are in "
        f"{folder.resolve()}\n"
    )
    assert (pd.read_csv(folder / "runs.csv").status == "diverged").all()
    assert not [*folder.glob("fit*")] and not (folder / "README.md").exists()


@pytest.mark.long
def test_when_no_cell_ends_the_command_says_so(swept, scaling, tmp_path):
    folder = tmp_path / "results" / "smoke-synthetic"
    folder.mkdir(parents=True)
    (folder / "records").write_text("a file where the records should go")
    few = ["grid.widths=[4]", "grid.budgets=[2e7,4e7]"]
    run = scaling("sweep", *TINY, *few, cwd=tmp_path)
    assert run.returncode == 1
    assert "2 of 2 cells are missing; the same command tries again" in run.stderr
    assert "failed" in run.stdout
    assert "Traceback" not in run.stderr


@pytest.mark.long
def test_trained_models_are_saved_and_what_lacks_one_is_trained_again(swept, scaling, tmp_path):
    cwd, _ = swept
    shutil.copytree(cwd / "results", tmp_path / "results")
    run = scaling("sweep", *TINY, "grid.widths=[4]", "save_models=true", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 runs finished, a fit needs 4" in run.stdout
    folder = tmp_path / "results" / "smoke-synthetic"
    runs = pd.read_csv(folder / "runs.csv")
    assert {p.name for p in (folder / "models").iterdir()} == set(runs.run_id)
    for model in (folder / "models").iterdir():
        assert {p.name for p in model.iterdir()} == {
            "README.md",
            "config.json",
            "model.safetensors",
        }
    before = pd.read_csv(cwd / "results" / "smoke-synthetic" / "runs.csv").set_index("run_id")
    assert runs.loss.tolist() == before.loss[runs.run_id].tolist()  # bit for bit


def test_a_dry_run_trains_nothing(scaling, tmp_path):
    plan = scaling("sweep", *TINY, "dry_run=true", cwd=tmp_path)
    assert plan.returncode == 0, plan.stderr
    assert "8 cells" in plan.stdout
    assert "Nothing was trained" in plan.stdout
    assert not (tmp_path / "results").exists()


def sweep_of(kind, folder):
    """Arguments of a tiny sweep of one kind of source, whose files are made here."""
    texts = [f"{i} the loss falls as a power of {i**3} tokens. " * 6 for i in range(2000)]
    rows = (json.dumps({"body": text}) + "\n" for text in texts)
    (folder / "rows.jsonl").write_text("".join(rows))
    for name in ("book", "more"):
        (folder / f"{name}.txt").write_text("\n\n".join(f"{name} {text}" for text in texts))
    for name, n in (("train", 200_000), ("valid", 9_000)):
        np.save(folder / f"{name}.npy", (np.arange(n) ** 2 % 60).astype(np.uint16))
    given = {
        "tokens": ["data.path=train.npy", "data.valid=valid.npy", "data.vocab_size=64"],
        "hf": ["data.path=rows.jsonl", "data.text_column=body", "data.vocab_size=270"],
        "mixture": ["data.parts={book.txt: 0.49, more.txt: 0.51}", "data.vocab_size=270"],
    }
    tiny = [argument for argument in TINY if not argument.startswith("data")]
    return [*tiny, f"data={kind}", *given[kind]]


@pytest.mark.parametrize(
    "kind", ["tokens", *(pytest.param(k, marks=pytest.mark.long) for k in ("hf", "mixture"))]
)
def test_every_kind_of_source_is_planned(kind, scaling, tmp_path):
    plan = scaling("sweep", *sweep_of(kind, tmp_path), "dry_run=true", cwd=tmp_path)
    assert plan.returncode == 0, plan.stderr
    assert "8 cells" in plan.stdout and f"data={kind}: " in plan.stdout


@pytest.mark.long
@pytest.mark.parametrize("kind", ["tokens", "hf", "mixture"])
def test_every_kind_of_source_is_swept(kind, scaling, tmp_path):
    done = scaling("sweep", *sweep_of(kind, tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "results" / f"smoke-{kind}"
    runs = pd.read_csv(folder / "runs.csv")
    assert len(runs) == 8 and (runs.status == "ok").all()
    if kind == "mixture":
        for name, share in (("book", 0.49), ("more", 0.51)):
            assert (runs[f"epochs_{name}"] > 0).all() and (runs[f"loss_{name}"] > 0).all()
            assert f"{share:.1%} of the windows from" in (folder / "README.md").read_text()


def test_cfg_job_prints_the_configuration(scaling, tmp_path):
    shown = scaling("sweep", "--cfg", "job", *TINY, cwd=tmp_path)
    assert shown.returncode == 0
    assert "budgets:" in shown.stdout
    assert "weight_decay:" in shown.stdout


@pytest.mark.parametrize(
    "verb, arguments, message",
    [
        (sweep, ["device=cuda:9"], "device=cuda:9"),
        (fit, ["nonsense=1"], "nonsense"),
        (fit, ["runs=missing.csv"], "missing.csv"),
        (fit, ["runs=bad.csv"], "bad.csv has 1 finished runs ['row0002']; a fit needs at least 4"),
        (plot, ["runs=bad.csv", "columns=size"], "columns='size' must map names"),
    ],
)
def test_mistakes_end_with_one_line(verb, arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("N,D,loss\n1e6,1e7,nan\n2e6,1e7,3.0\n")
    refused = end_of(verb.main, arguments, monkeypatch)
    assert refused.startswith("error: ") and message in refused and "\n" not in refused
    assert not (tmp_path / "results").exists()


WORDS = {  # what a command line says, before there is a configuration
    "gird=smoke": "unknown key 'gird'; did you mean 'grid'?; --help lists the keys and their",
    "foo=1": "unknown key 'foo'; --help",
    "optim.shcedule=cosine": "did you mean 'optim.schedule'?",
    "name=[/x]": "quote a text: \"name='[/x]'\"",
    "name=a=b": "'name=a=b' cannot be read; quote the value: \"name='a=b'\"",
    "grid=demo,smoke": "'grid=demo,smoke' is several values: give a job for each with -m",
    "smoke": "'smoke' is no KEY=VALUE",
    "--hlep": "unknown option '--hlep'; did you mean '--help'?",
    "grid.widths=-8": "grid.widths=[-8] must list different widths of at least 1",
    "+foo=1": "unknown configuration keys ['foo']; --help lists the known ones",
    "grid.budgets=[x]": "grid.budgets=[x]: 'x' is no number",
    "optim.lr=abc": "optim.lr=abc: 'abc' is no number",
    "data=nothing": "Could not find 'data/nothing'; choose one of enwik8, hf, mixture, pubmed,",
    "data=tokens": "give data.vocab_size or data.tokenizer: data=tokens has ids only",
    "data=mixture": "data.parts=None needs two",
    "dispatch=moon": "Could not find 'dispatch/moon'; choose one of local, ray, slurm, submitit",
    "data=text": "data=text needs the text: give data.path=FILE or data.path=FOLDER",
}
VALUES = {  # that a configuration may not have
    "grid.widths=[8,8,12]": "grid.widths=[8, 8, 12] must list different widths of at least 1",
    "grid.min_steps=0": "grid.min_steps=0 must be at least 1",
    "grid.span=nan": "grid.span=nan must be finite and above 1",
    "model.seq_len=0": "model.seq_len=0 must be at least 2",
    "valid_tokens=0": "valid_tokens=0 must be at least 1",
    "checkpoint_s=nan": "checkpoint_s=nan must be at least 0",
    "fit.loss=hubber": "loss='hubber' is unknown; use one of",
    "fit.N=some": "convention N='some' is unknown",
    "fit.bootstrap=1000000000": "bootstrap",
    "optim.lr=1e9": "optim.lr=1000000000.0 must be above 0 and below 10",
    "data.vocab_size=9": "data.vocab_size=9 must be at least 257",
    "compile=sometimes": "compile='sometimes': choose one of ('auto', 'always', 'never')",
    "device=moon": "device='moon': choose one of ('auto', 'cpu', 'cuda')",
    "precision=int1": "precision='int1': choose one of ('fp32', 'tf32', 'bf16', 'bf16_pure'",
    "optim.schedule=none": "optim.schedule='none': choose one of ('cooldown', 'cosine',",
    "optim.rules=none": "optim.rules='none': choose one of ('horizon', 'shape')",
    "model.family=rnn": "model.family='rnn' is not built yet",
    "workers=0": "workers=0 must be at least 1",
    "grid.budgets=[]": "grid.budgets=[] must list positive FLOPs",
}


@pytest.mark.long
def test_a_mistake_is_told_in_one_line_before_torch_is_imported(tmp_path):
    program = f"""
import contextlib, io, sys
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from scaling.commandline import CONF, resolve
from scaling.sweep import SweepConfig, check, main
for words in (["--help"], ["--cfg", "job"], *([mistake] for mistake in {[*WORDS]!r})):
    sys.argv = ["sweep", *words]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            main()
        except SystemExit as end:
            code = end.code
    if words[0] not in ("--help", "--cfg"):
        assert not printed.getvalue()
        print(code)
    else:
        assert "budgets" in printed.getvalue()
with initialize_config_dir(CONF, version_base=None):
    composed = compose("sweep")
for value in {[*VALUES]!r}:
    try:
        check(resolve(OmegaConf.merge(composed, OmegaConf.from_dotlist([value])), SweepConfig))
    except ValueError as error:
        print("error:", error)
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for line, message in zip(done.stdout.splitlines(), (WORDS | VALUES).values(), strict=True):
        assert line.startswith("error: ")
        assert message in line
    assert not [*tmp_path.iterdir()]


def test_fit_reads_a_users_table(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    rows = [
        (N, C / (6 * N), 2.0 + 60 * N**-0.35 + 200 * (C / (6 * N)) ** -0.35)
        for C in (1e12, 4e12, 1.6e13)
        for N in (3e4, 6e4, 1.2e5, 2.4e5, 4.8e5, 1e6)
    ]
    pd.DataFrame(rows, columns=["size", "D", "loss"]).to_csv(tmp_path / "mine.csv", index=False)
    mapping = ["columns={size: N}", "fit.bootstrap=20", "fit.audit=false"]
    assert end_of(fit.main, ["runs=mine.csv", "out=fits", *mapping], monkeypatch) is None
    fits = pd.read_csv(tmp_path / "fits" / "fits.csv")
    E = fits[(fits.method == "parametric") & (fits.quantity == "E")]
    assert E.value.item() == pytest.approx(2.0, rel=1e-4)
    assert set(fits.N_convention.dropna()) == {"as_given"}
    printed = capsys.readouterr().out
    assert count_lines(printed) <= SCREEN
    assert re.match(r"[\d.]+ tokens per parameter at 1.6e\+13 FLOPs, the largest budget: ", printed)
    assert "  python -m scaling.plan budget=3.2e13 law=fits\n" in printed
    written = {p.name for p in (tmp_path / "fits").iterdir()}
    assert {"README.md", "optima.csv", "answer.json", "isoflop.png", "ratio.png"} <= written
    page = (tmp_path / "fits" / "README.md").read_text()
    assert page.startswith("# Fits of mine\n") and "18 runs of mine.csv" in page


@pytest.mark.long
def test_figures_come_with_the_answer(monkeypatch, capsys, tmp_path):
    words = ["runs=results/demo-enwik8-cpu", f"out={tmp_path}", "fit.bootstrap=0"]
    monkeypatch.chdir(ROOT)
    assert end_of(plot.main, words, monkeypatch) is None
    printed = capsys.readouterr().out
    page = (ROOT / "results" / "demo-enwik8-cpu" / "README.md").read_text()
    ratio = page.split("## The answer\n")[1].partition(" ")[0]
    assert printed.startswith(f"{ratio} tokens per parameter at 1.6e+12 FLOPs")
    assert "figures compute, isoflop, contour, triptych, ratio are in" in " ".join(printed.split())
    assert count_lines(printed) <= SCREEN
    assert {p.stem for p in tmp_path.glob("*.png")} == {*results.FIGURES}


def test_a_multirun_keeps_its_jobs_apart(scaling, tmp_path):
    jobs = scaling("sweep", "-m", *TINY, "dry_run=true", "optim.lr_scale=1,2", cwd=tmp_path)
    assert jobs.returncode == 0, jobs.stdout + jobs.stderr
    folders = re.findall(r"It would go to\s\S+/(smoke-synthetic-\S+)\.\s", jobs.stdout)
    assert len(set(folders)) == 2
    assert "optim.lr_scale=1" in folders[0]
    assert "optim.lr_scale=2" in folders[1]


def test_jobs_of_a_named_multirun_have_folders_and_an_end_each(scaling, tmp_path):
    swept = ["name=mine", "dry_run=true", "optim.lr_scale=0.5,-1"]
    jobs = scaling("sweep", "-m", *TINY, *swept, cwd=tmp_path)
    assert jobs.returncode == 1
    assert re.search(r"results/mine-optim.lr_scale=0.5\.\s", jobs.stdout)
    assert "2 jobs, 1 of them done\n  done: optim.lr_scale=0.5\n  FAILED: optim.lr_scale=-1" in (
        jobs.stdout
    )
    assert jobs.stderr == ("job 1, optim.lr_scale=-1: error: optim.lr_scale=-1.0 must be above 0\n")


@pytest.fixture
def undrawn(monkeypatch):
    """Figures take most of the time of a small fit."""
    monkeypatch.setattr(results, "write_figures", lambda *_: ([], {}))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.long
def test_jobs_of_a_fit_have_folders_each(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    rows = [(N, D, 2 + 60 * N**-0.35 + 200 * D**-0.35) for N in NS for D in NS * 20]
    pd.DataFrame(rows, columns=["N", "D", "loss"]).to_csv(tmp_path / "mine.csv", index=False)
    options = ["runs=mine.csv", "out=fits", "fit.bootstrap=0", "fit.audit=false"]
    assert end_of(fit.main, ["-m", *options, "fit.loss=huber,mse"], monkeypatch) is None
    assert "2 jobs, 2 of them done" in capsys.readouterr().out
    folders = {path.name for path in tmp_path.glob("fits*")}
    assert folders == {"fits-fit.loss=huber", "fits-fit.loss=mse"}


@pytest.mark.usefixtures("undrawn")
def test_a_family_of_a_table_is_fitted_by_its_name(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    rows = [
        (f, N, D, s + 60 * N**-0.35 + 200 * D**-0.35)
        for f, s in (("gpt", 2), ("bert", 1))
        for N in NS
        for D in NS * 20
    ]
    table = pd.DataFrame(rows, columns=["family", "N", "D", "loss"])
    table.to_csv(tmp_path / "mine.csv", index=False)
    options = ["runs=mine.csv", "fit.bootstrap=0", "fit.audit=false", "verbose=true"]
    assert end_of(fit.main, [*options, "family=bert"], monkeypatch) is None
    assert "E 1" in capsys.readouterr().out
