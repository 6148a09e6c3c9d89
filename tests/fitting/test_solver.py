from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from scaling.fitting.predictors import Formula, PowerSum
from scaling.fitting.solver import Problem, _definite_step, objective, solve

LADDER = (np.inf, 1.0, 0.1, 1e-2, 1e-3)
seeds = st.integers(0, 2**32 - 1)


def make_design(x, y):
    """A constant and two terms that fall in x and in y."""
    design = np.zeros((3, len(x), 5))
    design[0, :, 0] = design[1, :, 1] = design[2, :, 2] = 1.0
    design[1, :, 3], design[2, :, 4] = -x, -y
    return design


def make_problem(seed=0, rows=40, **changes):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, rows))
    design = make_design(x, y)
    truth = np.array([-0.7, -1.5, -1.2, 0.4, 0.6])
    target = np.log(np.exp(design @ truth).sum(0)) + 0.02 * rng.standard_t(2, size=rows)
    bounds = {"lower": np.array([-9.0, -9, -9, 0, 0]), "upper": np.array([2.0, 2, 2, 3, 3])}
    parts = {"model": PowerSum(design), "target": target, "weights": np.ones(rows)} | bounds
    return Problem(**(parts | changes)), truth


def model_pair(outer, seed=3, rows=12):
    """One model of two terms twice: as a PowerSum and as a Formula; s free, 1 or 0.4."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, rows))
    free = outer == "free"
    design = np.zeros((3, rows, 6 if free else 5))
    design[:, :, :5] = make_design(x, y)
    offset = rng.normal(scale=0.1, size=(3, rows))
    power = {"free": 1.0, "none": 1.0, "fixed": 0.4}[outer]

    def formula(theta, kept):
        total = sum(
            np.exp(sum(x * design[t, kept, k] for k, x in enumerate(theta)) + offset[t, kept])
            for t in range(3)
        )
        return (theta[5] if free else power) * np.log(total)

    theta = np.array([-0.7, -1.5, -1.2, 0.4, 0.6, 0.8][: design.shape[2]])
    power_sum = PowerSum(design, offset, 5 if free else None, power)
    return power_sum, Formula(formula, np.arange(rows)), theta


def huber(problem, theta, delta):
    """By hand, for a plain sum of terms."""
    f = np.log(np.exp(problem.model.design @ theta + problem.model.offset).sum(0))
    r = (np.exp(f) if problem.exponential else f) - problem.target
    small = np.abs(r) <= delta
    with np.errstate(invalid="ignore"):  # infinite delta: the other branch is not taken
        loss = np.where(small, r**2 / 2, delta * (np.abs(r) - delta / 2))
    return (problem.weights * loss).sum()


# ---------------------------------------------------------------- models


@pytest.mark.parametrize("outer", ["none", "fixed", "free"])
@pytest.mark.parametrize("exact", [True, False])
def test_both_models_contract_to_the_numerical_derivatives(outer, exact):
    power_sum, formula, at = model_pair(outer)
    rng = np.random.default_rng(0)
    thetas = at + 0.1 * rng.normal(size=(3, len(at)))
    squared, linear = rng.normal(size=(2, 3, 12))
    f, state = power_sum.forward(thetas)
    found = power_sum.contract(state, squared, linear, exact)
    other_f, other_state = formula.forward(thetas)
    other = formula.contract(other_state, squared, linear, exact)
    np.testing.assert_allclose(f, other_f, rtol=1e-13)
    np.testing.assert_allclose(found[0], other[0], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found[1], other[1], rtol=1e-7, atol=1e-8)

    step = 1e-6 * np.eye(len(at))
    up, down = (np.stack([power_sum.forward(thetas + s * e)[0] for e in step]) for s in (1, -1))
    first = (up - down) / 2e-6  # parameters, batch, rows
    np.testing.assert_allclose(found[0], np.einsum("br,pbr->bp", linear, first), atol=1e-8)
    expected = np.einsum("br,pbr,qbr->bpq", squared, first, first)
    if exact:  # the second derivatives are the slope of the slope
        slopes = [
            [
                power_sum.contract(power_sum.forward(thetas + s * e)[1], squared, linear)[0]
                for e in step
            ]
            for s in (1, -1)
        ]
        expected += np.stack(slopes[0], 1) / 2e-6 - np.stack(slopes[1], 1) / 2e-6
    np.testing.assert_allclose(found[1], expected, atol=1e-7)


@pytest.mark.parametrize("outer", ["none", "fixed", "free"])
@pytest.mark.parametrize("exponential", [False, True])
@pytest.mark.parametrize("delta", [np.inf, 1e-2])
def test_both_models_have_one_optimum(outer, exponential, delta):
    power_sum, formula, truth = model_pair(outer, rows=40)
    rng = np.random.default_rng(1)
    target = power_sum.forward(truth[None])[0][0] + 0.02 * rng.standard_t(2, size=40)
    target = np.exp(target) if exponential else target
    lower, upper = truth - 3, truth + 3
    lower[3:] = 0.05
    one = Problem(power_sum, target, np.ones(40), lower, upper, exponential)
    deltas = (np.inf, 0.1, delta) if delta < 1 else (np.inf,)
    found, other = (solve(p, truth[None], deltas) for p in (one, replace(one, model=formula)))
    assert found.converged.all() and other.converged.all()
    assert found.objective[0] == pytest.approx(other.objective[0], rel=1e-9)
    value = objective(one, found.theta[0], delta)
    assert found.objective[0] == pytest.approx(value, rel=1e-12)
    assert value < objective(one, truth, delta)
    np.testing.assert_allclose(found.theta, other.theta, atol=1e-4)


def test_a_subset_predicts_its_rows_only():
    kept = np.array([1, 4, 5, 9])
    for model in model_pair("free")[:2]:
        theta = model_pair("free")[2][None]
        whole = model.forward(theta)[0]
        np.testing.assert_allclose(model.subset(kept).forward(theta)[0], whole[:, kept], rtol=1e-14)
        assert model.subset(kept).rows == 4


# ---------------------------------------------------------------- descent


@pytest.mark.parametrize("exponential", [False, True])
@pytest.mark.parametrize("delta", [np.inf, 1.0, 1e-2, 1e-3])
def test_no_other_solver_finds_a_lower_objective(delta, exponential):
    p, truth = make_problem()
    if exponential:
        p = replace(p, target=np.exp(p.target), exponential=True)
    found = solve(p, truth[None], (*tuple(d for d in LADDER if d > delta), delta))
    assert found.converged.all()
    assert found.objective[0] == pytest.approx(huber(p, found.theta[0], delta), rel=1e-12)
    unit = delta if np.isfinite(delta) else 1.0
    other = minimize(
        lambda theta: huber(p, theta, delta) / unit,
        found.theta[0] + 1e-3,
        method="Nelder-Mead",
        options={"xatol": 1e-12, "fatol": 1e-14, "maxiter": 20000, "maxfev": 20000},
    )
    assert found.objective[0] <= other.fun * unit * (1 + 1e-9)


@pytest.mark.parametrize("max_iter", [0, 1, 2, 3])
@pytest.mark.parametrize("exponential", [False, True])
def test_the_reported_gradient_is_the_numerical_one(exponential, max_iter):
    p, truth = make_problem()
    if exponential:
        p = replace(p, target=np.exp(p.target), exponential=True)
    stopped = solve(p, truth[None] + 0.1, (1e-2,), max_iter=max_iter)
    theta, step = stopped.theta[0], 1e-6
    slope = [
        (huber(p, theta + e, 1e-2) - huber(p, theta - e, 1e-2)) / (2 * step)
        for e in np.eye(5) * step
    ]
    expected = np.abs(slope).max() / 1e-2 / p.weights.sum()
    assert stopped.gradient[0] == pytest.approx(expected, rel=1e-6)
    assert not stopped.converged[0]


@pytest.mark.parametrize("delta", [np.inf, 1e-3])
def test_starts_that_meet_go_on_as_one_to_the_same_optimum(delta):
    p, truth = make_problem(rows=200)
    starts = truth + np.random.default_rng(2).normal(scale=0.5, size=(50, 5))
    deltas = (*tuple(d for d in LADDER if d > delta), delta)
    merged, alone = (solve(p, starts, deltas, merge=merge) for merge in (True, False))
    assert merged.theta.shape == alone.theta.shape == (50, 5)
    assert merged.objective.min() == pytest.approx(alone.objective.min(), rel=1e-9)
    best = [s.theta[np.argmin(s.objective)] for s in (merged, alone)]
    np.testing.assert_allclose(*best, rtol=1e-6)
    agree = [(s.objective < s.objective.min() * (1 + 1e-6)).mean() for s in (merged, alone)]
    assert agree[0] >= agree[1]


def test_merging_keeps_apart_what_has_not_met():
    """Two bounds hold two groups of starts in different valleys of one problem."""
    p, truth = make_problem(rows=200)
    swapped = truth[[0, 2, 1, 4, 3]]
    design = p.model.design.copy()
    design[2, :, 4] = design[1, :, 3]  # both terms fall in x: their names may be exchanged
    p = replace(p, model=PowerSum(design))
    target = p.model.forward(truth[None])[0][0]
    found = solve(replace(p, target=target), np.stack([truth, swapped]), (np.inf,), merge=True)
    np.testing.assert_allclose(found.theta, [truth, swapped], atol=1e-5)


@given(seeds)
@settings(max_examples=5)
def test_members_of_a_batch_do_not_see_each_other(seed):
    p, truth = make_problem()
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(40, np.full(40, 1 / 40), size=7).astype(float)
    target = p.target + 0.01 * rng.normal(size=(7, 40))
    together = solve(
        replace(p, weights=weights, target=target), np.tile(truth, (7, 1)), (0.1, 0.01)
    )
    for i in range(7):
        one = replace(p, weights=weights[i], target=target[i])
        alone = solve(one, truth[None], (0.1, 0.01))
        assert together.objective[i] == pytest.approx(alone.objective[0], rel=1e-8)
        np.testing.assert_allclose(together.theta[i], alone.theta[0], rtol=1e-5, atol=1e-6)


def test_a_count_of_two_is_a_row_twice():
    p, truth = make_problem()
    heavy = np.r_[2.0, np.ones(39)]
    doubled = replace(
        p,
        model=PowerSum(np.concatenate([p.model.design[:, :1], p.model.design], axis=1)),
        target=np.r_[p.target[0], p.target],
        weights=np.ones(41),
    )
    one = solve(replace(p, weights=heavy), truth[None], (0.1, 1e-3))
    two = solve(doubled, truth[None], (0.1, 1e-3))
    np.testing.assert_allclose(one.theta, two.theta, rtol=1e-8)


@given(st.floats(1e-6, 1e6))
@settings(max_examples=10)
def test_a_common_weight_does_not_move_the_optimum(weight):
    p, truth = make_problem()
    one, other = (
        solve(replace(p, weights=np.full(40, w)), truth[None], LADDER) for w in (1, weight)
    )
    assert other.objective[0] == pytest.approx(weight * one.objective[0], rel=1e-9)
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-6)


def test_bounds_hold_and_the_rest_is_optimal_on_them():
    p, truth = make_problem(upper=np.array([2.0, 2, 2, 0.2, 3]))
    found = solve(p, truth[None], (1.0, 0.1))
    assert found.theta[0, 3] == 0.2
    assert found.converged[0]
    for step in 1e-3 * np.vstack([np.eye(5), -np.eye(5)]):
        near = huber(p, np.minimum(found.theta[0] + step, p.upper), 0.1)
        assert near >= found.objective[0] * (1 - 1e-12)


# ---------------------------------------------------------------- verdicts


@pytest.mark.parametrize("exponential", [False, True])
@pytest.mark.parametrize("delta", [np.inf, 1e-3, 1e-9, 1e-15, 1e-18])
@given(seeds, st.floats(-3, 3))
@settings(max_examples=5)
def test_exact_data_converge_whatever_their_rounding_is_in_deltas(delta, exponential, seed, log_w):
    p, truth = make_problem()
    rng = np.random.default_rng(seed)
    truth = truth + rng.uniform(-0.3, 0.3, 5)
    f = p.model.forward(truth[None])[0][0]
    p = replace(p, target=np.exp(f) if exponential else f, weights=np.full(40, 10.0**log_w))
    p = replace(p, exponential=exponential)
    ladder = [*np.geomspace(1e-1, delta, 18)] if delta < 1 else []
    found = solve(p, truth + 0.05 * rng.normal(size=(3, 5)), (np.inf, *ladder))
    assert found.converged.all()
    np.testing.assert_allclose(found.theta, np.tile(truth, (3, 1)), atol=1e-8)


@pytest.mark.parametrize("exponential", [False, True])
@pytest.mark.parametrize("delta", [np.inf, 1e-3, 1e-9])
@pytest.mark.parametrize("noise", [0.0, 0.02])
@given(seeds, st.integers(0, 2))
@settings(max_examples=8)
def test_a_descent_that_stops_short_says_so(noise, delta, exponential, seed, max_iter):
    p, truth = make_problem()
    rng = np.random.default_rng(seed)
    f = p.model.forward(truth[None])[0][0] + noise * rng.normal(size=40)
    p = replace(p, target=np.exp(f) if exponential else f, exponential=exponential)
    starts = truth + rng.normal(size=(3, 5)) * [1, 1, 1, 0.2, 0.2]
    starved = solve(p, starts, (delta,), max_iter=max_iter)
    assert not starved.converged.any()


def test_a_member_that_no_row_determines_does_not_promise_anything():
    """Two equal terms: a whole line of optima, and a Hessian that is singular along it."""
    p, truth = make_problem()
    design = p.model.design.copy()
    design[2] = design[1][:, [0, 2, 1, 4, 3]]  # the second term under the third one's names
    for target in (p.target, PowerSum(design).forward(truth[None])[0][0]):
        one = replace(p, model=PowerSum(design), target=target)
        found = solve(one, truth[None] + np.linspace(-0.1, 0.1, 5), LADDER)
        assert found.converged.all()
        assert found.objective[0] <= objective(one, truth, LADDER[-1]) + 1e-28


# ---------------------------------------------------------------- steps


def random_systems(seed, n, p):
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(n, p, p)))[0]
    values = 10 ** rng.uniform(-3, 3, size=(n, p))
    return rng.normal(size=(n, p)), rotation, values


@given(seeds, st.integers(1, 9), st.integers(1, 7))
def test_the_step_solves_positive_definite_systems(seed, n, p):
    slope, rotation, values = random_systems(seed, n, p)
    hessian = (rotation * values[:, None, :]) @ rotation.transpose(0, 2, 1)
    damping = np.full(n, 1e-4)
    step, definite = _definite_step(slope, hessian, damping)
    assert definite.all()
    expected = np.linalg.solve(hessian + 1e-4 * np.eye(p), -slope[:, :, None])[:, :, 0]
    np.testing.assert_allclose(step, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


@given(seeds, st.integers(1, 9), st.integers(1, 7))
def test_the_step_is_refused_where_a_curvature_is_negative(seed, n, p):
    slope, rotation, values = random_systems(seed, n, p)
    wrong = np.arange(n) % 2 == 0
    values[wrong, 0] *= -1
    hessian = (rotation * values[:, None, :]) @ rotation.transpose(0, 2, 1)
    given_hessian = hessian.copy()
    with np.errstate(all="ignore"):
        _, definite = _definite_step(slope, hessian, np.zeros(n))
    np.testing.assert_array_equal(hessian, given_hessian)  # what takes over needs it
    np.testing.assert_array_equal(definite, ~wrong)
