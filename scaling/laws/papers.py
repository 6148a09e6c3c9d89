"""What the scaling-law papers print, typed in, here and in the CSV files beside: no network.

Numbers stand as printed, misprints included; where a paper contradicts itself, a note says so.
Losses are in nats/token unless a comment says otherwise.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from scaling.files import read_table

PF_DAY = 8.64e19  # FLOPs: 1e15 FLOP/s for 86,400 s
TOKENS_PER_PARAM_RULE = 20.0  # the rule of thumb drawn from Hoffmann et al. 2022, table 3


class PublishedLaw(NamedTuple):
    """A loss law as its authors fitted it.

    Examples
    --------
    >>> law = PUBLISHED_LAWS["hoffmann2022_rounded"]
    >>> law.law, law.params
    ('chinchilla', {'E': 1.69, 'A': 406.4, 'B': 410.7, 'alpha': 0.34, 'beta': 0.28})
    >>> law.N
    'all parameters, embeddings included'
    """

    law: str  # key of `scaling.laws.table.LAWS`
    params: dict[str, float]  # in parameters, tokens, FLOPs and nats/token
    N: str  # what the authors count as N (or C, for a law of compute alone)
    source: str  # where the numbers stand
    citation: str


class Allocation(NamedTuple):
    """A printed power law of compute: quantity = coefficient * (C / C_unit)**exponent.

    Examples
    --------
    >>> kaplan = PUBLISHED_ALLOCATIONS["kaplan2020_N"]
    >>> kaplan.coefficient, kaplan.exponent, kaplan.unit
    (1300000000.0, 0.73, 'parameters, no embeddings')
    """

    quantity: str  # N_opt, D_opt, S_min, B or M_opt
    unit: str
    coefficient: float
    exponent: float
    C_unit: float  # FLOPs: 1 where the paper counts them, `PF_DAY` where it counts PF-days
    source: str

    def at(self, C):
        """The quantity at a compute of C FLOPs.

        Examples
        --------
        Parameters and tokens of Kaplan et al. for 1000 PF-days, 0.6 tokens per parameter:

        >>> names = ("kaplan2020_N", "kaplan2020_D")
        >>> [f"{PUBLISHED_ALLOCATIONS[name].at(1000 * PF_DAY):.3g}" for name in names]
        ['2.01e+11', '1.29e+11']
        """
        return self.coefficient * (np.asarray(C) / self.C_unit) ** self.exponent


HOFFMANN = "Hoffmann et al. 2022, Training Compute-Optimal Large Language Models, arXiv:2203.15556"
KAPLAN = "Kaplan et al. 2020, Scaling Laws for Neural Language Models, arXiv:2001.08361"
BESIROGLU = "Besiroglu et al. 2024, Chinchilla Scaling: A replication attempt, arXiv:2404.10102"
MUENNIGHOFF = "Muennighoff et al. 2023, Scaling Data-Constrained Language Models, arXiv:2305.16264"
CEREBRAS = "Dey et al. 2023, Cerebras-GPT, arXiv:2304.03208"

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


def _read(name: str) -> pd.DataFrame:
    return read_table(Path(__file__).with_name(f"{name}.csv"))


# Kaplan's are of C_min, the least compute that reaches a loss; C = 2 C_min at the critical batch.
# DeepSeek's C = M * D: the size is told in FLOPs per token instead of parameters.
# Llama's is rounded: at 3.8e25 FLOPs it says 10.5e12 tokens where the paper says 16.55e12 (402B).
PUBLISHED_ALLOCATIONS: dict[str, Allocation] = {
    name: Allocation(*row) for name, *row in _read("published_allocations").to_numpy()
}

MUENNIGHOFF_CHECKS = (  # N, D, unique tokens, loss by the law
    (6.34e9, 242e9, 25e9, 2.22564409),
    (8.67e9, 178e9, 25e9, 2.22696341),
)


def _convert_power_law(alpha: float, X_c: float, unit: float = 1.0) -> dict[str, float]:
    """(X_c / X)^alpha as A / X^alpha; `unit` is that of X_c in ours."""
    return {"A": (X_c * unit) ** alpha, "alpha": alpha}


_CONVERTED: dict[str, dict[str, float]] = {  # parameters that are not printed as our laws take them
    "kaplan2020": KAPLAN_CONSTANTS["L(N,D)"],
    "kaplan2020_steps": KAPLAN_CONSTANTS["L(N,S_min)"],
    "kaplan2020_batch": KAPLAN_CONSTANTS["B_crit(L)"],
    "kaplan2020_N": _convert_power_law(*KAPLAN_CONSTANTS["L(N)"].values()),
    "kaplan2020_D": _convert_power_law(*KAPLAN_CONSTANTS["L(D)"].values()),
    "kaplan2020_C": _convert_power_law(*KAPLAN_CONSTANTS["L(C)"].values(), unit=PF_DAY),
    "kaplan2020_C_min": _convert_power_law(*KAPLAN_CONSTANTS["L(C_min)"].values(), unit=PF_DAY),
    "cerebras2023": _convert_power_law(0.0737, 5.984e22),
    # Muennighoff et al. print the logarithms
    "muennighoff2023": {
        name: float(np.exp(log))
        for name, log in {"A": 6.255414, "B": 7.3049974, "E": 0.6254804}.items()
    },
}


def _make_law(name, law, N, source, citation, **printed) -> PublishedLaw:
    params = {symbol: value for symbol, value in printed.items() if not np.isnan(value)}
    return PublishedLaw(law, params | _CONVERTED.get(name, {}), N, source, citation)


PUBLISHED_LAWS: dict[str, PublishedLaw] = {
    row["name"]: _make_law(**row) for row in _read("published_laws").to_dict("records")
}

HOFFMANN_EXPONENTS = {  # table 2: value, 10 % and 90 % quantile; N_opt ~ C^a, D_opt ~ C^b
    "envelope": {"N_exponent": (0.50, 0.488, 0.502), "D_exponent": (0.50, 0.501, 0.512)},
    "isoflop": {"N_exponent": (0.49, 0.462, 0.534), "D_exponent": (0.51, 0.483, 0.529)},
    "parametric": {"N_exponent": (0.46, 0.454, 0.455), "D_exponent": (0.54, 0.542, 0.543)},
}


def cerebras_models() -> pd.DataFrame:
    """The seven Cerebras-GPT models, at about 20 tokens per parameter.

    Returns
    -------
    DataFrame with columns run_id, params, tokens, flops (FLOPs), loss (Pile test, nats/token)

    Notes
    -----
    Dey et al. 2023, arXiv:2304.03208.

    Examples
    --------
    >>> models = cerebras_models()
    >>> (models.tokens / models.params).round(1).tolist()
    [20.0, 20.0, 20.0, 20.2, 19.6, 19.9, 19.8]
    """
    return _read("cerebras_models")


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

    Examples
    --------
    >>> optima = hoffmann_optima().query("params == 6.7e10").set_index("approach")
    >>> (optima.tokens / optima.params).round(1).to_dict()
    {'envelope': 22.4, 'isoflop': 25.4, 'parametric': 61.2}
    """
    return _read("hoffmann_optima")
