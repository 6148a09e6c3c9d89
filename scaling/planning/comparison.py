"""All laws side by side at one budget."""

from collections.abc import Iterable, Iterator

import pandas as pd

from scaling.laws.frontier import QUANTITIES
from scaling.planning.sources import SOURCES, LawSource, spread


def compare_laws(C: float, laws: Iterable[LawSource]) -> pd.DataFrame:
    """All laws side by side at one budget of C FLOPs.

    Returns
    -------
    DataFrame, one row per law, with columns law, C (FLOPs), N_opt (parameters), D_opt (tokens),
        L_opt (nats/token), tokens_per_param, each but the first two with _low and _high (NaN
        without draws), flops_over (FLOPs of N_opt and D_opt, as the law counts them, over C),
        N_meaning, C_meaning, status, note, citation. Losses of different laws belong to different
        data and vocabularies and do not compare.
    """
    rows = []
    for law in laws:
        row: dict[str, object] = {"law": law.name, "C": C}
        for quantity in QUANTITIES:
            row |= spread(quantity, getattr(law, quantity)(C))
        best = law.point(C)
        row["flops_over"] = law.flops_per_token(best["N_opt"]) * best["D_opt"] / C
        row |= {"N_meaning": law.N_meaning, "C_meaning": law.C_meaning}
        row |= {"status": law.status(C), "note": law.note, "citation": law.citation}
        rows.append(row)
    return pd.DataFrame(rows)


def gather_laws(law: LawSource) -> Iterator[LawSource]:
    """All published laws, and before them this one where it is not among them."""
    if law.name not in SOURCES:
        yield law
    yield from (law if name == law.name else load() for name, load in SOURCES.items())
