"""The tables of the course: tokens, PF-days, BloombergGPT, Kaplan against Hoffmann.

Every table is computed from N and D by a formula that is named; what the course or a paper prints
stands beside it in a column of its own.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scaling.course.bloomberg import RULE_NAME
from scaling.fitting.result import interval
from scaling.hardware.devices import DEVICES
from scaling.hardware.memory import fits, training_memory
from scaling.hardware.setup import Setup
from scaling.laws.papers import PF_DAY
from scaling.laws.papers import TOKENS_PER_PARAM_RULE as RULE
from scaling.planning.sources import LawSource, get_source
from scaling.planning.verdicts import ABOUT, judge

SUM_LAWS = ("besiroglu2024", "hoffmann2022")  # with a loss for every N and D
LINES = ("kaplan2020", "hoffmann2022_envelope", "hoffmann2022_isoflop", "hoffmann2022")
DECADES = (1e17, 1e27)  # FLOPs
UNKNOWN = float("nan")
NUMBERS = (
    *("D_for_N", "D_for_N_low", "D_for_N_high", "trained", "N_opt", "D_opt", "loss", "loss_opt"),
    *("loss_gap", "loss_gap_low", "loss_gap_high", "C_over"),
)
MEMORY_PARTS = ("weights", "gradients", "moments", "master")
SHARDED_N, SHARDED_DEVICES = 7.5e9, 64  # Rajbhandari et al. 2020, arXiv:1910.02054, figure 1
STAGES = {
    "DDP": Setup(strategy="ddp", n_devices=SHARDED_DEVICES),
    "ZeRO-1": Setup(strategy="zero1", n_devices=SHARDED_DEVICES),
    "ZeRO-2": Setup(strategy="zero2", n_devices=SHARDED_DEVICES),
    "ZeRO-3": Setup(strategy="zero3", n_devices=SHARDED_DEVICES),
    "FSDP, factor 1": Setup(strategy="fsdp", n_devices=SHARDED_DEVICES, sharding_factor=1),
    "FSDP, factor 8": Setup(strategy="fsdp", n_devices=SHARDED_DEVICES, sharding_factor=8),
    "FSDP, factor 64": Setup(strategy="fsdp", n_devices=SHARDED_DEVICES),
}


class Model(NamedTuple):
    """A model by its size and what it saw, with what the course prints as its optimum.

    Attributes
    ----------
    name : str
    N : float, parameters
    D : float, tokens
    course_optimum : float, tokens
        NaN for a model that the course does not name.
    note : str
    """

    name: str
    N: float
    D: float
    course_optimum: float = float("nan")
    note: str = ""


# "Compute-optimal tokens (20 per parameter) against actual", as the course prints them.
COURSE_MODELS = (
    Model("Chinchilla", 70e9, 1.4e12, 1.4e12),
    Model("LLaMA-65B", 65e9, 1.4e12, 1.3e12),
    Model("GPT-3", 175e9, 300e9, 3.5e12),
    Model("OPT-175B", 175e9, 180e9, 3.5e12),
    Model("BLOOM", 176e9, 350e9, 3.5e12, "366B tokens by BloombergGPT's figure 1"),
)

BROWN = "Brown et al. 2020, Language Models are Few-Shot Learners, arXiv:2005.14165, table D.1"
_BROWN_D1 = (  # model, family, PF-days, FLOPs, parameters (millions), tokens (billions), as printed
    ("T5-Small", "T5", 2.08, 1.80e20, 60, 1000),
    ("T5-Base", "T5", 7.64, 6.60e20, 220, 1000),
    ("T5-Large", "T5", 26.7, 2.31e21, 770, 1000),
    ("T5-3B", "T5", 104, 9.00e21, 3000, 1000),
    ("T5-11B", "T5", 382, 3.30e22, 11000, 1000),
    ("BERT-Base", "BERT", 1.89, 1.64e20, 109, 250),
    ("BERT-Large", "BERT", 6.16, 5.33e20, 355, 250),
    ("RoBERTa-Base", "RoBERTa", 17.4, 1.50e21, 125, 2000),
    ("RoBERTa-Large", "RoBERTa", 49.3, 4.26e21, 355, 2000),
    ("GPT-3 Small", "GPT-3", 2.60, 2.25e20, 125, 300),
    ("GPT-3 Medium", "GPT-3", 7.42, 6.41e20, 356, 300),
    ("GPT-3 Large", "GPT-3", 15.8, 1.37e21, 760, 300),
    ("GPT-3 XL", "GPT-3", 27.5, 2.38e21, 1320, 300),
    ("GPT-3 2.7B", "GPT-3", 55.2, 4.77e21, 2650, 300),
    ("GPT-3 6.7B", "GPT-3", 139, 1.20e22, 6660, 300),
    ("GPT-3 13B", "GPT-3", 268, 2.31e22, 12850, 300),
    ("GPT-3 175B", "GPT-3", 3640, 3.14e23, 174600, 300),
)
ACTIVE = {"T5": 0.5}  # an encoder-decoder sends a token through half of its parameters

BLOOMBERG = "Wu et al. 2023, BloombergGPT, arXiv:2303.17564"
KNOWN_MODELS = (  # its figure 1
    Model("LaMDA", 137e9, 168e9, note="of 2.81T tokens"),
    Model("GPT-3", 175e9, 300e9),
    Model("Jurassic-1", 178e9, 300e9),
    Model("Gopher", 280e9, 300e9),
    Model("MT-NLG", 530e9, 270e9),
    Model("Chinchilla", 70e9, 1.4e12),
    Model("PaLM", 540e9, 780e9),
    Model("OPT", 175e9, 180e9),
    Model("BLOOM", 176e9, 366e9),
    Model("GPT-NeoX", 20e9, 472e9),
    Model("LLaMA", 65e9, 1.4e12),
    Model("BloombergGPT", 50.6e9, 569e9, note="of 709B tokens at hand"),
)


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
        rows.append(_by_rule(model))
        rows += [_by_law(model, law) for law in sources]
    return pd.DataFrame(rows)


def _model_columns(model: Model, yardstick: str, verdict: str) -> dict:
    return {
        "model": model.name,
        "N": model.N,
        "D": model.D,
        "C": 6 * model.N * model.D,
        "tokens_per_param": model.D / model.N,
        "course_optimum": model.course_optimum,
        "yardstick": yardstick,
        "verdict": verdict,
    }


def _by_rule(model: Model) -> dict:
    N_opt = float(np.sqrt(model.N * model.D / RULE))
    numbers = dict.fromkeys(NUMBERS, UNKNOWN) | {"D_for_N": RULE * model.N}
    numbers |= {"trained": model.D / (RULE * model.N), "N_opt": N_opt, "D_opt": RULE * N_opt}
    return _model_columns(model, RULE_NAME, _in_words(numbers["trained"])) | numbers


def _in_words(trained: float) -> str:
    if 1 / ABOUT <= trained <= ABOUT:
        return "about optimal"
    return "under-trained" if trained < 1 else "over-trained"


def _by_law(model: Model, law: LawSource) -> dict:
    found = judge(model.N, model.D, law, model.name)
    low, high = _tokens_interval(law, model.N)
    loss, gap = float(found.loss), found.loss_gap
    numbers = {"D_for_N": found.D_for_N, "D_for_N_low": low, "D_for_N_high": high}
    numbers |= {"trained": found.trained, "N_opt": float(found.N_opt), "D_opt": float(found.D_opt)}
    numbers |= {"loss": loss, "loss_opt": loss - float(gap), "loss_gap": float(gap)}
    numbers |= {"loss_gap_low": gap.low, "loss_gap_high": gap.high, "C_over": found.C_over}
    return _model_columns(model, law.name, found.verdict) | numbers


def _tokens_interval(law: LawSource, N: float) -> tuple[float, float]:
    draws = law.fit.draws
    if not (len(draws) and {"A", "B", "alpha"} <= {*draws.columns}):
        return UNKNOWN, UNKNOWN
    return interval(tokens_for({name: draws[name].to_numpy() for name in draws}, N))


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
    columns = ["model", "family", "printed_pf_days", "printed_flops", "N", "D"]
    table = pd.DataFrame(_BROWN_D1, columns=columns)
    table = table.assign(N=table.N * 1e6, D=table.D * 1e9)
    factor = 6 * table.family.map(ACTIVE).fillna(1.0)
    flops = factor * table.N * table.D
    table = table.assign(flops_per_param_token=factor, flops=flops, pf_days=flops / PF_DAY)
    table["difference"] = table.pf_days / table.printed_pf_days - 1
    order = ["model", "family", "N", "D", "flops_per_param_token", "flops", "pf_days"]
    return table.loc[:, [*order, "printed_flops", "printed_pf_days", "difference"]]


# ---------------------------------------------------------------- memory


def memory_table(
    params: float = SHARDED_N, stages: Mapping[str, Setup] = STAGES, device: str = "A100"
) -> pd.DataFrame:
    """Bytes of weights, gradients and Adam's states on one device, by what is sharded.

    Parameters
    ----------
    params : float, parameters
    stages : mapping, name -> Setup
    device : str
        Key of `scaling.hardware.devices.DEVICES`.

    Returns
    -------
    DataFrame with columns stage, params, n_devices, weights, gradients, moments, master and total
        (bytes), device_bytes, fits (with a share of the device left for all else, but without
        activations, which no stage shards), over (total of the first stage over this)
    """
    rows = []
    for stage, setup in stages.items():
        memory = training_memory(params, setup)
        row = {"stage": stage, "params": params, "n_devices": setup.n_devices}
        row |= {name: getattr(memory, name) for name in MEMORY_PARTS}
        row |= {"total": memory.total, "device_bytes": DEVICES[device].memory_bytes}
        rows.append(row | {"fits": fits(DEVICES[device], memory)})
    table = pd.DataFrame(rows)
    return table.assign(over=table.total[0] / table.total)


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
    tables = []
    for law in lines:
        N = _line_N(law, C)
        tables.append(pd.DataFrame({"law": law, "C": C, "N_opt": N, "D_opt": C / (6 * N)}))
    table = pd.concat(tables, ignore_index=True)
    return table.assign(tokens_per_param=table.D_opt / table.N_opt)


def _line_N(law: str, C) -> np.ndarray:
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
    low, high = (float(np.log(end)) for end in DECADES)
    rows = []
    for law, other in combinations(lines, 2):
        gaps = [np.log(_line_N(law, end)) - np.log(_line_N(other, end)) for end in DECADES]
        share = gaps[0] / (gaps[0] - gaps[1])
        if not 0 <= share <= 1:
            continue
        C = float(np.exp(low + share * (high - low)))
        N = float(_line_N(law, C))
        ratio = float(np.exp(gaps[1]))
        row = {"law": law, "other": other, "C": C, "N": N, "D": C / (6 * N), "N_ratio_end": ratio}
        rows.append(row)
    return pd.DataFrame(rows, columns=["law", "other", "C", "N", "D", "N_ratio_end"])


def known_models_table(models: Iterable[Model] = KNOWN_MODELS) -> pd.DataFrame:
    """Models of BloombergGPT's figure 1: model, N, D, C (6ND), N over each line's N_opt at that C.

    Source: Wu et al. 2023, BloombergGPT, arXiv:2303.17564, figure 1.
    """
    rows = [(m.name, m.N, m.D, 6 * m.N * m.D, m.note) for m in models]
    table = pd.DataFrame(rows, columns=["model", "N", "D", "C", "note"])
    ratios = {f"N_over_{law}": table.N / _line_N(law, table.C.to_numpy()) for law in LINES}
    return table.assign(**ratios)
