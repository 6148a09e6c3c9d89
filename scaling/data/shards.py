"""Shards: files of token ids as other programs write them, read in place and never held.

The formats: NumPy's .npy; a .bin of nothing but ids (its type is told); the .bin of llm.c and
modded-nanogpt, with a header of 256 int32; Megatron's .bin beside its .idx.
"""

import glob
import hashlib
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scaling.data.archives import Report
from scaling.errors import DataError

DTYPES = ("uint8", "uint16", "int32", "uint32", "int64")
HEADER_BYTES = 1024  # of llm.c: 256 int32, the first three magic, version and number of tokens
LLM_C = {(20240520, 1): "uint16", (20240801, 7): "uint32"}  # GPT-2's tokens; Llama 3's
MEGATRON = b"MMIDIDX\x00\x00"
MEGATRON_TYPES = {1: "uint8", 4: "int32", 5: "int64", 8: "uint16"}
SUFFIXES = (".npy", ".bin")
AT_ONCE = 2**16  # ids that `Stream` reads before it lets their pages go
BLOCK_BYTES = 2**24  # read at a time where all is read
SAMPLED = 64, 2**16  # blocks of each shard in its fingerprint, and bytes of each
COUNTED = 64, 2**18  # blocks of a split that stand for its frequencies, and tokens of each


@dataclass(frozen=True)
class Shard:
    """Where the ids of one file lie; crosses process borders."""

    path: str
    dtype: str
    offset: int  # bytes
    n_tokens: int

    def map(self) -> np.memmap:
        """Map the ids into memory, read-only."""
        return np.memmap(self.path, self.dtype, "r", self.offset, (self.n_tokens,))


class Stream:
    """Shards read as if they were one array; what was read does not stay in the process.

    Supports what training asks of an array: `len`, and indexing by an array of places or a slice.
    """

    def __init__(self, shards: Sequence[Shard]):
        self.shards = tuple(shards)
        self.starts = np.cumsum([0, *(shard.n_tokens for shard in shards)])
        self.dtype = np.result_type(*(np.dtype(shard.dtype) for shard in shards))
        self._maps: dict[int, np.memmap] = {}

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, places: np.ndarray | slice) -> np.ndarray:
        """Ids at these places, each in 0 .. len - 1: an array of the same shape."""
        if isinstance(places, slice):
            places = np.arange(*places.indices(len(self)))
        flat = np.asarray(places).ravel()
        ids = np.empty(flat.shape, self.dtype)
        for start in range(0, len(flat), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            owner = np.searchsorted(self.starts, flat[part], side="right") - 1
            for number in np.unique(owner).tolist():
                own, mapped = owner == number, self._map(number)
                ids[part][own] = mapped[flat[part][own] - self.starts[number]]
                release(mapped)
        return ids.reshape(np.shape(places))

    def _map(self, number: int) -> np.memmap:
        if number not in self._maps:
            self._maps[number] = self.shards[number].map()
            advise(self._maps[number], "MADV_RANDOM")
        return self._maps[number]


Ids = np.ndarray | Stream


def first_ids(ids: Ids, n: int) -> Ids:
    """The first n of the ids, still not in memory."""
    if isinstance(ids, np.ndarray):
        return ids[:n]
    left = np.clip(n - ids.starts[:-1], 0, None).tolist()
    cut = (
        replace(shard, n_tokens=min(shard.n_tokens, m))
        for shard, m in zip(ids.shards, left, strict=True)
    )
    return Stream([shard for shard in cut if shard.n_tokens])


def release(mapped: np.ndarray) -> None:
    """Let the pages of a memory map go: the file keeps them, this process need not."""
    advise(mapped, "MADV_DONTNEED")


def advise(mapped: np.ndarray, advice: str) -> None:
    """Tell the system how a memory map is used, where it listens."""
    held = getattr(mapped, "_mmap", None)
    if held is not None and hasattr(mmap, advice):
        held.madvise(getattr(mmap, advice))


def count_ids(ids: Ids, vocab_size: int) -> np.ndarray:
    """How often every id occurs: shape (vocab_size,), in 64 even blocks where there are many."""
    n_blocks, size = COUNTED
    starts = np.arange(0, len(ids), size)
    if len(starts) > n_blocks:
        starts = np.linspace(0, len(ids) - size, n_blocks).astype(int)
    counts = np.zeros(vocab_size, np.int64)
    for start in starts.tolist():
        counts += np.bincount(ids[start : start + size], minlength=vocab_size)
    return counts


def find_shards(pattern: str, dtype: str | None = None) -> list[Shard]:
    """Shards of a file, a folder or a glob pattern, in the order of their names.

    Raises
    ------
    ValueError
        Nothing is there, or the type of the ids is not told or not known.
    DataError
        A file is truncated, empty, or of another kind.
    """
    path = Path(pattern).expanduser()
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.suffix in SUFFIXES]
    else:
        files = [path] if path.is_file() else [Path(f) for f in sorted(glob.glob(str(path)))]
    if not files:
        raise ValueError(
            f"there are no shards at {pattern}; give a file, a pattern or a folder of {SUFFIXES}"
        )
    shards = [read_header(file.resolve(), dtype) for file in files]
    if not sum(shard.n_tokens for shard in shards):
        raise DataError(f"{pattern} holds no tokens; give shards that do")
    return [shard for shard in shards if shard.n_tokens]


def read_header(file: Path, dtype: str | None = None) -> Shard:
    """Find out what a file of token ids is; Raises as in `find_shards`."""
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"data.dtype={dtype!r} is no type of token ids; choose from {DTYPES}")
    size = file.stat().st_size
    if file.suffix == ".npy":
        found, offset, n_tokens = _read_npy(file)
    elif file.with_suffix(".idx").exists():
        found, offset, n_tokens = _read_megatron(file)
    elif (header := _read_llm_c(file)) is not None:
        found, offset, n_tokens = header
    elif dtype is None:
        raise ValueError(
            f"{file} has no header that is known; say what its ids are with data.dtype, {DTYPES}"
        )
    else:
        found, offset = dtype, 0
        n_tokens = -(-size // np.dtype(dtype).itemsize)
    if dtype is not None and dtype != found:
        raise ValueError(f"data.dtype={dtype!r}, but {file} says {found!r}; leave data.dtype out")
    if (expected := offset + n_tokens * np.dtype(found).itemsize) != size:
        raise DataError(
            f"{file} is truncated or damaged: {size:,} bytes where {n_tokens:,} ids of {found} "
            f"take {expected:,}; copy it again"
        )
    return Shard(str(file), found, offset, n_tokens)


def _read_npy(file: Path) -> tuple[str, int, int]:
    try:
        with file.open("rb") as opened:
            version = np.lib.format.read_magic(opened)
            read = {(1, 0): np.lib.format.read_array_header_1_0}
            shape, _, kind = read.get(version, np.lib.format.read_array_header_2_0)(opened)
            offset = opened.tell()
    except (ValueError, EOFError) as error:
        raise DataError(f"{file} is no whole .npy file ({error}); copy it again") from error
    if len(shape) != 1 or kind.name not in DTYPES or kind.byteorder == ">":
        raise DataError(f"{file} holds {kind} of shape {shape}; save ids of {DTYPES} in one row")
    return kind.name, offset, shape[0]


def _read_llm_c(file: Path) -> tuple[str, int, int] | None:
    header = np.fromfile(file, "<i4", 3)
    known = {magic for magic, _ in LLM_C}
    if len(header) < 3 or int(header[0]) not in known:
        return None
    magic, version, n_tokens = map(int, header)
    if (magic, version) not in LLM_C:
        raise DataError(f"{file}: version {version} of magic {magic} is unknown; known: {[*LLM_C]}")
    return LLM_C[magic, version], HEADER_BYTES, n_tokens


def _read_megatron(file: Path) -> tuple[str, int, int]:
    """Types and counts of the .idx; its last sequence tells how many ids there are."""
    index = file.with_suffix(".idx")
    with index.open("rb") as opened:
        head = opened.read(34)
    if len(head) < 34 or head[:9] != MEGATRON:
        raise DataError(f"{index} does not begin with {MEGATRON[:7]!r}: it is no index of Megatron")
    code, n_sequences = head[17], int.from_bytes(head[18:26], "little")
    if code not in MEGATRON_TYPES:
        raise DataError(f"{index}: ids of type {code} are unknown; known are {MEGATRON_TYPES}")
    if not n_sequences:
        return MEGATRON_TYPES[code], 0, 0
    itemsize = np.dtype(MEGATRON_TYPES[code]).itemsize
    ends = 34 + 4 * n_sequences, 34 + 12 * n_sequences  # of the lengths, of the pointers
    if index.stat().st_size < ends[1]:
        raise DataError(f"{index} is truncated: it lacks the places of its {n_sequences} sequences")
    length = np.fromfile(index, "<i4", 1, offset=ends[0] - 4)[0]
    pointer = np.fromfile(index, "<i8", 1, offset=ends[1] - 8)[0]
    return MEGATRON_TYPES[code], 0, int(pointer) // itemsize + int(length)


def check_ids(shards: Sequence[Shard], vocab_size: int, report: Report = lambda line: None) -> None:
    """Look at every id once; DataError names the first shard that has one beyond the vocabulary."""
    for number, shard in enumerate(shards, start=1):
        if np.iinfo(shard.dtype).max < vocab_size and np.iinfo(shard.dtype).min == 0:
            continue  # no id can be too large
        report(f"tokens: checking shard {number} of {len(shards)}, {Path(shard.path).name}")
        for place, block in _blocks(shard):
            if block.min() < 0 or block.max() >= vocab_size:
                where = int(((block < 0) | (block >= vocab_size)).argmax())
                raise DataError(
                    f"{shard.path}: id {block[where]} at place {place + where:,} is not in a "
                    f"vocabulary of {vocab_size:,}; correct data.vocab_size or the shard"
                )


def _blocks(shard: Shard) -> Iterator[tuple[int, np.ndarray]]:
    mapped, size = shard.map(), BLOCK_BYTES // np.dtype(shard.dtype).itemsize
    for start in range(0, shard.n_tokens, size):
        yield start, mapped[start : start + size]
        release(mapped)


def fingerprint(shards: Sequence[Shard]) -> str:
    """Hash of the shards' names, types and sizes, and of blocks spread evenly over each."""
    digest = hashlib.sha256()
    n_blocks, size = SAMPLED
    for shard in shards:
        name = Path(shard.path).name
        digest.update(f"{name} {shard.dtype} {shard.n_tokens}\n".encode())
        n_bytes = shard.n_tokens * np.dtype(shard.dtype).itemsize
        with open(shard.path, "rb") as file:
            for start in np.unique(np.linspace(0, max(0, n_bytes - size), n_blocks).astype(int)):
                file.seek(shard.offset + int(start))
                digest.update(file.read(size))
    return digest.hexdigest()
