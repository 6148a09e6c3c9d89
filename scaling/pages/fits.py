"""Fits for people: optima, methods, audit and conventions, on the terminal and as a page."""

from collections.abc import Iterator

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from scaling.fitting.audit import Audit
from scaling.fitting.optima import disagreement_table, optima_table
from scaling.fitting.report import Report
from scaling.laws.papers import TOKENS_PER_PARAM_RULE
from scaling.pages.text import markdown_table
from scaling.quantities import format_quantity
from scaling.tables.observations import N_MEANING, Convention

METHODS = {  # in the order of the printed table; a bowl is one budget's own
    "isoflop_bowl": "bowl",
    "isoflop": "isoflop",
    "isoflop_power_bowl": "power bowl",
    "isoflop_power": "isoflop_power",
    "parametric": "parametric",
    "envelope": "envelope",
}
OPTIMA = {"N_opt": "N_opt", "D_opt": "D_opt", "L_opt": "L_opt", "tokens_per_param": "tokens/param"}


def optima_cells(optima: pd.DataFrame, between: str = " ") -> Iterator[list[str]]:
    """Rows of the printed table: C, method, four values with their intervals, status."""
    order = optima.method.map({method: i for i, method in enumerate(METHODS)})
    known = optima.assign(order=order).dropna(subset="order").sort_values(["C", "order"])
    for row in known.to_dict("records"):
        numbers = []
        for q in OPTIMA:
            digits = "{:.4g}".format if q == "L_opt" else format_quantity
            value, low, high = (digits(row[q + end]) for end in ("", "_low", "_high"))
            numbers.append(f"{value}{between}[{low}, {high}]")
        yield [f"{row['C']:.3g}", METHODS[row["method"]], *numbers, row["status"]]


def optima_header() -> list[str]:
    """Column heads that go with `optima_cells`."""
    return ["C (FLOPs)", "method", *OPTIMA.values(), "status"]


def fit_lines(report: Report) -> Iterator[str]:
    """One line per method: its exponents, objective and status, or why it was refused."""
    for fit in report.fits:
        found = {name: fit.param(name) for name in fit.params}
        found = fit.exponents() if fit.law == "power_frontier" else found
        numbers = ", ".join(f"{name} {number!r}" for name, number in found.items())
        reason = f" ({fit.reason})" if fit.reason else ""
        yield f"{fit.method}: {fit.status}{reason}; {numbers}; n = {fit.n_runs}. {fit.note}".strip()
    for method, reason in report.refusals:
        yield f"{method}: refused, {reason}"


def disagreement_lines(report: Report) -> Iterator[str]:
    """How far the methods are apart in N_opt and tokens per parameter, a line per budget."""
    table = disagreement_table(report)
    if table.empty:
        return
    shown = table.loc[table.quantity.isin(["N_opt", "tokens_per_param"])]
    for row in shown.to_dict("records"):
        low, high = (format_quantity(row[end]) for end in ("lowest", "highest"))
        common = {True: "; all intervals share values", False: "; the intervals share no value"}
        yield (
            f"{OPTIMA[row['quantity']]} at {row['C']:.3g} FLOPs: {low} "
            f"({row['lowest_method']}) to {high} ({row['highest_method']}), "
            f"x{row['ratio']:.3g}{common.get(row['overlap'], '')}"
        )


AUDIT = {
    "law": "law",
    "mean_abs_error": "mean error",
    "bias": "bias",
    "coverage": "held at 90 %",
    "training_error": "in training",
    "n_params": "params",
    "status": "status",
}


def audit_cells(audit: Audit) -> Iterator[list[str]]:
    """Rows of the printed audit, the law that predicts best first."""
    for row in audit.ranking.to_dict("records"):
        digits = {"mean_abs_error": 2, "bias": 2, "coverage": 0, "training_error": 2}
        shares = [f"{row[q]:.{n}%}" if pd.notna(row[q]) else "-" for q, n in digits.items()]
        yield [row["law"], *shares, str(row["n_params"]), row["status"]]


def audit_line(audit: Audit) -> str:
    """What was left out, and which law the audit recommends."""
    first, as_good = audit.ranking.iloc[0], audit.ranking.law[audit.ranking.as_good]
    others = [law for law in as_good if law != audit.recommended]
    return (
        f"Fitted without the {first.n_held_out} runs from {first.C_from:.3g} FLOPs up, to predict "
        f"them: the audit recommends {audit.recommended or 'no law'}"
        + (f"; as good within the noise: {', '.join(others)}." if others else ".")
    )


def excluded_lines(runs: pd.DataFrame) -> Iterator[str]:
    """One line per run that no fit uses."""
    for row in runs.to_dict("records"):
        if row["status"] != "ok":
            label = f"{row['name']} ({row['run_id']})" if "name" in row else row["run_id"]
            yield f"{label}: {row['status']}, {row.get('reason', 'as the table says')}"


def print_optima(console: Console, optima: pd.DataFrame, convention: Convention) -> None:
    """Print compute-optimal N, D, L and tokens/param by budget and method."""
    head = optima_header()
    table = Table(*head[:-1], title="Compute-optimal models: value [90 % interval]", box=box.SIMPLE)
    table.padding = (0, 0)
    budget = None
    for C, method, *numbers, status in optima_cells(optima, between="\n"):
        if budget != C:
            table.add_section()
        table.add_row("" if budget == C else C, f"{method}\n{status}", *numbers)
        budget = C
    console.print(table)
    console.print(convention.describe())


def print_report(console: Console, runs: pd.DataFrame, report: Report) -> None:
    """Print optima, every fit or why it was refused, and the runs that no fit uses."""
    print_optima(console, optima_table(report), report.convention)
    for line in [*fit_lines(report), *disagreement_lines(report)]:
        console.print(line, markup=False)
    if report.audit is not None:
        console.print(audit_line(report.audit))
        table = Table(*AUDIT.values(), box=box.SIMPLE)
        for row in audit_cells(report.audit):
            table.add_row(*row)
        console.print(table)
    for line in excluded_lines(runs):
        console.print(f"excluded: {line}", markup=False)


def convention_cells(conventions: pd.DataFrame) -> Iterator[list[str]]:
    """Rows of the table of conventions: N, method, exponent, N_opt, ratio, ratio / 20, status."""
    for row in conventions.to_dict("records"):
        cells = [f"{row['N']}: {N_MEANING[row['N']]}", METHODS[row["method"]]]
        for name, digits in (
            ("N_exponent", "{:.3f}".format),
            ("N_opt", format_quantity),
            ("tokens_per_param", format_quantity),
        ):
            value, low, high = (row[name + end] for end in ("", "_low", "_high"))
            known = value == value
            cells.append(f"{digits(value)} [{digits(low)}, {digits(high)}]" if known else "-")
        share = row["tokens_per_param"] / TOKENS_PER_PARAM_RULE
        cells.append(f"x{share:.2f}" if share == share else "-")
        yield [*cells, row["status"]]


def convention_section(conventions: pd.DataFrame) -> str:
    """What the same runs say under each N, and how that compares with 20."""
    if conventions.empty:
        return "The table knows one N only."
    head = ["N", "method", "a in N_opt ~ C^a", "N_opt", "tokens/param", "over 20", "status"]
    return (
        f"At {conventions.C.iloc[0]:.3g} FLOPs, the largest budget; "
        f"{TOKENS_PER_PARAM_RULE:g} is the rule of thumb of Hoffmann et al. 2022, whose N is "
        "total.\n\n" + markdown_table(head, list(convention_cells(conventions)))
    )


def results_page(
    title: str, command: str, facts: list[str], runs, report, conventions, figures
) -> str:
    """Write the one-page README.md of a results folder."""
    excluded = list(excluded_lines(runs))
    sections = [
        f"# {title}",
        f"Made by `{command}`.",
        "\n".join(f"- {fact}" for fact in facts),
        f"## Compute-optimal models\n{report.convention.describe()}. Brackets: 90 % bootstrap "
        "intervals. *bowl* is the parabola of one budget, *power bowl* its counterpart of two "
        "powers; the other methods are laws through all budgets.",
        markdown_table(optima_header(), list(optima_cells(optima_table(report)))),
        "## What N means decides the answer\n" + convention_section(conventions),
        "## Fits\n" + "\n".join(f"- {line}" for line in fit_lines(report)),
        "## Where the methods disagree\n"
        + ("\n".join(f"- {line}" for line in disagreement_lines(report)) or "One method only."),
        "## Extrapolation audit\n" + _audit_section(report),
        "## Excluded runs\n" + ("\n".join(f"- {line}" for line in excluded) or "None."),
        "## Figures\n" + "\n\n".join(f"![{path.stem}]({path.name})" for path in figures),
        "Files: `runs.csv` (one row per model), `curves.csv` (training curves), `fits.csv` (every "
        "number of every method, in full precision), `optima.csv` (the table above), `audit.csv`, "
        "`fit.json` (the parametric fit with its draws), `config.yaml` (what was asked for).",
    ]
    return "\n\n".join(sections) + "\n"


def _audit_section(report: Report) -> str:
    if report.audit is None:
        return f"Refused: {dict(report.refusals).get('audit', 'not asked for')}."
    table = markdown_table([*AUDIT.values()], list(audit_cells(report.audit)))
    return f"{audit_line(report.audit)}\n\n{table}"
