import json
import random

import pytest

from scaling.data import corpora
from scaling.data.config import DataConfig
from scaling.data.corpora import load_corpus
from scaling.data.curation import (
    CurationConfig,
    Curator,
    check_curation,
    describe_curation,
    symbol_share,
)
from scaling.data.tokens import prepare_tokens

EXTRA = "pip install -e '.[curation]'"


def kept(documents, **rules):
    curator = Curator(CurationConfig(**rules))
    return list(curator.keep(documents)), curator.bytes


def test_all_rules_are_off_by_default():
    documents = ["", "a", "a", "%" * 99]
    assert kept(documents) == (documents, {"raw": 101, "kept": 101})


def test_lengths_and_symbols():
    documents = ["ab", "abcdef", "x" * 50, "a = {b: [c]}; d |= e"]
    found, sizes = kept(documents, min_chars=3, max_chars=40, max_symbols=0.2)
    assert found == ["abcdef"]
    assert sizes == {"raw": 78, "kept": 6, "min_chars": 2, "max_chars": 50, "max_symbols": 20}
    assert symbol_share("naïve, isn't it? ") == pytest.approx(1 / 17)


def test_of_equal_documents_the_first_is_kept():
    found, sizes = kept(["one two", "three", "one  two\n", "three!"], exact_duplicates=True)
    assert found == ["one two", "three", "three!"]
    assert sizes["exact_duplicates"] == 9


def test_near_duplicates_are_found():
    pytest.importorskip("datasketch", reason=EXTRA)
    rng = random.Random(0)
    originals = [" ".join(f"w{rng.randrange(5000)}" for _ in range(300)) for _ in range(40)]
    copies = [text.replace(text.split()[150], "changed", 1) for text in originals]
    others = [" ".join(f"w{rng.randrange(5000)}" for _ in range(300)) for _ in range(40)]
    found, sizes = kept([*originals, *copies, *others], near_duplicates=0.7)
    assert found == [*originals, *others]
    assert sizes["near_duplicates"] == sum(map(len, copies))


def test_of_two_splits_the_training_text_gives_way(monkeypatch):
    held_out = [f"{i} " * 6000 for i in range(3)]
    splits = {"train": [*(f"{i}  " * 6000 for i in range(9))], "valid": held_out[:1]}
    splits["test"] = held_out[1:]
    monkeypatch.setitem(corpora.LOADERS, "pubmed", lambda config, report: splits)
    plain = load_corpus(DataConfig(name="pubmed"))
    rules = CurationConfig(exact_duplicates=True)
    curated = load_corpus(DataConfig(name="pubmed", curation=rules))
    assert plain.curation == {} and curated.fingerprint != plain.fingerprint
    assert {split: len(texts) for split, texts in curated.splits.items()} == {
        "train": 6,
        "valid": 1,
        "test": 2,
    }
    said = describe_curation(curated.curation)
    assert said.startswith("curation kept 72.73% of 198,000 bytes") and "exact_duplicates" in said


def test_rows_are_curated_as_they_come(tmp_path):
    path = tmp_path / "rows.jsonl"
    texts = [f"{i} the loss falls as a power of {i} tokens " * 2 for i in range(800)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts * 2))
    config = DataConfig(name="hf", path=str(path), vocab_size=300)
    config.curation = CurationConfig(exact_duplicates=True)
    curated = prepare_tokens(config).curation
    assert curated == {"raw": 2 * curated["kept"], "kept": curated["kept"]} | {
        "exact_duplicates": curated["kept"]
    }


@pytest.mark.parametrize(
    "rules, message",
    [
        ({"min_chars": 0}, "data.curation.min_chars=0 must be at least 1"),
        ({"min_chars": 9, "max_chars": 8}, "min_chars=9 exceeds max_chars=8"),
        ({"max_symbols": 1.5}, r"data.curation.max_symbols=1.5 must be a share in \(0, 1\]"),
        ({"near_duplicates": 0.0}, "near_duplicates=0.0 must be a share"),
    ],
)
def test_impossible_rules_are_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        check_curation(CurationConfig(**rules))


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasketch", None)
    with pytest.raises(ValueError, match="near_duplicates needs datasketch: pip install"):
        check_curation(CurationConfig(near_duplicates=0.8))
