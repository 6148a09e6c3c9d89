"""Token ids: made once, kept in the user's cache, read as memory-mapped arrays."""

import fcntl
import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from scaling.data.archives import Report
from scaling.data.config import (
    DataConfig,
    check_data,
    open_tokenizer,
    part_configs,
    read_vocab_size,
)
from scaling.data.corpora import SPLITS, load_corpus
from scaling.data.curation import is_on
from scaling.data.encoding import encode_rows, find_tokenizer, sample_documents
from scaling.data.ids import Part, TokenData
from scaling.data.plaintext import text_files
from scaling.data.rows import find_files
from scaling.data.shards import Shard, Stream, check_ids, find_shards, fingerprint
from scaling.data.synthetic import entropy_rate, synthetic_tokens, transition_matrix
from scaling.data.tokenizer import (
    encode,
    find_separator,
    id_dtype,
    threads_now_not_after_a_fork,
    train_tokenizer,
)
from scaling.errors import DataError
from scaling.files import broken_seals, cache_folder, json_hash, seal_folder, set_aside

VERSION = 1  # bump by hand when cleaning, splitting, tokenising or drawing changes the ids
SYNTHETIC_HELD_OUT_TOKENS = 2**20 + 2**12  # the noise of a validation falls with its root
META = "meta.json"  # what is known of the ids
DECODED = 2**18  # held-out tokens that tell how many bytes a token has, where only ids are given


Made = dict[str, Any]  # what a maker found out: fields of TokenData


def prepare_tokens(config: DataConfig, *, report: Report = lambda line: None) -> TokenData:
    """Token ids of a corpus: from the cache, or made and put there.

    The cache is keyed by what determines the ids (for files of the user by their names, sizes and
    times). Its folders appear under their name only when complete; of several processes that ask
    for the same ids one makes them and the others wait. What lies there is believed only while its
    files are those that were written: else the folder is kept under another name, and made again.

    Raises
    ------
    ValueError
        The configuration is impossible; see `check_data`.
    DataError
        The corpus cannot be had, is damaged or too small, or yields too few merges for the
        vocabulary.
    """
    check_data(config)
    config = replace(config, vocab_size=read_vocab_size(config))
    key = json_hash(_determinants(config))[:16]
    folder = cache_folder() / "tokens" / f"{config.name}-{config.vocab_size}-{key}"
    if not folder.exists() or _damaged(folder):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"the cache folder {folder.parent} cannot be made ({error.strerror}); "
                "set SCALING_CACHE_DIR to a folder that can be written"
            ) from error
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # which ends with its process, however that ends
            if folder.exists() and (names := _damaged(folder)):
                what = f"{', '.join(names)} in {folder} is not what was written there"
                report(f"{what}; kept as {set_aside(folder).name}, and made again")
            if not folder.exists():
                _make(config, folder, report)
    data = _read(folder)
    _check_shards(config, data)
    return data


def _check_shards(config: DataConfig, data: TokenData) -> None:
    """Refuse shards of the user that have changed while their names, sizes and times have not."""
    if config.name == "tokens" and data.fingerprint != _print_shards(config, data.shards or {}):
        raise DataError(
            f"the shards of data.path={config.path} or data.valid={config.valid} are not what they "
            "were, though their sizes and times are: copy them again, or touch them if the change "
            "is meant"
        )


def _print_shards(config: DataConfig, shards: dict[str, list]) -> str:
    prints = [fingerprint([Shard(*fields) for fields in found]) for found in shards.values()]
    return json_hash([VERSION, "tokens", *prints, config.vocab_size])


def _damaged(folder: Path) -> list[str]:
    """Names of the files, and of the parts, that are missing or not what was written."""
    if names := broken_seals(folder):
        return names
    parts = json.loads((folder / META).read_text()).get("parts", [])
    return [part["data"] for part in parts if _damaged(folder.parent / part["data"])]


def _read(folder: Path) -> TokenData:
    meta = json.loads((folder / META).read_text())
    parts = tuple(
        Part(**part | {"data": _read(folder.parent / part["data"])})
        for part in meta.pop("parts", [])
    )
    return TokenData(folder=folder, parts=parts, **meta)


def _determinants(config: DataConfig) -> dict[str, Any]:
    """What determines the ids, without reading any text."""
    found: dict[str, Any] = {
        "version": VERSION,
        "name": config.name,
        "vocab_size": config.vocab_size,
    }
    if config.name == "synthetic":
        settings = asdict(config)
        return found | {k: v for k, v in settings.items() if k.startswith("synthetic_")}
    if config.name == "text":
        found["files"] = _stats(text_files(config.path))
    if config.name == "tokens":
        train, valid = (find_shards(p or "", config.dtype) for p in (config.path, config.valid))
        files = [[Path(s.path) for s in shards] for shards in (train, valid)]
        found |= {"train": _stats(files[0]), "valid": _stats(files[1]), "dtype": config.dtype}
    if config.name == "hf":
        names = ("path", "valid", "subset", "split", "text_column", "max_tokens")
        found |= {name: getattr(config, name) for name in names}
        found |= {"revision": config.revision} if config.revision else {}
        found["files"] = _stats(find_files(config.path or ""))
        found["valid_files"] = _stats(find_files(config.valid or ""))
    if config.name == "mixture":
        parts = part_configs(config)
        read = (replace(part, vocab_size=config.vocab_size) for part in parts.values())
        found["parts"] = [_determinants(part) for part in read]
        found |= {"shares": [*config.parts.items()], "part_tokens": config.part_tokens}
        found |= {"tokenizer": config.tokenizer}
    return found | _choices(config)


def _choices(config: DataConfig) -> dict[str, Any]:
    """What a user may choose and mostly does not: named only where chosen, so that keys stay."""
    found = {}
    if config.tokenizer is not None and config.tokenizer not in (config.parts or {}):
        text = open_tokenizer(config.tokenizer).to_str()
        found["tokenizer"] = hashlib.sha256(text.encode()).hexdigest()
    if config.separator is not None:
        found["separator"] = config.separator
    if is_on(config.curation):
        found["curation"] = asdict(config.curation)
    return found


def _stats(files: list[Path]) -> list[tuple[str, int, int]]:
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _make(config: DataConfig, folder: Path, report: Report) -> None:
    """Fill a folder beside the wanted one and rename it when it is complete."""
    part = folder.with_suffix(".part")
    if config.name != "hf":  # which goes on where it was
        shutil.rmtree(part, ignore_errors=True)  # left by a killed process; we hold the lock
    part.mkdir(exist_ok=True)
    meta = {"name": config.name, "vocab_size": config.vocab_size}
    meta |= MAKERS.get(config.name, _make_text)(config, part, report)
    (part / META).write_text(json.dumps(meta, indent=1))
    seal_folder(part)
    part.rename(folder)


def _save_splits(ids: dict[str, np.ndarray], part: Path) -> Made:
    for split in SPLITS:
        np.save(part / f"{split}.npy", ids[split])
    return {f"n_{split}": len(ids[split]) for split in SPLITS}


def _make_synthetic(config: DataConfig, part: Path, report: Report) -> Made:
    report("synthetic: drawing tokens")
    streams = np.random.default_rng(config.synthetic_seed).spawn(1 + len(SPLITS))
    assert config.vocab_size is not None
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
    return _save_splits(ids, part) | {
        "bytes_per_token": math.nan,
        "entropy_rate": entropy_rate(transitions),
        "fingerprint": json_hash(_determinants(config)),
        "separator": None,
    }


def _make_text(config: DataConfig, part: Path, report: Report) -> Made:
    corpus = load_corpus(config, report=report)
    assert config.vocab_size is not None
    with threads_now_not_after_a_fork():
        tokenizer = find_tokenizer(config, corpus.splits["train"], report)
        tokenizer.save(str(part / "tokenizer.json"))
        separator = find_separator(tokenizer, config.separator, config.vocab_size)
        assert separator is not None
        ids = {
            split: encode(tokenizer, documents, report, f"{config.name} {split}", separator)
            for split, documents in corpus.splits.items()
        }
    n_bytes = sum(len(document.encode()) for document in corpus.splits["valid"])
    content: list[Any] = [VERSION, corpus.fingerprint, config.vocab_size]
    chosen = {k: v for k, v in _choices(config).items() if k != "curation"}  # seen in the documents
    return _save_splits(ids, part) | {
        "bytes_per_token": n_bytes / len(ids["valid"]),
        "entropy_rate": math.nan,
        "fingerprint": json_hash([*content, chosen] if chosen else content),
        "separator": separator,
        "curation": corpus.curation or None,
    }


def _make_tokens(config: DataConfig, part: Path, report: Report) -> Made:
    """Take note of shards that lie elsewhere; every id of them is looked at once."""
    assert config.vocab_size is not None
    patterns = {"train": config.path or "", "valid": config.valid or ""}
    shards = {split: find_shards(p, config.dtype) for split, p in patterns.items()}
    for found in shards.values():
        check_ids(found, config.vocab_size, report)
    tokenizer = None if config.tokenizer is None else open_tokenizer(config.tokenizer)
    separator = find_separator(tokenizer, config.separator, config.vocab_size)
    bytes_per_token = math.nan
    if tokenizer is not None:
        tokenizer.save(str(part / "tokenizer.json"))
        ids = Stream(shards["valid"])[:DECODED]
        text = tokenizer.decode(ids.tolist(), skip_special_tokens=True)
        bytes_per_token = len(text.encode()) / len(ids)
    listed = {split: [[*vars(s).values()] for s in found] for split, found in shards.items()}
    return {
        "n_train": sum(shard.n_tokens for shard in shards["train"]),
        "n_valid": sum(shard.n_tokens for shard in shards["valid"]),
        "n_test": 0,
        "bytes_per_token": bytes_per_token,
        "entropy_rate": math.nan,
        "fingerprint": _print_shards(config, listed),
        "separator": separator,
        "shards": listed,
    }


def _make_rows(config: DataConfig, part: Path, report: Report) -> Made:
    made = encode_rows(config, part, report)
    digests = {
        split: fingerprint([replace(Shard(*s), path=str(part / s[0])) for s in found])
        for split, found in made["shards"].items()
    }
    content = [VERSION, "hf", digests, config.vocab_size]
    return made | {"entropy_rate": math.nan, "fingerprint": json_hash(content)}


def _make_mixture(config: DataConfig, part: Path, report: Report) -> Made:
    """Encode every part by one tokenizer, each in a folder of its own."""
    configs, path = part_configs(config), part / "tokenizer.json"
    if config.tokenizer in configs:
        own = prepare_tokens(configs[config.tokenizer], report=report)
        assert own.tokenizer_path is not None
        open_tokenizer(str(own.tokenizer_path)).save(str(path))
    elif config.tokenizer is not None:
        open_tokenizer(config.tokenizer).save(str(path))
    elif any(part.name != "tokens" for part in configs.values()):
        _train_on_all(config, configs, path, report)
    tokenizer = str(path) if path.exists() else None  # none of shards alone
    parts = []
    for name, share in config.parts.items():
        own = replace(configs[name], tokenizer=tokenizer, vocab_size=config.vocab_size)
        data = prepare_tokens(own, report=report)
        n_train = (config.part_tokens or {}).get(name, data.n_train)
        if n_train > data.n_train:
            raise DataError(
                f"data.part_tokens={{{name}: {n_train}}}: the part has {data.n_train:,} training "
                "tokens; ask for fewer"
            )
        parts.append(Part(name, share, n_train, data))
    facts = [[p.share, p.n_train, p.data.fingerprint] for p in parts]
    return {
        "n_train": sum(p.n_train for p in parts if p.share > 0),
        "n_valid": min(p.data.n_valid for p in parts),
        "n_test": min(p.data.n_test for p in parts),
        "bytes_per_token": sum(p.share * p.data.bytes_per_token for p in parts),
        "entropy_rate": math.nan,
        "fingerprint": json_hash([VERSION, "mixture", facts]),
        "separator": parts[0].data.separator,
        "parts": [vars(p) | {"data": p.data.folder.name} for p in parts],
    }


def _train_on_all(
    config: DataConfig, configs: dict[str, DataConfig], path: Path, report: Report
) -> None:
    """Train one tokenizer on the training documents of every part."""
    assert config.vocab_size is not None
    documents = []
    for own in configs.values():
        rows = own.name == "hf"
        documents += (
            sample_documents(own) if rows else load_corpus(own, report=report).splits["train"]
        )
    with threads_now_not_after_a_fork():
        report(f"mixture: training a tokenizer of {config.vocab_size:,} tokens on all parts")
        train_tokenizer(documents, config.vocab_size).save(str(path))


MAKERS: dict[str, Callable[[DataConfig, Path, Report], Made]] = {
    "synthetic": _make_synthetic,
    "tokens": _make_tokens,
    "hf": _make_rows,
    "mixture": _make_mixture,
}
