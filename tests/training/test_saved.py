import json

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer

from scaling.data.tokenizer import train_tokenizer
from scaling.models.build import build_model
from scaling.shapes.shape import Shape
from scaling.training.saved import load_model, load_start, read_config, save_model

FAMILIES = ["gpt", "bert", "t5"]
FACTS = {"objective": "clm", "run_id": "0123456789ab", "loss": 1.25}


def shape_of(family, **changes):
    options = dict(vocab_size=61, seq_len=16, n_layers=2, width=24, n_heads=2) | changes
    return Shape(family=family, **options)


def arrays(shape):
    generator = torch.Generator().manual_seed(0)

    def draw(n, below=shape.vocab_size):
        return torch.randint(0, below, (3, n), generator=generator)

    window = shape.window
    if shape.family == "gpt":
        return (draw(window.text + 1),)
    if shape.family == "t5":
        return draw(window.inputs), draw(window.targets)
    return draw(window.inputs), draw(window.targets, window.inputs), draw(window.targets)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "elsewhere.json"
    train_tokenizer(["the cat sat on the mat, that was the cat's"] * 4, 262).save(str(path))
    return path


@pytest.fixture
def folder(tmp_path, tokenizer):
    save_model(tmp_path / "model", build_model(shape_of("gpt"), 1), tokenizer, FACTS)
    return tmp_path / "model"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_a_round_trip_keeps_every_loss_bit_for_bit(family, tied, tmp_path):
    shape = shape_of(family, tied=tied, n_kv_heads=1, ffn="swiglu")
    model = build_model(shape, seed=5)
    save_model(tmp_path, model, None, FACTS)
    again, tokenizer = load_model(tmp_path)
    assert again.shape == shape
    assert tokenizer is None
    assert not torch.equal(model.loss(*arrays(shape)), build_model(shape).loss(*arrays(shape)))
    assert torch.equal(model.loss(*arrays(shape)), again.loss(*arrays(shape)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tied_head_is_stored_once_and_tied_again(family, tmp_path):
    model = build_model(shape_of(family))
    save_model(tmp_path, model, None, {})
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
        stored = sum(file.get_tensor(name).numel() for name in names)
    assert "head.weight" not in names
    assert stored == sum(p.numel() for p in model.parameters())
    again, _ = load_model(tmp_path)
    assert again.head.weight is again.table.weight


def test_an_untied_head_is_stored(tmp_path):
    save_model(tmp_path, build_model(shape_of("gpt", tied=False)), None, {})
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert {"head.weight", "table.weight"} <= set(file.keys())


def test_the_tokenizer_is_one_that_tokenizers_reads(tokenizer, tmp_path):
    save_model(tmp_path / "model", build_model(shape_of("gpt")), tokenizer, {})
    wanted = Tokenizer.from_file(str(tokenizer)).encode("the cat").ids
    assert Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json")).encode(
        "the cat"
    ).ids == (wanted)
    loaded = load_model(tmp_path / "model")[1]
    assert loaded.encode("the cat").ids == wanted
    assert 0 not in loaded.encode("<|endoftext|>").ids  # a text that spells it is only text


def test_the_configuration_says_what_it_is(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["shape"]["width"] == 24
    assert config["facts"] == FACTS == read_config(folder)["facts"]
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(name, folder):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} is missing"):
        load_model(folder)


@pytest.mark.parametrize("content", ['{"model_type": "gpt2"}', "[1]"])
def test_the_configuration_of_another_program_is_refused(content, folder):
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match="another program's"):
        load_model(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [("config.json", "is no JSON"), ("model.safetensors", "is no safetensors file")],
)
def test_a_damaged_file_is_refused(name, message, folder):
    (folder / name).write_bytes(b"\xff\x00 not this")
    with pytest.raises(ValueError, match=message):
        load_model(folder)


def change_shape(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    config["shape"] |= changes
    (folder / "config.json").write_text(json.dumps(config))


def test_another_shape_is_refused(folder):
    change_shape(folder, vocab_size=62)
    with pytest.raises(ValueError, match=r"table\.weight has shape \(61, 24\).*\(62, 24\)"):
        load_model(folder)


def test_another_depth_is_refused(folder):
    change_shape(folder, n_layers=3)
    with pytest.raises(ValueError, match=r"not have the same tensors: blocks\.2"):
        load_model(folder)


@pytest.mark.parametrize("change", [{"family": "rnn"}, {"n_heads": 5}, {"colour": "red"}])
def test_an_impossible_shape_is_refused(change, folder):
    change_shape(folder, **change)
    with pytest.raises(ValueError, match="no shape that can be built"):
        load_model(folder)


def test_a_half_overwritten_model_is_refused(folder, tmp_path):
    save_model(tmp_path / "other", build_model(shape_of("gpt"), 2), None, {})
    (tmp_path / "other" / "model.safetensors").replace(folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"not the file that config\.json"):
        load_model(folder)


def test_another_tokenizer_is_refused(folder):
    other = train_tokenizer(["a dog is a dog is a dog"] * 4, 260)
    other.save(str(folder / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"tokenizer\.json is not the file"):
        load_model(folder)


def test_only_a_model_of_this_shape_and_tokenizer_is_trained_further(folder, tokenizer, tmp_path):
    again = load_start(folder, shape_of("gpt"), tokenizer)
    assert torch.equal(again.table.weight, build_model(shape_of("gpt"), 1).table.weight)
    with pytest.raises(ValueError, match=r"holds a model of Shape.*, not of Shape"):
        load_start(folder, shape_of("gpt", width=32), tokenizer)
    train_tokenizer(["a dog is a dog is a dog"] * 4, 260).save(str(tmp_path / "other.json"))
    for other in (None, tmp_path / "other.json"):
        with pytest.raises(
            ValueError, match=r"another tokenizer.*data\.tokenizer=.*tokenizer\.json"
        ):
            load_start(folder, shape_of("gpt"), other)


@pytest.mark.parametrize("facts", [{"loss": float("nan")}, {"shape": object()}])
def test_facts_that_are_no_json_leave_nothing_behind(facts, tmp_path):
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        save_model(tmp_path, build_model(shape_of("gpt")), None, facts)
    assert not list(tmp_path.iterdir())


def test_saving_again_replaces(folder):
    model = build_model(shape_of("t5"), 9)
    save_model(folder, model, None, {})
    again, tokenizer = load_model(folder)
    assert tokenizer is None
    assert torch.equal(model.table.weight, again.table.weight)
