"""A runs table made ready once, for every estimator: observations, compute model, origin."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from scaling.fitting.origin import Data
from scaling.fitting.result import Fit
from scaling.laws.compute import ComputeModel, fit_compute
from scaling.laws.table import LAWS
from scaling.tables.noise import SeedNoise, seed_noise
from scaling.tables.observations import (
    SETTING,
    Convention,
    RunsWarning,
    default_convention,
    observations,
    refuse_mixed_objectives,
    refuse_too_few,
)
from scaling.tables.oddities import Oddity, find_oddities
from scaling.tables.runs import load_runs

VARIABLES = tuple(dict.fromkeys(v for law in LAWS.values() for v in (*law.variables, "C")))
AS_GIVEN = Convention("as_given", "as_given")


@dataclass(frozen=True, eq=False)
class Prepared:
    """What every estimator takes.

    Attributes
    ----------
    obs : DataFrame, as `scaling.tables.observations.observations` returns it
        The variables of the law, its target L (nats/token), weight and cluster.
    convention : Convention
    compute : ComputeModel
    sampled : dict, variable -> (smallest, largest)
        C reaches to the planned budgets.
    excluded : tuple of (run_id, reason)
    data : Data
    noise : SeedNoise or None
        Of ln L between runs alike but for their seed; None where the table does not tell it.
    oddities : tuple of Oddity
        What the table holds that is seldom meant.
    runs : DataFrame or None
        The table itself; None where observations came without one.
    """

    obs: pd.DataFrame
    convention: Convention
    compute: ComputeModel
    sampled: Mapping[str, tuple[float, float]]
    excluded: tuple[tuple[str, str], ...] = ()
    data: Data = field(default_factory=Data)
    noise: SeedNoise | None = None
    oddities: tuple[Oddity, ...] = ()
    runs: pd.DataFrame | None = field(default=None, repr=False)

    @classmethod
    def of(cls, obs: pd.DataFrame, convention: Convention = AS_GIVEN, **origin: Any) -> "Prepared":
        """Prepare observations; without weight or cluster all runs count alike, each alone."""
        obs = obs if "weight" in obs else obs.assign(weight=1.0)
        obs = obs if "cluster" in obs else obs.assign(cluster=np.arange(len(obs)))
        compute = fit_compute(obs) if {"N", "D", "C"} <= {*obs.columns} else ComputeModel()
        known = (symbol for symbol in (*VARIABLES, *SETTING) if symbol in obs)
        values = {symbol: obs[symbol].to_numpy(float) for symbol in known}
        if "C" in values and "budget" in obs:
            values["C"] = np.append(values["C"], obs.budget.dropna().to_numpy(float))
        sampled = {symbol: (float(v.min()), float(v.max())) for symbol, v in values.items()}
        return cls(obs, convention, compute, sampled, **origin)

    def fit(self, **found: Any) -> Fit:
        """A `Fit` of what an estimator found, with what it was made from."""
        return Fit(
            convention=self.convention,
            compute=self.compute,
            sampled=self.sampled,
            excluded=self.excluded,
            data=self.data,
            **found,
        )


def prepare(
    runs,
    columns: dict[str, str] | None = None,
    convention: Convention | None = None,
    *,
    where: Mapping[str, Any] | None = None,
    best_of: Sequence[str] = (),
    strict: bool = False,
) -> Prepared:
    """Read a runs table as `load_runs` takes it, and refuse or warn of what no fit can use.

    ValueError also, if `strict`, for what makes every answer doubtful: impossible units, rows that
    are no final losses.
    """
    runs = load_runs(runs, columns, where=where, best_of=best_of)
    convention = convention or default_convention(runs)
    obs, excluded = observations(runs, convention)
    refuse_mixed_objectives(runs)
    refuse_too_few(runs)
    odd = find_oddities(obs, runs)
    if strict and (grave := [oddity.text for oddity in odd if oddity.is_grave]):
        source = runs.attrs.get("source", "the runs table")
        raise ValueError(f"{source} cannot be planned from: {'; '.join(grave)}")
    for oddity in odd:
        warnings.warn(oddity.text, RunsWarning, stacklevel=2)
    rows = np.ascontiguousarray(obs[["N", "D", "C", "L", "weight"]].to_numpy("<f8"))
    digest = hashlib.sha256(rows.tobytes()).hexdigest()
    data = Data(runs.attrs.get("source", ""), digest, runs.attrs.get("filter", ""))
    pairs = tuple(zip(excluded.run_id, excluded.reason, strict=True))
    origin = {"excluded": pairs, "data": data, "noise": seed_noise(runs), "oddities": odd}
    return Prepared.of(obs, convention, **origin, runs=runs)
