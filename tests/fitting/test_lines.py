import numpy as np
import pytest

from scaling.fitting.lines import curvature, line, power_laws, weigh
from scaling.laws.frontier import optimum

LOG_C = np.log(np.geomspace(1e11, 1e13, 6))


def optima(floor=2.0, sets=3):
    N, D = np.log(0.1) + 0.5 * LOG_C, np.log(2.0) + 0.5 * LOG_C
    L = np.log(floor + 40 * np.exp(-0.1 * LOG_C))
    return {s: np.tile(v, (sets, 1)) for s, v in (("N", N), ("D", D), ("L", L))}


def test_known_power_laws_are_recovered():
    found = power_laws(LOG_C, optima(), LOG_C.mean())
    for name, value in (("N_exponent", 0.5), ("D_exponent", 0.5), ("C_ref", 1e12)):
        np.testing.assert_allclose(found[name], value, rtol=1e-9)
    np.testing.assert_allclose(found["L_floor"], 2.0, rtol=0.02)
    np.testing.assert_allclose(found["L_exponent"], -0.1, rtol=0.05)


@pytest.mark.parametrize("floor", [0.0, 2.0])
def test_the_frontier_passes_through_its_points(floor):
    found = {k: v[:, None] for k, v in power_laws(LOG_C, optima(floor), 27.0).items()}
    best = optimum("power_frontier", found, np.exp(LOG_C)[None])
    for symbol, values in optima(floor).items():
        np.testing.assert_allclose(np.log(best[f"{symbol}_opt"]), values, atol=1e-4)


def test_three_points_get_no_floor():
    few = {s: v[:, :3] for s, v in optima().items()}
    assert (power_laws(LOG_C[:3], few, LOG_C.mean())["L_floor"] == 0).all()


def test_missing_points_are_left_out_and_single_ones_say_nan():
    y = np.array([[1.0, np.nan, 5.0], [1.0, np.nan, np.nan], [np.nan] * 3])
    intercept, slope = line(np.array([0.0, 1.0, 2.0]), y)
    np.testing.assert_allclose(slope, [2.0, np.nan, np.nan])
    np.testing.assert_allclose(intercept, [1.0, np.nan, np.nan])
    broken = optima()
    for values in broken.values():
        values[1, 1:] = np.nan
        values[2] = np.nan
    found = power_laws(LOG_C, broken, LOG_C.mean())
    for name in ("N_ref", "L_ref", "L_exponent"):
        assert np.isfinite(found[name]).tolist() == [True, False, False]


def test_a_curvature_is_recovered_and_needs_four_points():
    optima_ = optima(sets=2)
    bent = {s: y + (0.01 if s != "L" else 0) * (LOG_C - 27) ** 2 for s, y in optima_.items()}
    bent["N"][1, 2:5] = np.nan
    found = power_laws(LOG_C, bent, 27.0, 1e12 * np.arange(1.0, 7.0), edge=1e14)
    np.testing.assert_allclose(found["D_curvature"], 0.01)
    np.testing.assert_allclose(found["N_curvature"], [0.01, np.nan])
    np.testing.assert_allclose(found["N_exponent"], [0.5, np.nan])
    one = {name: value[0] for name, value in found.items()}
    best = optimum("power_frontier", one, np.exp(LOG_C))
    np.testing.assert_allclose(np.log(best["N_opt"]), bent["N"][0], rtol=1e-9)


def test_a_curvature_that_the_points_leave_open_is_small():
    x = LOG_C - 27
    y = (0.5 * x + 0.3 * x**2)[None]
    free, held = (curvature(x, y, np.full(6, weight)) for weight in (1e12, 1.0))
    assert free[0] == pytest.approx(0.3)
    assert 0 < held[0] < 0.02


def test_precise_points_off_the_line_do_not_decide_it_alone():
    x, std = np.linspace(-1, 1, 6), np.array([1.0, 1, 1, 1, 1, 10])
    on = weigh(x, 0.1 * std, std, bent=False)
    np.testing.assert_allclose(on, [1, 1, 1, 1, 1, 0.01])
    off = weigh(x, np.array([9.0, -9, 9, -9, 9, -9]), std, bent=False)
    assert 0.3 < off[5] / off[0] < 1
    assert len({*weigh(x, x, 0 * std, bent=False)}) == 1


def test_a_loss_that_falls_faster_and_faster_is_a_parabola_and_one_above_a_floor_is_not():
    log_C = np.log(1e12) + np.log(2) * np.arange(7)
    x = log_C - log_C.mean()
    flat = {"N": x[None], "D": x[None]}
    falling = 1.4 - 0.06 * x - 0.005 * x**2
    found = power_laws(log_C, flat | {"L": falling[None]}, log_C.mean(), edge=1e15)
    assert found["L_floor"] == 0
    assert found["L_curvature"] == pytest.approx(-0.005, abs=1e-6)
    above = np.log(2.0 + 2.0 * np.exp(-0.3 * x))
    found = power_laws(log_C, flat | {"L": above[None]}, log_C.mean(), edge=1e15)
    assert found["L_curvature"] == 0
    assert found["L_floor"] == pytest.approx(2.0, rel=0.02)
    straight = power_laws(log_C, flat | {"L": falling[None]}, log_C.mean())
    assert "L_curvature" not in straight
