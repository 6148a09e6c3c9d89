"""Fits for people: optima, methods, audit and conventions, all of it, and as a page."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from scaling.fitting.optima import disagreement_table, optima_table
from scaling.fitting.report import Report
from scaling.fitting.result import INFLATED, Fit
from scaling.laws.papers import TOKENS_PER_PARAM_RULE
from scaling.pages.answer import ANSWER
from scaling.pages.fit_answer import tell_report
from scaling.pages.text import (
    Column,
    Section,
    Table,
    code,
    make_section,
    markdown,
    markdown_list,
    plain,
    shown,
    shown_interval,
)
from scaling.quantities import count, format_quantity
from scaling.tables.noise import find_plateaus
from scaling.tables.observations import N_MEANING, Convention

METHODS = {  # in the order of the printed table; a bowl is one budget's own
    "isoflop_bowl": "bowl",
    "isoflop": "isoflop",
    "isoflop_power_bowl": "power bowl",
    "isoflop_power": "isoflop_power",
    "parametric": "parametric",
    "envelope": "envelope",
}
RATIO = "tokens/param"
FILES = {  # of a results folder, and what they are
    "runs.csv": "one row per model",
    "curves.csv": "training curves",
    "fits.csv": "every number of every method, in full precision",
    "optima.csv": "the table above",
    "audit.csv": "laws that predict larger budgets",
    "fit.json": "the parametric fit with its draws",
    "answer.json": "that of the method to quote",
    "config.yaml": "what was asked for",
}
HEADS = {"N_opt": "N_opt", "tokens_per_param": RATIO}  # where methods are told apart
BUDGET, METHOD = shown("C", "C (FLOPs)", ".3g"), shown("method", write=METHODS.__getitem__)
N_OPT = shown_interval("N_opt", write=format_quantity)
D_OPT = shown_interval("D_opt", write=format_quantity)
L_OPT = shown_interval("L_opt", write=".4g")
TOKENS_PER_PARAM = shown_interval("tokens_per_param", RATIO, format_quantity)
QUANTITIES = (N_OPT, D_OPT, L_OPT, TOKENS_PER_PARAM)
OPTIMA = (BUDGET, METHOD, *QUANTITIES, shown("status"))
JUDGED = Column("method", lambda row: f"{METHODS[row['method']]} ({row['status']})")
NARROW = (BUDGET, JUDGED, *QUANTITIES)  # for a terminal
AUDIT = (
    shown("law"),
    shown("rms_error", "rms error", ".2%"),
    shown("bias", write=".2%"),
    shown("claimed", "held as claimed", ".0%"),
    shown("coverage", "held widened", ".0%"),
    shown("inflation", "inflation", ".2f"),
    shown("training_error", "in training", ".2%"),
    shown("n_params", "params"),
    shown("status"),
)
CONVENTIONS = (
    Column("N", lambda row: f"{row['N']}: {N_MEANING[row['N']]}"),
    METHOD,
    shown_interval("N_exponent", "a in N_opt ~ C^a", ".3f"),
    N_OPT,
    TOKENS_PER_PARAM,
    shown("tokens_per_param", "over 20", lambda ratio: f"x{ratio / TOKENS_PER_PARAM_RULE:.2f}"),
    shown("status"),
)


# ---------------------------------------------------------------- sections


def optima_section(
    optima: pd.DataFrame, convention: Convention, columns: tuple[Column, ...] = OPTIMA
) -> Section:
    """Compute-optimal N, D, L and tokens per parameter by budget and method."""
    order = optima.method.map({method: i for i, method in enumerate(METHODS)})
    known = optima.assign(order=order).dropna(subset="order").sort_values(["C", "order"])
    lacking, known = known.loc[known.N_opt.isna()], known.loc[known.N_opt.notna()]
    text = (
        f"{convention.describe()}. Brackets: 90 % bootstrap intervals. *bowl* is the parabola of "
        "one budget, *power bowl* its counterpart of two powers; the other methods are laws "
        "through all budgets."
    )
    return make_section("Compute-optimal models", known, columns, text, *_tell_lacking(lacking))


def _tell_lacking(rows: pd.DataFrame) -> Iterator[str]:
    """Which methods have no optimum, at how many budgets."""
    for head, some in rows.groupby(rows.method.map(METHODS) + ": " + rows.status, sort=False):
        low, high = some.C.min(), some.C.max()
        many = "" if len(some) == 1 else f" to {high:.3g} FLOPs, {count(len(some), 'budget')}"
        yield f"No optimum by {head}, at {low:.3g}{many or ' FLOPs'}."


def conventions_section(conventions: pd.DataFrame) -> Section:
    """What the same runs say under each N, and how that compares with 20."""
    title = "What N means decides the answer"
    if conventions.empty:
        return Section(title, ("The table knows one N only.",))
    text = (
        f"At {conventions.C.iloc[0]:.3g} FLOPs, the largest budget; "
        f"{TOKENS_PER_PARAM_RULE:g} is the rule of "
        "thumb of Hoffmann et al. 2022, whose N is total."
    )
    return make_section(title, conventions, CONVENTIONS, text)


def answer_section(report: Report, conventions: pd.DataFrame | None = None) -> Section:
    """The answer as every command says it, why by this method, and what is odd about the runs."""
    answer, (method, reason) = tell_report(report, conventions), report.recommended
    why = [] if method is None else [f"Why this method: {reason}."]
    doubts = (*answer.doubts, *_list_odd(report))
    why += ["What to distrust:"] if doubts else []
    return Section(ANSWER, (*answer.found, *why), doubts)


def fit_sections(report: Report) -> list[Section]:
    """Every method or why not, where they disagree, what the answer hangs on, and the audit."""
    apart = tuple(_compare(report))
    few = "Fewer than two methods are ok."
    return [
        Section("Fits", items=tuple(fit_lines(report))),
        Section("Where the methods disagree", () if apart else (few,), apart),
        *_sensitivity_sections(report),
        _audit_section(report),
    ]


def fit_lines(report: Report) -> Iterator[str]:
    """One line per method: its exponents, objective and status, or why it was refused."""
    for fit in report.fits:
        found = {name: fit.param(name) for name in fit.params}
        found = fit.exponents() if fit.law == "power_frontier" else found
        known = {n: number for n, number in found.items() if np.isfinite(number.value)}
        numbers = ", ".join(  # their status is said once
            f"{name} {replace(number, status='ok')!r}" for name, number in known.items()
        )
        reason = f" ({fit.reason})" if fit.reason else ""
        said = "; ".join(filter(None, [f"{fit.status}{reason}", numbers, f"n = {fit.n_runs}"]))
        line = f"{fit.method}: {said}."
        yield " ".join(filter(None, [line, _tell_doubts(fit), fit.note]))
    for method, reason in report.refusals:
        yield f"{method}: refused, {reason}"


def _tell_doubts(fit: Fit) -> str:
    """Lack of fit where the status does not say it, and how much wider predictions are."""
    if fit.method not in METHODS:  # read off another fit, whose line says it
        return ""
    lack = fit.lack_of_fit
    doubts = []
    if lack is not None and fit.status != "rejected":
        doubts.append(f"Lack of fit: {lack.describe()}.")
    if fit.inflation > 1:
        doubts.append(f"Of predictions: {INFLATED.format(fit.inflation)}.")
    return " ".join(doubts)


def _list_odd(report: Report) -> tuple[str, ...]:
    """What is odd about the table, unless it is why no method is recommended."""
    return tuple(oddity.text for oddity in report.oddities if not oddity.is_grave)


def excluded_section(runs: pd.DataFrame) -> Section:
    """One item per run that no fit uses."""
    items = []
    for row in runs.loc[runs.status != "ok"].to_dict("records"):
        label = f"{row['name']} ({row['run_id']})" if "name" in row else row["run_id"]
        why = row.get("reason", "as the table says")
        items.append(f"{label}: {row['status']}" + (f", {why}" if why else ""))
    chosen: dict[str, list[str]] = {}
    for run_id, reason in runs.attrs.get("excluded", []):
        chosen.setdefault(reason, []).append(run_id)
    items += [f"{reason}: {', '.join(run_ids)}" for reason, run_ids in chosen.items()]
    for C, std in find_plateaus(runs).items():
        items.append(f"all runs at {C:.3g} FLOPs: a plateau, seeds differ by {std:.1%} of the loss")
    return Section("Excluded runs", () if items else ("None.",), tuple(items))


def _compare(report: Report) -> Iterator[str]:
    """How far the methods are apart in N_opt and tokens per parameter, a line per budget."""
    common = {True: "; all intervals share values", False: "; the intervals share no value"}
    for row in disagreement_table(report).to_dict("records"):
        if row["quantity"] in HEADS:
            low, high = (format_quantity(row[end]) for end in ("lowest", "highest"))
            yield (
                f"{HEADS[row['quantity']]} at {row['C']:.3g} FLOPs: {low} "
                f"({row['lowest_method']}) to {high} ({row['highest_method']}), "
                f"x{row['ratio']:.3g}{common.get(row['overlap'], '')}"
            )


def _sensitivity_sections(report: Report) -> Iterator[Section]:
    """Range of each method's ratio without some rows, and the table of them."""
    table = report.sensitivity
    if table.empty:
        return
    ranges = (
        f"{method} {format_quantity(low)} to {format_quantity(high)}"
        for method, low, high in table.groupby("method", sort=False)
        .tokens_per_param.agg(["min", "max"])
        .itertuples()
    )
    text = (
        f"{RATIO} (and N_opt) at {table.C.iloc[0]:.3g} FLOPs without some rows: "
        f"{', '.join(ranges)}."
    )
    cells = table.assign(
        cell=[
            f"{format_quantity(ratio)} ({format_quantity(N)})" if np.isfinite(N) else "refused"
            for ratio, N in zip(table.tokens_per_param, table.N_opt, strict=True)
        ]
    )
    wide = cells.pivot(index="rows", columns="method", values="cell")
    wide = wide.reindex(table.rows.unique()).reset_index()
    columns = (shown("rows"), *(shown(method) for method in table.method.unique()))
    yield Section("Sensitivity", (text,), tables=(Table(wide, columns),))


def _audit_section(report: Report) -> Section:
    """What was left out, which law the audit recommends, and the ranking of all."""
    title, audit = "Extrapolation audit", report.audit
    if audit is None:
        reason = dict(report.refusals).get("audit", "not asked for")
        return Section(title, (f"Refused: {reason}.",))
    first, others = audit.ranking.iloc[0], audit.rivals
    text = (
        f"{first.n_held_out:.0f} runs from {first.C_from:.3g} FLOPs up, predicted from smaller "
        f"budgets (x4 ahead at most): the audit recommends {audit.recommended or 'no law'}"
        + (f"; as good within the noise: {', '.join(others)}." if others else ".")
    )
    return make_section(title, audit.ranking, AUDIT, text)


# ---------------------------------------------------------------- the terminal and the page


def report_sections(runs: pd.DataFrame, report: Report) -> Iterator[Section]:
    """Everything for a terminal but the answer, with which a command ends."""
    yield optima_section(optima_table(report), report.convention, NARROW)
    yield from fit_sections(report)
    yield excluded_section(runs)
    method, reason = report.recommended
    yield Section("Why this answer", (f"{method or 'No method'}: {reason}.",), _list_odd(report))


def results_page(
    title: str, command: str, facts: list[str], runs, report, conventions, files: Sequence[str]
) -> str:
    """Write the one-page README.md of a results folder that has these files."""
    sections = [
        optima_section(optima_table(report), report.convention),
        conventions_section(conventions),
        *fit_sections(report),
        excluded_section(runs),
    ]
    figures = [Path(name) for name in files if name.endswith(".png")]
    told = [f"`{name}` ({what})" for name, what in FILES.items() if name in files]
    parts = [
        f"# {plain(title)}",
        f"Made by {code(command)}.",
        markdown([answer_section(report, conventions)]),
        "## The runs\n" + markdown_list(facts),
        markdown(sections),
        "## Figures\n" + "\n\n".join(f"![{path.stem}]({path.name})" for path in figures),
        f"Files: {', '.join(told)}.",
    ]
    return "\n\n".join(parts) + "\n"
