"""report.html: what a results folder says, on one page that can be sent on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from scaling.fitting.conventions import convention_table
from scaling.fitting.optima import optima_table
from scaling.fitting.report import Report
from scaling.pages.fits import (
    answer_section,
    conventions_section,
    excluded_section,
    fit_sections,
    optima_section,
)
from scaling.pages.html.assemble import (
    fold,
    page,
    show_chart,
    show_choices,
    show_sections,
    show_slider,
    show_table,
)
from scaling.pages.html.fitted import collect_data
from scaling.pages.text import Table, shown
from scaling.quantities import format_quantity as short
from scaling.tables.observations import N_COLUMNS

FOLDED = ("Compute-optimal models", "Fits", "Where the methods disagree", "Sensitivity")
SCRIPTS = ("chart.js", "report.js")
NO_SCRIPT = (
    "Without script the charts and the sliders are not there; the tables below hold the numbers."
)


def report_page(
    title: str,
    command: str,
    runs: pd.DataFrame,
    curves: pd.DataFrame | None,
    reports: Sequence[Report],
    settings: Mapping[str, Any],
) -> str:
    """The page of a report: the answer, charts to look into, and every table.

    Parameters
    ----------
    title, command : str
        What the page is of, and what makes it again.
    runs, curves : DataFrames that the fits were made from
    reports : sequence of Report
        The one to quote; behind it those under other conventions of N, if they are known.
    settings : mapping, name -> value
        What the fits were asked for.
    """
    report = reports[0]
    tables = [optima_section(optima_table(report), report.convention), *fit_sections(report)]
    conventions = convention_table(reports[1:])
    if len(conventions):
        tables.insert(0, conventions_section(conventions))
    answer = answer_section(report, conventions)
    by_title = {section.title: section for section in tables}
    first = [by_title.pop("Extrapolation audit"), excluded_section(runs)]
    parts = [
        _show_charts(reports, has_curves=curves is not None and len(curves) > 0),
        show_sections([replace(answer, title="Why, and how far", text=answer.text[1:])]),
        show_sections(first),
        show_sections(by_title.values(), FOLDED),
        f"<section>{fold('Runs', show_table(_list_runs(runs)))}</section>",
        f"<section>{fold('Settings', show_table(_list_settings(settings)))}</section>",
    ]
    data = collect_data(runs, curves, reports)
    return page(title, answer.text[0], parts, command, data, SCRIPTS)


def _show_charts(reports: Sequence[Report], *, has_curves: bool) -> str:
    """Controls, the budget's slider with what it answers, and room for the charts."""
    names = {report.convention.N: report.convention.N for report in reports}
    charts = [
        show_chart("bowls", "Loss against parameters, a bowl per budget"),
        show_chart("compute", "Loss against compute, with the loss of the best models"),
        show_chart("contours", "Parameters against compute, with the best sizes"),
    ]
    charts += [show_chart("curves", "Training curves")] if has_curves else []
    return "\n".join(
        [
            '<section id="explore" class="needs-script"><h2>Look into it</h2>',
            '<div class="controls">',
            show_choices("N counts", "convention", names, reports[0].convention.N),
            '<fieldset id="methods"><legend>Method</legend></fieldset></div>',
            '<p id="method-note" class="note"></p>',
            show_slider("budget", "Compute budget C (FLOPs)", 0, 1, 0),
            '<div id="answer" role="status" aria-live="polite"></div>',
            f'<div class="charts">{"".join(charts)}</div>',
            "</section>",
            f"<noscript><p>{NO_SCRIPT}</p></noscript>",
        ]
    )


def _list_runs(runs: pd.DataFrame) -> Table:
    """Every run with what the fits read of it."""
    known = [c for c in dict.fromkeys(c for cs in N_COLUMNS.values() for c in cs) if c in runs]
    numbers = dict.fromkeys((*known, "tokens"), short) | {"flops": ".3g", "loss": ".4g"}
    numbers |= {"loss_std": ".2g", "lr": ".3g"}
    texts = [name for name in ("run_id", "name") if name in runs]
    columns = [shown(name) for name in texts]
    columns += [shown(name, write=write) for name, write in numbers.items() if name in runs]
    return Table(runs, (*columns, shown("status")))


def _list_settings(settings: Mapping[str, Any]) -> Table:
    rows = [(name, "derived" if value is None else value) for name, value in settings.items()]
    frame = pd.DataFrame(rows, columns=["setting", "value"]).astype(object)
    return Table(frame, (shown("setting"), shown("value", write=_write_setting)))


def _write_setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and np.isfinite(value) else str(value)
