"""What every law asks for at one budget, side by side."""

from collections.abc import Iterable

import pandas as pd

from scaling.planning.budgets import Budget, parse_budget
from scaling.planning.sources import SOURCES, LawLike, LawSource, get_source

QUANTITIES = ("N_opt", "D_opt", "L_opt", "tokens_per_param")


def compare_laws(
    budget: str | float | Budget, laws: Iterable[LawLike] = tuple(SOURCES), **options
) -> pd.DataFrame:
    """All laws side by side at one budget.

    Parameters
    ----------
    budget : str, float (FLOPs) or Budget, as `parse_budget` takes it
    laws : iterable of what `get_source` takes
    **options
        Of `parse_budget`.

    Returns
    -------
    DataFrame, one row per law, with columns law, C (FLOPs), N_opt (parameters), D_opt (tokens),
        L_opt (nats/token), tokens_per_param, each but the first two with _low and _high (NaN
        without draws), flops_over (FLOPs of N_opt and D_opt, as the law counts them, over C),
        N_meaning, C_meaning, status, note, citation. Losses of different laws belong to different
        data and vocabularies and do not compare.
    """
    C = parse_budget(budget, **options).flops
    return pd.DataFrame([_row(get_source(law), C) for law in laws])


def _row(law: LawSource, C: float) -> dict:
    row: dict[str, object] = {"law": law.name, "C": C}
    for quantity in QUANTITIES:
        found = getattr(law, quantity)(C)
        row |= {quantity: found.value, f"{quantity}_low": found.low, f"{quantity}_high": found.high}
    best = law.point(C)
    row["flops_over"] = law.flops_per_token(best["N_opt"]) * best["D_opt"] / C
    row |= {"N_meaning": law.N_meaning, "C_meaning": law.C_meaning}
    return row | {"status": law.N_opt(C).status, "note": law.note, "citation": law.citation}
