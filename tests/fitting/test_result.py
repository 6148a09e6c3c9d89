import numpy as np
import pandas as pd
import pytest

from scaling.fitting.result import LEVEL, Bootstrap, Fit, interval
from scaling.frontier import ComputeModel
from scaling.runs import Convention

PARAMS = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


def fit(n=200, **changes):
    rng = np.random.default_rng(0)
    draws = pd.DataFrame({k: v * np.exp(0.01 * rng.standard_normal(n)) for k, v in PARAMS.items()})
    parts = {
        "method": "parametric",
        "law": "chinchilla",
        "params": PARAMS,
        "status": "ok",
        "objective": 1.5e-3,
        "objective_name": "sum of Huber",
        "n_runs": 28,
        "convention": Convention(),
        "compute": ComputeModel(),
        "sampled": {"N": (1e6, 1e12), "D": (1e8, 1e13), "C": (1e18, 1e22)},
        "draws": draws,
        "bootstrap": Bootstrap("seed", n, n),
    }
    return Fit(**(parts | changes))


def test_estimates_have_values_intervals_and_a_status():
    inside, outside = fit().N_opt(1e20), fit().N_opt(5.76e23)
    assert inside.low < inside.value < inside.high
    assert (inside.status, outside.status) == ("ok", "extrapolated")
    assert inside.level == LEVEL
    assert fit().tokens_per_param(5.76e23).value == pytest.approx(92.6, abs=0.05)


def test_budget_relations_hold_in_estimates():
    D, N = fit().D_opt(1e20).value, fit().N_opt(1e20).value
    np.testing.assert_allclose(N * D, 1e20 / 6)
    a, b = fit().exponents().values()
    assert a.value + b.value == pytest.approx(1.0)


def test_an_optimum_outside_of_the_sampled_sizes_is_extrapolated():
    narrow = fit(sampled={"N": (1e6, 2e6), "D": (1e8, 1e13), "C": (1e18, 1e22)})
    assert narrow.N_opt(1e20).status == "extrapolated"


def test_a_worse_status_of_the_fit_stays():
    assert fit(status="at_bound", reason="E ended on a bound").N_opt(1e30).status == "at_bound"


def test_arrays_of_compute_give_arrays():
    C = np.geomspace(1e18, 1e22, 5)
    found = fit().L_opt(C)
    assert found.value.shape == found.low.shape == found.high.shape == (5,)
    assert found.value[2] == pytest.approx(fit().L_opt(C[2]).value)
    assert found.low[2] == pytest.approx(fit().L_opt(C[2]).low)
    assert repr(found) == "Estimate(5 values, status='ok')"


def test_losses_have_intervals_too():
    one = fit().loss(N=1e9, D=1e10)
    many = fit().loss(N=np.array([1e9, 2e9]), D=np.array([1e10, 1e10]))
    assert one.low < one.value < one.high
    assert many.low[0] == pytest.approx(one.low)


def test_without_draws_the_ends_are_nan():
    bare = fit(draws=pd.DataFrame(), bootstrap=Bootstrap())
    assert np.isnan(bare.N_opt(1e20).low)
    assert repr(bare.N_opt(1e20)) == f"{bare.N_opt(1e20).value:.4g}"
    assert "bootstrap" not in repr(bare)


def test_interval_is_equal_tailed():
    low, high = interval(np.arange(101.0))
    assert (low, high) == pytest.approx((5.0, 95.0))


def test_repr_tells_what_to_trust():
    text = repr(fit(start_agreement=0.9, reason="", excluded=(("a", "diverged"),)))
    for part in (
        "parametric fit of chinchilla: ok",
        "E 1.69 [",
        "objective 0.0015 = sum of Huber",
        "28 runs, 1 excluded; N: all parameters",
        "90% intervals: seed bootstrap, 200 of 200 refits",
        "90% of the starts agree",
    ):
        assert part in text
    assert repr(fit().N_opt(1e25)).endswith("(extrapolated)")


def test_fits_are_frozen_and_name_their_parameters():
    with pytest.raises(AttributeError):
        fit().status = "ok"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="chinchilla has no parameter 'gamma'; it has"):
        fit().param("gamma")
