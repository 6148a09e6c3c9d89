"""Tables 3 and A3 of Hoffmann et al. 2022, and its approach 3 with and without rounding."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from scaling.laws import papers
from scaling.laws.frontier import exponents, optimum
from scaling.laws.papers import PUBLISHED_LAWS
from scaling.quantities import format_quantity
from scaling.replication.checks import (
    OVERLAP,
    Check,
    compare_intervals,
    judge,
    judge_digits,
    quote_paper,
)
from scaling.replication.methods import CHINCHILLA_MODEL
from scaling.replication.references import CHINCHILLA

SIZES = (67e9, 73e9)  # parameters: the row of table 3 at CHINCHILLA FLOPs; as far beyond 70B
TOKENS = (1.35e12, 1.45e12)  # what rounds to the 1.4T of Chinchilla
TABLE_NEAR = 0.1  # relative difference up to which a table counts as drawn from its law
AT = f"at {CHINCHILLA:.3g}"
_check = quote_paper("hoffmann2022", papers.HOFFMANN)
RATIOS = {  # law -> parameters and tokens per parameter at CHINCHILLA FLOPs, as known
    "hoffmann2022": (40e9, 58.9),
    "hoffmann2022_rounded": (32e9, 92.6),
}


def hoffmann_checks() -> Iterator[Check]:
    """Rows against 6ND; lines through the rows; approach 3; its table against its law."""
    optima = papers.hoffmann_optima()
    for row in optima.to_dict("records"):
        yield _is_6ND(row)
    for approach in ("envelope", "isoflop"):
        yield from _line(optima, approach)
    for name in RATIOS:
        yield from _approach_3(name)
    for row in optima.to_dict("records"):
        if row["approach"] == "parametric":
            yield _on_the_frontier(row)


def _is_6ND(row: dict) -> Check:
    """C against 6ND: sizes are exact, tokens have one decimal (B or T), FLOPs three digits."""
    N, D, C, note = (row[name] for name in ("params", "tokens", "flops", "inconsistent"))
    half_D = 0.05e9 if D < 1e12 else 0.05e12
    half_C = 0.005 * 10 ** np.floor(np.log10(C))
    ends = {"published_low": C - half_C, "published_high": C + half_C}
    ends |= {"low": 6 * N * (D - half_D), "high": 6 * N * (D + half_D)}
    method, quantity = f"{row['approach']}, 6ND", f"FLOPs of {format_quantity(N)}"
    check = _check(method, quantity, C, f"table {row['table']}", 6 * N * D, **ends, note=note)
    is_same = compare_intervals(check) == OVERLAP
    check = judge(check, is_same, "6ND within the rounding", "not 6ND of its own row")
    return replace(check, ok=is_same == (note == ""), is_finding=not is_same)


def _line(optima: pd.DataFrame, approach: str) -> Iterator[Check]:
    """Log-log lines through the consistent rows of an approach, read at the Chinchilla budget."""
    rows = optima.query("approach == @approach and inconsistent == ''")
    log_N_D = np.log(rows[["params", "tokens"]].to_numpy())
    N, D = np.exp(np.polyfit(np.log(rows.flops / CHINCHILLA), log_N_D, 1)[1])
    model_N, model_D = CHINCHILLA_MODEL
    ratios = TOKENS[0] / SIZES[1], TOKENS[1] / SIZES[0]
    wanted = {
        "N_opt": (N, model_N, *SIZES),
        "D_opt": (D, model_D, *TOKENS),
        "tokens_per_param": (D / N, model_D / model_N, *ratios),
    }
    method = f"{approach}, line through table {rows.table.iloc[0]}"
    for quantity, (ours, published, low, high) in wanted.items():
        is_inside = low <= ours <= high
        known: dict[str, Any] = {"published_low": low, "published_high": high}
        known |= {"ok": is_inside == (approach == "envelope"), "is_finding": not is_inside}
        known["verdict"] = f"{'inside' if is_inside else 'outside'} of what rounds to Chinchilla"
        known["note"] = "" if is_inside else "the table of this approach asks for another model"
        yield _check(method, f"{quantity} {AT}", published, "Chinchilla", ours, **known)


def _approach_3(name: str) -> Iterator[Check]:
    """What the printed parameters give; rounding moves it away from what else is printed."""
    law, (N, ratio), method = PUBLISHED_LAWS[name], RATIOS[name], f"parametric, {name}"
    best = optimum(law.law, law.params, CHINCHILLA)
    for quantity, value, unit in (("N_opt", N, 1e9), ("tokens_per_param", ratio, 1.0)):
        check = _check(method, f"{quantity} {AT}", value, "", best[quantity])
        yield judge_digits(replace(check, source=law.source), unit=unit)
    for quantity, value in exponents(law.law, law.params).items():
        published, low, high = papers.HOFFMANN_EXPONENTS["parametric"][quantity]
        ends = {"published_low": low, "published_high": high}
        check = _check(method, quantity, published, "table 2, 10-90 %", value, **ends)
        check = judge_digits(check, "differs in the printed digits")
        is_inside = low <= value <= high
        yield replace(
            check,
            verdict=check.verdict + ("" if is_inside else ", outside of the printed interval"),
            ok=check.ok != name.endswith("rounded"),
            is_finding=not (check.ok and is_inside),
        )


def _on_the_frontier(row: dict) -> Check:
    """N_opt of the unrounded law at the printed FLOPs; a misprint of C is known as such."""
    N, is_marked = row["params"], row["inconsistent"] != ""
    unrounded, rounded = (
        float(optimum("chinchilla", PUBLISHED_LAWS[name].params, row["flops"])["N_opt"])
        for name in RATIOS
    )
    quantity, where = f"N_opt at the FLOPs of {format_quantity(N)}", f"table {row['table']}"
    note = f"{unrounded / N - 1:+.1%}; {rounded / N - 1:+.1%} by the rounded parameters"
    check = _check("parametric, hoffmann2022", quantity, N, where, unrounded, note=note)
    if is_marked:
        return replace(check, verdict="not judged: the FLOPs of this row are inconsistent")
    is_near = abs(unrounded / N - 1) <= TABLE_NEAR
    check = judge(check, is_near, "near, but not the law's own frontier", "not of this law")
    return replace(check, is_finding=True)
