"""A pilot ladder rehearsed: losses drawn from several worlds and fitted as if trained."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling.errors import FitError
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import Fit
from scaling.fitting.settings import FitSettings
from scaling.laws.frontier import optimum
from scaling.laws.table import LAWS
from scaling.planning.pilot import DESIGNS, Ladder, plan_ladder
from scaling.planning.search import find_least
from scaling.planning.sources import FAILED, LawSource, choose_answer
from scaling.quantities import LEVEL
from scaling.shapes.shape import ModelConfig
from scaling.tables.observations import observations
from scaling.tables.runs import load_runs

SHIPPED = Path(__file__).with_name("worlds.json")
NOISE = 0.0018  # of ln L between seeds, measured on the reference sweep; half of it in a trunk
SHARED = 0.5  # of the noise's variance that runs of one trunk share
TRIED, REPEATS = 3, 8  # rehearsals in every world: of every design, of the chosen one
STARTS = 32  # of a fit: with fewer than 256 it stays fast and finds the same optimum
AROUND = np.log(100.0)  # of ln N on both sides of the law's optimum, searched
WORLDS = {  # name -> what it means
    "chinchilla": "the law is true, with constants that its draws allow",
    "kaplan_general": "losses depart from the law as a power of a sum did on our reference",
    "chinchilla_bent": "... as a law did there whose D-exponent grows with N",
}


@dataclass(frozen=True, eq=False)
class World:
    """What might be true: a law, and how the truth departs from it away from the pilot's centre.

    ln L = ln L_law(N, D) + ln L_form(u, v) - ln L_chinchilla(u, v), both fitted to the reference
    sweep, with u and v as far from its centre as N and D are from the pilot's.
    """

    name: str  # key of `WORLDS`
    law: str  # key of `LAWS`
    params: Mapping[str, float]
    centre: tuple[float, float]  # N, D of the pilot

    def loss(self, N: Any, D: Any) -> Any:
        """Nats/token."""
        plain = LAWS[self.law].loss(self.params, N=N, D=D)
        if self.name == "chinchilla":
            return plain
        forms = _read_forms()
        (n, d), (N_c, D_c) = self.centre, forms["centre"]
        at = {"N": N / n * N_c, "D": D / d * D_c}
        true, base = (LAWS[name].loss(forms[name], **at) for name in (self.name, "chinchilla"))
        return plain * true / base

    def best(self, C: float, fit_compute: Any, near: float) -> tuple[float, float]:
        """N and loss of the optimum at C FLOPs, by search around a size."""

        def cost(N: Any) -> Any:
            return self.loss(N, fit_compute.tokens(C, N))

        grid = near * np.exp(np.linspace(-AROUND, AROUND, 200))
        start = np.log(grid[int(np.argmin(cost(grid)))])
        N = float(find_least(cost, start - 0.06, start + 0.06))
        return N, float(cost(N))


@cache
def _read_forms() -> dict[str, Any]:
    return json.loads(SHIPPED.read_text())


def rehearse(
    ladder: Ladder, law: LawSource, *, noise: float = NOISE, repeats: int = REPEATS, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Draw the ladder's losses, fit them, compare with what is true: a row each.

    Yields
    ------
    dict with world, N_true and L_true (optimum of the world at the target), N and L (as the fit
        says), method (that answers, or "none"), excess (nats/token that N loses at the target)
    """
    table = ladder.runs.rename(
        columns={"N": "total_params", "D": "tokens", "C": "flops", "budget": "flops_budget"}
    )
    n, d = np.exp(np.log(ladder.runs[["N", "D"]].to_numpy()).mean(0))
    obs = observations(load_runs(table.drop(columns=["width", "n_layers"]).assign(loss=1.0)))[0]
    data = Prepared.of(obs)
    trunks = table.groupby("width").ngroup().to_numpy()
    draws, near = law.fit.draws, law.point(ladder.target)["N_opt"]
    for name in WORLDS:
        for repeat in range(repeats):
            rng = np.random.default_rng([seed, repeat])  # the same noise in every world
            params: Mapping[str, float] = law.fit.params
            if len(draws):
                params = draws.iloc[int(rng.integers(len(draws)))][[*params]].to_dict()
            world = World(name, law.fit.law, params, (float(n), float(d)))
            errors = np.sqrt(1 - SHARED) * rng.standard_normal(len(obs))
            shared = rng.standard_normal(trunks.max() + 1)[trunks]
            errors += np.sqrt(SHARED) * (shared if ladder.design.shared else errors / errors.std())
            true = world.loss(obs.N.to_numpy(), obs.D.to_numpy())
            drawn = replace(data, obs=obs.assign(L=true * np.exp(noise * errors)))
            yield {"world": name} | _compare(drawn, world, ladder.target, near)


def _compare(data: Prepared, world: World, C: float, near: float) -> dict[str, Any]:
    N_true, L_true = world.best(C, data.compute, near)
    row = {"N_true": N_true, "L_true": L_true, "N": np.nan, "L": np.nan, "method": "none"}
    fit = _answer(data)
    if fit is None:
        return row | {"excess": np.nan}
    found = optimum(fit.law, fit.params, C, fit.compute)
    N = float(found["N_opt"])
    excess = float(world.loss(N, data.compute.tokens(C, N))) - L_true
    return row | {"N": N, "L": float(found["L_opt"]), "method": fit.method, "excess": excess}


def _answer(data: Prepared) -> Fit | None:
    """What `law=results/FOLDER` would plan from: the parametric law, or bowls where it fails."""
    fit = _attempt(fit_parametric, data, n_starts=STARTS)
    if fit is not None and fit.status not in FAILED:
        return fit
    bowls = _attempt(fit_isoflop_power, data) if data.obs.budget.notna().any() else None
    return fit or bowls if fit is None or bowls is None else choose_answer(fit, bowls)


def _attempt(estimate: Callable[..., Fit], data: Prepared, **options: Any) -> Fit | None:
    try:
        return estimate(data, FitSettings(bootstrap=0), **options)
    except FitError:
        return None


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """What a ladder can be expected to tell, by world and in all of them.

    Returns
    -------
    DataFrame with columns world, n (rehearsals), failed (share without an answer), N_over (found
        over true: median) and L_off (found minus true, over true), each with _low and _high at
        90 %, excess (nats/token lost by following it: median) and excess_high (95 % quantile)
    """
    ends = [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2]
    told = []
    for name, some in [*rows.groupby("world", sort=False), ("all", rows)]:
        found = some.dropna(subset=["N"])
        row: dict[str, Any] = {"world": name, "n": len(some), "failed": 1 - len(found) / len(some)}
        for column, values in (
            ("N_over", found.N / found.N_true),
            ("L_off", found.L / found.L_true - 1),
        ):
            low, middle, high = values.quantile(ends)
            row |= {column: middle, f"{column}_low": low, f"{column}_high": high}
        excess = found.excess.clip(lower=0.0)
        told.append(row | {"excess": excess.median(), "excess_high": excess.quantile(ends[2])})
    return pd.DataFrame(told)


@dataclass(frozen=True, eq=False)
class Pilot:
    """The chosen ladder, why it was chosen, and what it can be expected to tell."""

    ladder: Ladder
    weighed: pd.DataFrame  # a row per design: of `summarise` in all worlds, share, runs, refusal
    expected: pd.DataFrame  # as `summarise` returns it, of the chosen ladder, drawn anew
    noise: float  # standard deviation of ln L between seeds


def count_rehearsals() -> int:
    """How many rehearsals `make_pilot` takes at most: of its progress."""
    return len(WORLDS) * (len(DESIGNS) * TRIED + REPEATS)


def make_pilot(
    law: LawSource,
    C: float,
    share: float,
    *,
    vocab_size: int,
    model: ModelConfig,
    noise: float | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Pilot:
    """Choose the ladder by rehearsal, and rehearse it again.

    Of all designs that fit the share the one that loses least: the 95 % quantile, over all worlds,
    of what N as found costs at C FLOPs over the best N.

    Parameters
    ----------
    law, C, share, vocab_size, model
        As in `scaling.planning.pilot.plan_ladder`.
    noise : float, optional
        Standard deviation of ln L between seeds; `NOISE` if omitted.
    advance : function
        Called after every rehearsal.

    Raises
    ------
    ValueError
        A law without a loss for every N and D; as `plan_ladder` where no design fits.
    """
    noise = NOISE if noise is None else noise
    if not 0 < noise < 1:
        raise ValueError(f"pilot_noise={noise!r} must be a share of the loss in (0, 1), as 0.002")
    law.loss(law.point(C)["N_opt"], law.point(C)["D_opt"])  # refuses a law of the optimum only
    ladders, refusals, told = {}, {}, []
    for name, design in DESIGNS.items():
        try:
            ladder = plan_ladder(law, C, share, vocab_size=vocab_size, model=model, design=design)
        except ValueError as error:
            refusals[name] = str(error)
            continue
        ladders[name] = ladder
        rows = _collect(rehearse(ladder, law, noise=noise, repeats=TRIED), advance)
        sizes = {"design": name, "share": ladder.share, "runs": len(ladder.runs)}
        told.append(sizes | summarise(rows).iloc[-1].to_dict())
    if not ladders:
        raise ValueError(refusals["narrow"])
    told += [{"design": name, "refusal": why} for name, why in refusals.items()]
    weighed = pd.DataFrame(told).drop(columns="world")
    chosen = ladders[str(weighed.design[weighed.excess_high.idxmin()])]
    anew = rehearse(chosen, law, noise=noise, seed=1)
    return Pilot(chosen, weighed, summarise(_collect(anew, advance)), noise)


def _collect(rows: Iterator[dict[str, Any]], advance: Callable[[], None]) -> pd.DataFrame:
    kept = []
    for row in rows:
        kept.append(row)
        advance()
    return pd.DataFrame(kept)
