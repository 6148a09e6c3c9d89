"""Token ids: made once, kept in the user's cache, read as memory-mapped arrays."""

import fcntl
import hashlib
import itertools
import json
import math
import os
import shutil
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from scaling.data.archives import Report
from scaling.data.corpora import SPLITS, DataConfig, check_data, load_corpus
from scaling.data.plaintext import text_files
from scaling.data.synthetic import entropy_rate, synthetic_tokens, transition_matrix
from scaling.errors import DataError
from scaling.files import cache_folder

VERSION = 1  # bump by hand when cleaning, splitting, tokenising or drawing changes the ids
SEPARATOR = "<|endoftext|>"  # id 0, in front of every document
BATCH_BYTES = 1_000_000  # of text encoded at once; bounds memory
SYNTHETIC_HELD_OUT_TOKENS = 2**20 + 2**12  # the noise of a validation falls with its root


@dataclass(frozen=True)
class TokenData:
    """A corpus as token ids on disk; only paths and numbers, so it crosses process borders."""

    name: str
    vocab_size: int
    folder: Path
    n_train: int  # tokens
    n_valid: int  # tokens
    n_test: int  # tokens
    bytes_per_token: float  # valid split: bytes of text / tokens with separators; synthetic: nan
    entropy_rate: float  # nats/token, the lowest possible loss; nan where nobody knows it
    fingerprint: str  # sha256 of what determines the ids; free of paths

    @property
    def tokenizer_path(self) -> Path | None:
        """File that `load_tokenizer` reads; None for ids that never were text."""
        path = self.folder / "tokenizer.json"
        return path if path.exists() else None

    def load(self, split: str) -> np.ndarray:
        """Ids of one split, as a read-only memory map of `id_dtype`, shape (n_tokens,)."""
        if split not in SPLITS:
            raise ValueError(f"split={split!r} must be one of {SPLITS}")
        return np.load(self.folder / f"{split}.npy", mmap_mode="r")


def prepare_tokens(config: DataConfig, *, report: Report = lambda line: None) -> TokenData:
    """Token ids of a corpus: from the cache, or made and put there.

    The cache is keyed by what determines the ids (for data=text by the names, sizes and times of
    the files). Its folders appear under their name only when complete; of several processes that
    ask for the same ids one makes them and the others wait.

    Raises
    ------
    ValueError
        The configuration is impossible; see `check_data`.
    DataError
        The corpus cannot be had, is too small, or yields too few merges for the vocabulary.
    """
    check_data(config)
    key = _digest(_determinants(config))[:16]
    folder = cache_folder() / "tokens" / f"{config.name}-{config.vocab_size}-{key}"
    if not folder.exists():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"the cache folder {folder.parent} cannot be made ({error.strerror}); "
                "set SCALING_CACHE_DIR to a folder that can be written"
            ) from error
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # which ends with its process, however that ends
            if not folder.exists():
                _make(config, folder, report)
    meta = json.loads((folder / "meta.json").read_text())
    return TokenData(folder=folder, **meta)


def train_tokenizer(documents: Sequence[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE of at least 257 ids: 0 separates documents, then the bytes, then the merges.

    The same documents give the same tokenizer.

    Raises
    ------
    DataError
        The text has too few pairs to merge.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer, length=len(documents))
    if (n := tokenizer.get_vocab_size()) < vocab_size:
        raise DataError(
            f"the text yields a vocabulary of {n} tokens, not {vocab_size}: "
            f"set data.vocab_size={n} or give more text"
        )
    tokenizer.encode_special_tokens = True  # a document that spells the separator is only text
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer as `TokenData.tokenizer_path` has it; encoding is lossless."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode(
    tokenizer: Tokenizer,
    documents: Sequence[str],
    report: Report = lambda line: None,
    name: str = "text",
) -> np.ndarray:
    """Ids of documents in a row, each behind a separator: `id_dtype`, shape (n_tokens,)."""
    dtype, done, parts = id_dtype(tokenizer.get_vocab_size()), 0, []
    ends = itertools.accumulate(map(len, documents))
    numbered = zip((end // BATCH_BYTES for end in ends), documents, strict=True)
    for _, group in itertools.groupby(numbered, key=lambda pair: pair[0]):
        batch = [document for _, document in group]
        for encoding in tokenizer.encode_batch_fast(batch):
            parts.append(np.array([0, *encoding.ids], dtype))
        done += len(batch)
        report(f"{name}: encoded {done:,} of {len(documents):,} documents")
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def id_dtype(vocab_size: int) -> np.dtype:
    """Smallest unsigned type of 16 or 32 bits that holds every id."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


def _determinants(config) -> dict[str, Any]:
    """What determines the ids, without reading any text."""
    common = {"version": VERSION, "name": config.name, "vocab_size": config.vocab_size}
    if config.name == "synthetic":
        settings = asdict(config)
        return common | {k: v for k, v in settings.items() if k.startswith("synthetic_")}
    if config.name == "text":
        files = text_files(config.path)
        stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return common | {"files": stats}
    return common


def _digest(content):
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _make(config, folder, report):
    """Fill a folder beside the wanted one and rename it when it is complete."""
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)  # left by a killed process; we hold the lock
    part.mkdir()
    make = _synthetic_ids if config.name == "synthetic" else _text_ids
    ids, numbers = make(config, part, report)
    for split in SPLITS:
        np.save(part / f"{split}.npy", ids[split])
    meta = {f"n_{split}": len(ids[split]) for split in SPLITS} | numbers
    meta |= {"name": config.name, "vocab_size": config.vocab_size}
    (part / "meta.json").write_text(json.dumps(meta, indent=1))
    part.rename(folder)


def _synthetic_ids(config, part, report):
    report("synthetic: drawing tokens")
    streams = np.random.default_rng(config.synthetic_seed).spawn(1 + len(SPLITS))
    transitions = transition_matrix(
        config.vocab_size, config.synthetic_strength, config.synthetic_exponent, streams[0]
    )
    dtype = id_dtype(config.vocab_size)
    n_tokens = dict.fromkeys(SPLITS, SYNTHETIC_HELD_OUT_TOKENS)
    n_tokens["train"] = config.synthetic_train_tokens
    ids = {
        split: synthetic_tokens(n_tokens[split], transitions, rng).astype(dtype)
        for split, rng in zip(SPLITS, streams[1:], strict=True)
    }
    numbers = {
        "bytes_per_token": math.nan,
        "entropy_rate": entropy_rate(transitions),
        "fingerprint": _digest(_determinants(config)),
    }
    return ids, numbers


def _text_ids(config, part, report):
    corpus = load_corpus(config, report=report)
    with _threads_now_not_after_a_fork():
        report(f"{config.name}: training a tokenizer of {config.vocab_size:,} tokens")
        tokenizer = train_tokenizer(corpus.splits["train"], config.vocab_size)
        tokenizer.save(str(part / "tokenizer.json"))
        ids = {
            split: encode(tokenizer, documents, report, f"{config.name} {split}")
            for split, documents in corpus.splits.items()
        }
    n_bytes = sum(len(document.encode()) for document in corpus.splits["valid"])
    numbers = {
        "bytes_per_token": n_bytes / len(ids["valid"]),
        "entropy_rate": math.nan,
        "fingerprint": _digest([VERSION, corpus.fingerprint, config.vocab_size]),
    }
    return ids, numbers


@contextmanager
def _threads_now_not_after_a_fork():
    """Let the tokenizers library use threads here; forked children would warn or hang."""
    chosen = os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        yield
    finally:
        if chosen == "true":
            os.environ["TOKENIZERS_PARALLELISM"] = "false"
