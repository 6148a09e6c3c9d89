"""Published run tables: where each lies, what is done to it, and what a fit of it should say.

The files stay with their publishers: `read_published` fetches one, checks its sha256 and names its
columns as ours. What is known of the tables stands in published.toml, what others say that a fit
of them gives in references.csv; its reference optima are of two independent multi-starts each in
float64, with gradient zero, its standard errors of 4,000 resamples of the rows.
"""

import csv
import hashlib
import json
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from scaling import files
from scaling.errors import PublishedDataError
from scaling.laws import papers

PARAMS = ("E", "A", "B", "alpha", "beta")
HERE = Path(__file__).parent
TIMEOUT = 30  # s until a silent server is given up


@dataclass(frozen=True)
class Reference:
    """What a fit of the chinchilla law to a table says, according to somebody.

    The objective sums over rows .5 r^2 for |r| <= delta, delta (|r| - .5 delta) beyond ("huber"),
    |r| ("l1") or .5 r^2 ("mse").

    Attributes
    ----------
    source : str
    params : dict, name -> value
        As many of E, A, B, alpha, beta as the source prints.
    objective : float or None
        The sum at these parameters; None if the source prints none.
    residual : {"log", "linear"}
        r = ln L_predicted - ln L, or L_predicted - L.
    loss : {"huber", "l1", "mse"}
    huber_delta : float or None
    std : dict, name -> standard error
    is_optimum : bool
        Whether the parameters minimise the stated objective.
    """

    source: str
    params: dict[str, float]
    objective: float | None = None
    residual: str = "log"
    loss: str = "huber"
    huber_delta: float | None = None
    std: dict[str, float] = field(default_factory=dict)
    is_optimum: bool = True


@dataclass(frozen=True)
class PublishedTable:
    """One published run table.

    Attributes
    ----------
    citation, url, licence : str
        `url` is pinned to a commit.
    columns : dict, their name -> our name (`scaling.tables.runs.COLUMNS`)
        All other columns are left out.
    rows : int
        Rows that remain after the filter.
    file : str
        Name in $SCALING_DATA_DIR and in the cache; empty for a table typed into `papers`.
    sha256 : str
    filter : str
        The row filter in words; empty if every row is kept.
    highest_left_out, reason : int, str
        So many rows with the highest losses are left out, and why one of them is.
    references : tuple of Reference
    """

    citation: str
    url: str
    licence: str
    columns: dict[str, str]
    rows: int
    file: str = ""
    sha256: str = ""
    filter: str = ""
    highest_left_out: int = 0
    reason: str = ""
    references: tuple[Reference, ...] = ()


def read_published(name: str) -> pd.DataFrame:
    """Read a published table, from $SCALING_DATA_DIR, the cache or the network, in this order.

    Parameters
    ----------
    name : str
        A key of `PUBLISHED`.

    Returns
    -------
    DataFrame in the columns of `runs.COLUMNS`: run_id, params, tokens, loss (nats/token),
        flops where the publisher gives them, trunk_id (rows of one training run share it) where
        there are several. `attrs` holds source, citation, url, sha256, filter and excluded,
        a list of [run_id, reason].

    Raises
    ------
    ValueError
        There is no table of this name.
    PublishedDataError
        The file cannot be had, or a file in $SCALING_DATA_DIR is another one.
    """
    table = get_table(name)
    runs = _named(_read(table) if table.file else papers.cerebras_models(), table.columns)
    dropped = runs.loss.rank(ascending=False, method="first") <= table.highest_left_out
    highest = runs.loc[dropped].to_dict("records")
    kept = runs.loc[~dropped].reset_index(drop=True)
    kept.attrs = {
        "source": name,
        "citation": table.citation,
        "url": table.url,
        "sha256": table.sha256,
        "filter": table.filter,
        "excluded": [[row["run_id"], _why(row, table)] for row in highest],
    }
    return kept


def get_table(name: str) -> PublishedTable:
    """The published table of this name; ValueError lists the known ones."""
    if name not in PUBLISHED:
        raise ValueError(f"no published table is called {name!r}; use one of {[*PUBLISHED]}")
    return PUBLISHED[name]


def cache_folder() -> Path:
    """Where fetched tables are kept."""
    return files.cache_folder().resolve() / "published"


def _read(table: PublishedTable) -> pd.DataFrame:
    path = _local(table) or _fetched(table)
    if path.suffix == ".jsonl":
        lines = path.read_text(encoding="utf-8").splitlines()
        return pd.DataFrame([json.loads(line) for line in lines])
    as_text = pd.read_csv(path, usecols=[*table.columns], dtype="str")
    return as_text.astype("float64")  # exact, as Python's float() is


def _local(table: PublishedTable) -> Path | None:
    folder = os.environ.get("SCALING_DATA_DIR")
    path = Path(folder or ".").expanduser() / table.file
    if not folder or not path.is_file():
        return None
    if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != table.sha256:
        raise PublishedDataError(
            f"{path} is not the published file: its sha256 is {found}, not {table.sha256}; "
            f"replace it by {table.url}, or remove it and let it be fetched"
        )
    return path


def _fetched(table: PublishedTable) -> Path:
    import pooch  # here, so that `import scaling` stays fast

    pooch.get_logger().setLevel("WARNING")
    folder = cache_folder()
    downloader: Any = pooch.HTTPDownloader(timeout=TIMEOUT)
    try:
        path = pooch.retrieve(
            table.url,
            f"sha256:{table.sha256}",
            fname=table.file,
            path=folder,
            downloader=downloader,
        )
    except (OSError, ValueError) as error:  # requests' exceptions are OSErrors
        raise PublishedDataError(
            f"{table.url} cannot be fetched ({error}); put it as {table.file} into {folder}, or "
            "into a folder of yours and set SCALING_DATA_DIR to that"
        ) from error
    return Path(path)


def _named(raw: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """In our columns, with a run_id of every row of the file, and C = 6ND solved for tokens."""
    runs = raw.loc[:, [*columns]].rename(columns=columns)
    if "trunk_id" in runs:
        runs.insert(0, "run_id", runs.trunk_id + "-" + runs.steps.astype(str))
    if "run_id" not in runs:
        runs.insert(0, "run_id", [f"row{i + 1:04d}" for i in range(len(runs))])
    if "tokens" not in runs:
        runs["tokens"] = runs.flops / (6.0 * runs.params)
    return runs


def _why(row: dict, table: PublishedTable) -> str:
    ratio = row["tokens"] / row["params"]
    return f"loss {row['loss']:.3f} is {table.reason} ({ratio:.2g} tokens per parameter)"


# ---------------------------------------------------------------- the registry


def _read_references() -> dict[str, tuple[Reference, ...]]:
    found: dict[str, tuple[Reference, ...]] = {}
    with open(HERE / "references.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found[row["table"]] = (*found.get(row["table"], ()), _reference(row))
    return found


def _reference(row: dict[str, str]) -> Reference:
    known = {name: cell for name, cell in row.items() if cell}
    own = {name: float(known[name]) for name in PARAMS if name in known}
    std = {name.removeprefix("std_"): known[name] for name in known if name.startswith("std_")}
    return Reference(
        source=known["source"],
        params=papers.PUBLISHED_LAWS[known["law"]].params if "law" in known else own,
        objective=float(known["objective"]) if "objective" in known else None,
        residual=known["residual"],
        loss=known["loss"],
        huber_delta=float(known["huber_delta"]) if "huber_delta" in known else None,
        std={name: float(cell) for name, cell in std.items()},
        is_optimum=known["is_optimum"] == "True",
    )


def _read_registry() -> dict[str, PublishedTable]:
    references = _read_references()
    tables = tomllib.loads((HERE / "published.toml").read_text(encoding="utf-8"))
    return {
        name: PublishedTable(**known, references=references.get(name, ()))
        for name, known in tables.items()
    }


PUBLISHED: dict[str, PublishedTable] = _read_registry()
