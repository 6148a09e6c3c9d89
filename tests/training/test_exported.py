"""What transformers makes of an exported model: the same losses, and no code of ours."""

import json

import pytest
import torch
from safetensors.torch import load_file

from scaling.data.tokenizer import train_tokenizer
from scaling.models.build import build_model
from scaling.models.storage import Storage
from scaling.shapes.architecture import architecture_of, count_params
from scaling.shapes.hugging_face import read_architecture
from scaling.shapes.shape import Shape
from scaling.training.exported import describe_shape, export_model
from scaling.training.saved import save_model

SHAPES = [
    Shape(61, 16, 2, 24, 2, ffn=ffn, tied=tied, n_kv_heads=heads)
    for ffn, tied, heads in [("swiglu", True, 1), ("swiglu", False, 2), ("gelu", True, 2)]
]


def trained(shape):
    """A model whose gains are not all one, as after training."""
    model = build_model(shape, seed=3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1 + 0.3 * torch.rand(parameter.shape, generator=generator)
    return model


@pytest.mark.long
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("shape", SHAPES, ids=["llama", "llama-untied", "arcee"])
def test_transformers_has_the_same_losses(shape, tmp_path):
    transformers = pytest.importorskip("transformers", reason="pip install transformers")
    model = trained(shape)
    save_model(tmp_path / "ours", model, None, {})
    name = export_model(tmp_path / "ours", tmp_path / "theirs")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs")
    assert type(theirs).__name__ == name
    assert theirs.num_parameters() == sum(p.numel() for p in model.parameters())
    windows = torch.randint(0, 61, (4, 17), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = theirs(windows[:, :-1]).logits
        found = torch.nn.functional.cross_entropy(logits.transpose(1, 2), windows[:, 1:])
        wanted = model.loss(windows).mean()
    assert found.item() == pytest.approx(wanted.item(), abs=1e-5)


def test_the_exported_files_need_no_code(tmp_path):
    tokenizer = train_tokenizer(["the cat sat on the mat"] * 4, 262)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    shape = Shape(262, 16, 1, 16, 2)
    save_model(tmp_path / "ours", trained(shape), tmp_path / "tokenizer.json", {})
    (tmp_path / "ours" / "README.md").write_text("---\nlibrary_name: scaling-laboratory\n---\n")
    assert export_model(tmp_path / "ours", tmp_path / "theirs") == "ArceeForCausalLM"
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert "auto_map" not in config and config["eos_token_id"] is not None
    weights = load_file(tmp_path / "theirs" / "model.safetensors")
    assert "lm_head.weight" not in weights and "model.layers.0.mlp.gate_proj.weight" not in weights
    assert "library_name: transformers" in (tmp_path / "theirs" / "README.md").read_text()
    same = (tmp_path / "theirs" / "tokenizer.json").read_text()
    assert json.loads(same) == json.loads((tmp_path / "ours" / "tokenizer.json").read_text())


@pytest.mark.parametrize("shape", SHAPES, ids=["llama", "llama-untied", "arcee"])
def test_the_configuration_describes_as_many_parameters(shape):
    theirs = read_architecture(describe_shape(shape))
    assert count_params(theirs) == count_params(architecture_of(shape))


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_what_has_no_equal_is_refused_by_name(family, tmp_path):
    save_model(tmp_path / "ours", build_model(Shape(61, 16, 1, 16, 2, family=family)), None, {})
    with pytest.raises(ValueError, match=f"is a {family} of ours.*transformers has no such"):
        export_model(tmp_path / "ours", tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_rounded_activations_are_refused(tmp_path):
    model = build_model(Shape(61, 16, 1, 16, 2))
    names = [
        name for name, p in model.named_parameters() if name.startswith("blocks") and p.ndim > 1
    ]
    inputs = {name.removesuffix(".weight"): torch.tensor(1.0) for name in names}
    storage = Storage("int8", activations=8)
    save_model(tmp_path / "ours", model, None, {}, storage=storage, inputs=inputs)
    with pytest.raises(ValueError, match="rounds its activations, which transformers does not"):
        export_model(tmp_path / "ours", tmp_path / "theirs")
