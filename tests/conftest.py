"""Shared truths: known loss surfaces, and grids of runs trained on them."""

import contextlib
import functools
import gc
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from scipy.optimize import minimize_scalar
from verbs import Verb

from scaling.laws.table import LAWS
from scaling.shapes.shape import ModelConfig
from scaling.tables.observations import observations
from scaling.tables.runs import load_runs
from scaling.training.grid import GridConfig, plan_cells

TRUTH = {"E": 2.0, "A": 60.0, "B": 200.0, "alpha": 0.35, "beta": 0.35}
SURFACES = {  # alpha = beta; the published fit; strongly unequal
    "symmetric": {"E": 1.69, "A": 400.0, "B": 400.0, "alpha": 0.31, "beta": 0.31},
    "hoffmann2022": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
    "asymmetric": {"E": 1.50, "A": 200.0, "B": 800.0, "alpha": 0.50, "beta": 0.20},
}
BUDGETS = (2e11, 4e11, 8e11, 1.6e12)
LONGEST = [  # test files, by the seconds that they take
    "test_sweep.py",
    "test_parametric.py",
    "test_pool.py",
    "test_report.py",
    "test_main.py",
    "test_every.py",
    "test_readme.py",
    "test_isoflop_power.py",
    "test_solver.py",
    "test_diagnosis.py",
]

# No test depends on the speed of the machine. Where CI is set, hypothesis' own profile already
# draws the same examples every time; ours keeps that.
settings.register_profile(
    "any machine",
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a worker per core; torch reads it when imported
HERE = str(Path(__file__).parents[1])  # first: what tests start finds what they test
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")]))


def pytest_collection_modifyitems(items):
    """Longest files first: a worker that takes one last would leave the other idle."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def pytest_collection_finish():
    gc.collect()
    gc.freeze()  # what is imported stays: nobody need look through it again and again


def flops_per_token(N):
    """Six per parameter, and what head and attention add in small models."""
    return 6 * N + 190 * np.sqrt(N)


def true_loss(N, D):
    return LAWS["chinchilla"].loss(TRUTH, N=N, D=D)


@functools.cache
def true_optimum(C):
    """N and D of the lowest true loss at C, by search."""
    found = minimize_scalar(
        lambda log_N: float(true_loss(np.exp(log_N), C / flops_per_token(np.exp(log_N)))),
        bounds=(8, 16),
        method="bounded",
        options={"xatol": 1e-10},
    )
    N = np.exp(found.x)
    return N, C / flops_per_token(N)


def make_grid(**options):
    """A runs table of a grid; see `known_grid`."""
    return known_grid(**options).copy()


@functools.cache  # many tests take the same
def known_grid(noise=0.0, seed=0, sizes=7, width=3.0, budgets=BUDGETS, drift=1.0):
    """IsoFLOP runs around the true optimum, `noise` in nats; whole batches of 512 tokens."""
    rng, rows = np.random.default_rng(seed), []
    for C in budgets:
        middle = true_optimum(C)[0] * drift
        for N in np.round(np.geomspace(middle / width, middle * width, sizes)):
            D = np.round(C / flops_per_token(N) / 512) * 512
            loss = true_loss(N, D) + noise * rng.standard_normal()
            row = {"total_params": N, "tokens": D, "flops": flops_per_token(N) * D}
            rows.append(row | {"flops_budget": C, "loss": loss})
    return load_runs(pd.DataFrame(rows))


def make_curves(runs, points=60):
    """Training losses whose every point is what a finished run of that length would reach."""
    curves = []
    for row in runs.to_dict("records"):
        tokens = np.geomspace(row["tokens"] / 50, row["tokens"], points)
        curve = {"run_id": row["run_id"], "step": np.arange(points), "tokens": tokens}
        curve |= {"flops": tokens * row["flops"] / row["tokens"]}
        curves.append(pd.DataFrame(curve | {"loss": true_loss(row["total_params"], tokens)}))
    return pd.concat(curves, ignore_index=True)


@pytest.fixture(params=SURFACES.values(), ids=SURFACES)
def surface(request):
    return request.param


@pytest.fixture(scope="session")
def truth():
    return TRUTH


@pytest.fixture(scope="session")
def optimum_of():
    return true_optimum


@pytest.fixture(scope="session")
def grid():
    """A function that makes a runs table; see `make_grid`."""
    return make_grid


@pytest.fixture(scope="session")
def curves_of():
    return make_curves


@pytest.fixture(scope="session")
def obs_of():
    """A function that makes observations of a grid."""
    known = functools.cache(lambda **options: observations(known_grid(**options))[0])
    return lambda **options: known(**options).copy()


@pytest.fixture(scope="session")
def plan_noise():
    """A function that plans two tiny widths at some budgets, on tokens without any order."""

    def plan(budgets, optim):
        return plan_cells(
            GridConfig(budgets=budgets, widths=[8, 16], min_steps=1),
            ModelConfig(seq_len=16),
            optim,
            vocab_size=32,
            data="noise",
            data_fingerprint="noise",
            valid_windows=64,
        )

    return plan


@pytest.fixture(scope="session")
def verb():
    """A function that makes a verb callable: `verb("plan")("budget=1e23")`; see `verbs.Verb`."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def started(name, before=""):
            return stack.enter_context(contextlib.closing(Verb(name, before)))

        yield started


@pytest.fixture(scope="session")
def published():
    """A function that reads a published table from SCALING_DATA_DIR, or skips the test."""
    folder = os.environ.get("SCALING_DATA_DIR")

    def read(name):
        if not folder or not (Path(folder) / name).is_file():
            pytest.skip(f"set SCALING_DATA_DIR to a folder with {name}")
        return Path(folder) / name

    return read
