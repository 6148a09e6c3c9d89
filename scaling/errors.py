"""Errors that a verb shows as one line. A caller's mistake is a plain ValueError."""

import atexit
import difflib
import gc
import math
import os
import signal
import sys
from collections.abc import Iterable

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
CLOSE = 0.75  # likeness of names from which one is suggested for the other


class DataError(Exception):
    """A corpus cannot be had, or it is not what it should be."""


class FitError(Exception):
    """No usable estimate exists: the data cannot identify the law.

    Examples
    --------
    Four runs of a law with five parameters, of `runs` of help(scaling):

    >>> scaling.fit_law(runs.iloc[[0, 4, 10, 14]])
    Traceback (most recent call last):
        ...
    scaling.errors.FitError: 5 parameters of L(N, D) = E + A / N^alpha + B / D^beta need ...
    """


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


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which known name an unknown one is like; empty if it is like none."""
    known = [*known]
    last = {key.rpartition(".")[2]: key for key in reversed(known)}
    near = difflib.get_close_matches(name, known, n=1, cutoff=CLOSE)
    near += [
        last[n] for n in difflib.get_close_matches(name.rpartition(".")[2], last, n=1, cutoff=CLOSE)
    ]
    return f"; did you mean {near[0]!r}?" if near else ""


def is_command(started: list[str]) -> bool:
    """Tell whether Python was started, with these words, to run a verb of ours."""
    first, *rest = [*started[1:3], "", ""]
    return rest[0].partition(".")[0] == "scaling" if first == "-m" else first.endswith("/scaling")


def leave_on_interrupt() -> None:
    """Let a Ctrl-C end this process at once: for while it imports, with nothing to clear away.

    Once the verb is done a Ctrl-C is ignored, so that its exit code stands: Python drops handlers
    before it unloads modules, which with torch takes long enough to be hit.
    """
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


if is_command(sys.orig_argv):
    leave_on_interrupt()  # a traceback would end with the imports of others
    atexit.register(gc.freeze)  # or Python looks through all that was imported before it ends
