"""The tables of the course: tokens, PF-days, BloombergGPT, Kaplan against Hoffmann.

Every table is computed from N and D by a formula that is named; what the course or a paper prints
stands beside it in a column of its own.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scaling.course.bloomberg import RULE_NAME, bloomberg_table, rule_optimum
from scaling.course.choices import choices_table
from scaling.course.claims import course_table, memory_table, zhao_table
from scaling.files import read_table
from scaling.fitting.estimate import interval
from scaling.hardware.communication import communication_table
from scaling.hardware.formats import bits_table, formats_table, projection_table, quantisation_table
from scaling.laws.papers import PF_DAY
from scaling.laws.papers import TOKENS_PER_PARAM_RULE as RULE
from scaling.planning.sources import LawSource, get_source, spread
from scaling.planning.verdicts import call_training, judge

SUM_LAWS = ("besiroglu2024", "hoffmann2022")  # with a loss for every N and D
LINES = ("kaplan2020", "hoffmann2022_envelope", "hoffmann2022_isoflop", "hoffmann2022")
DECADES = (1e17, 1e27)  # FLOPs
CURVE = np.geomspace(*DECADES, 121)  # FLOPs
WEIGHTS = 2**16  # normal, of a standard deviation of 0.02
TOKENS_COLUMNS = [
    *("model", "N", "D", "C", "tokens_per_param", "course_optimum", "yardstick", "verdict"),
    *("D_for_N", "D_for_N_low", "D_for_N_high", "trained", "N_opt", "D_opt", "loss", "loss_opt"),
    *("loss_gap", "loss_gap_low", "loss_gap_high", "C_over"),
]


class Model(NamedTuple):
    """A model by its size and what it saw, with what the course prints as its optimum."""

    name: str
    N: float  # parameters
    D: float  # tokens
    course_optimum: float = float("nan")  # tokens; NaN where the course names none
    note: str = ""


def _read(name: str) -> pd.DataFrame:
    return read_table(Path(__file__).with_name(f"{name}.csv"))


def _read_models(which: str) -> tuple[Model, ...]:
    table = _read("models").query("list == @which").drop(columns="list")
    return tuple(Model(*row) for row in table.itertuples(index=False))


# "Compute-optimal tokens (20 per parameter) against actual", as the course prints them.
COURSE_MODELS = _read_models("course")
KNOWN_MODELS = _read_models("known")  # Wu et al. 2023, BloombergGPT, arXiv:2303.17564, figure 1
ACTIVE = {"T5": 0.5}  # an encoder-decoder sends a token through half of its parameters


# ---------------------------------------------------------------- tokens


def tokens_for(params: Mapping[str, Any], N):
    """Tokens for which a model of N parameters is compute-optimal under C = 6ND.

    D = (beta B N^alpha / (alpha A))^(1 / beta), where both power terms fall equally fast.

    Parameters
    ----------
    params : mapping with A, B, alpha, beta of L = E + A/N^alpha + B/D^beta
    N : float or array, parameters

    Returns
    -------
    float or array, tokens

    References
    ----------
    Hoffmann et al. 2022, arXiv:2203.15556, equation 4, solved for D.
    """
    A, B, alpha = (params[name] for name in ("A", "B", "alpha"))
    beta = params.get("beta", alpha)
    return (beta * B * np.asarray(N) ** alpha / (alpha * A)) ** (1 / beta)


def tokens_table(
    models: Iterable[Model] = COURSE_MODELS, laws: Iterable[str] = SUM_LAWS
) -> pd.DataFrame:
    """Compare the tokens a model saw with those that its size, or its compute, asks for.

    Parameters
    ----------
    models : iterable of Model
    laws : iterable of str
        Laws L = E + A/N^alpha + B/D^beta, as `scaling.planning.sources.get_source` takes them. The
        rule of 20 tokens per parameter always comes first; it has no loss.

    Returns
    -------
    DataFrame, one row per model and yardstick, with columns model, N, D, C (6ND, FLOPs),
        tokens_per_param, course_optimum (tokens, as the course prints it), yardstick, verdict,
        D_for_N (tokens for which this N is optimal), trained (D / D_for_N), N_opt and D_opt (at
        the same C), loss, loss_opt and loss_gap (nats/token), C_over (C over what the optimum
        needs for the same loss); D_for_N and loss_gap with the ends ..._low and ..._high of their
        90 % interval, NaN for a law without draws

    Raises
    ------
    ValueError
        A law that nobody knows, or a size that is not positive.
    """
    sources, rows = [get_source(law) for law in laws], []
    for model in models:
        if not (model.N > 0 and model.D > 0):
            raise ValueError(
                f"{model.name}: N={model.N:g} parameters and D={model.D:g} tokens must be positive"
            )
        found = [_judge_by_rule(model), *(_judge_by_law(model, law) for law in sources)]
        rows += [model._asdict() | row for row in found]
    table = pd.DataFrame(rows).rename(columns={"name": "model"})
    table = table.assign(C=6 * table.N * table.D, tokens_per_param=table.D / table.N)
    return table.reindex(columns=TOKENS_COLUMNS)


def _judge_by_rule(model: Model) -> dict:
    N_opt, D_opt = rule_optimum(6 * model.N * model.D)
    trained = model.D / (RULE * model.N)
    return {
        "yardstick": RULE_NAME,
        "verdict": call_training(trained),
        "D_for_N": RULE * model.N,
        "trained": trained,
        "N_opt": N_opt,
        "D_opt": D_opt,
    }


def _judge_by_law(model: Model, law: LawSource) -> dict:
    found, draws, drawn = judge(model.N, model.D, law, model.name), law.fit.draws, None
    if {"A", "B", "alpha"} <= {*draws.columns}:
        drawn = tokens_for({name: draws[name].to_numpy() for name in draws}, model.N)
    low, high = interval(drawn)
    same = ("D_for_N", "trained", "N_opt", "D_opt", "loss", "C_over")
    return {
        **{name: float(getattr(found, name)) for name in same},
        **spread("loss_gap", found.loss_gap),
        "yardstick": law.name,
        "verdict": found.verdict,
        "D_for_N_low": low,
        "D_for_N_high": high,
        "loss_opt": float(found.loss) - float(found.loss_gap),
    }


# ---------------------------------------------------------------- PF-days


def pf_days_table() -> pd.DataFrame:
    """PF-days of pretraining from N and D, beside those of Brown et al. 2020, table D.1.

    C = 6 N_active D, with N_active = N, or N/2 for T5: a token passes the encoder or the decoder.

    Returns
    -------
    DataFrame with columns model, family, N (parameters), D (tokens), flops_per_param_token (6 or
        3), flops and pf_days (computed), printed_flops, printed_pf_days, difference
        (pf_days / printed_pf_days - 1)
    """
    table = _read("brown2020_table_d1")
    factor = 6 * table.family.map(ACTIVE).fillna(1.0)
    flops = factor * table.N * table.D
    table = table.assign(flops_per_param_token=factor, flops=flops, pf_days=flops / PF_DAY)
    table["difference"] = table.pf_days / table.printed_pf_days - 1
    order = ["model", "family", "N", "D", "flops_per_param_token", "flops", "pf_days"]
    return table.loc[:, [*order, "printed_flops", "printed_pf_days", "difference"]]


# ---------------------------------------------------------------- lines of N and D against C


def allocation_table(C: Iterable[float], lines: Iterable[str] = LINES) -> pd.DataFrame:
    """N_opt and D_opt = C / (6 N_opt) along the lines of Kaplan and of the three approaches.

    Parameters
    ----------
    C : iterable of float, FLOPs
    lines : iterable of str, as `scaling.planning.sources.get_source` takes them

    Returns
    -------
    DataFrame with columns law, C (FLOPs), N_opt (parameters), D_opt (tokens), tokens_per_param

    Notes
    -----
    Kaplan's printed 1.3e9 (C / PF-day)^.73 is of C_min and without embeddings; here its C is read
    as the compute spent, as figures that compare the two do, and D_opt keeps to C = 6ND. The
    printed D_opt, 2e10 (C_min / PF-day)^.27, is 1.8 times that: of the critical batch, which spends
    about 2 C_min.
    """
    C = np.asarray([*C], float)
    sizes = {law: _find_line_N(law, C) for law in lines}
    tables = [pd.DataFrame({"law": law, "C": C, "N_opt": N}) for law, N in sizes.items()]
    table = pd.concat(tables, ignore_index=True)
    table["D_opt"] = table.C / (6 * table.N_opt)
    return table.assign(tokens_per_param=table.D_opt / table.N_opt)


def _find_line_N(law: str, C) -> np.ndarray:
    """N_opt of a line at C FLOPs."""
    return np.asarray(get_source(law).N_opt(C).value)


def crossings_table(lines: Iterable[str] = LINES) -> pd.DataFrame:
    """Where two lines ask for the same model, within ten decades of compute.

    The lines are straight in logarithms, and D = C/(6N): where N crosses, D does.

    Returns
    -------
    DataFrame with columns law, other, C (FLOPs), N (parameters), D (tokens), N_ratio_end (N_opt of
        the first over that of the second at the largest C)
    """
    low, high = np.log(DECADES)
    ends = {law: np.log(_find_line_N(law, np.array(DECADES))) for law in lines}
    rows = []
    for law, other in combinations(ends, 2):
        first, last = ends[law] - ends[other]
        share = first / (first - last)
        if 0 <= share <= 1:
            C = float(np.exp(low + share * (high - low)))
            N = float(_find_line_N(law, C))
            rows.append((law, other, C, N, C / (6 * N), float(np.exp(last))))
    return pd.DataFrame(rows, columns=["law", "other", "C", "N", "D", "N_ratio_end"])


def known_models_table(models: Iterable[Model] = KNOWN_MODELS) -> pd.DataFrame:
    """Models of BloombergGPT's figure 1: model, N, D, C (6ND), N over each line's N_opt at that C.

    Source: Wu et al. 2023, BloombergGPT, arXiv:2303.17564, figure 1.
    """
    table = pd.DataFrame(models).rename(columns={"name": "model"})
    table = table.assign(C=6 * table.N * table.D)[["model", "N", "D", "C", "note"]]
    ratios = {f"N_over_{law}": table.N / _find_line_N(law, table.C.to_numpy()) for law in LINES}
    return table.assign(**ratios)


def models_by_date_table() -> pd.DataFrame:
    """Sizes of known models by the month in which they were told of.

    Returns
    -------
    DataFrame with columns model, date (year-month), year (as a number), N (parameters), family,
        source, largest (whether none before was as large)
    """
    table = _read("models_by_date")
    month = table.date.str.split("-", expand=True).astype(float)
    so_far = table.N.cummax().shift(fill_value=0.0)
    return table.assign(year=month[0] + (month[1] - 0.5) / 12, largest=so_far < table.N)


def bloomberg_parts_table() -> pd.DataFrame:
    """What BloombergGPT was trained on, by the course's rounded tokens.

    Returns
    -------
    DataFrame with columns part, kind (finance, general), tokens, printed_percent, kind_tokens (as
        printed), percent (of all printed tokens)
    """
    table = _read("bloomberg_parts")
    total = table.drop_duplicates("kind").kind_tokens.sum()
    return table.assign(percent=100 * table.tokens / total)


# ---------------------------------------------------------------- all of them


def course_tables(own: Iterable[Model] = (), number: float = math.pi) -> dict[str, pd.DataFrame]:
    """Compute every table of the course, by the name of its file.

    Parameters
    ----------
    own : iterable of Model
        Models that stand beside the course's in "tokens".
    number : float
        What "number" shows bit by bit.
    """
    memory = memory_table()
    weights = 0.02 * np.random.default_rng(0).standard_normal(WEIGHTS)
    return {
        "tokens": tokens_table((*COURSE_MODELS, *own)),
        "pf_days": pf_days_table(),
        "memory": memory,
        "memory_sizes": course_table(),
        "memory_t5": zhao_table(),
        "communication": communication_table(memory.params[0], int(memory.n_devices[0])),
        "formats": formats_table(),
        "formats_pi": projection_table(),
        "number": bits_table(number),
        "formats_error": quantisation_table(weights),
        "known_models": known_models_table(),
        "lines": allocation_table(CURVE),
        "crossings": crossings_table(),
        "bloomberg": bloomberg_table(),
        "bloomberg_parts": bloomberg_parts_table(),
        "models_by_date": models_by_date_table(),
        "choices": choices_table(),
    }
