"""A prepared corpus: where the ids of its splits lie, and what is known of them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scaling.data.corpora import SPLITS
from scaling.data.order import Mixture
from scaling.data.shards import Ids, Shard, Stream, first_ids


@dataclass(frozen=True)
class TokenData:
    """A corpus as token ids on disk; only paths and numbers, so it crosses process borders."""

    name: str
    vocab_size: int
    folder: Path
    n_train: int  # tokens
    n_valid: int  # tokens; of a mixture those of its smallest part
    n_test: int  # tokens
    bytes_per_token: float  # valid split: bytes of text / tokens with separators; synthetic: nan
    entropy_rate: float  # nats/token, the lowest possible loss; nan where nobody knows it
    fingerprint: str  # sha256 of what determines the ids; free of paths
    separator: int | None = 0  # id between documents; None: not known
    shards: dict[str, list] | None = None  # split -> fields of `Shard`; None: a .npy per split
    parts: tuple["Part", ...] = ()  # of a mixture
    curation: dict[str, int] | None = None  # bytes of text: raw, kept, left out by each rule

    @property
    def tokenizer_path(self) -> Path | None:
        """File that `load_tokenizer` reads; None for ids that never were text."""
        path = self.folder / "tokenizer.json"
        return path if path.exists() else None

    def load(self, split: str) -> Ids | Mixture:
        """Ids of one split: a read-only memory map of shape (n_tokens,), a stream or a mixture."""
        if split not in SPLITS:
            raise ValueError(f"split={split!r} must be one of {SPLITS}")
        if self.parts:
            shares = tuple(part.share for part in self.parts)
            return Mixture(tuple(part.load(split) for part in self.parts), shares)
        if self.shards is None:
            return np.load(self.folder / f"{split}.npy", mmap_mode="r")
        if not self.shards.get(split):
            raise ValueError(f"split={split!r}: data={self.name} has none")
        shards = (Shard(*fields) for fields in self.shards[split])
        return Stream([replace(s, path=str(self.folder / s.path)) for s in shards])

    def load_alone(self, split: str) -> Ids:
        """Ids of one split of a corpus; ValueError if it is a mixture."""
        ids = self.load(split)
        if isinstance(ids, Mixture):
            raise ValueError(
                f"data={self.name} has several parts; judge a model on data.parts[i].data"
            )
        return ids


@dataclass(frozen=True)
class Part:
    """One corpus of a mixture."""

    name: str
    share: float  # of the windows
    n_train: int  # unique tokens in use, from the start of the split
    data: TokenData

    def load(self, split: str) -> Ids:
        """Ids of one split; of the training split those in use."""
        ids = self.data.load(split)
        assert not isinstance(ids, Mixture)  # no part is one
        return first_ids(ids, self.n_train) if split == "train" else ids
