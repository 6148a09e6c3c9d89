"""A report of fits as the data of its page: all that a reader may choose, computed beforehand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scaling.fitting.bowl import MIN_SIZES
from scaling.fitting.bowls import fit_once
from scaling.fitting.isoflop import PARABOLA
from scaling.fitting.isoflop_power import POWERS
from scaling.fitting.report import Report
from scaling.fitting.result import Fit
from scaling.laws.frontier import FRONTIERS, QUANTITIES
from scaling.laws.table import LAWS
from scaling.pages.html.assemble import to_numbers
from scaling.pages.text import tell
from scaling.planning.search import find_crossing
from scaling.tables.observations import N_MEANING, Convention, count_compute, observations
from scaling.tables.runs import curves_by_run

BOWLS = {kind.method: kind for kind in (PARABOLA, POWERS)}
STEP = 4  # positions of the slider per doubling of the budget
BELOW, ABOVE = 2, 7  # doublings below the smallest budget and above the largest
BOWL_POINTS, CURVE_POINTS, CONTOUR_POINTS = 25, 40, 30  # of one line
BEND = 4  # degree in ln N of the line through what a bowl says of its runs
MOST_LEVELS = 8  # of the loss, as contours
LOG_TOKENS = np.log([1.0, 1e20])  # between which a contour is sought
LOSS_DIGITS = 5


def collect_data(
    runs: pd.DataFrame, curves: pd.DataFrame | None, reports: Sequence[Report]
) -> dict[str, Any]:
    """Everything that the page of a report draws; the first report is the one to quote."""
    main = reports[0]
    others = [r for r in reports[1:] if r.convention != main.convention]
    return {
        "runs": _tell_runs(runs),
        "curves": {} if curves is None else _tell_curves(runs, curves),
        "conventions": [_tell_convention(runs, report) for report in (main, *others)],
        "method": main.recommended.method,
    }


def _tell_runs(runs: pd.DataFrame) -> dict[str, Any]:
    """Columns of all runs; those that the table lacks are left out."""
    names = {"id": "run_id", "name": "name", "status": "status", "reason": "reason"}
    told: dict[str, Any] = {
        key: runs[column].fillna("").astype(str).tolist()
        for key, column in names.items()
        if column in runs
    }
    numbers = {"D": "tokens", "L": "loss", "std": "loss_std", "lr": "lr"}
    for key, column in numbers.items():
        if column in runs:
            told[key] = to_numbers(runs[column].astype(float), 6)
    return told


def _tell_curves(runs: pd.DataFrame, curves: pd.DataFrame) -> dict[str, Any]:
    """Tokens and training losses along each run, at points spread evenly in ln D."""
    by_run = curves_by_run(curves)
    told = {}
    for place, run_id in enumerate(runs.run_id):
        if run_id not in by_run:
            continue
        tokens, loss = (by_run[run_id][name].to_numpy(float) for name in ("tokens", "loss"))
        wanted = np.geomspace(tokens[0], tokens[-1], CURVE_POINTS)
        kept = np.unique(np.abs(np.log(tokens) - np.log(wanted)[:, None]).argmin(1))
        told[str(place)] = [to_numbers(tokens[kept], 4), to_numbers(loss[kept], 4)]
    return told


def _tell_convention(runs: pd.DataFrame, report: Report) -> dict[str, Any]:
    """The runs as one convention counts them, and each of its fits."""
    obs, _ = observations(runs, report.convention)
    place = {run_id: i for i, run_id in enumerate(runs.run_id)}
    C = list_positions(report)
    frontiers = [fit for fit in report.fits if fit.law in FRONTIERS]
    surface = next((fit for fit in frontiers if _has_surface(fit)), None)
    return {
        "N": report.convention.N,
        "meaning": N_MEANING[report.convention.N],
        "describe": report.convention.describe(),
        "run": [place[run_id] for run_id in obs.run_id],
        "runN": to_numbers(obs.N, 6),
        "runC": to_numbers(obs.C),
        "budget": to_numbers(obs.budget.where(_is_bowl(obs))),
        "stopped": _tell_stopped(runs, {*obs.run_id}, report.convention, place),
        "reach": to_numbers(frontiers[0].sampled["C"] if frontiers else (obs.C.min(), obs.C.max())),
        "C": to_numbers(C, 8),
        "first": int(np.abs(np.log(C / max(report.budgets, default=obs.C.max()))).argmin()),
        "methods": [_tell_fit(fit, obs, C) for fit in frontiers],
        "refused": [list(pair) for pair in report.refusals],
        "contours": [] if surface is None else list_contours(surface),
        "contoursOf": "" if surface is None else f"{surface.method} ({surface.status})",
    }


def list_positions(report: Report) -> np.ndarray:
    """Budgets (FLOPs) of the slider: the largest of the runs times powers of 2^(1/`STEP`)."""
    known = report.budgets or [C for fit in report.fits for C in fit.sampled.get("C", ())]
    low, high = min(known, default=1e18), max(known, default=1e18)
    down = int(np.ceil(np.log2(high / low) * STEP)) + BELOW * STEP
    return high * 2.0 ** (np.arange(-down, ABOVE * STEP + 1) / STEP)


def _is_bowl(obs: pd.DataFrame) -> pd.Series:
    """Whether each run is of a budget with sizes enough for a bowl."""
    return obs.groupby("budget").N.transform("nunique") >= MIN_SIZES


def _tell_stopped(
    runs: pd.DataFrame, used: set, convention: Convention, place: dict[str, int]
) -> list[dict[str, Any]]:
    """Runs that no fit uses, as far as the table says where they would stand."""
    rows = runs.loc[~runs.run_id.isin(used)]
    N, C = count_compute(rows, convention)
    known = zip(rows.run_id, N, C, strict=True)
    return [
        {"run": place[run_id], "N": to_numbers(N, 6), "C": to_numbers(C)}
        for run_id, N, C in known
        if np.isfinite([N, C]).all() and min(N, C) > 0
    ]


# ---------------------------------------------------------------- one fit


def _has_surface(fit: Fit) -> bool:
    return fit.law in LAWS and {*LAWS[fit.law].variables} == {"N", "D"}


def _tell_fit(fit: Fit, obs: pd.DataFrame, C: np.ndarray) -> dict[str, Any]:
    expected = _expect(fit, obs)
    status = np.ravel(fit.N_opt(C).status).tolist()
    statuses = [*dict.fromkeys(status)]
    return {
        "method": fit.method,
        "status": fit.status,
        "reason": fit.reason,
        "note": fit.note,
        "exponent": tell(fit.exponents()["N_exponent"]),
        "residual": to_numbers(100 * np.log(obs.L.to_numpy(float) / expected), 3),
        "bowls": list(_draw_bowls(fit, obs, expected)),
        "minima": [_tell_minimum(row) for row in fit.minima.to_dict("records") if "budget" in row],
        "optimum": {
            name: to_numbers(read_quantity(fit, name, C), LOSS_DIGITS) for name in QUANTITIES
        },
        "statuses": statuses,
        "at": [statuses.index(one) for one in status],
        "off": measure_interpolation(fit, C),
    }


def read_quantity(fit: Fit, name: str, C: np.ndarray) -> np.ndarray:
    """Value, low and high of a quantity at every C, shape (3, positions)."""
    found = getattr(fit, name)(C)
    return np.stack([np.broadcast_to(end, C.shape) for end in (found.value, found.low, found.high)])


def _expect(fit: Fit, obs: pd.DataFrame) -> np.ndarray:
    """What a method says each run should lose; NaN where it says nothing of single runs."""
    if fit.method in BOWLS:
        return np.exp(fit_once(obs, BOWLS[fit.method])[2])
    if _has_surface(fit):
        return LAWS[fit.law].loss(fit.params, N=obs.N, D=obs.D)
    return np.full(len(obs), np.nan)


def _draw_bowls(fit: Fit, obs: pd.DataFrame, expected: np.ndarray):
    """Loss over N at each budget, from the smallest to the largest of its runs."""
    known = obs.assign(expected=expected).loc[_is_bowl(obs) & np.isfinite(expected)]
    for budget, rows in known.groupby("budget"):
        log_N = np.log(np.geomspace(rows.N.min(), rows.N.max(), BOWL_POINTS))
        if _has_surface(fit):
            N = np.exp(log_N)
            L = LAWS[fit.law].loss(fit.params, N=N, D=fit.compute.tokens(budget, N))
        else:  # smooth in ln N up to what C varies within the budget
            degree = min(BEND, rows.N.nunique() - 1)
            line = np.polynomial.Polynomial.fit(np.log(rows.N), rows.expected, degree)
            L = line(log_N)
        yield {"C": to_numbers(budget), "N": to_numbers(np.exp(log_N), 4), "L": to_numbers(L)}


def _tell_minimum(row: dict[str, Any]) -> dict[str, Any]:
    ends = ("", "_low", "_high")
    told = {
        symbol: to_numbers([row.get(f"{symbol}_opt{end}", np.nan) for end in ends])
        for symbol in "NDL"
    }
    return {"C": to_numbers(row["budget"]), **told, "status": row["status"]}


def measure_interpolation(fit: Fit, C: np.ndarray) -> float:
    """Largest relative error of what is read between two positions, along logarithms."""
    middle, worst = np.sqrt(C[1:] * C[:-1]), 0.0
    for name in QUANTITIES:
        here, there = read_quantity(fit, name, C), read_quantity(fit, name, middle)
        between = np.sqrt(here[:, 1:] * here[:, :-1]) / there - 1
        worst = max(worst, float(np.abs(between[np.isfinite(between)]).max(initial=0.0)))
    return to_numbers(worst, 2)


# ---------------------------------------------------------------- contours


def list_contours(fit: Fit) -> list[dict[str, Any]]:
    """Lines of equal loss over N and C, somewhat beyond the runs; the loss falls in D."""
    (N_low, N_high), (C_low, C_high) = fit.sampled["N"], fit.sampled["C"]
    N, law = np.geomspace(N_low / 1.5, N_high * 1.5, CONTOUR_POINTS), LAWS[fit.law]
    worst, least = (float(fit.L_opt(C).value) for C in (C_low, C_high))
    found = []
    for level in round_levels(least, worst * 1.03):
        D = find_crossing(lambda D, at=level: law.loss(fit.params, N=N, D=D) - at, *LOG_TOKENS)
        C = D * np.exp(fit.compute.tangent(np.log(N))[0])
        kept = np.isfinite(C) & (C_low / 3 < C) & (C_high * 6 > C)
        if kept.sum() > 2:
            found.append({"L": level, "N": to_numbers(N[kept], 4), "C": to_numbers(C[kept], 4)})
    return found


def round_levels(low: float, high: float) -> list[float]:
    """Round numbers between two, at most `MOST_LEVELS` of them."""
    high = max(high, low * 1.02)
    for step in (s * 10.0**k for k in range(-4, 3) for s in (1, 2, 5)):
        if (high - low) / step <= MOST_LEVELS:
            levels = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
            return [float(f"{level:.6g}") for level in levels]
    return []
