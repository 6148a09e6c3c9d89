"""Too little data: the best plan with and without repeating it."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from scaling.planning.departures import compute_for
from scaling.planning.search import find_crossing
from scaling.planning.sources import SOURCES, LawSource
from scaling.planning.surface import LENDER, WITHIN, describe_lack, is_sum, limited, read_decays


@dataclass(frozen=True)
class DataLimitPlan:
    """What a limit on data does to a plan.

    The table has one row per law and option: law, option, N, D, epochs, C (FLOPs), loss, loss_gap
    (above unlimited), C_over (C over what the unlimited optimum needs for this loss), best.
    Options: unlimited, as if there were no limit; one_pass, all of C and every token once, which
    takes a larger model; optimal_for_data, every token once at the size it is optimal for, for less
    than C; repeated, all of C at the best number of passes; least_compute, the fewest FLOPs within
    0.001 nats/token of the best that the limit allows. Where these are less than half of C, the
    data is used up, the status is "saturated", and least_compute is the plan.
    """

    data_limit: float  # unique tokens
    C: float  # FLOPs
    law: str
    binding: bool  # whether the law asks for more than there is
    repeat: bool  # whether passes beyond the first are allowed
    table: pd.DataFrame
    note: str

    @property
    def best(self) -> dict[str, Any]:
        """The row to train, by the plan's law where it has a loss."""
        return self.table[self.table.best].iloc[0].to_dict()

    @property
    def status(self) -> str:
        """Either "ok" or "saturated"."""
        return "saturated" if self.best["option"] == "least_compute" else "ok"


def plan_data(C: float, data_limit: float, law: LawSource, *, repeat: bool = True) -> DataLimitPlan:
    """Best N and D at C FLOPs when there are `data_limit` unique tokens.

    L(N, D, U) = E + A/N'^alpha + B/D'^beta, minimised over N at D = C / (FLOPs per token of N).

    Parameters
    ----------
    C, data_limit, repeat
        As in `DataLimitPlan`.
    law : LawSource
        A law that does not say how fast repeated tokens and excess parameters lose value borrows
        R_D and R_N from Muennighoff et al. 2023.

    References
    ----------
    Muennighoff et al. 2023, arXiv:2305.16264, section 3.

    Notes
    -----
    Losses of different laws belong to different data and vocabularies: compare within one law.
    Parameters beyond those for which U is compute-optimal (under 6ND) lose value as well, so that
    one pass on a larger model is judged by the same law as many passes.
    """
    decays, whose = read_decays(law)
    laws = ({law.name: law} if is_sum(law) else {}) | {LENDER: SOURCES[LENDER]()}
    tables = [_weigh_options(one, C, data_limit, decays, repeat) for one in laws.values()]
    return DataLimitPlan(
        data_limit=data_limit,
        C=C,
        law=law.name,
        binding=law.point(C)["D_opt"] > data_limit,
        repeat=repeat,
        table=pd.concat(tables, ignore_index=True),
        note=(
            f"value of repeats: R_D {decays['R_D']:.4g}, R_N {decays['R_N']:.4g} ({whose})"
            + ("" if is_sum(law) else f"; {law.name} {describe_lack(law)}")
        ),
    )


def _weigh_options(
    law: LawSource, C: float, limit: float, decays: dict[str, float], repeat: bool
) -> pd.DataFrame:
    """The rows of one law in the table of a `DataLimitPlan`."""
    best = law.point(C)
    N_opt, D_opt, L_opt = best["N_opt"], best["D_opt"], best["L_opt"]
    chosen = None
    if D_opt <= limit:
        names = ["unlimited", "one_pass", "optimal_for_data", *["repeated"] * repeat]
        plans = dict.fromkeys(names, (N_opt, D_opt, L_opt))
    else:
        surface = limited(law, limit, decays, repeat=repeat)
        N_once = find_crossing(lambda N: law.flops_per_token(N) - C / limit)
        sizes = {"one_pass": (N_once, limit), "optimal_for_data": (surface.base, limit)}
        if repeat:
            N = min(surface.spend(C)[0], N_once)
            sizes["repeated"] = (N, C / law.flops_per_token(N))
        least = min(surface.loss(*size) for size in sizes.values())
        sizes["least_compute"] = surface.cheapest(least + WITHIN)
        chosen = "least_compute" if surface.is_saturated(C, least) else None
        plans = {"unlimited": (N_opt, D_opt, L_opt)}
        plans |= {name: (*size, surface.loss(*size)) for name, size in sizes.items()}
    rows = []
    for option, (N, D, reached) in plans.items():
        row = {"law": law.name, "option": option, "N": N, "D": D}
        row |= {"epochs": 1.0 if option == "unlimited" else max(D / limit, 1.0)}
        row |= {"C": D * law.flops_per_token(N), "loss": reached, "loss_gap": reached - L_opt}
        rows.append(row | {"C_over": row["C"] / compute_for(law, reached)})
    table = pd.DataFrame(rows)
    allowed = table.loss.where(table.option != "unlimited")
    best = table.option == chosen if chosen else table.index == allowed.idxmin()
    return table.assign(best=best)
