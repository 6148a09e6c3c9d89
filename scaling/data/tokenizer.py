"""Tokenizers: trained here or read from a file, and text encoded by them."""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from scaling.data.archives import Report
from scaling.errors import DataError

SEPARATOR = "<|endoftext|>"  # of our own tokenizers: id 0, in front of every document
SEPARATORS = (SEPARATOR, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[SEP]")  # of others
BATCH_BYTES = 1_000_000  # of text encoded at once; bounds memory


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
    separator: int = 0,
) -> np.ndarray:
    """Ids of documents in a row, each behind a separator: `id_dtype`, shape (n_tokens,)."""
    dtype, done, parts = id_dtype(tokenizer.get_vocab_size()), 0, []
    ends = itertools.accumulate(map(len, documents))
    numbered = zip((end // BATCH_BYTES for end in ends), documents, strict=True)
    for _, group in itertools.groupby(numbered, key=lambda pair: pair[0]):
        batch = [document for _, document in group]
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            parts.append(np.array([separator, *encoding.ids], dtype))
        done += len(batch)
        report(f"{name}: encoded {done:,} of {len(documents):,} documents")
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def id_dtype(vocab_size: int) -> np.dtype:
    """Smallest unsigned type of 16 or 32 bits that holds every id."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


def find_separator(tokenizer: Tokenizer | None, wanted: str | None, vocab_size: int) -> int | None:
    """Id that stands between documents: as wanted (a token, or an id), or the first that is known.

    Returns
    -------
    int; None where nothing is wanted and there is no tokenizer to look into

    Raises
    ------
    ValueError
        The vocabulary has no such token, or none that is known to separate.
    """
    known = {} if tokenizer is None else tokenizer.get_vocab()
    if wanted is None and tokenizer is None:
        return None
    if wanted is None:
        found = [known[token] for token in SEPARATORS if token in known]
        if not found:
            raise ValueError(
                f"the tokenizer has none of {SEPARATORS}; name its end of a document: "
                "data.separator=TOKEN"
            )
        return found[0]
    if wanted in known:
        return known[wanted]
    if not wanted.isdecimal() or int(wanted) >= vocab_size:
        raise ValueError(
            f"data.separator={wanted!r} is no token or id of a vocabulary of {vocab_size:,}"
        )
    return int(wanted)


@contextmanager
def threads_now_not_after_a_fork() -> Iterator[None]:
    """Let the tokenizers library use threads here; forked children would warn or hang."""
    chosen = os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        yield
    finally:
        if chosen == "true":
            os.environ["TOKENIZERS_PARALLELISM"] = "false"
