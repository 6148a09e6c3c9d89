"""Farseer, arXiv:2506.10972: a law whose every coefficient is the exponential of a power of N.

Local coordinates bear the names of the parameters whose place they take. With n = ln N - ln N_0 and
d = ln D - ln D_0 around a centre (N_0, D_0), b_1 is the logarithm of the exponent of D at the
centre and a_1 its slope in n; b_2 and a_2 are height and slope in n of the logarithm of the term in
D, b_3 and a_3 those of the term in N. The powers of N are the same in both.
"""

from collections.abc import Callable, Mapping
from math import factorial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scaling.laws.jets import Jet

LEAST = 1e-6  # power that stands for none in raw parameters
SERIES = 0.1  # argument below which a quotient of differences is summed as a series
SERIES_TERMS = [1 / factorial(k + 1) for k in range(10)]
EXPANDED = [np.polynomial.polynomial.polyder(SERIES_TERMS, k) for k in range(3)]  # derivatives
POWERS = {"1": "alpha", "2": "beta", "3": "gamma"}


class Local(NamedTuple):
    """Coordinates in which a law is fitted; each function takes a centre (ln N, ln D).

    Attributes
    ----------
    same : tuple of str
        Parameters that they share with the law, which can therefore be constrained.
    log_loss : callable, (coordinates by name, N, D, centre) -> ln L
    raw, theta : callable, (DataFrame, centre) -> DataFrame
        Parameters of the law from coordinates, and back.
    guess : callable, (DataFrame of the simpler law's parameters, centre) -> DataFrame
        Coordinates in which the law is as near to the simpler one as it can be.

    Examples
    --------
    To the coordinates and back; exp(b_1) is then the exponent of D at the centre:

    >>> centre, law = (np.log(1e9), np.log(2e10)), {"a_1": 0.06, "b_1": -1.95, "alpha": 0.05}
    >>> law |= {"a_2": 3.0, "b_2": 0.5, "beta": -0.02, "a_3": -0.02, "b_3": 0.9, "gamma": 0.17}
    >>> local = FARSEER.theta(pd.DataFrame([law]), centre)
    >>> print(f"{np.exp(local.b_1[0]):.3f}, {FARSEER.raw(local, centre).b_1[0]:.2f}")
    0.168, -1.95
    """

    same: tuple[str, ...]
    log_loss: Callable[..., Any]
    raw: Callable[..., pd.DataFrame]
    theta: Callable[..., pd.DataFrame]
    guess: Callable[..., pd.DataFrame]


def farseer_loss(N, D, *, a_1, b_1, alpha, a_2, b_2, beta, a_3, b_3, gamma):
    """Loss, nats/token: exp(a_3 N^gamma + b_3) + exp(a_2 N^beta + b_2) / D^exp(a_1 N^alpha + b_1).

    D in tokens; Li et al. 2025, arXiv:2506.10972.

    Examples
    --------
    With a_1 = a_2 = 0 its term in D is B / D^beta of Chinchilla, B = exp(b_2) and beta = exp(b_1):

    >>> flat = dict(a_1=0, b_1=np.log(0.28), alpha=1, a_2=0, b_2=np.log(410.7), beta=1)
    >>> loss = farseer_loss(70e9, 1.4e12, **flat, a_3=0, b_3=np.log(1.69), gamma=1)
    >>> print(f"{loss:.4f} {1.69 + 410.7 / 1.4e12**0.28:.4f}")
    1.8532 1.8532
    """
    slope = np.exp(a_1 * N**alpha + b_1)
    return np.exp(a_3 * N**gamma + b_3) + np.exp(a_2 * N**beta + b_2 - slope * np.log(D))


def _log_loss(given: Mapping[str, Any], N, D, centre: tuple[float, float]):
    n, d = np.log(N) - centre[0], np.log(D) - centre[1]
    level, rise = np.exp(given["b_1"]), given["a_1"]
    slope = level * np.exp(rise * n * _relative_exp(given["alpha"] * n))
    risen = (given["a_2"] + level * rise * centre[1]) * n * _relative_exp(given["beta"] * n)
    in_D = given["b_2"] + risen - slope * d - (slope - level) * centre[1]
    in_N = given["b_3"] + given["a_3"] * n * _relative_exp(given["gamma"] * n)
    return np.log(np.exp(in_N) + np.exp(in_D))


def _relative_exp(z):
    """(exp(z) - 1) / z, of an array or a jet."""
    x = z.value if isinstance(z, Jet) else np.asarray(z)
    near = np.abs(x) < SERIES
    far = np.where(near, 1.0, x)
    found = [np.expm1(far) / far]
    for k in (1, 2) if isinstance(z, Jet) else ():
        found.append((np.exp(far) - k * found[-1]) / far)
    if near.any():
        small = np.where(near, x, 0.0)
        series = (np.polynomial.polynomial.polyval(small, EXPANDED[k]) for k in range(len(found)))
        found = [np.where(near, *both) for both in zip(series, found, strict=True)]
    return z.through(*found) if isinstance(z, Jet) else found[0]


def _raw(local: pd.DataFrame, centre: tuple[float, float]) -> pd.DataFrame:
    level = np.exp(local.b_1)
    risen = {
        "b_2": local.b_2 + level * centre[1],
        "a_2": local.a_2 + level * local.a_1 * centre[1],
    }
    local, found = local.assign(**risen), local.copy()
    for k, name in POWERS.items():
        power = local[name].where(local[name].abs() > LEAST, LEAST)
        found[f"a_{k}"] = local[f"a_{k}"] / power * np.exp(-power * centre[0])
        found[f"b_{k}"] = local[f"b_{k}"] - local[f"a_{k}"] / power
        found[name] = power
    return found


def _theta(raw: pd.DataFrame, centre: tuple[float, float]) -> pd.DataFrame:
    found = raw.copy()
    for k, name in POWERS.items():
        height = raw[f"a_{k}"] * np.exp(raw[name] * centre[0])
        found[f"a_{k}"], found[f"b_{k}"] = height * raw[name], raw[f"b_{k}"] + height
    level = np.exp(found.b_1)
    found["b_2"] -= level * centre[1]
    found["a_2"] -= level * found.a_1 * centre[1]
    return found


def _guess(simpler: pd.DataFrame, centre: tuple[float, float]) -> pd.DataFrame:
    """From E + A / N^alpha + B / (N^gamma D^(beta + delta ln N))."""
    n, d = centre
    exponent = simpler.beta + simpler.delta * n
    in_N = simpler.A * np.exp(-simpler.alpha * n)
    return pd.DataFrame(
        {
            "b_1": np.log(exponent),
            "a_1": simpler.delta / exponent,
            "b_2": np.log(simpler.B) - simpler.gamma * n - exponent * d,
            "a_2": -simpler.gamma - simpler.delta * d,
            "b_3": np.log(simpler.E + in_N),
            "a_3": -simpler.alpha * in_N / (simpler.E + in_N),
        }
    )


FARSEER = Local(tuple(POWERS.values()), _log_loss, _raw, _theta, _guess)
