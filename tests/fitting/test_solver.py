import numpy as np
import pytest
from scipy.optimize import minimize

from scaling.fitting.solver import Problem, solve


def problem(seed=0, rows=40, **changes):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, rows))
    design = np.zeros((3, rows, 5))
    design[0, :, 0] = design[1, :, 1] = design[2, :, 2] = 1.0
    design[1, :, 3], design[2, :, 4] = -x, -y
    truth = np.array([-0.7, -1.5, -1.2, 0.4, 0.6])
    target = np.log(np.exp(design @ truth).sum(0)) + 0.02 * rng.standard_t(2, size=rows)
    bounds = {"lower": np.array([-9.0, -9, -9, 0, 0]), "upper": np.array([2.0, 2, 2, 3, 3])}
    parts = {"design": design, "target": target, "weights": np.ones(rows)} | bounds
    return Problem(**(parts | changes)), truth


def huber(problem, theta, delta):
    r = np.log(np.exp(problem.design @ theta).sum(0)) - problem.target
    small = np.abs(r) <= delta
    return (problem.weights * np.where(small, r**2 / 2, delta * (np.abs(r) - delta / 2))).sum()


@pytest.mark.parametrize("delta", [1.0, 1e-2, 1e-3])
def test_no_other_solver_finds_a_lower_objective(delta):
    p, truth = problem()
    found = solve(p, truth[None], (1.0, 0.1, 0.01, delta))
    assert found.converged.all()
    assert found.objective[0] == pytest.approx(huber(p, found.theta[0], delta), rel=1e-12)
    other = minimize(
        lambda theta: huber(p, theta, delta) / delta,
        found.theta[0] + 1e-3,
        method="Nelder-Mead",
        options={"xatol": 1e-12, "fatol": 1e-14, "maxiter": 20000, "maxfev": 20000},
    )
    assert found.objective[0] <= other.fun * delta * (1 + 1e-9)


def test_the_reported_gradient_is_the_numerical_one():
    p, truth = problem()
    stopped = solve(p, truth[None] + 0.1, (1e-2,), max_iter=1)
    theta, step = stopped.theta[0], 1e-6
    slope = [
        (huber(p, theta + e, 1e-2) - huber(p, theta - e, 1e-2)) / (2 * step)
        for e in np.eye(5) * step
    ]
    expected = np.abs(slope).max() / 1e-2 / p.weights.sum()
    assert stopped.gradient[0] == pytest.approx(expected, rel=1e-6)
    assert not stopped.converged[0]


def test_members_of_a_batch_do_not_see_each_other():
    _, truth = problem()
    rng = np.random.default_rng(1)
    weights = rng.multinomial(40, np.full(40, 1 / 40), size=7).astype(float)
    together = solve(problem(weights=weights)[0], np.tile(truth, (7, 1)), (0.1, 0.01))
    for i, w in enumerate(weights):
        alone = solve(problem(weights=w)[0], truth[None], (0.1, 0.01))
        np.testing.assert_allclose(together.theta[i], alone.theta[0], rtol=1e-6)


def test_a_weight_of_two_is_a_row_twice():
    p, truth = problem()
    heavy = np.r_[2.0, np.ones(39)]
    doubled = Problem(
        np.concatenate([p.design[:, :1], p.design], axis=1),
        np.r_[p.target[0], p.target],
        np.ones(41),
        p.lower,
        p.upper,
    )
    one = solve(problem(weights=heavy)[0], truth[None], (0.1, 1e-3))
    two = solve(doubled, truth[None], (0.1, 1e-3))
    np.testing.assert_allclose(one.theta, two.theta, rtol=1e-8)


def test_bounds_hold_and_the_rest_is_optimal_on_them():
    p, truth = problem(upper=np.array([2.0, 2, 2, 0.2, 3]))
    found = solve(p, truth[None], (1.0, 0.1))
    assert found.theta[0, 3] == 0.2
    assert found.converged[0]
