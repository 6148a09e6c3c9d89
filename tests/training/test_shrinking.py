from dataclasses import replace

import numpy as np
import pytest
import torch

from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.models.build import build_model
from scaling.models.storage import Storage
from scaling.shapes.shape import Shape
from scaling.training.saved import read_config, save_model
from scaling.training.shrinking import paired, rounding_costs, shrink, weight_grids

WINDOWS = 48


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALING_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        config = DataConfig(name="synthetic", vocab_size=64, synthetic_train_tokens=20_000)
        return prepare_tokens(config)


@pytest.fixture(scope="module", params=["gpt", "t5"])
def saved(request, data, tmp_path_factory):
    shape = Shape(64, 16, n_layers=1, width=16, n_heads=1, family=request.param)
    model = build_model(shape, seed=3)
    with torch.no_grad():
        model.table.weight *= 20  # as large as trained ones
    folder = tmp_path_factory.mktemp(request.param) / "model"
    facts = {"run_id": "0123456789ab", "data": "synthetic", "data_fingerprint": data.fingerprint}
    save_model(folder, model, None, facts)
    return folder


def test_what_was_written_is_what_is_measured(saved, data, tmp_path):
    storage = Storage("int3", parts="all")
    found = shrink(saved, tmp_path / "small", storage, data, windows=WINDOWS)
    [row] = rounding_costs(saved, [storage], data, WINDOWS).to_dict("records")
    assert (found.difference, found.difference_std) == (row["cost"], row["cost_std"])
    assert found.loss_after - found.loss_before == pytest.approx(found.difference, abs=1e-9)
    assert found.bytes_after < found.bytes_before / 3
    packed = found.parts.set_index("what").bytes["weights, packed"]
    assert packed == pytest.approx(found.params * 3 / 8, rel=0.02)
    assert 3 < found.bits_per_param < 8
    assert read_config(tmp_path / "small")["facts"]["quantised_from"] == "0123456789ab"


def test_rounded_activations_are_saved_too(saved, data, tmp_path):
    storage = Storage("int8", activations=4)
    found = shrink(saved, tmp_path / "small", storage, data, windows=WINDOWS)
    [row] = rounding_costs(saved, [storage], data, WINDOWS).to_dict("records")
    assert found.difference == pytest.approx(row["cost"], abs=1e-9)
    assert found.difference != rounding_costs(saved, [Storage("int8")], data, WINDOWS).cost[0]


def test_fewer_bits_cost_more(saved, data):
    storages = [Storage(f"int{bits}", parts="all") for bits in (8, 4, 2)]
    table = rounding_costs(saved, storages, data, WINDOWS)
    size = table.cost.abs().to_numpy()
    assert size[0] < size[1] < size[2]


def test_paired_differences_by_hand():
    before, after = np.array([1.0, 2.0, 3.0]), np.array([1.5, 2.0, 3.4])
    mean, error = paired(before, after)
    assert mean == pytest.approx(0.3)
    assert error == pytest.approx(np.std([0.5, 0.0, 0.4], ddof=1) / np.sqrt(3))


def test_a_small_model_of_other_data_or_one_that_is_small_already_is_refused(saved, data, tmp_path):
    other = replace(data, fingerprint="another")
    with pytest.raises(ValueError, match="was trained on data=synthetic of fingerprint"):
        shrink(saved, tmp_path / "small", Storage("int4"), other, windows=WINDOWS)
    shrink(saved, tmp_path / "small", Storage("int4"), data, windows=WINDOWS)
    with pytest.raises(ValueError, match="is stored in int4 already"):
        shrink(tmp_path / "small", tmp_path / "again", Storage("int2"), data, windows=WINDOWS)


def test_a_model_of_another_program_is_refused(tmp_path, data):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="it is another program's"):
        shrink(folder, tmp_path / "small", Storage("int4"), data)


def test_grids_are_the_numbers_of_each_format():
    model = build_model(Shape(64, 16, n_layers=1, width=16, n_heads=1))
    name, weights, grids = weight_grids(model)
    assert name == "blocks.0.ffn.up.weight"
    top = np.abs(weights).max()
    counts = {f: len(np.unique(grids[f])) for f in ("int8", "int4", "int2", "fp8_e4m3")}
    assert counts == {"int8": 256, "int4": 16, "int2": 4, "fp8_e4m3": 253}
    for format in ("int8", "int2", "fp8_e4m3", "fp8_e5m2"):
        assert grids[format].max() == pytest.approx(top)
