import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from recipes import TINY

from scaling.data.tokens import TokenData
from scaling.models.build import build_model
from scaling.shapes.shape import Shape
from scaling.training.cells import Cell, Trunk
from scaling.training.saved import load_model, read_config
from scaling.training.trained import learned
from scaling.training.trunk import Outcome
from scaling.training.worker import make_training, save_trained

V = 13
RECIPE = replace(TINY, steps=30, cooldown_steps=10, weight_decay=0.0)


def shape_of(family="gpt", width=16):
    return Shape(vocab_size=V, seq_len=16, n_layers=1, width=width, n_heads=2, family=family)


@pytest.fixture
def data(tmp_path):
    for split in ("train", "valid"):
        np.save(tmp_path / f"{split}.npy", np.tile(np.arange(V, dtype=np.uint16), 400))
    return TokenData(
        name="cycle",
        vocab_size=V,
        folder=tmp_path,
        n_train=V * 400,
        n_valid=V * 400,
        n_test=0,
        bytes_per_token=1.0,
        entropy_rate=0.0,
        fingerprint="cycle",
    )


def test_what_is_kept_is_the_end_of_the_cooldown(data, tmp_path):
    """Held-out loss of the kept weights: the one that training measured before it went back."""
    cell = Cell(shape_of(), RECIPE, math.nan, 0, "fp32", 2048, data.name, data.fingerprint)
    training = make_training(Trunk((cell,)), data.load("train"), data.load("valid"), "cpu")
    for news in training.run():
        if isinstance(news, Outcome):
            save_trained(tmp_path / "model", training.model, cell, data, news.loss)
    model, tokenizer = load_model(tmp_path / "model")
    facts = read_config(tmp_path / "model")["facts"]
    assert tokenizer is None
    assert facts["objective"] == "clm"
    assert facts["recipe"]["steps"] == 30
    assert learned(model, data, 2048).loss == pytest.approx(facts["loss"], rel=1e-5)


@pytest.mark.parametrize("family", ["gpt", "bert", "t5"])
def test_the_unigram_guess_on_a_cycle_is_uniform(family, data):
    model = build_model(shape_of(family))
    found = learned(model, data, n_windows=V)  # V windows begin at every place of the cycle
    assert found.unigram_loss == pytest.approx(np.log(V))
    predicted = {"gpt": 16, "bert": model.shape.window.targets, "t5": 3}[family]
    assert found.tokens == V * predicted  # of T5 without the sentinel and the end mark
    assert found.loss > 2
    if family == "gpt":
        assert found.unigram_accuracy == pytest.approx(1 / V, abs=0.01)


def test_loss_is_the_models_own_where_every_target_is_text(data):
    model = build_model(shape_of())
    windows = torch.from_numpy(
        np.stack([data.load("valid")[i * 16 : i * 16 + 17] for i in range(4)]).astype(np.int64)
    )
    with torch.no_grad():
        assert learned(model, data, 4).loss == pytest.approx(
            model.loss(windows).mean().item(), rel=1e-5
        )
