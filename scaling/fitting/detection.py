"""How large a test must be to see a gain: FLOPs, seeds and budgets for a power of 80 %."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.errors import check_range
from scaling.fitting.gain_lines import Lines
from scaling.fitting.paired import Sweep, draw_noise
from scaling.quantities import LEVEL

POWER = 0.8
DRAWS = 200
DECADE = float(np.log(10.0))  # of compute, within which an exponent doubles or undoes the gain


@dataclass(frozen=True, eq=False)
class Detection:
    """What a test of a gain takes.

    Attributes
    ----------
    gain : float
    noise : float
        Standard deviation of ln L between seeds, or of the residuals of bowls without seeds.
    is_seed_noise : bool
    correlation : float
        Between cells of the two arms that share their seed.
    seeds : float
        Runs of a cell that the sweep has, in the mean.
    designs : DataFrame
        One row per number of budgets, the smallest first: budgets, largest (FLOPs), std (of ln g of
        one seed), power (of the seeds there are), seen (smallest gain seen with `POWER` by them),
        seeds and flops (of both arms together) for `POWER`; seeds_exponent and flops_exponent, to
        tell an exponent that doubles the gain, or undoes it, within ten times the compute.
    """

    gain: float
    noise: float
    is_seed_noise: bool
    correlation: float
    seeds: float
    designs: pd.DataFrame


def size_test(
    a: Sweep, gain: float, *, b: Sweep | None = None, correlation: float = 0.0, seed: int = 0
) -> Detection:
    """Say what it takes to see a gain over sweep a in a sweep of the same cells.

    Parameters
    ----------
    a : Sweep
    gain : float, positive and not 1
    b : Sweep, optional
        For its own noise; that of a if omitted.
    correlation : float
        Of paired cells; 0 beforehand, when nobody has measured it.
    seed : int

    Returns
    -------
    Detection

    Raises
    ------
    ValueError
        The gain is not positive, or 1: no test sees nothing.

    Notes
    -----
    A gain is seen where its 90 % interval leaves out 1. With s seeds a cell the variance of ln g is
    that of one seed over s: runs of a share what bowls miss beyond the noise of seeds, which no
    number of seeds takes away, with the runs of b. Every run counts with all of its FLOPs; shared
    trunks cost less.
    """
    from scipy.special import ndtr  # here, so that `import scaling` stays fast

    check_range("gain", gain, 0)
    if gain in (0, 1):
        raise ValueError(f"gain={gain:g} must be positive and not 1: what is there to see?")
    level, needed = seen_at(0.5), seen_at(POWER)
    rng = np.random.default_rng(seed)
    use = a.usable
    log_C, cost = a.log_budgets[use], a.costs[use]
    y = a.minima()[:, use]
    slope = float(Lines.through((log_C, log_C), (y, y)).slope_a[0])
    one = a.seed_noise**2
    both = one + (one if b is None else b.seed_noise**2)
    both -= 2 * correlation * np.sqrt(one * (both - one))
    drawn = a.minima(draw_noise(a, DRAWS, rng))[:, use]
    cov = np.cov(drawn[np.isfinite(drawn).all(axis=1)], rowvar=False) / one * both
    cov = np.atleast_2d(cov) * a.seeds / slope**2
    rows = []
    for k in range(1, len(log_C) + 1):
        std = float(np.sqrt(cov[:k, :k].mean()))
        seeds = _whole((needed * std / np.log(gain)) ** 2)
        row = {"budgets": k, "largest": float(np.exp(log_C[k - 1])), "std": std, "seeds": seeds}
        now = std / np.sqrt(a.seeds)
        seen = float(np.exp(needed * now))
        row |= {"power": float(ndtr(abs(np.log(gain)) / now - level)), "seen": seen}
        row |= {"flops": 2 * seeds * float(cost[:k].sum())}
        x = log_C[:k] - log_C[:k].mean()
        more = float("nan")
        if k > 1:
            w = x / (x**2).sum()
            change = np.log(gain) / DECADE
            more = _whole(needed**2 * float(w @ cov[:k, :k] @ w) / change**2)
        row |= {"seeds_exponent": more, "flops_exponent": 2 * more * float(cost[:k].sum())}
        rows.append(row)
    measured = a.data.noise is not None
    return Detection(gain, float(np.sqrt(one)), measured, correlation, a.seeds, pd.DataFrame(rows))


def seen_at(power: float) -> float:
    """Effect, in its standard deviations, that an interval leaves out 0 of so often."""
    from scipy.special import ndtri  # here, so that `import scaling` stays fast

    return float(ndtri((1 + LEVEL) / 2) + ndtri(power))


def _whole(seeds: float) -> float:
    """Seeds are whole, and at least one."""
    return float(max(1, np.ceil(seeds - 1e-9)))
