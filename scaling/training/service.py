"""NVIDIA's multi-process service (MPS): kernels of several processes side by side on a GPU.

Without it a GPU takes processes in turns, which only fills the gaps between their launches.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import parent_process
from pathlib import Path

PROGRAM, PIPES = "nvidia-cuda-mps-control", "CUDA_MPS_PIPE_DIRECTORY"
ANSWER_S = 20.0  # within which the service serves a first process, and ends
# It starts the service, tells so, and ends it when what started it ends, in whatever way.
KEEPER = f"""{PROGRAM} -d </dev/null >/dev/null 2>&1 || exit
echo started
cat >/dev/null
echo quit | {PROGRAM} >/dev/null 2>&1
rm -rf "${PIPES}"
"""
TOUCH = """import ctypes
driver, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
raise SystemExit(driver.cuInit(0) or driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
"""  # a program that fails where the driver gives no context


def find_service() -> str:
    """Say whether the service is there: "running", "not started" or "absent"."""
    theirs = Path(os.environ.get(PIPES, "/tmp/nvidia-mps"))
    if any((pipes / "control").exists() for pipes in (_own_pipes(os.getpid()), theirs)):
        return "running"
    return "not started" if shutil.which(PROGRAM) else "absent"


@contextlib.contextmanager
def side_by_side() -> Iterator[None]:
    """Run the service for the workers of this process, where it is installed and does not run.

    Its pipes lie in a folder of its own: no other user of the GPU meets it. It ends with this
    process, however that ends.
    """
    if find_service() != "not started":
        yield
        return
    pipes = _own_pipes(os.getpid())
    pipes.mkdir(exist_ok=True)
    ours = os.environ | dict.fromkeys((PIPES, "CUDA_MPS_LOG_DIRECTORY"), str(pipes))
    keeper = subprocess.Popen(
        ["sh", "-c", KEEPER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ours,
        start_new_session=True,  # a Ctrl-C is for us
    )
    held, told = keeper.stdin, keeper.stdout
    assert held is not None and told is not None

    def end() -> None:
        held.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            keeper.wait(ANSWER_S)
        shutil.rmtree(pipes, ignore_errors=True)

    try:
        if not told.readline() or not _serves(ours):  # a container, another user's service
            end()
        yield
    finally:
        end()
        told.close()


def join_service() -> None:
    """Let this worker compute through the service that its parent runs, if it does."""
    parent = parent_process()
    pipes = None if parent is None or parent.pid is None else _own_pipes(parent.pid)
    if pipes is not None and (pipes / "control").exists():
        os.environ[PIPES] = str(pipes)


def _own_pipes(pid: int) -> Path:
    return Path(tempfile.gettempdir()) / f"scaling-mps-{pid}"


def _serves(environment: dict[str, str]) -> bool:
    try:
        done = subprocess.run(
            [sys.executable, "-c", TOUCH], env=environment, capture_output=True, timeout=ANSWER_S
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
