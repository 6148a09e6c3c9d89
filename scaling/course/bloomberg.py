"""BloombergGPT, planned for its data: its budgets, which disagree, against each law.

Source: Wu et al. 2023, arXiv:2303.17564; the course's 50B and 1.4T.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from scaling.laws.papers import TOKENS_PER_PARAM_RULE as RULE
from scaling.planning.budgets import parse_budget
from scaling.planning.sources import SOURCES, get_source

N, D, AT_HAND = 50.6e9, 569e9, 709e9  # parameters; tokens seen; tokens collected
REPORTED = 2.36e23  # FLOPs, its table 4
COURSE_N, COURSE_D = 50e9, 1.4e12  # as the course tells the plan
RATE = "102 TFLOP/s"  # achieved per A100, its table 4
CLUSTER, HOURS = "512 A100-40GB for 53 days", "1.3M A100-40GB-hours"
UNREPEATED = 6 / 8  # of the FLOPs of a step that computes its activations again
RULE_NAME = "20 per parameter"


def rule_optimum(C: float) -> tuple[float, float]:
    """Parameters and tokens for C = 6ND FLOPs by the rule of 20 tokens per parameter."""
    N_opt = float(np.sqrt(C / (6 * RULE)))
    return N_opt, RULE * N_opt


def bloomberg_budgets() -> pd.DataFrame:
    """Every budget that is told of BloombergGPT.

    Returns
    -------
    DataFrame with columns budget, C (FLOPs), over_reported (C / 2.36e23), note

    Notes
    -----
    512 A100 for 53 days are 0.65M GPU-hours, half of the 1.3M named for planning. The FLOPs that
    102 TFLOP/s count include recomputed activations (8ND rather than 6ND).
    """
    share, planned = REPORTED / (N * D), parse_budget(f"{HOURS} at {RATE}").flops
    rows = [
        ("reported", REPORTED, f"{share:.2g} ND: with recomputed activations"),
        ("cluster", parse_budget(f"{CLUSTER} at {RATE}").flops, f"{CLUSTER} at {RATE}"),
        ("6ND", 6 * N * D, "of 50.6B parameters and the 569B tokens seen"),
        ("planned", planned, f"{HOURS} at {RATE}"),
        ("planned, as 6ND", planned * UNREPEATED, "the same, less recomputed activations"),
        ("course", 6 * COURSE_N * COURSE_D, "6ND of the course's 50B and 1.4T"),
    ]
    table = pd.DataFrame(rows, columns=["budget", "C", "note"])
    table.insert(2, "over_reported", table.C / REPORTED)
    return table


def bloomberg_table(laws: Iterable[str] = tuple(SOURCES)) -> pd.DataFrame:
    """What each law asks for at each of the budgets, and how BloombergGPT compares.

    Returns
    -------
    DataFrame with columns budget, C (FLOPs), law, N_opt (parameters), D_opt (tokens), N_over
        (50.6B / N_opt), D_seen_over (569B / D_opt), D_at_hand_over (709B / D_opt), data_limits
        (whether D_opt is more than was at hand), status
    """
    sources, rows = [get_source(law) for law in laws], []
    for budget, C in bloomberg_budgets()[["budget", "C"]].to_numpy():
        rows.append((budget, C, RULE_NAME, *rule_optimum(C), "ok"))
        for law in sources:
            best = law.point(C)
            rows.append((budget, C, law.name, best["N_opt"], best["D_opt"], law.N_opt(C).status))
    table = pd.DataFrame(rows, columns=["budget", "C", "law", "N_opt", "D_opt", "status"])
    status = table.pop("status")
    table = table.assign(N_over=N / table.N_opt, D_seen_over=D / table.D_opt)
    table = table.assign(D_at_hand_over=AT_HAND / table.D_opt, data_limits=table.D_opt > AT_HAND)
    return table.assign(status=status)
