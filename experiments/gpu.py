"""All that waits for a GPU, by one command: tests, benchmark, a reference grid to 1e17 FLOPs.

Question  does training on a GPU do what it does on a CPU, how fast, and what laws does it give?
Command   python experiments/gpu.py [small] [limit=570] [parts=tests,benchmark,reference]
          [results=results] [corpus="data=hf data.path=... data.max_tokens=1400000000"]
Cost      each part under ten minutes; the same command goes on where the limit ended the grid.
          small: all parts in under four minutes
Expected  every budget of 3.16e15 or less within the first ten minutes of an H100; the two largest
          take hours of it (5.2e17 of 5.8e17 FLOPs)
Result    results/benchmark-gpu, results/reference-gpu; without a GPU it says so and ends
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
BUDGETS = ("1e14", "3.16e14", "1e15", "3.16e15", "1e16", "3.16e16", "1e17")
OF_ENWIK8 = 4  # budgets for which its 28.6M tokens are not repeated more than seven times
FEWEST = 2  # budgets that a fit needs


def limited(command, seconds):
    """Run a command and interrupt it when its time is over; return whether it ended by itself."""
    print("$", shlex.join(command), flush=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        return process.wait(timeout=max(1.0, seconds)) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)  # a sweep keeps its checkpoints
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        print(f"stopped after {seconds:.0f} s", flush=True)
        return False


def test(limit, small, results, corpus):
    """Run the tests that need a GPU."""
    chosen = ["-k", "not compiled"] if small else []
    path = "tests/training/test_gpu.py"
    return limited([sys.executable, "-m", "pytest", "-n0", "-m", "gpu", path, *chosen], limit)


def benchmark(limit, small, results, corpus):
    """Measure tokens/s and MFU."""
    words = [f"limit={limit * 0.8:.0f}", f"results={results}", *(["small"] if small else [])]
    return limited([sys.executable, "experiments/benchmark_gpu.py", *words], limit)


def reference(limit, small, results, corpus):
    """Train the grid, budget after budget: small ones are complete before a large one begins."""
    began = time.monotonic()
    own = corpus if corpus else ["allow_repeats=true"]
    last = FEWEST if small else OF_ENWIK8 if not corpus else len(BUDGETS)
    for n in range(FEWEST, last + 1):
        budgets = f"grid.budgets=[{','.join(BUDGETS[:n])}]"
        words = ["grid=reference_gpu", "device=cuda", f"results={results}", "name=reference-gpu"]
        sweep = [sys.executable, "-m", "scaling.sweep", *words, budgets, *own]
        if small:
            sweep += ["compile=never"]
        if not limited(sweep, limit - (time.monotonic() - began)):
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
        ended[name] = PARTS[name](limit, small, results, shlex.split(given.get("corpus", "")))
    for name, whole in ended.items():
        print(f"{name}: {'done' if whole else 'not whole; the same command goes on'}")
    sys.exit(0 if all(ended.values()) else 1)


if __name__ == "__main__":
    main()
