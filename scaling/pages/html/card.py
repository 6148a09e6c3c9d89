"""What a notebook shows of a fit, a report or a plan: a few lines, the text of the pages."""

from collections.abc import Iterable

from scaling.fitting.report import Report
from scaling.fitting.result import Fit
from scaling.pages.fit_answer import tell_report
from scaling.pages.fits import fit_lines
from scaling.pages.html.assemble import escape, show_text
from scaling.pages.plan_answer import tell_plan
from scaling.planning.plan import Plan


def show_card(value: Fit | Report | Plan) -> str:
    """A fit, a report or a plan as a few lines of HTML; all text is escaped."""
    if isinstance(value, Fit):
        alone = Report((value,), (), value.convention, ())
        return _list_lines(f"{value.method} fit of {value.law}", fit_lines(alone))
    if isinstance(value, Report):
        return _list_lines(tell_report(value).found[0], fit_lines(value))
    answer = tell_plan(value)
    return _list_lines(" ".join(answer.found[:2]), answer.doubts)


def _list_lines(title: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{show_text(line)}</li>" for line in lines)
    return f"<div><p><strong>{escape(title)}</strong></p><ul>{items}</ul></div>"
