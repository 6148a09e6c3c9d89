"""Laws that might be true instead: forms fitted to the reference sweep, and draws of it.

Every form is of n = ln(N / 1e5) and d = ln(D / 2e6), for ln L, from starts near its optimum.
"""

import functools
from typing import Any

import numpy as np
from scipy.optimize import least_squares, minimize_scalar

from scaling.fitting.prepared import Prepared, prepare
from scaling.tables.observations import observations
from scaling.tables.runs import load_runs

REFERENCE = "results/reference-enwik8-cpu/runs.csv"
NOISE, SHARED = 0.0018, 0.5  # of ln L between seeds, and the share of its variance in a trunk


def add(*terms):
    """Logarithm of a sum, of its terms' logarithms."""
    return np.logaddexp.reduce(np.stack(np.broadcast_arrays(*terms)))


def power(slope, bend, n):
    """Integral of slope * exp(bend n) from 0."""
    return slope * np.expm1(bend * n) / bend


def chinchilla(t, n, d):
    """E + A/N^alpha + B/D^beta."""
    return add(t[0], t[1] - t[2] * n, t[3] - t[4] * d)


def kaplan(t, n, d):
    """(A/N^a + B/D)^g."""
    return t[3] * add(t[0] - t[2] * n, t[1] - d)


def raised(t, n, d):
    """(A/N^a + B/D^b)^g."""
    return t[4] * add(t[0] - t[2] * n, t[1] - t[3] * d)


def quadratic(t, n, d):
    """Ln L quadratic in ln N and ln D."""
    return t[0] + t[1] * n + t[2] * d + t[3] * n * n + t[4] * n * d + t[5] * d * d


def farseer(t, n, d):
    """exp(powers of N) + exp(powers of N) / D^(exp of powers of N), arXiv:2506.10972."""
    exponent = np.exp(t[0] + power(t[1], t[2], n))
    return add(t[3] + power(t[4], t[5], n), t[6] + power(t[7], t[8], n) - exponent * d)


def varying(t, n, d):
    """E + A/N^alpha + B/D^beta with beta linear in ln N."""
    return add(t[0], t[1] - t[3] * n, t[2] - t[4] * d - t[5] * n * d)


def two_powers(t, n, d):
    """E and two powers each of N and D."""
    return add(t[0], t[1] - t[2] * n, t[3] - t[4] * n, t[5] - t[6] * d, t[7] - t[8] * d)


FORMS = {
    "Chinchilla": (chinchilla, [1.1, -0.5, 0.5, -0.5, 0.5]),
    "Kaplan": (kaplan, [12.742, 12.44, 1.145, 0.106]),
    "(A/N^a + B/D^b)^g": (raised, [8.278, 8.259, 0.838, 0.643, 0.157]),
    "quadratic": (quadratic, [1.412, -0.067, -0.05, 0.011, -0.023, 0.005]),
    "Farseer": (farseer, [-1.496, 0.074, 0.334, 1.167, -0.155, 0.055, -0.112, 0.246, -0.063]),
    "D-exponent ~ ln N": (varying, [0.847, -0.371, 0.081, 0.39, 0.188, 0.067]),
    "two powers each": (two_powers, [0.47, -0.6, 0.2, -1.05, 0.9, -0.29, 0.35, -1.39, 0.9]),
}


@functools.cache
def reference():
    """Finished runs, their n, d and ln L, and ln FLOPs per token as a parabola in ln N."""
    runs = load_runs(REFERENCE)
    runs = runs[runs.status == "ok"].reset_index(drop=True)
    obs, _ = observations(runs)
    shapes = obs.drop_duplicates("N")
    per_token = np.polyfit(np.log(shapes.N), np.log(shapes.C / shapes.D), 2)
    n, d, log_L = np.log(obs.N / 1e5), np.log(obs.D / 2e6), np.log(obs.L)
    return runs, n.to_numpy(), d.to_numpy(), log_L.to_numpy(), per_token


@functools.cache
def fitted(name):
    """Parameters of a form that fit the reference best."""
    form, start = FORMS[name]
    _, n, d, log_L, _ = reference()
    return least_squares(lambda t: form(t, n, d) - log_L, start, max_nfev=5000).x


@functools.cache
def true_optimum(name, C):
    """N and loss at the optimum of a form at C FLOPs, by search."""
    form, per_token = FORMS[name][0], reference()[-1]

    def loss(x):
        d = np.log(C) - np.polyval(per_token, x) - np.log(2e6)
        return float(form(fitted(name), x - np.log(1e5), d))

    coarse = np.linspace(np.log(1e4), np.log(2e7), 600)
    near = coarse[np.argmin([loss(x) for x in coarse])]
    found: Any = minimize_scalar(loss, bounds=(near - 0.02, near + 0.02), method="bounded")
    return float(np.exp(found.x)), float(np.exp(found.fun))


def drawn(name, seed) -> Prepared:
    """The reference sweep as it might have come out, were a form true."""
    runs, n, d, *_ = reference()
    rng = np.random.default_rng([[*FORMS].index(name), seed])
    trunk = runs.groupby(["trunk_id", "seed"]).ngroup().to_numpy()
    noise = np.sqrt(SHARED) * rng.standard_normal(trunk.max() + 1)[trunk]
    noise += np.sqrt(1 - SHARED) * rng.standard_normal(len(runs))
    log_L = FORMS[name][0](fitted(name), n, d) + NOISE * noise
    return prepare(runs.assign(loss=np.exp(log_L)))
