"""Too little data: the best plan with and without repeating it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from scaling.laws.papers import MUENNIGHOFF
from scaling.laws.table import LAWS, base_params
from scaling.planning.departures import compute_for, crossing
from scaling.planning.sources import LawLike, LawSource, get_source
from scaling.quantities import FLOPS, TOKENS, format_quantity, positive_quantity

REPEATS = "muennighoff2023"
MOST_EPOCHS = 1e3  # searched; beyond some 40 a further pass is worth nothing
GRID = 400  # sizes tried before the finest search
OPTIONS = {
    "unlimited": "as if there were no limit",
    "one_pass": "all of C, every token once: a larger model",
    "optimal_for_data": "every token once, at the size it is optimal for: less than C",
    "repeated": "all of C, at the best number of passes",
}


@dataclass(frozen=True)
class DataLimitPlan:
    """What a limit on data does to a plan.

    Attributes
    ----------
    data_limit : float, tokens
        Unique ones.
    C : float, FLOPs
    law : str
    binding : bool
        Whether the law asks for more than there is.
    repeat : bool
        Whether passes beyond the first are allowed.
    table : DataFrame
        One row per law and option: law, option, N, D, epochs, C (FLOPs), loss, loss_gap (above
        unlimited), C_over (C over what the unlimited optimum needs for this loss), best.
    note : str
    """

    data_limit: float
    C: float
    law: str
    binding: bool
    repeat: bool
    table: pd.DataFrame
    note: str

    @property
    def best(self) -> dict[str, Any]:
        """The row of lowest loss that the limit allows, by the plan's law where it has a loss."""
        return self.table[self.table.best].iloc[0].to_dict()

    def to_dict(self) -> dict[str, Any]:
        """Everything by name; the table as a list of rows."""
        return vars(self) | {"table": self.table.to_dict("records"), "best": self.best}

    def __repr__(self) -> str:
        if not self.binding:
            return (
                f"{format_quantity(self.data_limit)} tokens at hand: more than {self.law} asks for"
            )
        row = self.best
        return (
            f"{format_quantity(self.data_limit)} tokens at hand: {format_quantity(row['N'])} on "
            f"{format_quantity(row['D'])} tokens, {row['epochs']:.3g} passes ({row['option']}, by "
            f"{row['law']}); {row['loss_gap']:.3g} nats/token above the unlimited optimum, "
            f"{row['C_over']:.4g} times its compute for this loss"
        )


def plan_data(
    C: float,
    data_limit: str | float,
    law: LawLike = "besiroglu2024",
    *,
    repeat: bool = True,
    repeats: Mapping[str, float] | None = None,
) -> DataLimitPlan:
    """Best N and D at C FLOPs when there are `data_limit` unique tokens.

    L(N, D, U) = E + A/N'^alpha + B/D'^beta, minimised over N at D = C / (FLOPs per token of N).

    Parameters
    ----------
    C : float, FLOPs
    data_limit : float or str, unique tokens
    law : LawLike
    repeat : bool
        Allow more than one pass.
    repeats : mapping with R_D and R_N, optional
        How fast repeated tokens and excess parameters lose value. If omitted, the law's own, or
        for a law without, borrowed from Muennighoff et al. 2023.

    Raises
    ------
    ValueError
        C or the limit is not positive.

    References
    ----------
    Muennighoff et al. 2023, arXiv:2305.16264, section 3.

    Notes
    -----
    Losses of different laws belong to different data and vocabularies: compare within one law.
    Parameters beyond those for which U is compute-optimal (under 6ND) lose value as well, so that
    one pass on a larger model is judged by the same law as many passes.
    """
    limit = positive_quantity(data_limit, "data_limit", TOKENS)
    C = positive_quantity(C, "C", FLOPS)
    law = get_source(law)
    own = repeats or law.repeats
    decays = dict(own or get_source(REPEATS).repeats or {})
    options = [option for option in OPTIONS if repeat or option != "repeated"]
    laws = {law.name: law} if law.has_surface else {}
    laws |= {REPEATS: get_source(REPEATS)}
    tables = [_options(one, C, limit, decays, options) for one in laws.values()]
    return DataLimitPlan(
        data_limit=limit,
        C=C,
        law=law.name,
        binding=law.point(C)["D_opt"] > limit,
        repeat=repeat,
        table=pd.concat(tables, ignore_index=True),
        note=(
            f"value of repeats: R_D {decays['R_D']:.4g}, R_N {decays['R_N']:.4g}"
            + (" (the law's own)" if own else f" ({MUENNIGHOFF})")
            + ("" if law.has_surface else f"; {law.name} has no loss for every N and D")
        ),
    )


def _options(law: LawSource, C: float, limit: float, decays: dict, options: list) -> pd.DataFrame:
    params = _params(law) | decays

    def loss(N: float, D: float, unique: float) -> float:
        return float(LAWS["repeated"].loss(params, N=N, D=D, U=unique))

    unlimited = law.point(C)
    N_free, D_free = unlimited["N_opt"], unlimited["D_opt"]
    if D_free <= limit:
        plans = dict.fromkeys(options, (N_free, D_free))
    else:
        N_once = _size_for(law, C / limit)
        N_data = float(base_params(limit, **_shape_of(params)))
        plans = {
            "unlimited": (N_free, D_free),
            "one_pass": (N_once, limit),
            "optimal_for_data": (N_data, limit),
        }
        if "repeated" in options:
            plans["repeated"] = _best_repeats(law, C, N_once, lambda N, D: loss(N, D, limit))
    rows = []
    for option in options:
        N, D = plans[option]
        unique = D if option == "unlimited" else limit
        row = {"law": law.name, "option": option, "N": N, "D": D}
        row |= {"epochs": max(D / unique, 1.0), "C": D * law.flops_per_token(N)}
        reached = unlimited["L_opt"] if option == "unlimited" else loss(N, D, unique)
        reached = unlimited["L_opt"] if D_free <= limit else reached
        row |= {"loss": reached, "loss_gap": reached - unlimited["L_opt"]}
        rows.append(row | {"C_over": row["C"] / compute_for(law, reached)})
    table = pd.DataFrame(rows)
    allowed = table.loss.where(table.option != "unlimited")
    return table.assign(best=table.index == allowed.idxmin())


def _best_repeats(law: LawSource, C: float, N_once: float, loss) -> tuple[float, float]:
    """The size of lowest loss that C FLOPs train on one pass or more."""

    def at(log_N: float) -> float:
        N = float(np.exp(log_N))
        return loss(N, C / law.flops_per_token(N))

    high = np.log(N_once)
    tried = np.linspace(high - np.log(MOST_EPOCHS), high, GRID)
    best = int(np.argmin([at(x) for x in tried]))
    ends = tried[max(best - 1, 0)], tried[min(best + 1, GRID - 1)]
    found: Any = minimize_scalar(at, bounds=ends, method="bounded", options={"xatol": 1e-10})
    N = float(np.exp(found.x if at(found.x) < at(tried[best]) else tried[best]))
    return N, C / law.flops_per_token(N)


def _params(law: LawSource) -> dict[str, float]:
    """E, A, B, alpha and beta; beta = alpha where the law ties them."""
    params = dict(law.fit.params)
    return {"beta": params["alpha"]} | params


def _shape_of(params: Mapping[str, float]) -> dict[str, float]:
    return {name: params[name] for name in ("A", "B", "alpha", "beta")}


def _size_for(law: LawSource, per_token: float) -> float:
    """Parameters whose training costs so many FLOPs per token."""
    return crossing(lambda N: law.flops_per_token(N) - per_token)
