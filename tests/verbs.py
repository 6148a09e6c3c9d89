"""Verbs, run as a user runs them; many commands pay once for the imports of one process."""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 250  # after which a command is hung


class Verb:
    """A process that has imported `scaling.<name>`; every command line is a fork of it.

    `before` is Python code that runs ahead of the import.
    """

    def __init__(self, name, before=""):
        command = [sys.executable, __file__, f"scaling.{name}", before]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=environment
        )

    def __call__(self, *arguments, cwd=ROOT, environment=None):
        """Run it with these arguments; give what `subprocess.run` gives."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            files = [f"{folder}/{name}" for name in ("stdout", "stderr")]
            request = [arguments, str(cwd), dict(environment or os.environ), *files]
            print(json.dumps(request), file=self.process.stdin, flush=True)
            code = int(self.process.stdout.readline())
            return subprocess.CompletedProcess(
                arguments, code, *(Path(f).read_text() for f in files)
            )

    def close(self):
        self.process.communicate()


def serve(module, before):
    """Fork for every request on stdin, and answer with the exit code."""
    exec(before, {})
    main = importlib.import_module(module).main
    for request in sys.stdin:
        with warnings.catch_warnings(action="ignore"):  # the threads of a BLAS survive a fork
            child = os.fork()
        if not child:
            return become(main, module, *json.loads(request))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


def become(main, module, arguments, cwd, environment, *files):
    """Be the command from here on."""
    signal.alarm(SECONDS)
    for number, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.stdin = open(os.devnull)  # noqa: SIM115
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    main()


if __name__ == "__main__":
    serve(*sys.argv[1:])
