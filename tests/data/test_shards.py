import struct

import numpy as np
import pytest

from scaling.data import shards as module
from scaling.data.config import DataConfig, check_data
from scaling.data.shards import (
    Shard,
    Stream,
    check_ids,
    count_ids,
    find_shards,
    fingerprint,
    first_ids,
)
from scaling.data.tokenizer import SEPARATOR, train_tokenizer
from scaling.data.tokens import prepare_tokens
from scaling.errors import DataError

IDS = np.arange(5000) * 7 % 600


def write_llm_c(path, ids, magic=20240520, version=1, dtype=np.uint16):
    header = np.zeros(256, np.int32)
    header[:3] = magic, version, len(ids)
    path.write_bytes(header.tobytes() + ids.astype(dtype).tobytes())
    return path


def write_megatron(path, ids, dtype=np.uint16, code=8, n_sequences=10):
    """As Megatron's indexed_dataset.py: the documents are the sequences."""
    lengths = np.full(n_sequences, len(ids) // n_sequences, np.int32)
    pointers = np.cumsum([0, *lengths[:-1]]) * np.dtype(dtype).itemsize
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, n_sequences, n_sequences + 1)
    ends = np.arange(n_sequences + 1, dtype=np.int64)
    path.with_suffix(".idx").write_bytes(
        head + lengths.tobytes() + pointers.astype(np.int64).tobytes() + ends.tobytes()
    )
    path.write_bytes(ids.astype(dtype).tobytes())
    return path


def write_npy(path, ids, dtype=np.uint16):
    np.save(path, ids.astype(dtype))
    return path


def write_raw(path, ids, dtype=np.uint16):
    path.write_bytes(ids.astype(dtype).tobytes())
    return path


WRITERS = {  # format -> what writes it, what its name ends with, what must be told
    "npy": (write_npy, "npy", None),
    "raw": (write_raw, "bin", "uint16"),
    "llm.c": (write_llm_c, "bin", None),
    "megatron": (write_megatron, "bin", None),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_is_read_in_place(kind, tmp_path):
    write, suffix, dtype = WRITERS[kind]
    write(tmp_path / f"a.{suffix}", IDS[:3000])
    write(tmp_path / f"b.{suffix}", IDS[3000:])
    for pattern in (tmp_path, tmp_path / f"*.{suffix}"):
        stream = Stream(find_shards(str(pattern), dtype))
        assert (len(stream), stream.dtype) == (5000, np.uint16)
        np.testing.assert_array_equal(stream[:], IDS)
        places = np.random.default_rng(0).integers(0, 5000, (30, 11))
        np.testing.assert_array_equal(stream[places], IDS[places])
        np.testing.assert_array_equal(first_ids(stream, 3001)[:], IDS[:3001])
        np.testing.assert_array_equal(first_ids(stream, 30)[20:99], IDS[20:30])


def test_wider_ids_are_read_too(tmp_path):
    ids = IDS + 100_000
    write_llm_c(tmp_path / "a.bin", ids, 20240801, 7, np.uint32)
    write_megatron(tmp_path / "b.bin", ids, np.int32, 4)
    write_npy(tmp_path / "c.npy", ids, np.int64)
    np.testing.assert_array_equal(Stream(find_shards(str(tmp_path)))[:], np.tile(ids, 3))


def test_many_ids_are_counted_in_blocks(tmp_path, monkeypatch):
    write_npy(tmp_path / "a.npy", IDS)
    stream = Stream(find_shards(str(tmp_path)))
    np.testing.assert_array_equal(count_ids(stream, 600), np.bincount(IDS, minlength=600))
    monkeypatch.setattr(module, "COUNTED", (4, 600))
    assert count_ids(stream, 600).tolist() == [4] * 600


def test_fingerprints_follow_names_sizes_and_content(tmp_path):
    path = write_npy(tmp_path / "a.npy", IDS)
    first = fingerprint(find_shards(str(path)))
    assert fingerprint(find_shards(str(path))) == first
    other = IDS.copy()
    other[-1] += 1
    assert fingerprint(find_shards(str(write_npy(path, other)))) != first
    assert fingerprint(find_shards(str(write_npy(tmp_path / "b.npy", IDS)))) != first
    assert fingerprint(find_shards(str(write_npy(path, IDS[:-1])))) != first


@pytest.mark.parametrize("kind", WRITERS)
def test_a_truncated_shard_is_refused(kind, tmp_path):
    write, suffix, dtype = WRITERS[kind]
    path = write(tmp_path / f"a.{suffix}", IDS)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"a.{suffix} is truncated or damaged: .* copy it again"):
        find_shards(str(path), dtype)


def test_files_that_are_no_shards_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there are no shards at .*nowhere"):
        find_shards(str(tmp_path / "nowhere"))
    raw = write_raw(tmp_path / "raw.bin", IDS)
    with pytest.raises(ValueError, match=r"raw.bin has no header that is known; say .* data.dtype"):
        find_shards(str(raw))
    with pytest.raises(ValueError, match=r"data.dtype='float16' is no type of token ids"):
        find_shards(str(raw), "float16")
    npy = write_npy(tmp_path / "a.npy", IDS)
    with pytest.raises(ValueError, match=r"data.dtype='int32', but .*a.npy says 'uint16'"):
        find_shards(str(npy), "int32")
    for content, message in [
        (b"nonsense", r"is no whole .npy file"),
        (b"", r"is no whole .npy file"),
    ]:
        npy.write_bytes(content)
        with pytest.raises(DataError, match=message):
            find_shards(str(npy))
    np.save(npy, np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"holds float64 of shape \(2, 2\); save ids"):
        find_shards(str(npy))
    with pytest.raises(DataError, match=r"version 9 of magic 20240520 is unknown"):
        find_shards(str(write_llm_c(tmp_path / "v.bin", IDS, version=9)))
    with pytest.raises(DataError, match=r"holds no tokens; give shards that do"):
        find_shards(str(write_llm_c(tmp_path / "e.bin", IDS[:0])))
    path = write_megatron(tmp_path / "m.bin", IDS)
    index = path.with_suffix(".idx").read_bytes()
    for content, message in [
        (index[:100], "m.idx is truncated"),
        (index[:17] + b"\x07" + index[18:], "ids of type 7 are unknown"),
        (b"x" + index[1:], "does not begin with b'MMIDIDX'"),
    ]:
        path.with_suffix(".idx").write_bytes(content)
        with pytest.raises(DataError, match=message):
            find_shards(str(path))


@pytest.mark.parametrize("bad, dtype", [(600, np.uint16), (-1, np.int32)])
def test_ids_beyond_the_vocabulary_are_refused(bad, dtype, tmp_path):
    ids = IDS.copy()
    ids[4321] = bad
    found = find_shards(str(write_npy(tmp_path / "a.npy", ids, dtype)))
    message = rf"a.npy: id {bad} at place 4,321 is not in a vocabulary of 600; correct"
    with pytest.raises(DataError, match=message):
        check_ids(found, 600)
    check_ids([Shard("never opened", "uint16", 0, 1)], 2**16)


@pytest.fixture
def shards(tmp_path):
    for name, ids in [("train_0", IDS), ("train_1", IDS), ("valid_0", IDS[:999])]:
        write_llm_c(tmp_path / f"{name}.bin", ids)
    return {"path": str(tmp_path / "train_*.bin"), "valid": str(tmp_path / "valid_*.bin")}


def test_shards_are_prepared_without_a_copy(shards, cache):
    config = DataConfig(name="tokens", vocab_size=600, separator="599", **shards)
    data = prepare_tokens(config)
    assert (data.n_train, data.n_valid, data.n_test) == (10_000, 999, 0)
    assert data.separator == 599 and np.isnan(data.bytes_per_token)
    np.testing.assert_array_equal(data.load("train")[:], np.tile(IDS, 2))
    with pytest.raises(ValueError, match=r"split='test': data=tokens has none"):
        data.load("test")
    assert sum(f.stat().st_size for f in cache.rglob("*") if f.is_file()) < 3000
    again = prepare_tokens(config)
    assert again.fingerprint == data.fingerprint


def test_vocabulary_and_separator_are_read_from_a_tokenizer(shards, tmp_path):
    tokenizer = train_tokenizer(["some text, and some more text of the text"] * 9, 257)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ids = np.array(tokenizer.encode("text and more").ids * 99)
    for name in ("train_0", "train_1", "valid_0"):
        write_llm_c(tmp_path / f"{name}.bin", ids)
    data = prepare_tokens(DataConfig(name="tokens", tokenizer=str(tmp_path), **shards))
    assert (data.vocab_size, data.separator) == (257, tokenizer.token_to_id(SEPARATOR))
    assert data.tokenizer_path is not None and data.bytes_per_token == pytest.approx(1)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"valid": None}, "data=tokens needs data.valid"),
        ({"path": None}, "data=tokens needs data.path"),
        ({"vocab_size": None}, "give data.vocab_size or data.tokenizer"),
        ({"separator": "600"}, "data.separator='600' is no token or id of a vocabulary of 600"),
        ({"dtype": "uint32"}, "data.dtype='uint32', but .* says 'uint16'"),
        ({"tokenizer": "/no/such.json"}, "there is no such file"),
        (
            {"max_tokens": 3},
            r"data.max_tokens is read by data=hf\|mixture only; data.name is 'tokens'",
        ),
    ],
)
def test_impossible_shards_are_refused(changes, message, shards):
    settings = {"name": "tokens", "vocab_size": 600, **shards} | changes
    with pytest.raises((ValueError, DataError), match=message):
        prepare_tokens(DataConfig(**settings))


def test_held_out_shards_are_not_trained_on(shards):
    both = {**shards, "valid": shards["path"].replace("*", "1")}
    with pytest.raises(ValueError, match=r"train_1.bin is in data.path and in data.valid"):
        check_data(DataConfig(name="tokens", vocab_size=600, **both))
