"""What to train on, as configuration, and what of it is refused before any work."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from scaling.data import plaintext
from scaling.data.curation import CurationConfig, check_curation
from scaling.data.order import counts_in_block
from scaling.data.rows import find_files, is_hub_name
from scaling.data.shards import SUFFIXES, find_shards
from scaling.errors import DataError, check_range

TEXTS = ("enwik8", "pubmed", "text")  # read whole, split and encoded at once
NAMES = (*TEXTS, "tokens", "hf", "mixture", "synthetic")
READ_BY = {  # which sources read a setting; the others refuse it
    "path": ("text", "tokens", "hf"),
    "valid": ("tokens", "hf"),
    "dtype": ("tokens", "mixture"),
    "tokenizer": (*TEXTS, "tokens", "hf", "mixture"),
    "separator": (*TEXTS, "tokens", "hf", "mixture"),
    "subset": ("hf",),
    "split": ("hf",),
    "revision": ("hf",),
    "text_column": ("hf", "mixture"),
    "max_tokens": ("hf", "mixture"),
    "parts": ("mixture",),
    "part_tokens": ("mixture",),
    "curation": (*TEXTS, "hf", "mixture"),
}
OWN_VOCABULARY = 1024  # of a tokenizer that is trained here
LEAST_VOCABULARY = 257  # 256 bytes and a separator


@dataclass
class DataConfig:
    """What to train on; None means "derive it"."""

    name: str = "enwik8"  # Wikipedia, 72 MB; pubmed, 44 MB; text, tokens, hf, mixture; synthetic
    path: str | None = None  # text: UTF-8 file or folder; tokens: shards; hf: hub name or files
    valid: str | None = None  # tokens: held-out shards; hf: split or files, None: 2 % by hash
    vocab_size: int | None = None  # None: the tokenizer's, else 1024; of synthetic all ids
    tokenizer: str | None = None  # tokenizer.json, hub name, a mixture's part; None: BPE made here
    separator: str | None = None  # token or id between documents; None: <|endoftext|>, </s>, ...
    dtype: str | None = None  # of raw .bin shards: uint16, uint32, ...
    text_column: str = "text"  # hf, rows of a mixture: column of the documents
    subset: str | None = None  # hf: configuration on the hub, such as sample-10BT
    split: str = "train"  # hf: split on the hub that is trained on
    revision: str | None = None  # hf: commit on the hub, which cannot change; None: the newest
    max_tokens: int | None = None  # hf, each rows of a mixture: training tokens at most; None: all
    parts: Any = None  # mixture: {enwik8: 0.49, pubmed: 0.51}, source -> share of the windows
    part_tokens: Any = None  # mixture: {pubmed: 100000}, use so many unique tokens of a part
    curation: CurationConfig = field(default_factory=CurationConfig)  # documents left out; off
    synthetic_strength: float = 1.2  # nats, logits' first singular value: how much is to be learned
    synthetic_exponent: float = 1.0  # how fast the singular values fall with their rank
    synthetic_train_tokens: int = 8_000_000  # in the train split
    synthetic_seed: int = 0  # of the source and of what is drawn from it


def check_data(config: DataConfig) -> None:
    """Refuse an impossible configuration before anything is fetched; ValueError says why."""
    if config.name not in NAMES:
        raise ValueError(f"data.name={config.name!r} is unknown; choose from {[*NAMES]}")
    for name, readers in READ_BY.items():
        if config.name not in readers and getattr(config, name) != _default(name):
            raise ValueError(
                f"data.{name} is read by data={'|'.join(readers)} only; data.name is "
                f"{config.name!r}"
            )
    for name, kind in (("parts", float | int), ("part_tokens", int)):
        given = getattr(config, name)
        given = {} if given is None else given
        if not isinstance(given, Mapping) or not all(isinstance(v, kind) for v in given.values()):
            raise ValueError(
                f"data.{name}={given!r} must map sources to numbers, as in "
                "'data.parts={enwik8: 0.49, pubmed: 0.51}'"
            )
    check_curation(config.curation)
    size = read_vocab_size(config)
    if config.name not in ("synthetic", "tokens") and size < LEAST_VOCABULARY:
        raise ValueError(
            f"data.vocab_size={size} must be at least {LEAST_VOCABULARY}: 256 bytes and a separator"
        )
    if config.name == "text":
        plaintext.text_files(config.path)
    if config.name == "tokens":
        _check_shards(config)
    if config.name == "hf":
        _check_rows(config)
    if config.name == "mixture":
        for part in part_configs(config).values():
            check_data(part)


def read_vocab_size(config: DataConfig) -> int:
    """Vocabulary V of a configuration: as given, or the tokenizer's, or that of our own.

    Raises
    ------
    ValueError
        Neither is given where ids come from elsewhere, or V is below the tokenizer's.
    """
    if config.tokenizer is None or config.tokenizer in (config.parts or {}):
        if config.vocab_size is None and config.name == "tokens":
            raise ValueError("give data.vocab_size or data.tokenizer: data=tokens has ids only")
        return OWN_VOCABULARY if config.vocab_size is None else config.vocab_size
    known = open_tokenizer(config.tokenizer).get_vocab()
    least = max(known.values()) + 1
    if config.vocab_size is not None and config.vocab_size < least:
        raise ValueError(
            f"data.vocab_size={config.vocab_size}, but {config.tokenizer} has ids up to "
            f"{least - 1}; leave data.vocab_size out"
        )
    return config.vocab_size or least


def open_tokenizer(name: str) -> Tokenizer:
    """Read a tokenizer.json, or the one of this name on the Hugging Face hub.

    Raises
    ------
    ValueError
        The file is none.
    DataError
        There is no such file, and the hub cannot be had.
    """
    path = Path(name).expanduser()
    path = path / "tokenizer.json" if path.is_dir() else path
    try:
        tokenizer = Tokenizer.from_file(str(path)) if path.is_file() else _from_hub(name)
    except DataError:
        raise
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"data.tokenizer={name}: {path} is no tokenizer.json ({error})") from error
    tokenizer.encode_special_tokens = True  # a document that spells the separator is only text
    return tokenizer


def _from_hub(name: str) -> Tokenizer:
    if name.count("/") > 1 or name.endswith(".json") or name[:1] in "/.~":
        raise DataError(f"data.tokenizer={name}: there is no such file; give a tokenizer.json")
    try:
        return Tokenizer.from_pretrained(name)
    except Exception as error:  # the library raises nothing narrower
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"data.tokenizer={name}: no such file, and the hub does not give it ({reason}); fetch "
            f"https://huggingface.co/{name}/resolve/main/tokenizer.json where there is a network, "
            "and give its path"
        ) from error


def part_configs(config: DataConfig) -> dict[str, DataConfig]:
    """Configurations of a mixture's parts, by name.

    A text corpus; a path to text, to rows or to a folder of shards, of which those with "val" in
    their names are held out; or rows on the hub. Raises ValueError for others, and for shards
    beside what would be encoded by another tokenizer than theirs.
    """
    names = [*(config.parts or {})]
    if len(names) < 2:
        raise ValueError(f"data.parts={config.parts} needs two: 'data.parts={{enwik8: 0.5, ...}}'")
    counts_in_block([*config.parts.values()])  # refuses
    for name, tokens in (config.part_tokens or {}).items():
        if name not in names or tokens < 1:
            raise ValueError(f"data.part_tokens={{{name}: {tokens}}}: name a part of {names}, > 0")
    parts = {name: _part_config(name, config) for name in names}
    encoded = [name for name, part in parts.items() if part.name != "tokens"]
    given = None if config.tokenizer in names else config.tokenizer
    if len(encoded) < len(parts) and given is None and (encoded or config.tokenizer):
        raise ValueError(
            f"data.parts: {next(n for n in names if n not in encoded)} holds ids: give the "
            "tokenizer that made them, by which the others are encoded too, as data.tokenizer"
        )
    return parts


def _part_config(name: str, config: DataConfig) -> DataConfig:
    given = None if config.tokenizer in (config.parts or {}) else config.tokenizer
    shared: dict[str, Any] = {"tokenizer": given, "separator": config.separator}
    shared |= {"vocab_size": config.vocab_size}
    path = Path(name).expanduser()
    text: dict[str, Any] = shared | {"curation": config.curation}
    rows = {name: getattr(config, name) for name in ("text_column", "max_tokens")}
    if name in TEXTS[:2]:
        return DataConfig(name=name, **text)
    if find_files(name) or (not path.exists() and is_hub_name(name)):
        return DataConfig(name="hf", path=name, **text, **rows)
    if not path.exists():
        known = " nor ".join(TEXTS[:2])
        raise ValueError(f"data.parts: {name} is neither {known} nor a path nor a hub name")
    if path.is_dir() and any(file.suffix in SUFFIXES for file in path.iterdir()):
        shared |= {"path": str(path / "*train*"), "valid": str(path / "*val*")}
        return DataConfig(name="tokens", dtype=config.dtype, **shared)
    return DataConfig(name="text", path=name, **text)


def _default(name: str) -> Any:
    return getattr(DataConfig(), name) if name in {f.name for f in fields(DataConfig)} else None


def _check_shards(config: DataConfig) -> None:
    for name in ("path", "valid"):
        if getattr(config, name) is None:
            raise ValueError(f"data=tokens needs data.{name}: shards of ids to train on and to "
                             "hold out; a file, a pattern or a folder")  # fmt: skip
    train, valid = (
        {shard.path for shard in find_shards(pattern, config.dtype)}
        for pattern in (config.path or "", config.valid or "")
    )
    if both := sorted(train & valid):
        raise ValueError(f"{both[0]} is in data.path and in data.valid; hold out other shards")


def _check_rows(config: DataConfig) -> None:
    if config.path is None:
        raise ValueError(
            "data=hf needs data.path: a name on the hub, or Parquet, JSON lines, Arrow"
        )
    check_range("data.max_tokens", config.max_tokens, 1)
