"""Too little data: the best plan with and without repeating it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scaling.laws.papers import MUENNIGHOFF
from scaling.laws.repeats import base_params
from scaling.laws.table import LAWS
from scaling.planning.departures import compute_for
from scaling.planning.search import find_crossing, find_least
from scaling.planning.sources import SOURCES, LawSource

LENDER = "muennighoff2023"  # of what repeats are worth, to laws that do not say
MOST_EPOCHS = 1e3  # searched; beyond some 40 a further pass is worth nothing
SUM = {"E", "A", "B", "alpha", "beta"}  # what the law of repeats is built on
GRID = 400  # sizes tried before the finest search


@dataclass(frozen=True)
class DataLimitPlan:
    """What a limit on data does to a plan.

    The table has one row per law and option: law, option, N, D, epochs, C (FLOPs), loss, loss_gap
    (above unlimited), C_over (C over what the unlimited optimum needs for this loss), best.
    Options: unlimited, as if there were no limit; one_pass, all of C and every token once, which
    takes a larger model; optimal_for_data, every token once at the size it is optimal for, for less
    than C; repeated, all of C at the best number of passes.
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
        """The row of lowest loss that the limit allows, by the plan's law where it has a loss."""
        return self.table[self.table.best].iloc[0].to_dict()


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
    muennighoff = SOURCES[LENDER]()
    decays = law.repeats or muennighoff.repeats or {}
    is_sum = law.has_surface and {*law.fit.params} <= SUM
    lack = "is no sum of two powers" if law.has_surface else "has no loss for every N and D"
    laws = ({law.name: law} if is_sum else {}) | {LENDER: muennighoff}
    tables = [_weigh_options(one, C, data_limit, decays, repeat) for one in laws.values()]
    return DataLimitPlan(
        data_limit=data_limit,
        C=C,
        law=law.name,
        binding=law.point(C)["D_opt"] > data_limit,
        repeat=repeat,
        table=pd.concat(tables, ignore_index=True),
        note=(
            f"value of repeats: R_D {decays['R_D']:.4g}, R_N {decays['R_N']:.4g}"
            + (" (the law's own)" if law.repeats else f" ({MUENNIGHOFF})")
            + ("" if is_sum else f"; {law.name} {lack}")
        ),
    )


def _weigh_options(
    law: LawSource, C: float, limit: float, decays: dict[str, float], repeat: bool
) -> pd.DataFrame:
    """The rows of one law in the table of a `DataLimitPlan`."""
    best = law.point(C)
    N_opt, D_opt, L_opt = best["N_opt"], best["D_opt"], best["L_opt"]
    if D_opt <= limit:
        names = ["unlimited", "one_pass", "optimal_for_data", *["repeated"] * repeat]
        plans = dict.fromkeys(names, (N_opt, D_opt, L_opt))
    else:
        params = {"beta": law.fit.params["alpha"], **law.fit.params, **decays}

        def loss(N: float, D: float) -> float:
            return float(LAWS["repeated"].loss(params, N=N, D=D, U=limit))

        N_once = find_crossing(lambda N: law.flops_per_token(N) - C / limit)
        N_data = base_params(limit, **{name: params[name] for name in ("A", "B", "alpha", "beta")})
        sizes = {"one_pass": (N_once, limit), "optimal_for_data": (float(N_data), limit)}
        if repeat:
            N = _find_repeated(lambda N: loss(N, C / law.flops_per_token(N)), N_once)
            sizes["repeated"] = (N, C / law.flops_per_token(N))
        plans = {"unlimited": (N_opt, D_opt, L_opt)}
        plans |= {name: (N, D, loss(N, D)) for name, (N, D) in sizes.items()}
    rows = []
    for option, (N, D, reached) in plans.items():
        row = {"law": law.name, "option": option, "N": N, "D": D}
        row |= {"epochs": 1.0 if option == "unlimited" else max(D / limit, 1.0)}
        row |= {"C": D * law.flops_per_token(N), "loss": reached, "loss_gap": reached - L_opt}
        rows.append(row | {"C_over": row["C"] / compute_for(law, reached)})
    table = pd.DataFrame(rows)
    allowed = table.loss.where(table.option != "unlimited")
    return table.assign(best=table.index == allowed.idxmin())


def _find_repeated(loss: Callable[[float], float], N_once: float) -> float:
    """The size of lowest loss among those that all of the compute trains on one pass or more."""
    high = np.log(N_once)
    tried = np.linspace(high - np.log(MOST_EPOCHS), high, GRID)
    losses = [loss(float(np.exp(log_N))) for log_N in tried]
    i = int(np.argmin(losses))
    N = find_least(loss, tried[max(i - 1, 0)], tried[min(i + 1, GRID - 1)])
    return N if loss(N) < losses[i] else float(np.exp(tried[i]))
