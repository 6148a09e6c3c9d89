import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.data import tokenizer as tokenizer_module
from scaling.data import tokens
from scaling.data.corpora import DataConfig
from scaling.data.tokenizer import (
    SEPARATOR,
    encode,
    id_dtype,
    load_tokenizer,
    train_tokenizer,
)
from scaling.data.tokens import prepare_tokens
from scaling.errors import DataError

PROSE = [
    f"Document {i}: the loss falls as a power of {i**3} – naïve, isn't it?\n" for i in range(300)
]
TOKENIZER = train_tokenizer(PROSE, 400)
SYNTHETIC = DataConfig(name="synthetic", vocab_size=64, synthetic_train_tokens=20_000)


@pytest.fixture
def few_held_out(monkeypatch):
    monkeypatch.setattr(tokens, "SYNTHETIC_HELD_OUT_TOKENS", 20_000)


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(f"{i} {PROSE[i % 300]}" for i in range(7_000)))
    return DataConfig(name="text", path=str(path), vocab_size=300)


@given(st.text())
def test_encoding_is_lossless(text):
    ids = encode(TOKENIZER, [text])
    assert ids[0] == 0 and not (ids[1:] == 0).any()
    assert TOKENIZER.decode(ids[1:].tolist(), skip_special_tokens=False) == text


def test_a_spelled_separator_is_only_text():
    ids = encode(TOKENIZER, ["a<|endoftext|>b", "c"])
    assert (ids == 0).sum() == 2
    assert TOKENIZER.decode(ids[1:-2].tolist()) == "a<|endoftext|>b"


@settings(max_examples=20)
@given(st.lists(st.text(max_size=30), max_size=20), st.integers(1, 40))
def test_batches_do_not_change_the_ids(documents, batch_bytes):
    expected = encode(TOKENIZER, documents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer_module, "BATCH_BYTES", batch_bytes)
        np.testing.assert_array_equal(encode(TOKENIZER, documents), expected)


def test_training_a_tokenizer_is_deterministic():
    assert train_tokenizer(PROSE, 400).to_str() == TOKENIZER.to_str()
    assert TOKENIZER.get_vocab_size() == 400
    assert TOKENIZER.token_to_id(SEPARATOR) == 0
    assert train_tokenizer(["x"], 257).decode(list(range(1, 257))) is not None


def test_too_few_merges_are_refused():
    with pytest.raises(DataError, match=r"vocabulary of \d+ tokens, not 5000: set data.vocab_size"):
        train_tokenizer(["hello world"], 5000)


def test_text_is_prepared_once(book, tmp_path, monkeypatch):
    data = prepare_tokens(book)
    train = data.load("train")
    assert train.dtype == np.uint16 and not train.flags.writeable
    assert (len(train), len(data.load("test"))) == (data.n_train, data.n_test)
    assert data.tokenizer_path is not None
    tokenizer = load_tokenizer(data.tokenizer_path)
    valid = data.load("valid")
    text = tokenizer.decode(valid.tolist())
    assert data.bytes_per_token == pytest.approx(len(text.encode()) / data.n_valid, rel=1e-12)
    separated = tokenizer.decode(valid.tolist(), skip_special_tokens=False)
    again = encode(tokenizer, separated.split(SEPARATOR)[1:])
    np.testing.assert_array_equal(again, valid)
    monkeypatch.setattr(tokens, "load_corpus", None)  # the second call reads no text
    assert repr(prepare_tokens(book)) == repr(data)
    assert repr(pickle.loads(pickle.dumps(data))) == repr(data)  # nan is not equal to nan


def test_the_fingerprint_follows_the_content_not_the_file(book, tmp_path):
    first = prepare_tokens(book)
    path = tmp_path / "book.txt"
    os.utime(path, (1, 1))
    touched = prepare_tokens(book)
    assert touched.fingerprint == first.fingerprint and touched.folder != first.folder
    path.write_text(path.read_text().replace("power", "POWER"))
    assert prepare_tokens(book).fingerprint != first.fingerprint


def test_synthetic_ids():
    data = prepare_tokens(SYNTHETIC)
    assert data.n_train == 20_000 and data.n_valid > 2**18
    assert np.isnan(data.bytes_per_token) and 0 < data.entropy_rate < np.log(64)
    assert data.tokenizer_path is None
    shares = [np.bincount(data.load(split), minlength=64) / 2**20 for split in ("valid", "test")]
    np.testing.assert_allclose(*shares, atol=0.002)  # all splits speak one source
    assert not np.array_equal(data.load("valid")[:4000], data.load("test")[:4000])
    other = prepare_tokens(DataConfig(**{**vars(SYNTHETIC), "synthetic_seed": 1}))
    assert other.fingerprint != data.fingerprint


def test_what_determined_the_ids_of_our_records_still_does():
    """Run ids hold the fingerprint, and caches are found by the key."""
    keys = {"enwik8": "c94287356a593164", "pubmed": "9b30a1659252d08c"}
    for name, key in keys.items():
        config = DataConfig(name=name, vocab_size=1024)
        assert tokens.json_hash(tokens._determinants(config)).startswith(key)
    assert prepare_tokens(SYNTHETIC).fingerprint.startswith("57a8210e4901e0e1")


def test_interrupted_preparation_leaves_nothing_that_counts(cache, few_held_out, monkeypatch):
    def save_and_interrupt(path, ids, save=np.save):
        save(path, ids)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np, "save", save_and_interrupt)
        prepare_tokens(SYNTHETIC)
    assert [f.suffix for f in sorted((cache / "tokens").iterdir())] == [".lock", ".part"]
    assert prepare_tokens(SYNTHETIC).load("train").size == 20_000
    assert not list((cache / "tokens").glob("*.part"))


@pytest.mark.long
def test_of_two_processes_one_prepares():
    program = (
        "from scaling.data.corpora import DataConfig\n"
        "from scaling.data.tokens import prepare_tokens\n"
        "config = DataConfig(name='synthetic', vocab_size=128, synthetic_train_tokens=500_000)\n"
        "data = prepare_tokens(config, report=print)\n"
        "print(data.load('train').sum())\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate()[0].split("\n")[:-1] for process in both]
    assert outputs[0][-1] == outputs[1][-1]
    assert sorted(len(lines) for lines in outputs) == [1, 2]


def test_impossible_configurations_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"data.name='enwik9' is unknown; choose from \['enwik8'"):
        prepare_tokens(DataConfig(name="enwik9"))
    with pytest.raises(ValueError, match="vocab_size=256 must be at least 257"):
        prepare_tokens(DataConfig(vocab_size=256))
    with pytest.raises(ValueError, match=r"data.path is read by data=text.tokens.hf only"):
        prepare_tokens(DataConfig(path="/somewhere"))
    with pytest.raises(ValueError, match="synthetic_strength=0 must be a number"):
        prepare_tokens(DataConfig(name="synthetic", synthetic_strength=0))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCALING_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(DataError, match="set SCALING_CACHE_DIR to a folder that can be written"):
        prepare_tokens(SYNTHETIC)
    with pytest.raises(ValueError, match="split='val' must be one of"):
        tokens.TokenData("", 2, tmp_path, 0, 0, 0, 0.0, 0.0, "").load("val")


def test_ids_take_as_few_bytes_as_hold_them():
    assert id_dtype(65_536) == np.uint16 and id_dtype(65_537) == np.uint32


def flip(path):
    """Change the lowest bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a bit of train.npy": lambda folder: flip(folder / "train.npy"),
    "the last id of valid.npy": lambda folder: (folder / "valid.npy").write_bytes(
        (folder / "valid.npy").read_bytes()[:-2]
    ),
    "meta.json": lambda folder: (folder / "meta.json").write_text("{}"),
    "no test.npy": lambda folder: (folder / "test.npy").unlink(),
    "no seals": lambda folder: (folder / "seals.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_ids_that_are_not_what_was_written_are_made_again(damage, few_held_out):
    first = prepare_tokens(SYNTHETIC)
    ids = {split: first.load(split)[:].copy() for split in ("train", "valid")}
    damage(first.folder)
    lines = []
    again = prepare_tokens(SYNTHETIC, report=lines.append)
    assert again == first
    for split, expected in ids.items():
        np.testing.assert_array_equal(again.load(split), expected)
    aside = first.folder.with_name(f"{first.folder.name}.damaged")
    assert aside.is_dir() and f"kept as {aside.name}, and made again" in lines[0]
    assert prepare_tokens(SYNTHETIC, report=lines.append) == first and len(lines) == 2


def test_shards_that_changed_behind_their_dates_are_refused(tmp_path):
    for name, n in (("train", 50_000), ("valid", 9_000)):
        np.save(tmp_path / f"{name}.npy", (np.arange(n) ** 2 % 60).astype(np.uint16))
    train, valid = (str(tmp_path / f"{name}.npy") for name in ("train", "valid"))
    config = DataConfig(name="tokens", path=train, valid=valid, vocab_size=64)
    prepare_tokens(config)
    before = os.stat(train)
    flip(tmp_path / "train.npy")
    os.utime(train, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match="are not what they were, though their sizes and times"):
        prepare_tokens(config)
