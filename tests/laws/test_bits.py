import itertools

import numpy as np
import pandas as pd
import pytest

from scaling.fitting.criterion import Criterion
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.settings import FitSettings
from scaling.laws.bits import effective_params, rounding_cost
from scaling.laws.table import LAWS

TRAINED = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28, "gamma": 2.7}
ROUNDED = {"C_T": 0.06, "gamma_N": 0.34, "gamma_D": 0.5, "gamma": 0.6}
N, D, BITS = np.geomspace(1e6, 1e9, 4), np.geomspace(1e8, 1e11, 4), (2.0, 3.0, 4.0, 6.0, 8.0)
CASES = [("trained_in_bits", TRAINED, (*BITS, 32.0)), ("rounding_cost", ROUNDED, BITS)]


def table_of(law, truth, bits, noise=0.0):
    table = pd.DataFrame([*itertools.product(N, D, bits)], columns=["N", "D", "bits"])
    y = LAWS[law].loss(truth, **table)
    rng = np.random.default_rng(0)
    return table.assign(**{LAWS[law].target: y * np.exp(noise * rng.standard_normal(len(y)))})


@pytest.mark.parametrize("law, truth, bits", CASES)
def test_laws_of_bits_are_recovered(law, truth, bits):
    prepared = Prepared.of(table_of(law, truth, bits))
    fit = fit_parametric(prepared, FitSettings(bootstrap=0), law=law, n_starts=32)
    assert (fit.status, fit.reason) == ("ok", "")
    assert fit.params == pytest.approx(truth, rel=1e-6)
    assert fit.sampled["bits"] == (2.0, max(bits))


@pytest.mark.long
@pytest.mark.parametrize("law, truth, bits", CASES)
def test_intervals_of_noisy_runs_hold_the_truth(law, truth, bits):
    settings = FitSettings(Criterion("log", "mse"), 300)
    fit = fit_parametric(Prepared.of(table_of(law, truth, bits, 0.01)), settings, law=law)
    for name in ("gamma", *({"gamma_N", "gamma_D"} & set(truth))):
        found = fit.param(name)
        assert found.low < truth[name] < found.high, name


def test_32_bits_are_worth_all_parameters_and_few_bits_fewer():
    assert effective_params(1e6, 32, 2.7) == pytest.approx(1e6, rel=1e-5)
    assert effective_params(1e6, 2.7 * np.log(2), 2.7) == pytest.approx(5e5)


def test_a_bit_less_costs_a_factor():
    costs = [float(rounding_cost(1e8, 1e10, bits, **ROUNDED)) for bits in (3, 4)]
    assert costs[0] / costs[1] == pytest.approx(np.exp(1 / 0.6))
    doubled = float(rounding_cost(1e8, 2e10, 4, **ROUNDED))
    assert doubled / costs[1] == pytest.approx(2**0.5)
