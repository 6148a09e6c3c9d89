"""Every kind of source, from files to a trained run."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from recipes import TINY

from scaling.data.config import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.models.build import build_model
from scaling.shapes.shape import Shape
from scaling.training.cells import Cell, Trunk
from scaling.training.parts import check_parts
from scaling.training.records import Keeping
from scaling.training.trained import learned
from scaling.training.worker import run_trunk

RECIPE = replace(TINY, weight_decay=0.0)


def cell_of(data):
    shape = Shape(vocab_size=data.vocab_size, seq_len=16, n_layers=1, width=16, n_heads=2)
    return Cell(shape, RECIPE, math.nan, 0, "fp32", 256, data.name, data.fingerprint)


def train(data, folder=None, start=""):
    """Row of one tiny run; a folder keeps its model."""
    trunk, keeping = Trunk((replace(cell_of(data), start_from=start),)), Keeping(models=True)
    news = run_trunk(trunk, data, "cpu", folder=folder, keeping=keeping)
    (record,) = [found for found in news if isinstance(found, dict)]
    return record["row"]


@pytest.fixture
def parts(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALING_CACHE_DIR", str(tmp_path / "cache"))
    paths = []
    for name, letters in (("low", "abcd"), ("high", "wxyz")):
        path = tmp_path / f"{name}.jsonl"
        texts = (f"{letters} {i % 7} {letters} " * 9 for i in range(700))
        path.write_text(
            "".join(json.dumps({"text": f"{text}{i}"}) + "\n" for i, text in enumerate(texts))
        )
        paths.append(str(path))
    return paths


def test_shards_are_trained_on(tmp_path, parts):
    for name in ("train", "valid"):
        np.save(tmp_path / f"{name}.npy", np.tile(np.arange(13, dtype=np.uint16), 900))
    paths = {
        name: str(tmp_path / f"{file}.npy")
        for name, file in (("path", "train"), ("valid", "valid"))
    }
    row = train(prepare_tokens(DataConfig(name="tokens", vocab_size=13, **paths)))
    assert row["status"] == "ok" and row["loss"] < math.log(13) - 0.5
    assert math.isnan(row["bits_per_byte"]) and row["epochs"] == pytest.approx(7680 / 11700)


def test_rows_are_trained_on(parts):
    row = train(prepare_tokens(DataConfig(name="hf", path=parts[0], vocab_size=280)))
    assert row["status"] == "ok" and row["loss"] < math.log(280) - 1
    assert row["bits_per_byte"] > 0


def test_a_mixture_is_measured_on_every_part(parts):
    shares = dict(zip(parts, (0.25, 0.75), strict=True))
    config = DataConfig(name="mixture", parts=shares, vocab_size=280)
    config.part_tokens = {parts[0]: 1000}
    data = prepare_tokens(config)
    row = train(data)
    assert row["loss"] == pytest.approx(0.25 * row["loss_low"] + 0.75 * row["loss_high"])
    error = math.hypot(0.25 * row["loss_std_low"], 0.75 * row["loss_std_high"])
    assert row["loss_std"] == pytest.approx(error)
    for name, part in zip(("low", "high"), data.parts, strict=True):
        bits = row[f"loss_{name}"] / part.data.bytes_per_token / math.log(2)
        assert row[f"bits_per_byte_{name}"] == pytest.approx(bits)
        assert row[f"unique_tokens_{name}"] == part.n_train
        assert row[f"epochs_{name}"] == pytest.approx(part.share * row["tokens"] / part.n_train)
    assert row["unique_tokens_low"] == 1000 and row["epochs_low"] == pytest.approx(1.92)
    alone = dict(zip(parts, (0, 1), strict=True))
    foreign = train(prepare_tokens(replace(config, parts=alone)))
    assert foreign["loss"] == foreign["loss_high"] < row["loss_high"]
    assert foreign["loss_low"] > row["loss_low"] + 0.5  # never seen, and measured all the same
    with pytest.raises(ValueError, match="data=mixture has several parts"):
        learned(build_model(cell_of(data).shape), data)


@pytest.mark.long
def test_a_model_of_one_corpus_is_trained_further_on_another(parts, tmp_path):
    low, high = (dict(zip(parts, shares, strict=True)) for shares in ((1, 0), (0, 1)))
    config = DataConfig(name="mixture", vocab_size=280)
    general = prepare_tokens(replace(config, parts=low))
    tokenizer = str(general.tokenizer_path)
    domain = prepare_tokens(replace(config, parts=high, tokenizer=tokenizer))
    first, anew = train(general, tmp_path / "runs"), train(domain)
    row = train(domain, tmp_path / "runs", start=first["run_id"])
    assert row["start"] == first["run_id"] and "start" not in anew
    assert row["run_id"] != anew["run_id"] and row["tokens"] == anew["tokens"]
    assert row["loss_high"] < anew["loss_high"]  # what is alike need not be learned again
    assert row["loss_low"] < anew["loss_low"]  # nor is all of it forgotten
    with pytest.raises(FileNotFoundError, match="is missing"):
        train(domain, tmp_path / "elsewhere", start=first["run_id"])


def test_a_part_that_would_be_seen_twice_is_named(parts):
    shares = dict(zip(parts, (0.25, 0.75), strict=True))
    config = DataConfig(name="mixture", parts=shares, vocab_size=280)
    data = prepare_tokens(replace(config, part_tokens={parts[0]: 1000}))
    with pytest.raises(
        ValueError, match=r"low.jsonl has 1,000 training tokens, but .* needs 1,920"
    ):
        check_parts([cell_of(data)], data.parts, False)
    check_parts([cell_of(data)], data.parts, True)
    twin = replace(data.parts[1], name="/elsewhere/low.parquet")
    with pytest.raises(ValueError, match="two parts are called 'low'"):
        check_parts([cell_of(data)], (data.parts[0], twin), True)
