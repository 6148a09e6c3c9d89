"""Command lines of the verbs, run as a user runs them, for a fraction of what imports cost."""

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from scaling.errors import leave_on_interrupt

ROOT = Path(__file__).parents[1]
SCREEN = 24  # lines of 80 columns
SECONDS = 1800  # after which a command is hung, on the slowest and busiest machine


def end_of(main, words, monkeypatch):
    """Exit code of a command line in this process, or its line on stderr; None where it is done."""
    monkeypatch.setattr(sys, "argv", ["scaling", *words])
    try:
        main()
    except SystemExit as end:
        return end.code


def count_lines(printed, width=80):
    """Lines that a terminal takes for what was printed, but for paths, which a user shortens."""
    whole = (line for line in printed.splitlines() if " are in /" not in line and line[:1] != "/")
    return sum(max(1, -(-len(line) // width)) for line in whole)


class Verb:
    """A process that has imported `scaling.<name>`: every command line is a fork of it.

    `before` is Python code that runs ahead of the imports.
    """

    def __init__(self, name, before=""):
        self.process = subprocess.Popen(
            [sys.executable, __file__, f"scaling.{name}", before],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            text=True,
        )

    def __call__(self, *arguments, cwd=ROOT, environment=None):
        """Run it with these arguments; return what `subprocess.run` returns."""
        with tempfile.TemporaryDirectory() as folder:
            files = [f"{folder}/{name}" for name in ("stdout", "stderr")]
            request = json.dumps([arguments, str(cwd), dict(environment or os.environ), files])
            print(request, file=self.process.stdin, flush=True)
            code = int(self.process.stdout.readline())
            printed = [Path(file).read_text() for file in files]
            return subprocess.CompletedProcess(arguments, code, *printed)

    def close(self):
        self.process.communicate()


def serve(module, before):
    """Fork for every request on stdin; answer with the exit code."""
    exec(before, {})
    leave_on_interrupt()  # as a fresh process does while it imports
    main = importlib.import_module(module).main
    importlib.import_module("hydra.core.plugins").Plugins.instance()
    gc.freeze()  # or every child would look through all imports again
    for request in sys.stdin:
        with warnings.catch_warnings(action="ignore"):  # a BLAS has threads; no child needs them
            child = os.fork()
        if not child:
            become(module, *json.loads(request))
            return main()  # whose exceptions end this process as they end Python
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(module, arguments, cwd, environment, files):
    """Take the place of a fresh process."""
    signal.alarm(SECONDS)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]


if __name__ == "__main__":
    serve(*sys.argv[1:])
