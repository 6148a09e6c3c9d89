"""What the columns of a foreign table mean: a mapping, sums and products, and what may be meant."""

import re
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from scaling.errors import suggest
from scaling.tables.cells import find_unread, read_numbers
from scaling.tables.observations import RunsWarning

SYMBOLS = {"N": "params", "D": "tokens", "C": "flops", "L": "loss"}
WORD = re.compile(r"[A-Z]+s?(?![a-z])|[A-Z]?[a-z]+|\d+")  # of numSteps, GFLOPs, val/loss
PLUS = re.compile(r"(?<!\d[eE])\+|\+(?!\d)")  # but not that of 1e+9
FILLERS = {"n", "num", "number", "of", "total", "global", "train", "training", "effective", "max"}


class Role(NamedTuple):
    """How a column is called that plays a part: a word of each set, and none but fillers beside."""

    needed: tuple[set[str], ...]
    fillers: set[str] = FILLERS


STEPS = Role(({"step", "steps", "iterations", "iters"},), FILLERS | {"optimizer", "optimiser"})
BATCH_TOKENS = Role(({"batch"}, {"token", "tokens"}), FILLERS | {"per", "size", "in"})
BATCH_SIZE = Role(({"batch", "bs"}, {"size", "bs"}))
SEQ_LEN = Role(
    ({"seq", "sequence", "context", "ctx"}, {"len", "length", "size", "window", "ctx", "n"})
)
LIKELY = {  # words of columns that may be meant; the first found is told
    "N": {"params", "param", "parameters", "parameter", "nparams", "size"},
    "D": {"tokens", "token", "toks", "tok"},
    "C": {"flops", "flop", "compute", "gflops", "tflops", "pflops"},
    "loss": {"loss", "nll", "xent", "bpb", "bpc", "bits", "ce", "val", "eval"},
}
WHOLE = {"val", "valid", "validation", "eval", "test", "heldout", "final", "total", "all"}
PARTS = {"embedding", "embeddings", "emb", "head", "active", "train"}  # looked at after the others
PERPLEXITY = {"ppl", "perplexity"}
UNLIKELY = {"per", "sec", "second", "seconds", "rate", "lr", "time", "step", "steps", "batch"}
UNLIKELY |= {"vocab", "vocabulary", "hidden", "ffn", "seq", "context", "window", "width"}
UNLIKELY |= {"std", "min", "max", "name", "id", "seed"} | PERPLEXITY
LEAST_WIDE = 3  # columns of one kind, from which a table has one for each run
WIDE = re.compile(r"(?P<run>.+?)(?: - |__)(?P<kind>[^_]\S*?)(?:__(?:MIN|MAX))?")


# ---------------------------------------------------------------- what a mapping says


def map_columns(table: pd.DataFrame, columns: Mapping[str, str], known: set[str]) -> pd.DataFrame:
    """Name columns as a mapping says; it wins over every name that the table has.

    Parameters
    ----------
    table : DataFrame
    columns : dict, their name -> our name
        Instead of a name also products of names and numbers, and sums of these:
        {"steps*batch_tokens": "D", "gflops*1e9": "C", "body+head": "N"}.
    known : set of str
        Our names.

    Raises
    ------
    ValueError
        It maps no names to names, the table lacks one, or two mean the same.
    """
    if not isinstance(columns, Mapping) or not all(
        isinstance(name, str) for pair in columns.items() for name in pair
    ):
        raise ValueError(f"columns={columns!r} must map names to names: columns={{size: N}}")
    if strange := sorted(set(columns.values()) - known - set(SYMBOLS)):
        raise ValueError(f"mapping to unknown columns {strange}; use N, D, C, loss or {[*known]}")
    ours = {theirs: SYMBOLS.get(name, name) for theirs, name in columns.items()}
    _refuse_twice(list(ours.values()))
    found = {name: _evaluate(table, theirs) for theirs, name in ours.items()}
    mapped = {name for name in table if name in ours}
    giving_way = {name for name in table if SYMBOLS.get(name, name) in found}
    rest = table.drop(columns=[*(mapped | giving_way)])
    named = rest.rename(columns=SYMBOLS)
    _refuse_twice([*named.columns])
    return named.assign(**found)


def name_rows(table: pd.DataFrame) -> list[str]:
    """Run ids where there are none: names that tell all rows apart, else row0001, ..."""
    for column in [name for name in table if str(name).lower() == "name"]:
        cells = pd.Series(table[column])
        names = cells.astype(str).str.strip()
        if cells.notna().all() and names.ne("").all() and names.is_unique:
            return names.tolist()
    return [f"row{i + 1:04d}" for i in range(len(table))]


def _refuse_twice(names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two columns of the table both mean {twice}; drop or remap one of each")


def _evaluate(table: pd.DataFrame, text: str) -> pd.Series:
    """The column of this name, or the sum of products of columns and numbers."""
    if text in table:
        return pd.Series(table[text])
    terms = [[factor.strip() for factor in term.split("*")] for term in PLUS.split(text)]
    if lacking := [f for term in terms for f in term if f not in table and _constant(f) is None]:
        raise ValueError(
            f"columns {lacking} of the mapping are not in the table {[*table.columns]}"
            f"{suggest(lacking[0], table)}"
        )
    if all(factor not in table for term in terms for factor in term):
        raise ValueError(f"columns {text!r} of the mapping names no column of {[*table.columns]}")
    total = pd.Series(0.0, index=table.index)
    for term in terms:
        product = pd.Series(1.0, index=table.index)
        for factor in term:
            product = product * _read_factor(table, factor)
        total = total + product
    return total


def _constant(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _read_factor(table: pd.DataFrame, name: str) -> pd.Series | float:
    if name not in table:
        return _constant(name) or 0.0
    cells = pd.Series(table[name])
    numbers = read_numbers(cells)
    if (unread := find_unread(cells, numbers)).any():
        raise ValueError(f"{name} {next(iter(cells[unread]))!r} is no number; correct it")
    return numbers


# ---------------------------------------------------------------- what names may mean


def split_words(name: str) -> set[str]:
    """Words of a name: 'train/numTokens_seen' -> train, num, tokens, seen."""
    return {word.lower() for word in WORD.findall(name)}


def find_role(names: list[str], role: Role) -> str | None:
    """The one column that plays a part; None if there is none, or several."""
    found = []
    for name in names:
        words = split_words(name)
        every = set().union(*role.needed)
        if all(words & needed for needed in role.needed) and words <= every | role.fillers:
            found.append(name)
    return found[0] if len(found) == 1 else None


def derive_tokens(table: pd.DataFrame) -> pd.DataFrame:
    """D as steps times batch where the table has no tokens and both are unambiguous; it is told."""
    names = [*table.columns]
    steps, batch = find_role(names, STEPS), find_role(names, BATCH_TOKENS)
    size, seq_len = find_role(names, BATCH_SIZE), find_role(names, SEQ_LEN)
    factors = [steps, batch] if batch else [steps, size, seq_len]
    if "tokens" in table or None in factors:
        return table
    product = "*".join(map(str, factors))
    told = f"D is taken as {product}; if that is wrong, say what is: columns={{...: D}}"
    warnings.warn(told, RunsWarning, stacklevel=4)
    return table.assign(tokens=_evaluate(table, product))


def explain_lack(table: pd.DataFrame, lacking: list[str]) -> str:
    """Say what a table lacks, and which of its columns may be meant."""
    has = [name for name in table if name not in ("run_id", "status", "reason")]
    if swapped := _explain_wide(has) or _explain_transposed(table.loc[:, has]):
        return swapped
    words = {name: split_words(name) for name in has}
    guesses: dict[str, str] = {}
    wanted = ["D" if name == "tokens" else name for name in lacking]
    for symbol in [*wanted, "C"] if len(wanted) > 1 and "flops" not in has else wanted:
        found = _guess(symbol, {n: w for n, w in words.items() if n not in guesses})
        guesses |= {found: symbol} if found else {}
    told = ", ".join(f"{name}: {symbol}" for name, symbol in guesses.items())
    hint = f"; perhaps columns={{{told}}}" if guesses else ""
    logs = [name for name in has if words[name] & PERPLEXITY]
    if "loss" in lacking and logs:
        hint += f"; the loss is the natural logarithm of {logs[0]!r}: add it as a column"
    return (
        f"runs table lacks {lacking}; it has {has}{hint}. It needs loss and two of N, D, C: name "
        "them so, or map them with columns={'their name': 'N', ...}, where sums and products as "
        "'steps*batch_tokens' may stand for a name"
    )


def _guess(symbol: str, words: Mapping[str, set[str]]) -> str | None:
    found = [name for name, own in words.items() if own & LIKELY[symbol] and not own & UNLIKELY]
    if symbol == "D" and not found:
        names = [*words]
        steps = find_role(names, STEPS)
        batch = find_role(names, BATCH_TOKENS) or find_role(names, BATCH_SIZE)
        return f"{steps}*{batch}" if steps and batch else None
    ranks = {name: (bool(words[name] & PARTS), not words[name] & WHOLE) for name in found}
    return min(found, key=ranks.__getitem__, default=None)


def _explain_wide(names: list[str]) -> str | None:
    """What is wrong with one column per run, as charts are exported; None if it is not so."""
    runs: dict[str, set[str]] = {}
    for name in names:
        if found := WIDE.fullmatch(name):
            runs.setdefault(found["kind"], set()).add(found["run"])
    kind = max(runs, key=lambda kind: len(runs[kind]), default="")
    if not kind or len(runs[kind]) < LEAST_WIDE:
        return None
    return (
        f"the table has one column per run ({kind!r} of {sorted(runs[kind])[:3]} ...), as a chart "
        "is exported; a fit needs one row per run, with N, D and the final loss as columns: export "
        "the table of the runs instead"
    )


def _explain_transposed(table: pd.DataFrame) -> str | None:
    """What is wrong with one column per run and one row per quantity; None if it is not so."""
    first = {str(cell).strip() for cell in table.iloc[:, 0]} if table.shape[1] else set()
    found = sorted(first & {*SYMBOLS, *SYMBOLS.values(), "loss"})
    if len(found) < 2:
        return None
    return (
        f"{found} stand in the first column, so that the table has one column per run; a fit needs "
        "one row per run: exchange rows and columns"
    )
