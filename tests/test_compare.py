"""What the verb compares, writes and refuses."""

from pathlib import Path

import pytest
from sweep_pairs import sweep
from verbs import SCREEN, count_lines

from scaling.compare import refuse_other_text
from scaling.tables.runs import runs_to_csv


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two small sweeps as tables, and a third of another text as a results folder."""
    place = tmp_path_factory.mktemp("sweeps")
    for name, gain in (("plain", 1.0), ("better", 1.3)):
        runs = sweep(gain=gain, noise=0.002, shared=0.5, seed=3)
        (place / name).mkdir()
        (place / name / "runs.csv").write_text(runs_to_csv(runs))
        config = f"data:\n  name: enwik8\nvalid_tokens: {2**18 if gain == 1 else 2**17}\n"
        (place / name / "config.yaml").write_text(config)
        (place / f"{name}.csv").write_text(runs_to_csv(runs))
    return place


@pytest.mark.long
def test_a_page_says_the_answer_first_and_what_a_test_takes(verb, folder, tmp_path):
    words = [f"a={folder}/plain.csv", f"b={folder}/better.csv", "at=1e13", "fit.bootstrap=100"]
    done = verb("compare")(*words, f"out={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert {p.name for p in Path(tmp_path / "out").iterdir()} == {
        *("README.md", "gain.csv", "laws.csv", "test.csv", "gain.png", "manifest.json")
    }
    page = (tmp_path / "out" / "README.md").read_text()
    assert page.startswith("# better against plain\n")
    answer = page.index("**better is ahead**: plain needs 1.")
    assert answer < page.index("## Budget by budget") < page.index("## What it takes to see a gain")
    assert "| 1e+13 | - | - | - | 1." in page and "extrapolated |" in page
    assert done.stdout.startswith("better is ahead: plain needs 1.")
    assert "What it takes to see a gain of 1." in done.stdout
    assert count_lines(done.stdout) <= SCREEN


def test_a_default_of_the_configuration_is_no_other_text(tmp_path):
    """The tables state a vocabulary, as of every run; a text is of the configuration alone."""
    told = {
        "old": "data: {name: enwik8, path: null, vocab_size: 1024}",
        "new": "data: {name: enwik8, path: null, vocab_size: null, dtype: null}",
        "mine": "data: {name: enwik8, path: /books, vocab_size: 1024}",
    }
    for name, config in told.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(config)
    refuse_other_text(tmp_path / "old", tmp_path / "new")
    with pytest.raises(ValueError, match=r"'path': None.*'path': '/books'"):
        refuse_other_text(tmp_path / "old", tmp_path / "mine")


def test_before_any_run_it_says_what_a_test_takes(verb, folder):
    done = verb("compare")(f"a={folder}/plain", "gain=1.1")
    assert done.returncode == 0, done.stderr
    assert "What it takes to see a gain of 1.1" in done.stdout


@pytest.mark.parametrize(
    "words, message",
    [
        (["a=plain"], "give b=SWEEP to compare with, or gain=1.1"),
        (["a=plain", "gain=1"], "gain=1 must be positive and not 1"),
        (["a=plain", "b=better"], "a was swept with valid_tokens=262144, b with"),
        (["a=plain.csv", "b=better.csv", "at=soon"], "at 'soon' is no quantity"),
        (["a=plain.csv", "b=none.csv"], "none.csv"),
    ],
)
def test_mistakes_are_one_line(verb, folder, words, message):
    done = verb("compare")(*words, cwd=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr
