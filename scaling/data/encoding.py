"""Rows of documents encoded once into shards; an interrupted encoding goes on at its last shard."""

import itertools
import json
import math
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from scaling.data.archives import Report
from scaling.data.config import DataConfig, open_tokenizer
from scaling.data.corpora import SPLITS, split_by_hash
from scaling.data.curation import Curator
from scaling.data.rows import FileRows, HubRows, find_files, open_rows
from scaling.data.tokenizer import (
    BATCH_BYTES,
    encode,
    find_separator,
    id_dtype,
    threads_now_not_after_a_fork,
    train_tokenizer,
)
from scaling.errors import DataError
from scaling.files import write_text
from scaling.quantities import format_quantity

SHARD_TOKENS = 100_000_000  # of training, at least, in every shard but the last
SAMPLE_BYTES = 2**26  # of text from the start, on which a tokenizer of our own is trained


@dataclass
class Progress:
    """How far an encoding is; on disk after every shard."""

    state: dict | None = None  # where the next row lies; None: at the start
    documents: int = 0  # kept of this source so far
    source: str = "train"  # what is being read: the held-out rows come first where they are given
    shards: dict[str, list] = field(default_factory=lambda: {split: [] for split in SPLITS})
    valid_bytes: int = 0  # of text
    curation: dict[str, int] | None = None
    finished: list[str] = field(default_factory=list)  # sources read to their end

    def count(self, split: str) -> int:
        """Tokens of a split so far."""
        return sum(shard[3] for shard in self.shards[split])


def encode_rows(config: DataConfig, folder: Path, report: Report) -> dict[str, Any]:
    """Encode all rows of a configuration into `folder`; fields of `TokenData`.

    Documents are held out by a hash of their text, so that one keeps its split whatever happens
    to the others, unless `config.valid` names rows to hold out. A folder that an interrupted call
    left is gone on with; rules against duplicates, which remember what they saw, are shown it
    again.

    Raises
    ------
    DataError
        The rows cannot be had, or a split is empty.
    """
    saved = folder / "progress.json"
    if not saved.exists():
        shutil.rmtree(folder)
        folder.mkdir()
    progress = Progress(**json.loads(saved.read_text())) if saved.exists() else Progress()
    with threads_now_not_after_a_fork():
        tokenizer = _keep_tokenizer(config, folder / "tokenizer.json", report)
        assert config.vocab_size is not None
        separator = find_separator(tokenizer, config.separator, config.vocab_size)
        assert separator is not None
        for source in ("valid", "train") if config.valid is not None else ("train",):
            if source not in progress.finished:
                progress.source = source
                _encode_source(config, folder, report, progress, tokenizer, separator)
                progress.state, progress.documents = None, 0
                progress.finished.append(source)
                _save(progress, folder)
    counts = {split: progress.count(split) for split in SPLITS}
    for split in ("train", "valid"):
        if not counts[split]:
            raise DataError(
                f"data.path={config.path}: its {split} split is empty; take more rows"
                + ("" if config.valid else ", or name rows to hold out with data.valid")
            )
    saved.unlink()
    return {f"n_{split}": n for split, n in counts.items()} | {
        "bytes_per_token": progress.valid_bytes / counts["valid"],
        "separator": separator,
        "shards": {split: shards for split, shards in progress.shards.items() if shards},
        "curation": progress.curation,
    }


def sample_documents(config: DataConfig) -> Iterator[str]:
    """First documents of the rows, `SAMPLE_BYTES` of text in all."""
    left = SAMPLE_BYTES
    for document in _open(config, "train", None):
        left -= len(document.encode())
        yield document
        if left <= 0:
            return


def _keep_tokenizer(config: DataConfig, path: Path, report: Report) -> Tokenizer:
    if path.exists():
        return open_tokenizer(str(path))
    tokenizer = find_tokenizer(config, sample_documents(config), report, " on the first documents")
    tokenizer.save(str(path))
    return tokenizer


def find_tokenizer(
    config: DataConfig, documents: Iterable[str], report: Report, where: str = ""
) -> Tokenizer:
    """The tokenizer that a configuration names, else one of its vocabulary, trained here."""
    if config.tokenizer is not None:
        return open_tokenizer(config.tokenizer)
    assert config.vocab_size is not None
    report(f"{config.name}: training a tokenizer of {config.vocab_size:,} tokens{where}")
    return train_tokenizer([*documents], config.vocab_size)


def _open(config: DataConfig, source: str, state: dict | None) -> FileRows | HubRows:
    path, split = config.path or "", config.split
    if source == "valid" and config.valid is not None:  # other files, or another split of the hub
        path, split = (config.valid, split) if find_files(config.valid) else (path, config.valid)
        if path == config.path and find_files(path):
            raise DataError(f"data.valid={config.valid}: there are no rows at it")
    hub: dict[str, Any] = {"split": split, "subset": config.subset, "revision": config.revision}
    return open_rows(path, config.text_column, **hub, state=state)


def _encode_source(
    config: DataConfig,
    folder: Path,
    report: Report,
    progress: Progress,
    tokenizer: Tokenizer,
    separator: int,
) -> None:
    remembers = config.curation.exact_duplicates or config.curation.near_duplicates is not None
    rows = _open(config, progress.source, None if remembers else progress.state)
    curator = Curator(config.curation)
    kept = (document for document in curator.keep(rows) if document.strip())
    if remembers:
        deque(itertools.islice(kept, progress.documents), maxlen=0)
    if progress.curation:
        curator.bytes = dict(progress.curation)
    most = config.max_tokens if progress.source == "train" else None
    pending: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    clock = _Clock(report, most, progress.count("train"))
    size, batches = 0, _batches(kept)
    for batch in itertools.chain(batches, [None]):
        progress.documents += len(batch or [])
        for split, documents in _split(batch or [], config, progress.source).items():
            pending[split].append(encode(tokenizer, documents, separator=separator))
            if split == "valid":
                progress.valid_bytes += sum(len(document.encode()) for document in documents)
        size = sum(map(len, pending["train"]))
        clock.tell(progress.count("train") + size, rows.share_done())
        ended = batch is None or (most is not None and progress.count("train") + size >= most)
        if ended or size >= SHARD_TOKENS:
            _write_shards(pending, folder, progress, most, tokenizer.get_vocab_size())
            progress.state = rows.state()
            progress.curation = dict(curator.bytes) if curator.rules else None
            _save(progress, folder)
        if ended:
            return


def _batches(documents: Iterator[str]) -> Iterator[list[str]]:
    batch, size = [], 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _split(batch: list[str], config: DataConfig, source: str) -> dict[str, list[str]]:
    if config.valid is not None:
        return {source: batch} if batch else {}
    found: dict[str, list[str]] = {}
    for document in batch:
        found.setdefault(split_by_hash(document), []).append(document)
    return found


def _write_shards(
    pending: dict[str, list[np.ndarray]],
    folder: Path,
    progress: Progress,
    most: int | None,
    vocab_size: int,
) -> None:
    """Write what waits, one shard a split; the training split ends at `most` tokens."""
    dtype = id_dtype(vocab_size)
    for split, arrays in pending.items():
        if not arrays:
            continue
        ids = np.concatenate(arrays)
        if split == "train" and most is not None:
            ids = ids[: most - progress.count("train")]
        file = folder / f"{split}-{len(progress.shards[split]):05d}.bin"
        ids.tofile(file)
        if len(ids):
            progress.shards[split].append([file.name, dtype.name, 0, len(ids)])
        arrays.clear()


def _save(progress: Progress, folder: Path) -> None:
    write_text(folder / "progress.json", json.dumps(vars(progress)))


class _Clock:
    """Lines of progress: tokens, speed, and how long it will take where that can be known."""

    def __init__(self, report: Report, most: int | None, before: int):
        self.report, self.most, self.before = report, most, before
        self.began, self.told, self.first_share = time.perf_counter(), 0.0, None

    def tell(self, tokens: int, share: float | None) -> None:
        """Report at most once a second."""
        now = time.perf_counter() - self.began
        if now - self.told < 1:
            return
        self.told, speed = now, (tokens - self.before) / now
        self.first_share = share if self.first_share is None else self.first_share
        left = math.inf
        if share is not None and share > (self.first_share or 0):
            left = now * (1 - share) / (share - (self.first_share or 0))
        if self.most is not None and speed:
            left = min(left, max(0, self.most - tokens) / speed)
        about = f", about {left / 60:.1f} min left" if math.isfinite(left) else ""
        done, rate = format_quantity(tokens), format_quantity(speed)
        self.report(f"hf: encoded {done} tokens, {rate} a second{about}")
