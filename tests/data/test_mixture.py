import json
from dataclasses import replace

import numpy as np
import pytest

from scaling.data.config import DataConfig, check_data, part_configs
from scaling.data.curation import CurationConfig
from scaling.data.order import Mixture
from scaling.data.tokens import prepare_tokens
from scaling.errors import DataError

GENERAL_TEXT = "loss falls as a power law of compute data and size for models that learn"
MEDICAL_TEXT = "patients with a dose of placebo show effects and risks in the cohort"
WORDS, MEDICAL = GENERAL_TEXT.split(), MEDICAL_TEXT.split()


def prose(words, i, n=60):
    return f"{i} " + " ".join(words[(i * i + j * (i % 7 + 1)) % len(words)] for j in range(n)) + "."


@pytest.fixture
def parts(tmp_path):
    """A text and rows, as a user has them."""
    general, medical = tmp_path / "general.txt", tmp_path / "medical.jsonl"
    general.write_text("\n\n".join(prose(WORDS, i) for i in range(2000)))
    rows = (json.dumps({"text": prose(MEDICAL, i)}) + "\n" for i in range(600))
    medical.write_text("".join(rows))
    return {str(general): 0.49, str(medical): 0.51}


def mixture(parts, **settings):
    return DataConfig(name="mixture", parts=parts, vocab_size=300, **settings)


def test_parts_share_one_tokenizer(parts):
    data = prepare_tokens(mixture(parts))
    assert data.tokenizer_path is not None
    text = data.tokenizer_path.read_text()
    assert [part.share for part in data.parts] == [0.49, 0.51]
    for part in data.parts:
        assert part.data.tokenizer_path.read_text() == text
        assert part.data.vocab_size == data.vocab_size == 300
    assert data.n_train == sum(part.n_train for part in data.parts)
    assert data.n_valid == min(part.data.n_valid for part in data.parts)
    mixed = data.load("train")
    assert isinstance(mixed, Mixture) and mixed.shares == (0.49, 0.51)
    assert prepare_tokens(mixture(parts)).fingerprint == data.fingerprint
    other = dict(zip(parts, (0.5, 0.5), strict=True))
    assert prepare_tokens(mixture(other)).fingerprint != data.fingerprint
    damaged = data.parts[0].data.folder / "train.npy"
    expected = np.load(damaged)
    damaged.write_bytes(damaged.read_bytes()[:-2])
    again = prepare_tokens(mixture(parts))
    assert again.fingerprint == data.fingerprint
    np.testing.assert_array_equal(again.parts[0].data.load_alone("train"), expected)


@pytest.mark.long
def test_a_parts_own_tokenizer_serves_all(parts):
    general, _ = parts
    alone = prepare_tokens(DataConfig(name="text", path=general, vocab_size=300))
    data = prepare_tokens(mixture(parts, tokenizer=general))
    assert data.tokenizer_path.read_text() == alone.tokenizer_path.read_text()
    np.testing.assert_array_equal(data.parts[0].data.load("train"), alone.load("train"))


def test_a_part_may_be_limited_or_only_measured(parts):
    general, medical = parts
    limits = {general: 1000, medical: 2000}
    data = prepare_tokens(mixture({general: 0, medical: 1}, part_tokens=limits))
    assert [len(part.load("train")) for part in data.parts] == [1000, 2000]
    assert data.n_train == 2000  # the first is held out only
    assert len(data.parts[0].load("valid")) == data.parts[0].data.n_valid
    with pytest.raises(DataError, match=r"medical.jsonl: 9+}: the part has .* ask for fewer"):
        prepare_tokens(mixture(parts, part_tokens={medical: 10**9 - 1}))


@pytest.mark.parametrize(
    "shares, settings, message",
    [
        ((0.5, 0.4), {}, "sum to 0.9: shares are >= 0 and sum to 1"),
        ((1.0,), {}, "data.parts=.* needs two"),
        ((0.49, 0.51), {"part_tokens": {"enwik8": 5}}, "name a part of"),
        ((0.49, "half"), {}, "data.parts=.* must map sources to numbers"),
        ((0.49, 0.51), {"path": "x"}, r"data.path is read by data=text\|tokens\|hf only"),
        ((0.49, 0.51), {"tokenizer": "/no/such.json"}, "there is no such file"),
    ],
)
def test_mixtures_that_do_not_add_up_are_refused(shares, settings, message, parts):
    parts = dict(zip(parts, shares, strict=False))
    with pytest.raises((ValueError, DataError), match=message):
        check_data(mixture(parts, **settings))


@pytest.fixture
def shards(tmp_path):
    """A folder of ids below 300, as llm.c names them."""
    folder = tmp_path / "ids"
    folder.mkdir()
    for name in ("part_train_0", "part_train_1", "part_val_0"):
        np.save(folder / f"{name}.npy", np.arange(900, dtype=np.uint16) % 300)
    return str(folder)


def test_shards_are_a_part_beside_what_their_tokenizer_encodes(parts, shards, tmp_path):
    general, _ = parts
    made = prepare_tokens(DataConfig(name="text", path=general, vocab_size=300)).tokenizer_path
    data = prepare_tokens(mixture({shards: 0.5, general: 0.5}, tokenizer=str(made)))
    ids, text = data.parts
    assert (ids.n_train, ids.data.n_valid, data.vocab_size) == (1800, 900, 300)
    assert text.data.tokenizer_path.read_text() == data.tokenizer_path.read_text()
    with pytest.raises(ValueError, match=r"ids holds ids: give the tokenizer .* data.tokenizer"):
        check_data(mixture({shards: 0.5, general: 0.5}))


def test_shards_alone_need_a_vocabulary_only(shards):
    data = prepare_tokens(mixture({shards: 0.5, f"{shards}/": 0.5}))
    assert data.tokenizer_path is None and len(data.load("train").parts) == 2
    with pytest.raises(ValueError, match=r"give data.vocab_size or data.tokenizer"):
        check_data(DataConfig(name="mixture", parts={shards: 0.5, f"{shards}/": 0.5}))
    with pytest.raises(DataError, match=r"id 290 at place 290 is not in a vocabulary of 290"):
        prepare_tokens(replace(mixture({shards: 0.5, f"{shards}/": 0.5}), vocab_size=290))


def test_names_on_the_hub_may_be_parts(parts):
    general, _ = parts
    settings = {"text_column": "body", "max_tokens": 7}
    found = part_configs(mixture({general: 0.5, "owner/set": 0.5}, **settings))["owner/set"]
    assert (found.name, found.path, found.text_column) == ("hf", "owner/set", "body")
    assert found.max_tokens == 7


def test_unknown_parts_are_refused():
    with pytest.raises(ValueError, match="wiki is neither enwik8 nor pubmed nor a path"):
        check_data(mixture({"wiki": 0.5, "enwik8": 0.5}))


@pytest.mark.long
def test_curation_reaches_every_part(parts, tmp_path):
    medical = [*parts][1]
    general = tmp_path / "general.jsonl"
    general.write_text("".join(json.dumps({"text": prose(WORDS, i)}) + "\n" for i in range(2000)))
    parts = {str(general): 0.5, medical: 0.5}
    data = prepare_tokens(mixture(parts, curation=CurationConfig(max_chars=330)))
    for part in data.parts:
        sizes = part.data.curation
        assert sizes["raw"] == sizes["kept"] + sizes["max_chars"]
        assert 0 < sizes["kept"] < sizes["raw"]
