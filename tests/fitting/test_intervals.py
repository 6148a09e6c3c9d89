"""No method gives an interval without width, or one that excludes its value."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.errors import FitError
from scaling.fitting.envelope import fit_envelope
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.one_variable import fit_LC
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.settings import FitSettings
from scaling.laws.frontier import QUANTITIES
from scaling.tables.noise import SeedNoise
from scaling.tables.observations import observations


def numbers_of(fit, budgets):
    """Every number with an interval that a fit can say."""
    yield from ((name, fit.param(name)) for name in fit.params)
    if fit.law.startswith("power_") and fit.law != "power_frontier":
        return
    yield from fit.exponents().items()
    for C in (*budgets, 10 * budgets[-1]):
        yield from ((q, getattr(fit, q)(C)) for q in QUANTITIES)
    if "N_opt_low" in fit.minima:
        for row in fit.minima.to_dict("records"):
            yield from (
                (q, Number(*(row[q + end] for end in ("", "_low", "_high")))) for q in QUANTITIES
            )


class Number:
    def __init__(self, value, low, high):
        self.value, self.low, self.high = value, low, high


@given(
    st.integers(0, 10**6),
    st.sampled_from([0.0, 1e-6, 0.003, 0.03]),
    st.integers(4, 7),
    st.floats(1.3, 14.0),
    st.integers(3, 6),
    st.floats(0.5, 2.0),
)
@settings(max_examples=4)
def test_every_interval_holds_its_value(grid, curves_of, seed, noise, sizes, width, budgets, drift):
    C = tuple(2e11 * 2.0 ** np.arange(budgets))
    runs = grid(noise=noise, seed=seed, sizes=sizes, width=width, budgets=C, drift=drift)
    data = Prepared.of(
        observations(runs)[0], noise=SeedNoise(0.002, 0.0, -1.0, 1.0, 1e4, 1e6, 7, 14)
    )
    options, said = FitSettings(bootstrap=20, seed=seed), 0
    for method in (fit_isoflop, fit_isoflop_power, fit_envelope, fit_parametric):
        extra = (curves_of(runs),) if method is fit_envelope else ()
        try:
            fit = method(data, options, *extra)
        except FitError:
            continue
        fits = [fit, fit_LC(fit)] if method is fit_isoflop else [fit]
        for name, number in (pair for f in fits for pair in numbers_of(f, C)):
            known = np.isfinite([number.low, number.high]).any()
            assert not known or number.low <= number.value <= number.high, (fit.method, name)
            assert not known or number.low < number.high, (fit.method, name)
            said += known
    assert said > 0
