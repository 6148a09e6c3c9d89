"""All that waits for a GPU, by one command: tests, benchmark, a grid beyond the extension.

Question  does training on a GPU do what it does on a CPU, how fast, and what laws does it give?
Command   python experiments/gpu.py [small] [limit=570] [parts=tests,benchmark,reference]
          [results=results], then python experiments/extended.py page gpu; its predictions came
          before
Cost      each part under ten minutes of an H100; the same command goes on where the limit ended
          the grid. small: all parts in under four minutes
Expected  the four budgets of grid=reference_gpu for which enwik8 suffices, within ten minutes; the
          three above, to 1e17 FLOPs, want a larger corpus and hours
Result    17 of 20 cells in five minutes of an H100: losses differ from the CPU's by up to 0.02
          nats, as those of two seeds do. Three are missing. results/reference-gpu. Without a GPU
          it says so and ends
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from extended import GPU

ROOT = Path(__file__).parents[1]


def limited(command, seconds):
    """Run a command and interrupt it when its time is over; return whether it ended by itself."""
    print("$", shlex.join(command), flush=True)
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": paths}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        return process.wait(timeout=max(1.0, seconds)) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)  # a sweep keeps its checkpoints
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        print(f"stopped after {seconds:.0f} s", flush=True)
        return False


def test(limit, small, results):
    """Run the tests that need a GPU."""
    chosen = ["-k", "not compiled"] if small else []
    path = "tests/training/test_gpu.py"
    return limited([sys.executable, "-m", "pytest", "-n0", "-m", "gpu", path, *chosen], limit)


def benchmark(limit, small, results):
    """Measure tokens/s and MFU."""
    words = [f"limit={limit * 0.8:.0f}", f"results={results}", *(["small"] if small else [])]
    return limited([sys.executable, "experiments/benchmark_gpu.py", *words], limit)


def reference(limit, small, results):
    """Train the grid on shared trunks, side by side, then what checks its rates."""
    began, folder = time.monotonic(), Path(results) / GPU.folder.name / "records"
    budgets = ",".join(f"{C:g}" for C in GPU.grid_keys.budgets[: 2 if small else None])
    for name, (_, keys) in GPU.sweeps.items():
        words = ["grid=reference_gpu", "device=cuda", f"results={folder}", f"name={name}"]
        words += ["fit.audit=false", "fit.bootstrap=200", "allow_repeats=true"]
        words += [f"grid.budgets=[{budgets}]"] * (name == "grid") + keys
        words += ["compile=never"] * small
        left = limit - (time.monotonic() - began)
        if not limited([sys.executable, "-m", "scaling.sweep", *words], left):
            return False
    return True


PARTS = {"tests": test, "benchmark": benchmark, "reference": reference}
SMALL_S = {"tests": 60.0, "benchmark": 75.0, "reference": 75.0}


def main():
    """Run the parts one after the other."""
    given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    names, small = given.get("parts", ",".join(PARTS)).split(","), "small" in sys.argv
    if unknown := {*names} - {*PARTS}:
        sys.exit(f"error: parts={','.join(sorted(unknown))} are unknown; choose from {[*PARTS]}")
    if not torch.cuda.is_available():
        print(f"skipped {', '.join(names)}: torch sees no GPU here")
        return
    results = str(Path(given.get("results", "results")).resolve())
    ended = {}
    for name in names:
        limit = float(given.get("limit", SMALL_S[name] if small else 570))
        ended[name] = PARTS[name](limit, small, results)
    for name, whole in ended.items():
        print(f"{name}: {'done' if whole else 'not whole; the same command goes on'}")
    sys.exit(0 if all(ended.values()) else 1)


if __name__ == "__main__":
    main()
