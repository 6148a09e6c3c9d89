"""What fits say, in a few sentences: from a report, or from the files of a results folder."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from scaling.fitting.optima import fits_table, optima_table
from scaling.fitting.report import PREFERRED, Report
from scaling.fitting.result import Fit, load_fit
from scaling.pages.answer import Answer
from scaling.pages.text import tell, with_interval
from scaling.quantities import LEVEL, count, write_bare
from scaling.quantities import format_quantity as short

TESTED = 2  # times the largest budget, up to which intervals were tested


def tell_report(report: Report, conventions: pd.DataFrame | None = None) -> Answer:
    """The answer of a report; `conventions` as `scaling.fitting.report.convention_table`."""
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
    at = optima[(optima.C == C) & optima.method.isin(fits.method)].dropna(subset="N_opt")
    doubts = [*_doubt_methods(fits)]
    if fit is None:
        found = [f"No answer to quote: {reason}.", *_tell_any(at)]
        return Answer(tuple(found), tuple(doubts))
    assert C is not None
    doubts += [*_doubt_spread(at), *_doubt_convention(fit, conventions), *_doubt_rows(fits)]
    doubts.append(
        f"Intervals were tested up to {TESTED * C:.3g} FLOPs, {TESTED} times the largest budget; "
        "at eight times it none held what it claims (results/coverage)."
    )
    return Answer((_tell_quoted(fit, C),), tuple(doubts))


def next_plan(folder: Path, C: float) -> str:
    """The command that plans with the fits of a folder."""
    bears = (folder / "fit.json").is_file()
    law = folder if bears else folder / "answer.json"
    return f"python -m scaling.plan budget={write_bare(TESTED * C)} law={law}"


def _tell_quoted(fit: Fit, C: float) -> str:
    ratio, N, D = (tell(n, short) for n in (fit.tokens_per_param(C), fit.N_opt(C), fit.D_opt(C)))
    sure = f"brackets: {LEVEL:.0%} intervals" if len(fit.draws) else "no intervals were asked for"
    return (
        f"{ratio} tokens per parameter at {C:.3g} FLOPs, the largest budget: N_opt {N} parameters, "
        f"D_opt {D} tokens; N_opt grows as C^a with a = {tell(fit.exponents()['N_exponent'])} "
        f"({fit.method}, {fit.status}; {sure}). {fit.convention.describe()}."
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
            yield f"{method} is {known.status[method]}{why}."


def _doubt_spread(at: pd.DataFrame) -> Iterator[str]:
    good = at[at.status == "ok"].sort_values("tokens_per_param")
    if len(good) < 2:
        return
    (first, *_), (last, *_) = good.to_dict("records"), reversed(good.to_dict("records"))
    low, high = (good[f"tokens_per_param_{end}"].dropna() for end in ("low", "high"))
    shared = "" if low.empty else "; their intervals overlap"
    shared = "; their intervals share no value" if len(low) and low.max() > high.min() else shared
    yield (
        f"Methods that are ok say {short(first['tokens_per_param'])} ({first['method']}) to "
        f"{short(last['tokens_per_param'])} ({last['method']}) tokens per parameter{shared}."
    )


def _doubt_convention(fit: Fit, conventions: pd.DataFrame | None) -> Iterator[str]:
    """What the same runs say by another N."""
    if conventions is None or conventions.empty:
        return
    others = conventions[(conventions.method == fit.method) & (conventions.status == "ok")]
    others = others[others.N != fit.convention.N]
    told = [
        f"{with_interval(*_ends(row), short)} where N is {row['N']}"
        for row in others.to_dict("records")
    ]
    if told:
        yield f"What N means decides the ratio: it is {' and '.join(told)}."


def _doubt_rows(fits: pd.DataFrame) -> Iterator[str]:
    left_out = fits.n_excluded.max() if "n_excluded" in fits else 0
    if left_out > 0:
        yield f"{count(int(left_out), 'run')} of the table {_are(left_out)} in no fit."


def _are(number: float) -> str:
    return "is" if number == 1 else "are"
