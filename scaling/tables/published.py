"""Published run tables: where each lies, what is done to it, and what a fit of it should say.

The files stay with their publishers: `read_published` fetches one, checks its sha256 and names its
columns as ours. What is known of the tables stands in published.toml, what others say that a fit
of them gives in references.csv; its reference optima are of two independent multi-starts each in
float64, with gradient zero, its standard errors of 4,000 resamples of the rows.
"""

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
PRINTED = ("source", "objective", "residual", "loss", "huber_delta")
HERE = Path(__file__).parent
TIMEOUT = 30  # s until a silent server is given up


@dataclass(frozen=True)
class Reference:
    """What a fit of the chinchilla law to a table says, according to somebody.

    The objective sums over rows .5 r^2 for |r| <= delta, delta (|r| - .5 delta) beyond ("huber"),
    |r| ("l1") or .5 r^2 ("mse"), with r = ln L_predicted - ln L ("log") or L_predicted - L
    ("linear").
    """

    source: str
    params: dict[str, float]  # as many of E, A, B, alpha, beta as the source prints
    objective: float | None = None  # at these parameters
    residual: str = "log"
    loss: str = "huber"
    huber_delta: float | None = None
    std: dict[str, float] = field(default_factory=dict)  # standard errors
    is_optimum: bool = True  # whether the parameters minimise the stated objective


@dataclass(frozen=True)
class PublishedTable:
    """One published run table."""

    citation: str
    url: str  # pinned to a commit
    licence: str
    columns: dict[str, str]  # their name -> our name in `runs.COLUMNS`; others are left out
    rows: int  # that remain after the filter
    file: str = ""  # in $SCALING_DATA_DIR and in the cache; empty for a table typed into `papers`
    sha256: str = ""
    filter: str = ""  # of rows, in words; empty if every row is kept
    highest_left_out: int = 0  # so many rows with the highest losses are left out
    reason: str = ""  # why one of them is
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
    runs = _name_columns(_read(table) if table.file else papers.cerebras_models(), table.columns)
    dropped = runs.loss.rank(ascending=False, method="first") <= table.highest_left_out
    highest = runs.loc[dropped].to_dict("records")
    kept = runs.loc[~dropped].reset_index(drop=True)
    kept.attrs = {
        "source": name,
        "citation": table.citation,
        "url": table.url,
        "sha256": table.sha256,
        "filter": table.filter,
        "excluded": [[row["run_id"], _explain_exclusion(row, table)] for row in highest],
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
    path = _find_local(table) or _fetch(table)
    if path.suffix == ".jsonl":
        lines = path.read_text(encoding="utf-8").splitlines()
        return pd.DataFrame([json.loads(line) for line in lines])
    as_text = pd.read_csv(path, usecols=[*table.columns], dtype="str")
    return as_text.astype("float64")  # exact, as Python's float() is


def _find_local(table: PublishedTable) -> Path | None:
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


def _fetch(table: PublishedTable) -> Path:
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


def _name_columns(raw: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """In our columns, with a run_id of every row of the file, and C = 6ND solved for tokens."""
    runs = raw.loc[:, [*columns]].rename(columns=columns)
    if "trunk_id" in runs:
        runs.insert(0, "run_id", runs.trunk_id + "-" + runs.steps.astype(str))
    if "run_id" not in runs:
        runs.insert(0, "run_id", [f"row{i + 1:04d}" for i in range(len(runs))])
    if "tokens" not in runs:
        runs["tokens"] = runs.flops / (6.0 * runs.params)
    return runs


def _explain_exclusion(row: dict, table: PublishedTable) -> str:
    ratio = row["tokens"] / row["params"]
    return f"loss {row['loss']:.3f} is {table.reason} ({ratio:.2g} tokens per parameter)"


# ---------------------------------------------------------------- the registry


def _read_references() -> dict[str, tuple[Reference, ...]]:
    table = files.read_table(HERE / "references.csv")
    return {
        str(name): tuple(_make_reference(row) for row in rows.to_dict("records"))
        for name, rows in table.groupby("table", sort=False)
    }


def _make_reference(row: dict[str, Any]) -> Reference:
    known = {name: cell for name, cell in row.items() if cell == cell and cell != ""}
    own = {name: known[name] for name in PARAMS if name in known}
    return Reference(
        params=papers.PUBLISHED_LAWS[known["law"]].params if "law" in known else own,
        std={name[4:]: known[name] for name in known if name.startswith("std_")},
        is_optimum=known["is_optimum"] == "True",
        **{name: known[name] for name in PRINTED if name in known},
    )


def _read_registry() -> dict[str, PublishedTable]:
    references = _read_references()
    tables = tomllib.loads((HERE / "published.toml").read_text(encoding="utf-8"))
    return {
        name: PublishedTable(**known, references=references.get(name, ()))
        for name, known in tables.items()
    }


PUBLISHED: dict[str, PublishedTable] = _read_registry()
