"""The verb that writes a saved model in fewer bits, as a user calls it."""

import os

import pytest
from verbs import ROOT, SCREEN, count_lines, end_of

from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.models.build import build_model
from scaling.quantise import main
from scaling.shapes.shape import Shape
from scaling.training.saved import load_model, save_model

DATA = ["data=synthetic", "data.vocab_size=64", "data.synthetic_train_tokens=20000"]
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A saved model, and the environment in which its data lie."""
    cwd = tmp_path_factory.mktemp("quantise")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALING_CACHE_DIR", str(cwd / "cache"))
        config = DataConfig(name="synthetic", vocab_size=64, synthetic_train_tokens=20_000)
        data = prepare_tokens(config)
        shape = Shape(64, 16, n_layers=1, width=16, n_heads=1)
        facts = {"run_id": "run", "data": "synthetic", "data_fingerprint": data.fingerprint}
        save_model(cwd / "models" / "run", build_model(shape), None, facts)
        return cwd, os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def quantise(verb, model):
    cwd, environment = model
    return lambda *words: verb("quantise")(*words, cwd=cwd, environment=environment)


@pytest.mark.long
def test_it_writes_the_model_its_card_and_a_figure(quantise, model):
    done = quantise("model=models/run", "bits=4", "parts=all", "windows=32", *DATA)
    assert done.returncode == 0, done.stderr
    assert count_lines(done.stdout) <= SCREEN
    assert "bits a parameter" in done.stdout and "standard error" in done.stdout
    folder = model[0] / "models" / "run-int4-all"
    names = {path.name for path in folder.iterdir()}
    written = {"model.safetensors", "config.json", "README.md", "weights.png"}
    assert names == written | {"manifest.json"}
    page = (folder / "README.md").read_text()
    assert page.startswith("# run in int4, one scale per channel, table and head too\n")
    assert "standard error" in page and "GB for 1B parameters" in page
    assert f"{(folder / 'model.safetensors').stat().st_size:,}" in page
    assert load_model(folder)[0].shape.width == 16


@pytest.mark.parametrize(
    "words, told",
    [
        (["model=models/run", "bits=1"], "format 'int1' is unknown: no integer has fewer than 2"),
        (["model=models/run", "format=nf4"], "format 'nf4' is unknown"),
        (["model=models/run"], "give bits=8, 6, 4, 3 or 2, or format=NAME"),
        (["model=models/run", "bits=4", "format=int4"], "one of the two"),
        (["model=models/gone", "bits=4"], "models/gone has no config.json: it is no saved model"),
        (["bits=4"], "model must be given: add model=VALUE"),
        (["model=models/run", "bits=4", "out=models/run"], "out=models/run is the model itself"),
        (["model=models/run", "bits=4", "windows=1"], "windows and calibration must be at least 2"),
    ],
)
def test_nonsense_is_one_line(words, told, model, monkeypatch, capsys):
    monkeypatch.chdir(model[0])
    refused = end_of(main, words, monkeypatch)
    assert refused.startswith("error: ") and told in refused
    assert "\n" not in refused and not capsys.readouterr().out
