import gzip
import importlib
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from scaling.data import encoding
from scaling.data.config import DataConfig
from scaling.data.rows import HubRows, find_files, open_rows, read_column
from scaling.data.tokenizer import load_tokenizer, train_tokenizer
from scaling.data.tokens import prepare_tokens
from scaling.errors import DataError

DOCUMENTS = [
    f"Document {i}: the loss falls as a power of {i**3}, and so on. " * 2 for i in range(1200)
]
EXTRA = "pip install -e '.[hf]'"


def write_jsonl(path, documents=DOCUMENTS, column="text"):
    lines = "".join(json.dumps({"id": i, column: d}) + "\n" for i, d in enumerate(documents))
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(lines)
    return path


@pytest.fixture
def rows(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    write_jsonl(folder / "a.jsonl", DOCUMENTS[:700])
    write_jsonl(folder / "b.jsonl.gz", DOCUMENTS[700:])
    return DataConfig(name="hf", path=str(folder), vocab_size=300)


def texts(data, split):
    tokenizer = load_tokenizer(data.tokenizer_path)
    text = tokenizer.decode(data.load(split)[:].tolist(), skip_special_tokens=False)
    return text.split("<|endoftext|>")[1:]


def test_rows_are_encoded_once_and_lose_nothing(rows, monkeypatch):
    lines = []
    data = prepare_tokens(rows, report=lines.append)
    found = {split: texts(data, split) for split in ("train", "valid", "test")}
    assert sorted(text for texts_of in found.values() for text in texts_of) == sorted(DOCUMENTS)
    assert all(8 < len(found[split]) < 60 for split in ("valid", "test"))
    n_bytes = sum(len(document.encode()) for document in found["valid"])
    assert data.bytes_per_token == pytest.approx(n_bytes / data.n_valid)
    monkeypatch.setattr("scaling.data.tokens.encode_rows", None)  # not called again
    assert prepare_tokens(rows).fingerprint == data.fingerprint


@pytest.mark.parametrize("twice", [False, pytest.param(True, marks=pytest.mark.long)])
def test_an_interrupted_encoding_goes_on_at_its_last_shard(
    twice, rows, cache, tmp_path, monkeypatch
):
    if twice:  # the rule is shown again what it saw
        write_jsonl(tmp_path / "rows" / "c.jsonl", DOCUMENTS[::2])
        rows.curation.exact_duplicates = True
    monkeypatch.setattr(encoding, "BATCH_BYTES", 4_000)
    monkeypatch.setattr(encoding, "SHARD_TOKENS", 4_000)
    whole = prepare_tokens(rows)
    assert len(whole.shards["train"]) > 5
    monkeypatch.setenv("SCALING_CACHE_DIR", str(cache / "other"))
    encoded, real = [], encoding.encode

    def interrupted(tokenizer, documents, **options):
        encoded.extend(documents)
        if len(encoded) > 700:
            raise KeyboardInterrupt
        return real(tokenizer, documents, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(encoding, "encode", interrupted)
        prepare_tokens(rows)
    before = len(encoded)
    monkeypatch.setattr(
        encoding, "encode", lambda t, d, **o: (encoded.extend(d), real(t, d, **o))[1]
    )
    again = prepare_tokens(rows)
    assert len(encoded) - before < 800  # the rest, and not all of it twice
    assert (again.fingerprint, again.curation) == (whole.fingerprint, whole.curation)
    for split in ("train", "valid", "test"):
        np.testing.assert_array_equal(again.load(split)[:], whole.load(split)[:])


def test_progress_says_how_long_it_will_take(monkeypatch):
    now, lines = iter([0.0, 0.5, 10.0, 20.0]), []
    monkeypatch.setattr(encoding.time, "perf_counter", lambda: next(now))
    clock = encoding._Clock(lines.append, 100_000_000, before=1_000_000)
    clock.tell(2_000_000, None)  # too soon
    clock.tell(21_000_000, 0.1)
    clock.tell(41_000_000, 0.2)  # 10 % of the files in 10 s, by which 80 % take 160 s
    assert lines == [
        "hf: encoded 21M tokens, 2M a second, about 0.7 min left",
        "hf: encoded 41M tokens, 2M a second, about 0.5 min left",
    ]


def test_training_ends_at_max_tokens(rows):
    rows.max_tokens = 12_345
    data = prepare_tokens(rows)
    assert data.n_train == 12_345 == len(data.load("train"))


def test_held_out_rows_may_be_named(rows, tmp_path):
    rows.valid = str(write_jsonl(tmp_path / "held.jsonl", DOCUMENTS[:100]))
    rows.path = str(tmp_path / "rows" / "b*")
    data = prepare_tokens(rows)
    assert texts(data, "valid") == DOCUMENTS[:100] and texts(data, "train") == DOCUMENTS[700:]
    assert data.n_test == 0


def test_a_foreign_tokenizer_names_its_own_separator(rows, tmp_path):
    tokenizer = train_tokenizer(DOCUMENTS[:50], 280)
    path = tmp_path / "foreign.json"
    path.write_text(tokenizer.to_str().replace("<|endoftext|>", "<stop>"))
    rows.tokenizer, rows.vocab_size = str(path), None
    with pytest.raises(ValueError, match=r"has none of .*data.separator=TOKEN"):
        prepare_tokens(rows)
    rows.separator = "<stop>"
    data = prepare_tokens(rows)
    assert (data.vocab_size, data.separator) == (280, 0)
    rows.vocab_size = 270
    with pytest.raises(
        ValueError, match=r"data.vocab_size=270, but .*foreign.json has ids up to 279"
    ):
        prepare_tokens(rows)


def test_bad_rows_are_refused_by_name(rows, tmp_path):
    file = tmp_path / "rows" / "a.jsonl"
    rows.text_column = "content"
    with pytest.raises(
        DataError, match=r"data.text_column='content' is no column of .*\['id', 'text'\]"
    ):
        prepare_tokens(rows)
    rows.text_column = "id"
    with pytest.raises(DataError, match=r"'id' of .* holds int, not text"):
        prepare_tokens(rows)
    rows.text_column = "text"
    file.write_text(file.read_text() + '{"text": ')
    with pytest.raises(DataError, match=r"a.jsonl, line 701, is no JSON"):
        prepare_tokens(rows)
    write_jsonl(file, DOCUMENTS[:1])
    rows.path, rows.vocab_size = str(file), 257
    with pytest.raises(DataError, match=r"its valid split is empty; take more rows"):
        prepare_tokens(rows)
    with pytest.raises(ValueError, match=r"there are no rows at /nowhere"):
        prepare_tokens(DataConfig(name="hf", path="/nowhere"))
    with pytest.raises(ValueError, match=r"data=hf needs data.path"):
        prepare_tokens(DataConfig(name="hf"))
    with pytest.raises(ValueError, match=r"data.max_tokens=0 must be at least 1"):
        prepare_tokens(DataConfig(name="hf", path="x/y", max_tokens=0))


class FakeStream:
    """What we ask of a streamed data set of the library."""

    column_names = ("text",)

    def __init__(self):
        self.done = 0

    def __iter__(self):
        for i in range(self.done, len(DOCUMENTS)):
            self.done = i + 1
            yield {"text": DOCUMENTS[i]}

    def state_dict(self):
        return {"done": self.done}

    def load_state_dict(self, state):
        self.done = state["done"]


def test_a_name_is_streamed_from_the_hub(monkeypatch):
    asked = []

    def load_dataset(path, name, *, split, revision, streaming):
        asked.append((path, name, split, revision, streaming))
        return FakeStream()

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    config = DataConfig(name="hf", path="owner/corpus", subset="small", vocab_size=300)
    data = prepare_tokens(config)
    assert set(asked) == {("owner/corpus", "small", "train", None, True)}
    assert prepare_tokens(replace(config, revision="c0ffee")).folder != data.folder
    assert ("owner/corpus", "small", "train", "c0ffee", True) in asked
    assert sum(len(texts(data, split)) for split in ("train", "valid", "test")) == 1200
    rows = open_rows("owner/corpus", "text", split="train", subset=None, state={"done": 1190})
    assert list(rows) == DOCUMENTS[1190:] and rows.state() == {"done": 1200}
    with pytest.raises(DataError, match=r"'body' is no column of the data set; choose from"):
        HubRows(FakeStream(), "body")


@pytest.mark.long
def test_without_the_hub_the_way_out_is_said(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("Couldn't reach 'owner/corpus' on the Hub")

    config = DataConfig(name="hf", path="owner/corpus", vocab_size=300)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=refuse))
    with pytest.raises(DataError, match=r"Couldn't reach .* fetch its Parquet .* data.path=FOLDER"):
        prepare_tokens(config)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"owner/corpus is no local file, and the hub needs pip"):
        prepare_tokens(config)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    config.tokenizer = "owner/corpus"
    with pytest.raises(DataError, match=r"resolve/main/tokenizer.json where there is a network"):
        prepare_tokens(config)


def test_parquet_and_arrow_are_read_as_json_lines_are(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow", reason=EXTRA)
    parquet, ipc = (importlib.import_module(f"pyarrow.{name}") for name in ("parquet", "ipc"))
    table = pyarrow.table({"id": range(1200), "text": DOCUMENTS})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=300)
    for name, new in (("b.arrow", ipc.new_file), ("c.arrow", ipc.new_stream)):
        with new(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table, max_chunksize=500)
    write_jsonl(tmp_path / "d.jsonl")
    files = find_files(str(tmp_path))
    assert [file.name for file in files] == ["a.parquet", "b.arrow", "c.arrow", "d.jsonl"]
    for file in files:
        assert list(read_column(file, "text")) == DOCUMENTS
    data = prepare_tokens(DataConfig(name="hf", path=str(files[0]), vocab_size=300))
    assert sum(len(texts(data, split)) for split in ("train", "valid", "test")) == 1200
    with pytest.raises(
        DataError, match=r"'body' is no column of .*a.parquet; it has \['id', 'text'"
    ):
        list(read_column(files[0], "body"))
    files[0].write_bytes(files[0].read_bytes()[:-100])
    with pytest.raises(DataError, match=r"a.parquet is damaged or of another kind"):
        list(read_column(files[0], "text"))


@pytest.mark.long
def test_the_library_goes_on_where_it_was(tmp_path):
    datasets = pytest.importorskip("datasets", reason=EXTRA)
    write_jsonl(tmp_path / "a.jsonl", DOCUMENTS[:700])
    write_jsonl(tmp_path / "b.jsonl", DOCUMENTS[700:])
    files = [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    options = dict(data_files=files, split="train", streaming=True, cache_dir=str(tmp_path / "c"))
    rows = HubRows(datasets.load_dataset("json", **options), "text")
    reading = iter(rows)
    first = [next(reading) for _ in range(800)]
    state = json.loads(json.dumps(rows.state()))
    rest = HubRows(datasets.load_dataset("json", **options), "text", state)
    assert first + list(rest) == DOCUMENTS
