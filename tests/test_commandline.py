"""Every failure of a verb is one line: the thing, the value, the way out."""

import importlib
import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from verbs import end_of

from scaling import __main__ as command
from scaling import fit, sweep
from scaling.commandline import LAUNCHERS, spare
from scaling.errors import INTERRUPTED, is_command
from scaling.tables.runs import load_runs

WRONG_TYPES = {
    "grid.budgets={a: 1}": "grid.budgets={a: 1}: a list is written as grid.budgets=[A,B]",
    "grid.budgets=[1e9,,2e9]": "cannot be read; a list is written as 'grid.budgets=[A,B]'",
    "grid.widths=[[8]]": "grid.widths=[[8]] must be a plain list, grid.widths=[A,B]",
    "workers=1.5": "workers=1.5: '1.5' is no whole number",
    "dry_run=perhaps": "dry_run=perhaps: 'perhaps' is neither true nor false",
    "valid_tokens=null": "valid_tokens=null: a value is needed",
    "model=3": "model=3: that is a group: give model.NAME=VALUE",
    "name=[a]": "quote a text: \"name='[a]'\"",
}


@pytest.mark.parametrize(("word", "message"), WRONG_TYPES.items(), ids=map(ascii, WRONG_TYPES))
def test_a_value_of_another_type_is_named_in_words(word, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    line = end_of(sweep.main, [word], monkeypatch)
    assert line.startswith("error: ") and message in line
    assert len(line.splitlines()) == 1
    assert not [*tmp_path.iterdir()]


def test_several_tables_are_to_be_made_one(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    line = end_of(fit.main, ["runs=[x.csv,y.csv]"], monkeypatch)
    told = "error: runs=[x.csv,y.csv]: runs takes one table; make one of several: "
    assert line.startswith(told) and line.endswith(" (conf/README.md)")
    for name, N in (("x.csv", 1e6), ("y.csv", 4e6)):
        pd.DataFrame({"N": [N], "D": [2e7], "loss": [4.0]}).to_csv(name, index=False)
    merge = line.removeprefix(told).removesuffix(" (conf/README.md)")
    exec(merge, {"pandas": pd, "A": "x.csv", "B": "y.csv"})
    assert load_runs("all.csv").params.tolist() == [1e6, 4e6]


@pytest.mark.parametrize("group", ["slurm", "ray"])
def test_a_launcher_that_is_not_installed_names_its_extra(group, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    module, extra = LAUNCHERS[group]
    Plugins.instance()  # by now all launchers that are installed have their entries
    installed = ConfigStore.instance().repo["hydra"]["launcher"]
    monkeypatch.delitem(installed, f"{module}.yaml", raising=False)
    line = end_of(sweep.main, [f"dispatch={group}"], monkeypatch)
    assert line == f"error: dispatch={group} needs pip install 'scaling-laboratory[{extra}]'"


def test_of_lines_that_count_few_are_told():
    told = []
    pass_on = spare(told.append)
    for done in range(1, 101):
        pass_on(f"downloading enwik8.zip: {done} of 100 MB")
    for done in range(500, 9000, 500):
        pass_on(f"enwik8: cleaned {done:,} articles")
    for _ in range(2):
        pass_on("enwik8: training a tokenizer")
    assert [line.split()[2] for line in told[:11]] == ["1", *(f"{n}0" for n in range(1, 11))]
    articles = [line.split()[2] for line in told[11:-2]]
    assert articles == ["500", "1,000", "2,000", "4,000", "8,000"]
    assert told[-2:] == ["enwik8: training a tokenizer"] * 2


@pytest.mark.parametrize(
    "line",
    [
        "enwik8: reading mingru_pytorch-0.2.1.tar.gz (minGRU-pytorch on the package index)",
        "enwik8: http://127.0.0.1:8000/enwik8.zip failed",
        "tokens: version 1.2.3 of 2026-11-26",
        "x: ... , 1,,2 of 0 and 5. of",
    ],
)
def test_a_line_with_numbers_that_count_nothing_is_passed_on(line):
    told = []
    pass_on = spare(told.append)
    pass_on(line)
    pass_on(line)
    assert told[0] == line


def test_counts_with_a_suffix_double_too():
    told = []
    pass_on = spare(told.append)
    for done in ("900k", "1M", "1.8M", "2.1M"):
        pass_on(f"hf: encoded {done} tokens, 300k a second")
    assert [line.split()[2] for line in told] == ["900k", "1.8M"]


def test_the_command_of_all_verbs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["scaling", "--help"])
    command.main()
    told = capsys.readouterr().out
    assert all(f"  {verb} " in told for verb in command.VERBS)
    for words in (["--version"], ["fit", "--version"]):
        monkeypatch.setattr(sys, "argv", ["scaling", *words])
        command.main()
    first, second = capsys.readouterr().out.splitlines()
    assert first == second and first.startswith("scaling-laboratory ")
    assert end_of(command.main, ["plna"], monkeypatch) == (
        f"error: 'plna' is no verb; did you mean 'plan'?; choose one of {[*command.VERBS]}"
    )
    refused = end_of(command.main, ["fit", "runs=missing.csv"], monkeypatch)
    assert refused.startswith("error: there is no runs table at missing.csv")
    for verb in command.VERBS:
        name = f"{verb}.__main__" if verb == "course" else verb
        assert callable(importlib.import_module(f"scaling.{name}").main)


@pytest.mark.parametrize(
    ("started", "ours"),
    [
        (["python", "-m", "scaling.fit", "runs=x"], True),
        (["python", "-m", "scaling", "fit"], True),
        (["python", "/venv/bin/scaling", "fit"], True),
        (["python", "-m", "pytest", "scaling"], False),
        (["python", "train.py", "scaling"], False),
        (["python"], False),
    ],
)
def test_only_our_commands_leave_at_once_on_an_interrupt(started, ours):
    assert is_command(started) == ours


def test_an_interrupt_after_a_verb_is_done_leaves_its_exit_code():
    done = """
import os, signal
from scaling.errors import leave_on_interrupt
leave_on_interrupt()
class Module:
    def __del__(self, kill=os.kill, me=os.getpid(), number=signal.SIGINT):
        kill(me, number)  # Python takes its modules down
module = Module()
"""
    assert subprocess.run([sys.executable, "-c", done]).returncode == 0


def test_an_interrupt_of_a_verb_leaves_the_handler_that_was_there(monkeypatch):
    before = signal.getsignal(signal.SIGINT)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit.results, "read_tables", interrupt)
    assert end_of(fit.main, ["runs=x.csv"], monkeypatch) == INTERRUPTED
    assert signal.getsignal(signal.SIGINT) is before


def test_a_full_disk_names_the_file(monkeypatch, tmp_path):
    NS = [3e4, 1e5, 3e5, 1e6]
    rows = [(N, D, 2 + 60 * N**-0.35 + 200 * D**-0.35) for N in NS for D in (1e6, 5e6, 2e7)]
    table = pd.DataFrame(rows, columns=["N", "D", "loss"])
    table.to_csv(tmp_path / "mine.csv", index=False)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    words = [f"runs={tmp_path / 'mine.csv'}", f"out={tmp_path / 'fits'}", "fit.bootstrap=0"]
    line = end_of(fit.main, [*words, "fit.audit=false"], monkeypatch)
    assert line.startswith(f"error: [Errno 28] No space left on device: '{tmp_path}/fits/")
    assert not [*(tmp_path / "fits").iterdir()]


@pytest.mark.long
def test_an_interrupt_at_a_random_moment_ends_a_verb_without_a_traceback(tmp_path):
    chance = random.Random(0)
    for _ in range(6):
        words = [sys.executable, "-m", "scaling.plan", "budget=1e21"]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        plan = subprocess.Popen(words, cwd=tmp_path, text=True, **pipes)
        time.sleep(chance.uniform(0.1, 2))
        plan.send_signal(signal.SIGINT)
        _, told = plan.communicate(timeout=60)
        assert not told
        assert plan.returncode in (INTERRUPTED, -signal.SIGINT, 0)  # it may have been done


def test_slurm_without_slurm_is_refused_in_one_line_before_any_work(monkeypatch, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="pip install '.[slurm]'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    end = end_of(sweep.main, ["data=synthetic", "grid=smoke", "dispatch=slurm"], monkeypatch)
    assert str(end).startswith("error: dispatch=slurm: there is no srun here; run it on a login")
    assert not [*tmp_path.iterdir()]
