"""Published run tables: where each lies, what is done to it, and what a fit of it should say.

The files stay with their publishers: `read_published` fetches one, checks its sha256 and names its
columns as ours.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from scaling import files
from scaling.errors import PublishedDataError
from scaling.laws import papers

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
class Table:
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
    reasons : callable or None
        Takes the table in our columns, returns per row why it is left out, "" if it stays.
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
    reasons: Callable[[pd.DataFrame], pd.Series] | None = None
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
    why = table.reasons(runs) if table.reasons else pd.Series("", index=runs.index)
    dropped = why != ""
    kept = runs.loc[~dropped].reset_index(drop=True)
    kept.attrs = {
        "source": name,
        "citation": table.citation,
        "url": table.url,
        "sha256": table.sha256,
        "filter": table.filter,
        "excluded": [[*pair] for pair in zip(runs.run_id[dropped], why[dropped], strict=True)],
    }
    return kept


def get_table(name: str) -> Table:
    """The published table of this name; ValueError lists the known ones."""
    if name not in PUBLISHED:
        raise ValueError(f"no published table is called {name!r}; use one of {[*PUBLISHED]}")
    return PUBLISHED[name]


def cache_folder() -> Path:
    """Where fetched tables are kept."""
    return files.cache_folder().resolve() / "published"


def _read(table: Table) -> pd.DataFrame:
    path = _local(table) or _fetched(table)
    if path.suffix == ".jsonl":
        lines = path.read_text(encoding="utf-8").splitlines()
        return pd.DataFrame([json.loads(line) for line in lines])
    as_text = pd.read_csv(path, usecols=[*table.columns], dtype="str")
    return as_text.astype("float64")  # exact, as Python's float() is


def _local(table: Table) -> Path | None:
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


def _fetched(table: Table) -> Path:
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


def _five_highest_losses(runs: pd.DataFrame) -> pd.Series:
    ratio = runs.tokens / runs.params
    why = [
        f"loss {L:.3f} is one of the five highest ({r:.2g} tokens per parameter)"
        for L, r in zip(runs.loss, ratio, strict=True)
    ]
    highest = runs.loss.rank(ascending=False, method="first") <= 5
    return pd.Series(why, index=runs.index).where(highest, "")


# Reference optima: float64, two independent multi-starts each, gradient at zero.
_OPTIMA = """
table              residual loss huber_delta objective          A          B          E           alpha       beta
epoch2024          log    huber 1e-3  0.001018274017801  477.825868 2143.41736 1.817218099 0.347310499 0.367172433
epoch2024          log    l1    -     1.12949465         482.005338 2085.4319  1.816863935 0.347812983 0.365854064
epoch2024          log    mse   -     0.005730943495849  593.322102 4875.63779 1.864550095 0.360252798 0.405883362
epoch2024          linear huber 1e-3  0.002896243195805  455.097298 2405.22323 1.820079510 0.344303484 0.372966542
epoch2024          linear mse   -     0.04160190384665   567.805425 7581.85236 1.882813613 0.357615088 0.427620621
epoch2024_all      log    huber 1e-3  0.001826010523069  495.726009 12845.6132 1.891338499 0.349312894 0.453049295
epoch2024_all      log    mse   -     0.03549521578931   749.537869 370523.174 1.991830328 0.372097874 0.612048247
kyo2024            log    huber 1e-3  0.0008400931199574 442.16406  1271.80797 1.783894128 0.342626043 0.342001900
gemstones_hot      log    huber 1e-3  0.001981612808807  213.084514 4967622.46 2.143205648 0.292891766 0.712978596
gemstones_hot_100b log    huber 1e-3  0.006592534164516  134.510591 381456.838 1.950826131 0.259164455 0.597301260
gemstones_cool_end log    huber 1e-3  0.001964086431185  226.132793 271661.031 2.074783696 0.300360567 0.580167290
gemstones_cool_end log    huber 1e-4  0.0002047790675514 226.443079 309268.814 2.079857652 0.300638970 0.585967665
"""  # noqa: E501
_STANDARD_ERRORS = {  # 4,000 resamples of the rows; N_exponent is a of N_opt ~ C^a
    ("epoch2024", "log", "huber"): {"E": 0.0257, "A": 124.5, "B": 1293.3, "alpha": 0.0154}
    | {"beta": 0.0206, "N_exponent": 0.0200},
}


def _optima(table: str) -> tuple[Reference, ...]:
    header, *lines = (line.split() for line in _OPTIMA.strip().splitlines())
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    return tuple(
        Reference(
            source="reference optimum, two independent multi-starts",
            params={name: float(row[name]) for name in ("E", "A", "B", "alpha", "beta")},
            objective=float(row["objective"]),
            residual=row["residual"],
            loss=row["loss"],
            huber_delta=None if row["huber_delta"] == "-" else float(row["huber_delta"]),
            std=_STANDARD_ERRORS.get((table, row["residual"], row["loss"]), {}),
        )
        for row in rows
        if row["table"] == table
    )


def _gemstones_own(alpha, beta, objective, huber_delta, is_optimum=True):
    params = {"alpha": alpha, "beta": beta}
    return Reference(
        f"{_GEMSTONES_PAPER}, their own fit",
        params,
        objective,
        huber_delta=huber_delta,
        is_optimum=is_optimum,
    )


_RAW = "https://raw.githubusercontent.com"
_GEMSTONES_REPOSITORY = (
    f"{_RAW}/mcleish7/gemstone-scaling-laws/5f420478f6057b0cbb4d13405fb10ca64675bccb"
)
_GEMSTONES_PAPER = "McLeish et al. 2025, Gemstones, arXiv:2502.06857"
_GEMSTONES_COLUMNS = {
    "run_name": "trunk_id",  # one training run, many checkpoints
    "params_active_precise": "params",  # embeddings included: vocabulary 50,304 times width
    "tokens": "tokens",
    "final_loss": "loss",
    "step": "steps",
    "width": "width",
    "depth": "n_layers",
}


def _gemstones(key, subset, rows, sha256, *own):
    return Table(
        citation=_GEMSTONES_PAPER,
        url=f"{_GEMSTONES_REPOSITORY}/wandb_dfs/wandb_df_for_fitting_{subset}.jsonl",
        licence="MIT",
        columns=_GEMSTONES_COLUMNS,
        rows=rows,
        file=f"gemstones_{subset}.jsonl",
        sha256=sha256,
        references=own + _optima(key),
    )


def _epoch(key, rows, own=(), **row_filter):
    return Table(
        citation=f"{papers.BESIROGLU}; points read off figure 4 of Hoffmann et al. 2022",
        url=f"{_GEMSTONES_REPOSITORY}/data/epoch_chinchilla_svg_extracted_data.csv",
        licence="MIT (of the repository that serves the file)",
        columns={"Model Size": "params", "Training FLOP": "flops", "loss": "loss"},
        rows=rows,
        file="epoch_chinchilla_svg_extracted_data.csv",
        sha256="193478df4e90f040016431996c45682659306840ecdadf83cfb9cd5ca0aa1b30",
        references=own + _optima(key),
        **row_filter,
    )


# The figures that everybody quotes minimise the L1 loss, not the Huber loss that the paper names.
_EPOCH_OWN = Reference(
    source=f"{papers.BESIROGLU}, table 1",
    params=papers.PUBLISHED_LAWS["besiroglu2024"].params,
    huber_delta=1e-3,
    std=papers.BESIROGLU_STD,
    is_optimum=False,
)

PUBLISHED: dict[str, Table] = {
    "epoch2024": _epoch(
        "epoch2024",
        240,
        (_EPOCH_OWN,),
        filter="the five rows with the highest loss are left out, as the citation does",
        reasons=_five_highest_losses,
    ),
    "epoch2024_all": _epoch("epoch2024_all", 245),
    "kyo2024": Table(
        citation="kyo-takano/chinchilla, examples/llm; points of Hoffmann et al. 2022",
        url=f"{_RAW}/kyo-takano/chinchilla/75e5858f6e7c5b60d1fab69f66258132347b060c"
        "/examples/llm/df.csv",
        licence="Apache-2.0",
        columns={"N": "params", "D": "tokens", "C": "flops", "loss": "loss"},
        rows=234,
        file="kyo_chinchilla_234.csv",
        sha256="2ed2c412c6b408cb26896b92c0721fe9afa6515726b0db78c33db37cbf2816f9",
        references=_optima("kyo2024"),
    ),
    "gemstones_hot": _gemstones(
        "gemstones_hot",
        "hot",
        220,
        "655467b59c99383403d6f73f5b7f23c02aea3f12935dc110382d8a8b43a0ff5d",
        _gemstones_own(0.29287, 0.71287, 0.0019816129, 1e-3),
    ),
    "gemstones_hot_100b": _gemstones(
        "gemstones_hot_100b",
        "hot_100b+",
        770,
        "1da97ce3d1394e0223826c8f5ca081cb0fb289ec65d2707fb5430721e92e9659",
        _gemstones_own(0.25911, 0.59727, 0.0065925344, 1e-3),
    ),
    "gemstones_cool_end": _gemstones(
        "gemstones_cool_end",
        "cool_end",
        199,
        "bdf01b6b21bafc414218124a6f9e195cee07f3d69ceacbfae2fcf069d34f4e61",
        _gemstones_own(0.30027, 0.58024, 0.0019640865, 1e-3),
        _gemstones_own(0.29701, 0.69040, 0.0002059406, 1e-4, is_optimum=False),
    ),
    "cerebras2023": Table(
        citation=papers.CEREBRAS,
        url="https://arxiv.org/abs/2304.03208",
        licence="figures of the paper, typed in",
        columns={name: name for name in ("run_id", "params", "tokens", "flops", "loss")},
        rows=7,
    ),
}
