"""Where worker processes come from, and what ends them when that is gone."""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection, get_context, parent_process, resource_tracker
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from typing import Any, TypeVar

T = TypeVar("T")

# Imported once and inherited by every worker; the optimizer would load torch._dynamo in each.
PRELOADED = ["__main__", "scaling.training.worker", "torch._dynamo"]


def forkserver() -> ForkServerContext:
    """Give what starts processes that have imported all that training needs.

    It runs, though it were killed before. A Ctrl-C, which a terminal sends to every process, is
    blocked in it and in all that it starts: the parent decides when to stop.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    resource_tracker.ensure_running()  # first, as it would end the blocking
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return context


def ask_worker(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a process of its own: what it does to a GPU, this process does not hold.

    A context takes hundreds of megabytes of a GPU for as long as its process lives.
    """
    with ProcessPoolExecutor(1, mp_context=forkserver()) as one:
        return one.submit(function, *arguments).result()


def die_with_parent() -> None:
    """End this process once that is gone which has started it."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent, first = parent_process(), os.getppid()
    if parent is not None:
        connection.wait([parent.sentinel])
    else:  # torchrun or a cluster started it
        while os.getppid() == first:
            time.sleep(1)
    os._exit(1)
