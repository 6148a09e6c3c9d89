"""What the scaling-law papers print, typed in: it needs no network.

Numbers stand as printed, misprints included; where a paper contradicts itself, a note says so.
Losses are in nats/token unless a comment says otherwise.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

PF_DAY = 8.64e19  # FLOPs: 1e15 FLOP/s for 86,400 s
TOKENS_PER_PARAM_RULE = 20.0  # the rule of thumb drawn from Hoffmann et al. 2022, table 3


class PublishedLaw(NamedTuple):
    """A loss law as its authors fitted it.

    Attributes
    ----------
    law : str
        Key of `scaling.laws.table.LAWS`.
    params : dict, name -> value, in parameters, tokens, FLOPs and nats/token
    N : str
        What the authors count as N (or C, for a law of compute alone).
    source : str
        Where the numbers stand.
    citation : str
    """

    law: str
    params: dict[str, float]
    N: str
    source: str
    citation: str


class Allocation(NamedTuple):
    """A printed power law of compute: quantity = coefficient * (C / C_unit)**exponent.

    Attributes
    ----------
    quantity : {"N_opt", "D_opt", "S_min", "B", "M_opt"}
    unit : str
    coefficient, exponent : float
    C_unit : float, FLOPs
        1 where the paper counts FLOPs, `PF_DAY` where it counts PF-days.
    source : str
    """

    quantity: str
    unit: str
    coefficient: float
    exponent: float
    C_unit: float
    source: str

    def at(self, C):
        """The quantity at a compute of C FLOPs."""
        return self.coefficient * (np.asarray(C) / self.C_unit) ** self.exponent


HOFFMANN = "Hoffmann et al. 2022, Training Compute-Optimal Large Language Models, arXiv:2203.15556"
KAPLAN = "Kaplan et al. 2020, Scaling Laws for Neural Language Models, arXiv:2001.08361"
BESIROGLU = "Besiroglu et al. 2024, Chinchilla Scaling: A replication attempt, arXiv:2404.10102"
MUENNIGHOFF = "Muennighoff et al. 2023, Scaling Data-Constrained Language Models, arXiv:2305.16264"
CEREBRAS = "Dey et al. 2023, Cerebras-GPT, arXiv:2304.03208"
DEEPSEEK = "DeepSeek-AI 2024, DeepSeek LLM, arXiv:2401.02954"
LLAMA3 = "Llama Team 2024, The Llama 3 Herd of Models, arXiv:2407.21783"

# Cerebras-GPT: about 20 tokens per parameter, loss on the test split of the Pile.
CEREBRAS_MODELS = (  # N (parameters), D (tokens), C (FLOPs), loss (nats/token)
    (111e6, 2.22e9, 2.6e18, 2.566),
    (256e6, 5.12e9, 1.3e19, 2.299),
    (590e6, 1.18e10, 6.1e19, 2.184),
    (1.3e9, 2.63e10, 2.8e20, 1.996),
    (2.7e9, 5.30e10, 1.1e21, 1.834),
    (6.7e9, 1.33e11, 6.3e21, 1.704),
    (13e9, 2.57e11, 2.3e22, 1.572),
)

# Kaplan et al. 2020: N without embeddings, D and B in tokens, S in steps, C in PF-days (PF_DAY).
KAPLAN_CONSTANTS = {
    "L(N)": {"alpha_N": 0.076, "N_c": 8.8e13},  # (N_c / N)^alpha_N
    "L(D)": {"alpha_D": 0.095, "D_c": 5.4e13},
    "L(C)": {"alpha_C": 0.057, "C_c": 1.6e7},  # at a fixed batch size
    "L(C_min)": {"alpha_C": 0.050, "C_c": 3.1e8},  # C_min = C / (1 + B / B_crit)
    "L(N,D)": {"alpha_N": 0.076, "alpha_D": 0.103, "N_c": 6.4e13, "D_c": 1.8e13},  # equation 1.5
    # (N_c / N)^alpha_N + (S_c / S_min)^alpha_S, with S_min = S / (1 + B_crit / B)
    "L(N,S_min)": {"alpha_N": 0.077, "alpha_S": 0.76, "N_c": 6.5e13, "S_c": 2.1e3},
    "B_crit(L)": {"alpha_B": 0.21, "B_star": 2.1e8},  # B_star / L^(1 / alpha_B)
}


def _allocation(quantity, unit, coefficient, exponent):
    source = f"{KAPLAN}, appendix A"
    return Allocation(quantity, unit, coefficient, exponent, PF_DAY, source)


PUBLISHED_ALLOCATIONS: dict[str, Allocation] = {
    # of C_min, the least compute that reaches a loss; C = 2 C_min at the critical batch size
    "kaplan2020_N": _allocation("N_opt", "parameters, no embeddings", 1.3e9, 0.73),
    "kaplan2020_B": _allocation("B", "tokens/step", 2.0e6, 0.24),
    "kaplan2020_S": _allocation("S_min", "steps", 5.4e3, 0.03),
    "kaplan2020_D": _allocation("D_opt", "tokens", 2e10, 0.27),
    # C = M * D: the size is told in FLOPs per token instead of parameters
    "deepseek2024_M": Allocation(
        "M_opt", "non-embedding FLOPs/token", 0.1715, 0.5243, 1.0, f"{DEEPSEEK}, section 3.2"
    ),
    "deepseek2024_D": Allocation(
        "D_opt", "tokens", 5.8316, 0.4757, 1.0, f"{DEEPSEEK}, section 3.2"
    ),
    # Rounded: at 3.8e25 FLOPs it says 10.5e12 tokens where the paper says 16.55e12 (402B).
    "llama2024_D": Allocation("D_opt", "tokens", 0.29, 0.53, 1.0, f"{LLAMA3}, section 3.2.1"),
}


# Muennighoff et al. 2023 print the logarithms of A, B and E.
MUENNIGHOFF_LOGS = {"A": 6.255414, "B": 7.3049974, "E": 0.6254804}
MUENNIGHOFF_CHECKS = (  # N, D, unique tokens, loss by the law
    (6.34e9, 242e9, 25e9, 2.22564409),
    (8.67e9, 178e9, 25e9, 2.22696341),
)
_TOTAL = "all parameters, embeddings included"
_NO_EMBEDDING = "parameters without embeddings"


def _kaplan(name, law, scale=1.0, N=_NO_EMBEDDING):
    """(X_c / X)^alpha as A / X^alpha; `scale` turns the unit of X_c into ours."""
    alpha, X_c = KAPLAN_CONSTANTS[name].values()
    params = {"A": (X_c * scale) ** alpha, "alpha": alpha}
    return PublishedLaw(law, params, N, f"{KAPLAN}, section 1.2, {name}", KAPLAN)


PUBLISHED_LAWS: dict[str, PublishedLaw] = {
    "hoffmann2022": PublishedLaw(
        "chinchilla",
        {"E": 1.693367, "A": 406.401, "B": 410.7228, "alpha": 0.339171, "beta": 0.284908},
        _TOTAL,
        f"the TeX source of {HOFFMANN}, before rounding",
        HOFFMANN,
    ),
    "hoffmann2022_rounded": PublishedLaw(
        "chinchilla",
        {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
        _TOTAL,
        f"{HOFFMANN}, appendix D.3, as printed",
        HOFFMANN,
    ),
    "besiroglu2024": PublishedLaw(
        "chinchilla",
        {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
        _TOTAL,
        f"{BESIROGLU}, table 1",
        BESIROGLU,
    ),
    "kaplan2020": PublishedLaw(
        "kaplan", KAPLAN_CONSTANTS["L(N,D)"], _NO_EMBEDDING, f"{KAPLAN}, equation 1.5", KAPLAN
    ),
    "kaplan2020_steps": PublishedLaw(  # steps S_min at a batch far above the critical one
        "kaplan_steps",
        KAPLAN_CONSTANTS["L(N,S_min)"],
        _NO_EMBEDDING,
        f"{KAPLAN}, section 5",
        KAPLAN,
    ),
    "kaplan2020_batch": PublishedLaw(
        "critical_batch",
        KAPLAN_CONSTANTS["B_crit(L)"],
        "none: tokens per step at a loss",
        f"{KAPLAN}, equation 1.4",
        KAPLAN,
    ),
    "kaplan2020_N": _kaplan("L(N)", "power_N"),
    "kaplan2020_D": _kaplan("L(D)", "power_D"),
    "kaplan2020_C": _kaplan("L(C)", "power_C", PF_DAY, "C: 6NBS without embeddings, fixed batch"),
    "kaplan2020_C_min": _kaplan("L(C_min)", "power_C", PF_DAY, "C: the least compute, C_min"),
    "muennighoff2023": PublishedLaw(
        "repeated",
        {name: float(np.exp(log)) for name, log in MUENNIGHOFF_LOGS.items()}
        | {"alpha": 0.3526596, "beta": 0.3526596, "R_D": 15.387756, "R_N": 5.309743},
        _TOTAL,
        f"{MUENNIGHOFF}, appendix A; alpha = beta by construction",
        MUENNIGHOFF,
    ),
    "cerebras2023": PublishedLaw(
        "power_C_E",  # (C / 5.984e22)^-.0737 + .5066
        {"E": 0.5066, "A": 5.984e22**0.0737, "alpha": 0.0737},
        "C: training FLOPs of compute-optimal models",
        CEREBRAS,
        CEREBRAS,
    ),
}

# Besiroglu et al. 2024, table 1: standard errors of E, A, B, alpha, beta; and a = .513.
BESIROGLU_STD = {"E": 0.03, "A": 124.58, "B": 1293.23, "alpha": 0.02, "beta": 0.02}

HOFFMANN_EXPONENTS = {  # table 2: value, 10 % and 90 % quantile; N_opt ~ C^a, D_opt ~ C^b
    "envelope": {"N_exponent": (0.50, 0.488, 0.502), "D_exponent": (0.50, 0.501, 0.512)},
    "isoflop": {"N_exponent": (0.49, 0.462, 0.534), "D_exponent": (0.51, 0.483, 0.529)},
    "parametric": {"N_exponent": (0.46, 0.454, 0.455), "D_exponent": (0.54, 0.542, 0.543)},
}

_SIZES = (400e6, 1e9, 10e9, 67e9, 175e9, 280e9, 520e9, 1e12, 10e12)
_HOFFMANN_OPTIMA = {  # table 3, table A3: FLOPs and tokens of a compute-optimal model of each size
    "envelope": (
        (1.92e19, 1.21e20, 1.23e22, 5.76e23, 3.85e24, 9.90e24, 3.43e25, 1.27e26, 1.30e28),
        (8.0e9, 20.2e9, 205.1e9, 1.5e12, 3.7e12, 5.9e12, 11.0e12, 21.2e12, 216.2e12),
    ),
    "isoflop": (
        (1.84e19, 1.20e20, 1.32e22, 6.88e23, 4.54e24, 1.18e25, 4.19e25, 1.59e26, 1.75e28),
        (7.7e9, 20.0e9, 219.5e9, 1.7e12, 4.3e12, 7.1e12, 13.4e12, 26.5e12, 292.0e12),
    ),
    "parametric": (
        (2.21e19, 1.62e20, 2.46e22, 1.71e24, 1.26e24, 3.52e25, 1.36e26, 5.65e26, 8.55e28),
        (9.2e9, 27.1e9, 410.1e9, 4.1e12, 12.0e12, 20.1e12, 43.5e12, 94.1e12, 1425.5e12),
    ),
}
_HOFFMANN_NOTES = {
    ("envelope", 67e9): "6ND of the printed N and D is 6.03e23, of this C and N 1.43e12 tokens",
    ("parametric", 67e9): "6ND of the printed N and D is 1.65e24, 4 % less: more than rounding",
    ("parametric", 175e9): "a misprint of 1.26e25, which is 6ND",
    ("parametric", 280e9): "6ND of the printed N and D is 3.38e25, 4 % less: more than rounding",
}

# Hoffmann et al. 2022, table A4. The ratios come out again only if the FLOPs leave embedding and
# logits out, which the text of appendix F counts, while N contains the vocabulary table and, as in
# Transformer-XL, one more matrix per layer, for relative positions.
HOFFMANN_A4_VOCABULARY, HOFFMANN_A4_SEQUENCE = 32_000, 2_048  # tokens
_HOFFMANN_A4 = (  # parameters, layers, width, feed-forward width, heads, head size, FLOPs / 6ND
    (73e6, 10, 640, 2560, 10, 64, 1.03),
    (305e6, 20, 1024, 4096, 16, 64, 1.10),
    (552e6, 24, 1280, 5120, 10, 128, 1.08),
    (1.1e9, 26, 1792, 7168, 14, 128, 1.04),
    (1.6e9, 28, 2048, 8192, 16, 128, 1.03),
    (6.8e9, 40, 3584, 14336, 28, 128, 0.99),
)


def cerebras_models() -> pd.DataFrame:
    """The seven Cerebras-GPT models: params, tokens, flops (FLOPs), loss (Pile test, nats/token).

    Source: Dey et al. 2023, arXiv:2304.03208.
    """
    models = pd.DataFrame(CEREBRAS_MODELS, columns=["params", "tokens", "flops", "loss"])
    models.insert(0, "run_id", [_short(N) for N in models.params])
    return models


def hoffmann_optima() -> pd.DataFrame:
    """Compute-optimal models of the three approaches, as printed.

    Returns
    -------
    DataFrame with columns approach (envelope, isoflop, parametric), params, flops (FLOPs), tokens,
        table ("3" or "A3") and inconsistent: why the row disagrees with C = 6ND by more than its
        rounding, empty if it does not.

    Notes
    -----
    Hoffmann et al. 2022, arXiv:2203.15556, tables 3 and A3. The first two approaches publish no
    constants; a line through log C and log N of these rows stands for them.
    """
    rows = [
        (approach, N, C, D, "3" if approach == "envelope" else "A3")
        for approach, columns in _HOFFMANN_OPTIMA.items()
        for N, C, D in zip(_SIZES, *columns, strict=True)
    ]
    optima = pd.DataFrame(rows, columns=["approach", "params", "flops", "tokens", "table"])
    keys = zip(optima.approach, optima.params, strict=True)
    return optima.assign(inconsistent=[_HOFFMANN_NOTES.get(key, "") for key in keys])


def hoffmann_flops() -> pd.DataFrame:
    """Hoffmann et al. 2022, table A4: shapes of six models and their exact FLOPs over 6ND.

    Returns
    -------
    DataFrame with columns params, n_layers, width, ffn_width, n_heads, head_size,
        flops_over_6ND; the vocabulary is `HOFFMANN_A4_VOCABULARY`, the sequence
        `HOFFMANN_A4_SEQUENCE` tokens.
    """
    shape = ["n_layers", "width", "ffn_width", "n_heads", "head_size"]
    return pd.DataFrame(_HOFFMANN_A4, columns=["params", *shape, "flops_over_6ND"])


def _short(N: float) -> str:
    return f"{N / 1e9:g}B" if N >= 1e9 else f"{N / 1e6:g}M"
