"""Errors that a verb shows as one line. A caller's mistake is a plain ValueError."""

import math
from collections.abc import Iterable


class DataError(Exception):
    """A corpus cannot be had, or it is not what it should be."""


class FitError(Exception):
    """No usable estimate exists: the data cannot identify the law."""


class PublishedDataError(OSError):
    """A published table cannot be had, or its file is not the published one."""


class SweepError(ValueError):
    """A sweep that cannot start: its folder is in use, or the machine lacks what it asks for."""


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a value that is none of the choices; ValueError names them all."""
    if value not in choices:
        raise ValueError(f"{name}={value!r}: choose one of {tuple(choices)}")


def check_range(name: str, value: float | None, low: float, high: float = math.inf) -> None:
    """Refuse a number below `low`, above `high`, NaN or infinite; None passes."""
    if value is None or (low <= value <= high and math.isfinite(value)):
        return
    upper = "" if high == math.inf else f" and at most {high:g}"
    raise ValueError(f"{name}={value} must be at least {low:g}{upper}")
