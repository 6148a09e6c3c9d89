"""What fits say, in a few sentences: from a report, or from the files of a results folder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from scaling.fitting.optima import fits_table, optima_table
from scaling.fitting.report import PREFERRED, Report
from scaling.fitting.result import SLACK, Fit, load_fit
from scaling.pages.answer import Answer, name_files
from scaling.pages.text import tell, with_interval
from scaling.quantities import LEVEL, count, write_bare
from scaling.quantities import format_quantity as short

SAYING = ("ok", "extrapolated", "rejected")  # of a fit whose numbers mean something
TESTED = 2  # times the largest budget: so far intervals were tested


def tell_report(report: Report, conventions: pd.DataFrame | None = None) -> Answer:
    """The answer of a report; `conventions` as `scaling.fitting.conventions.convention_table`."""
    method, reason = report.recommended
    fit = None if method is None else report[method]
    return tell_fits(fit, fits_table(report), optima_table(report), conventions, reason)


def tell_folder(folder: Path) -> Answer:
    """The answer of a results folder, as `tell_report` gave it when the folder was made."""
    answer, other = folder / "answer.json", folder / "conventions.csv"
    return tell_fits(
        load_fit(answer) if answer.is_file() else None,
        pd.read_csv(folder / "fits.csv"),
        pd.read_csv(folder / "optima.csv"),
        pd.read_csv(other) if other.is_file() else None,
    )


def tell_fits(
    fit: Fit | None,
    fits: pd.DataFrame,
    optima: pd.DataFrame,
    conventions: pd.DataFrame | None = None,
    reason: str = "no method is ok",
) -> Answer:
    """What to quote, and what to distrust about it.

    Parameters
    ----------
    fit : Fit or None
        Of the method to quote; None, and the `reason`, where no method bears an answer.
    fits, optima : DataFrames
        As `scaling.fitting.optima.fits_table` and `optima_table` return them.
    conventions : DataFrame, optional
    """
    C = float(optima.C.max()) if len(optima) else None if fit is None else fit.sampled["C"][1]
    laws = ~optima.method.str.endswith("_bowl")  # a bowl is one budget's own
    at = optima.loc[(optima.C == C) & laws & optima.status.isin(SAYING) & optima.N_opt.notna()]
    doubts = [*_doubt_methods(fits)]
    if fit is None:
        found = [f"No answer to quote: {reason}.", *_tell_any(at)]
        return Answer(tuple(found), tuple(doubts))
    assert C is not None
    doubts += [*_doubt_bowls(optima), *_doubt_spread(at)]
    doubts += [*_doubt_convention(fit, conventions), *_doubt_rows(fits)]
    top = fit.sampled.get("C", (C, C))[1]  # of bowls, that of the last that closes
    last, which = (C, "") if SLACK * top >= C else (top, " with a minimum")
    doubts.append(
        f"Intervals were tested up to {TESTED * last:.3g} FLOPs, twice the largest budget{which}; "
        "at eight times it none held what it claims (results/coverage)."
    )
    step = f"python -m scaling.plan budget={write_bare(TESTED * C)}"
    return Answer((_tell_quoted(fit, C), f"{fit.convention.describe()}."), tuple(doubts), (step,))


def end_with(
    answer: Answer, folder: Path, files: Sequence[str], refused: Mapping[str, str]
) -> Answer:
    """The answer with what to do next, where its files are, and which figures were refused."""
    law = _shorten(folder if "fit.json" in files else folder / "answer.json")
    missing = [f"figure {name} not drawn: {reason}." for name, reason in refused.items()]
    return replace(
        answer,
        doubts=(*answer.doubts, *missing),
        steps=tuple(f"{step} law={law}" for step in answer.steps),
        rest=(name_files(files, folder),),
    )


def _shorten(path: Path) -> Path:
    """The path from here, where it lies below."""
    here = Path.cwd()
    return path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else path


def _tell_quoted(fit: Fit, C: float) -> str:
    ratio, N, D = (tell(n, short) for n in (fit.tokens_per_param(C), fit.N_opt(C), fit.D_opt(C)))
    status = fit.N_opt(C).status
    sure = f"brackets: {LEVEL:.0%} intervals" if len(fit.draws) else "no intervals were asked for"
    return (
        f"{ratio} tokens per parameter at {C:.3g} FLOPs, the largest budget: N_opt {N} parameters, "
        f"D_opt {D} tokens; N_opt grows as C^a with a = {tell(fit.exponents()['N_exponent'])} "
        f"({fit.method}, {status}; {sure})."
    )


def _tell_any(at: pd.DataFrame) -> Iterator[str]:
    """What the methods say that nobody should quote."""
    for row in at.to_dict("records"):
        ratio = with_interval(*_ends(row), short)
        yield f"{row['method']} ({row['status']}) says {ratio} tokens per parameter."


def _ends(row: dict) -> tuple[float, float, float]:
    low, high = (row[f"tokens_per_param_{end}"] for end in ("low", "high"))
    return row["tokens_per_param"], low, high


def _doubt_methods(fits: pd.DataFrame) -> Iterator[str]:
    """Those that could have answered and do not, and why."""
    known = fits.drop_duplicates("method").set_index("method")
    for method in PREFERRED:
        if method in known.index and known.status[method] != "ok":
            reason = known.reason[method]
            why = f": {reason}" if isinstance(reason, str) and reason else ""
            yield f"{method} is {known.status[method]}{why.replace(f': {method} ', ': it ')}."


def _doubt_bowls(optima: pd.DataFrame) -> Iterator[str]:
    """Budgets whose runs show no minimum, by the method that looks for one everywhere."""
    bowls = optima[optima.method == "isoflop_bowl"]
    if lacking := int(bowls.N_opt.isna().sum()):
        yield f"{lacking} of {count(len(bowls), 'budget')} {_have(lacking)} no bowl with a minimum."


def _doubt_spread(at: pd.DataFrame) -> Iterator[str]:
    """How far the methods are apart, and whether their intervals have a value in common."""
    if len(at) < 2:
        return
    rows = at.sort_values("tokens_per_param").to_dict("records")
    ends = [
        f"{short(row['tokens_per_param'])} ({row['method']}"
        f"{'' if row['status'] == 'ok' else ', ' + row['status']})"
        for row in (rows[0], rows[-1])
    ]
    low, high = (at[f"tokens_per_param_{end}"].to_numpy(float) for end in ("low", "high"))
    known = np.isfinite(low)
    apart = known.any() and low[known].max() > high[known].min()
    shared = "; their intervals have no value in common" if apart else ""
    yield f"The methods say {' to '.join(ends)} tokens per parameter{shared}."


def _doubt_convention(fit: Fit, conventions: pd.DataFrame | None) -> Iterator[str]:
    """What the same runs say by another N."""
    if conventions is None or conventions.empty:
        return
    mine = (conventions.method == fit.method) & (conventions.status == "ok")
    others = conventions.loc[mine & (conventions.N != fit.convention.N)]
    told = [
        f"{with_interval(*_ends(row), short)} where N is {row['N']}"
        for row in others.to_dict("records")
    ]
    if told:
        yield f"What N means decides the ratio: it is {' and '.join(told)}."


def _doubt_rows(fits: pd.DataFrame) -> Iterator[str]:
    left_out = fits.n_excluded.max() if "n_excluded" in fits else 0
    if left_out > 0:
        runs = count(int(left_out), "run")
        yield f"{runs} of the table {_have(int(left_out))} no part in the fits."


def _have(number: int) -> str:
    return "has" if number == 1 else "have"
