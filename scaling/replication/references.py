"""Fits of a published table against what others say that a fit of it gives."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from scaling.fitting.criterion import Criterion
from scaling.fitting.parametric import fit_parametric, objective_at
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import Fit
from scaling.fitting.settings import FitSettings
from scaling.laws.frontier import exponents, optimum
from scaling.laws.papers import PublishedLaw
from scaling.laws.table import LAWS
from scaling.replication.checks import (
    HELD,
    MISSED,
    NAN,
    SAME_DIGITS,
    Check,
    agrees,
    checks_table,
    compare_intervals,
    half_unit,
    judge,
    quote_fit,
    with_estimate,
)
from scaling.tables.published import Reference

LAW = "chinchilla"
CHINCHILLA = 5.76e23  # FLOPs: the budget of Gopher and of Chinchilla
RATIO = f"tokens_per_param at {CHINCHILLA:.3g}"
REACHED = 1e-7  # relative excess of an objective that counts as its minimum
FLAT = 1e-6  # relative excess at which a careful optimiser may still have stopped
STABLE = 1e-6  # relative difference below which processors disagree about its digits
SAME = 2e-6  # relative difference of parameters that are one optimum
SAME_RATIO = 2e-5  # the same of D_opt / N_opt, far outside of the runs
NEAR = 1e-3  # relative difference of parameters beside one optimum
STD_NEAR = 0.15  # relative difference of standard errors of two bootstraps


def criterion_of(reference: Reference) -> Criterion:
    """The criterion that a reference states."""
    delta = () if reference.huber_delta is None else (reference.huber_delta,)
    return Criterion(reference.residual, reference.loss, *delta)


def reference_checks(
    entry: str, data: Prepared, references: tuple[Reference, ...], settings: FitSettings
) -> pd.DataFrame:
    """Fit the chinchilla law under the criterion of each reference, and compare.

    Every parameter and standard error of every reference is a row; so are tokens per parameter at
    `CHINCHILLA` FLOPs where all parameters of an optimum are given.
    """
    fits = {
        criterion: fit_parametric(data, replace(settings, criterion=criterion), law=LAW)
        for criterion in dict.fromkeys(map(criterion_of, references))
    }
    return checks_table(
        check for reference in references for check in _compare(entry, data.obs, reference, fits)
    )


def law_checks(
    entry: str, data: Prepared, published: PublishedLaw, settings: FitSettings
) -> pd.DataFrame:
    """Fit a published law to its own runs by our default criterion; ok where our interval holds."""
    fit = fit_parametric(data, settings, law=published.law)
    theirs = objective_at(data.obs, published.params, law=published.law)
    note = f"{fit.status}: {fit.reason}" if fit.reason else ""
    known = {"source": published.source, "objective_published": theirs, "note": note}
    common = quote_fit(entry, f"parametric, {fit.law}", fit, is_finding=fit.status != "ok", **known)
    checks = []
    for name, value in published.params.items():
        check = with_estimate(common, fit.param(name), quantity=name, published=value)
        checks.append(judge(check, compare_intervals(check) == HELD, HELD, MISSED))
    return checks_table(checks)


def _compare(
    entry: str, obs: pd.DataFrame, reference: Reference, fits: Mapping[Criterion, Fit]
) -> Iterator[Check]:
    criterion = criterion_of(reference)
    fit, is_whole = fits[criterion], set(reference.params) == set(LAWS[LAW].params)
    theirs = NAN if reference.objective is None else reference.objective
    if is_whole:
        theirs = objective_at(obs, reference.params, law=LAW, criterion=criterion)
    known = {"source": reference.source, "objective_published": theirs}
    common = quote_fit(entry, f"parametric, {fit.law}", fit, **known)
    other = _find_other_optimum(reference, fits)
    for name, value in reference.params.items():
        found = fit.param(name)
        verdict, ok = _judge(reference, value, found.value, fit.objective / theirs - 1)
        off = abs(found.value / value - 1)
        note = f"{off:.1e} away" if off > STABLE else f"within {STABLE:g}"
        if other is not None:
            note = f"the minimum of {other.objective_name} has {other.params[name]:.6g}"
        known = {"quantity": name, "published": value, "verdict": verdict, "ok": ok, "note": note}
        is_finding = not reference.is_optimum or "beside" in verdict
        yield with_estimate(common, found, is_finding=is_finding, **known)
    if is_whole and reference.is_optimum:
        yield _ratio_check(common, reference, fit)
    for name, value in reference.std.items():
        yield _std_check(common, name, value, fit)


def _judge(reference: Reference, theirs: float, ours: float, gap: float) -> tuple[str, bool]:
    """In words, and whether it is as the reference says; `gap` is ours over theirs, minus 1."""
    off = abs(ours / theirs - 1)
    if not gap <= REACHED:
        return f"not reached: our objective is {gap:.1e} higher", False
    if not reference.is_optimum:
        if gap < -REACHED:
            return f"not an optimum of its stated objective: ours is {-gap:.2%} lower", True
        return "an optimum, though the registry says it is none", False
    if gap < -FLAT:
        return f"not an optimum, though the registry says so: ours is {-gap:.1e} lower", False
    if off <= SAME:
        return "reproduced", True
    if len(reference.params) < len(LAWS[LAW].params):  # as the authors round it
        if agrees(ours, theirs):
            return SAME_DIGITS, True
        if off <= NEAR:
            return f"beside the optimum: our objective is {-gap:.1e} lower", True
    return f"another optimum: {off:.1e} away", False


def _find_other_optimum(reference: Reference, fits: Mapping[Criterion, Fit]) -> Fit | None:
    """The fit of another criterion that the parameters of a non-optimum belong to, if any."""

    def distance(fit: Fit) -> float:
        return max(abs(fit.params[name] / value - 1) for name, value in reference.params.items())

    nearest = min(fits, key=lambda criterion: distance(fits[criterion]))
    is_own = reference.is_optimum or nearest == criterion_of(reference)
    return None if is_own or distance(fits[nearest]) > NEAR else fits[nearest]


def _ratio_check(common: Check, reference: Reference, fit: Fit) -> Check:
    theirs = float(optimum(LAW, reference.params, CHINCHILLA, fit.compute)["tokens_per_param"])
    check = with_estimate(
        common, fit.tokens_per_param(CHINCHILLA), quantity=RATIO, published=theirs
    )
    off = abs(check.ours / theirs - 1)
    return judge(check, off <= SAME_RATIO, "reproduced", f"{off:.1e} away")


def _std_check(common: Check, name: str, theirs: float, fit: Fit) -> Check:
    drawn = {key: fit.draws[key].to_numpy(float) for key in fit.params}
    drawn |= exponents(LAW, drawn, fit.compute)
    ours = float(np.std(drawn[name]))
    off = max(abs(ours - theirs) - half_unit(theirs), 0.0) / theirs  # from what rounds to theirs
    return replace(
        common,
        quantity=f"standard error of {name}",
        published=theirs,
        ours=ours,
        verdict=f"{off:.1%} beyond the rounding" if off else SAME_DIGITS,
        ok=off <= STD_NEAR,
        note=f"{fit.bootstrap.kind} bootstrap, {fit.bootstrap.converged} refits",
    )
