"""Which documents of a corpus are left out, and what share was kept."""

import hashlib
import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from scaling.errors import check_range

SHINGLE = 5  # words whose sets are compared
PERMUTATIONS = 128  # of MinHash: similarities are estimated to about 1/sqrt(128) = 0.09


@dataclass
class CurationConfig:
    """Rules by which documents are left out; all off by default, applied in this order."""

    min_chars: int | None = None  # shorter documents go
    max_chars: int | None = None  # longer ones too
    max_symbols: float | None = None  # share of characters neither letter, digit, space nor .,;:'"-
    exact_duplicates: bool = False  # keep the first of equal documents, blanks left out of account
    near_duplicates: float | None = None  # Jaccard similarity from which a document is a copy


def check_curation(config: CurationConfig) -> None:
    """Refuse impossible rules; ValueError names them."""
    for name in ("min_chars", "max_chars"):
        check_range(f"data.curation.{name}", getattr(config, name), 1)
    for name in ("max_symbols", "near_duplicates"):
        if (value := getattr(config, name)) is not None and not 0 < value <= 1:
            raise ValueError(f"data.curation.{name}={value} must be a share in (0, 1]")
    if (config.min_chars or 1) > (config.max_chars or config.min_chars or 1):
        raise ValueError(
            f"data.curation: min_chars={config.min_chars} exceeds max_chars={config.max_chars}"
        )
    if config.near_duplicates is not None:
        _make_index(config.near_duplicates)


class Curator:
    """Applies the rules document by document, and counts what each left out."""

    def __init__(self, config: CurationConfig):
        self.rules: list[tuple[str, Callable[[str], bool]]] = []  # name, whether a document goes
        if (least := config.min_chars) is not None:
            self.rules.append(("min_chars", lambda text: len(text) < least))
        if (most := config.max_chars) is not None:
            self.rules.append(("max_chars", lambda text: len(text) > most))
        if (share := config.max_symbols) is not None:
            self.rules.append(("max_symbols", lambda text: symbol_share(text) > share))
        if config.exact_duplicates:
            self.rules.append(("exact_duplicates", _find_repeats()))
        if config.near_duplicates is not None:
            self.rules.append(("near_duplicates", _find_near(config.near_duplicates)))
        self.bytes = dict.fromkeys(["raw", "kept", *(name for name, _ in self.rules)], 0)

    def keep(self, documents: Iterable[str]) -> Iterator[str]:
        """Yield the documents that no rule leaves out."""
        for document in documents:
            size = len(document.encode())
            self.bytes["raw"] += size
            reason = next((name for name, goes in self.rules if goes(document)), "kept")
            self.bytes[reason] += size
            if reason == "kept":
                yield document


def describe_curation(sizes: dict[str, Any]) -> str:
    """Say what share of the bytes was kept, and which rule left out how much."""
    raw = max(1, sizes["raw"])
    gone = [f"{n / raw:.2%} by {name}" for name, n in sizes.items() if name not in ("raw", "kept")]
    return (
        f"curation kept {sizes['kept'] / raw:.2%} of {sizes['raw']:,} bytes of text; left out: "
        f"{', '.join(gone)}"
    )


def is_on(config: CurationConfig) -> bool:
    """Tell whether any rule is asked for."""
    return asdict(config) != asdict(CurationConfig())


def symbol_share(text: str) -> float:
    """Share of the characters that are neither letters, digits, spaces nor common punctuation."""
    plain = sum(c.isalnum() or c.isspace() or c in ".,;:'\"-" for c in text)
    return 1 - plain / len(text) if text else 1.0


def _find_repeats() -> Callable[[str], bool]:
    seen: set[bytes] = set()

    def is_repeat(text: str) -> bool:
        digest = hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()
        known = digest in seen
        seen.add(digest)
        return known

    return is_repeat


def _find_near(threshold: float) -> Callable[[str], bool]:
    """Broder 1997, doi:10.1109/SEQUEN.1997.666900, as datasketch has it, on sets of 5 words."""
    index, make = _make_index(threshold)

    def is_near(text: str) -> bool:
        words = text.lower().split()
        starts = range(max(1, len(words) - SHINGLE + 1))
        sketch = make(num_perm=PERMUTATIONS, seed=1)
        sketch.update_batch([" ".join(words[i : i + SHINGLE]).encode() for i in starts])
        if index.query(sketch):
            return True
        index.insert(str(len(index.keys)), sketch)
        return False

    return is_near


def _make_index(threshold: float) -> tuple[Any, Any]:
    try:
        library = importlib.import_module("datasketch")  # an extra
    except ImportError:
        raise ValueError(
            "data.curation.near_duplicates needs datasketch: pip install -e '.[curation]'"
        ) from None
    return library.MinHashLSH(threshold, PERMUTATIONS), library.MinHash
