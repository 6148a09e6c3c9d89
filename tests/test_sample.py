"""The verb that lets a saved model write, fill gaps and label, as a user calls it."""

import os

import pytest
from verbs import ROOT, SCREEN, count_lines, end_of

from scaling.data.tokenizer import train_tokenizer
from scaling.models.build import build_model
from scaling.sample import main
from scaling.shapes.shape import Shape
from scaling.training.saved import save_model

pytestmark = pytest.mark.filterwarnings("default")
TEXT = ["the history of the film was great: good", "the book was boring: bad, and long"] * 4


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Untrained models of every family with a tokenizer."""
    cwd = tmp_path_factory.mktemp("sample")
    train_tokenizer(TEXT, 280).save(str(cwd / "tokenizer.json"))
    for family in ("gpt", "bert", "t5"):
        shape = Shape(280, 64, n_layers=1, width=16, n_heads=2, family=family)
        save_model(cwd / family, build_model(shape), cwd / "tokenizer.json", {})
    return cwd


@pytest.fixture(scope="module")
def sample(verb, models):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return lambda *words: verb("sample")(*words, cwd=models, environment=environment)


@pytest.mark.long
def test_a_gpt_writes_on_and_keeps_a_page(sample, models):
    words = ["model=gpt", "prompt='the film'", "max_new_tokens=5", "compare=true", "shots=0"]
    words += ["tasks=5", "vectors=true", "attention=true", "candidates=3", "out=page"]
    done = sample(*words)
    assert done.returncode == 0, done.stderr
    assert count_lines(done.stdout) <= SCREEN and "- greedy: tokens 5" in done.stdout
    page = (models / "page" / "README.md").read_text()
    assert page.startswith("# What a gpt says\n")
    for part in ("| greedy |", "| top-p 0.8 |", "## The next token", "## Tokens, ids, vectors"):
        assert part in page
    assert "## Solved examples in the prompt" in page and "![Attention](attention.png)" in page
    assert (models / "page" / "attention.png").is_file()


@pytest.mark.long
def test_a_bert_and_a_t5_fill_gaps(sample):
    for family in ("bert", "t5"):
        done = sample(f"model={family}", "prompt='the [?] was [?] and long'")
        assert done.returncode == 0, done.stderr
        assert "Gaps filled" in done.stdout


def test_a_gpt_is_written_for_transformers(models, monkeypatch, capsys):
    monkeypatch.chdir(models)
    assert end_of(main, ["model=gpt", "export=theirs"], monkeypatch) is None
    assert "transformers.ArceeForCausalLM.from_pretrained reads" in capsys.readouterr().out
    names = {path.name for path in (models / "theirs").iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "manifest.json"}


@pytest.mark.parametrize(
    "words, told",
    [
        (["model=gone"], "model=gone has no config.json: it is no saved model"),
        (["model=gpt", "tasks=0"], "tasks=0 must be 1 or more"),
        (["model=gpt", "shots=[-1]"], "shots=[-1] must be 0 or more"),
        (["model=gpt", "vectors=true"], "attention and vectors are of a prompt"),
        (["model=gpt", "prompt=a", "attention=true"], "attention=true draws a figure"),
        (["model=gpt", "prompt=a", "temperature=-1"], "temperature=-1.0 must be 0 (greedy)"),
        (["model=gpt", "prompt=a", "top_p=2"], "top_p=2.0 must be above 0 and at most 1"),
        (["model=bert", "export=out"], "transformers has no such architecture; export a gpt"),
        (["model=bert", "prompt=a"], "prompt='a' has no gap [?]"),
        (["model=bert", "prompt='[?]'", "shots=0"], "shots are for a GPT"),
    ],
)
def test_nonsense_is_one_line(words, told, models, monkeypatch, capsys):
    monkeypatch.chdir(models)
    refused = end_of(main, words, monkeypatch)
    assert refused.startswith("error: ") and told in refused
    assert "\n" not in refused and not capsys.readouterr().out
