import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.fitting.coordinates import FormulaCoordinates, PowerCoordinates, coordinates
from scaling.laws.papers import PUBLISHED_LAWS
from scaling.laws.table import LAWS

SPREAD = {"N": (1e6, 1e9), "D": (1e8, 1e11), "C": (1e15, 1e21), "U": (1e7, 1e10)} | {
    "S": (1e3, 1e6),
    "S_min": (1e3, 1e6),
    "batch": (1e4, 1e7),
    "L": (2.0, 6.0),
    "B_crit": (1e4, 1e7),
    "bits": (2.0, 8.0),
    "cost": (1e-3, 1.0),
}
KAPLAN = {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103}
HOFFMANN = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
CONSTRAINED = [  # law, constraints, whether they stay linear in the solver's coordinates
    ("chinchilla", {"E": 1.69}, True),
    ("chinchilla", {"alpha": 0.34}, True),
    ("chinchilla", {"B": 410.7}, True),
    ("chinchilla", {"beta": "alpha"}, True),
    ("chinchilla", {"A": 406.4, "beta": "alpha"}, True),
    ("chinchilla", {"A": 406.4, "alpha": 0.34}, True),
    ("kaplan", {"alpha_D": 0.103}, True),
    ("kaplan", {"alpha_D": 0.103, "N_c": 6.4e13}, True),
    ("kaplan", {"alpha_N": "alpha_D"}, True),
    ("kaplan", {"alpha_D": "alpha_N"}, True),
    ("kaplan", {"alpha_N": 0.076}, False),
    ("kaplan", {"N_c": 6.4e13}, False),
    ("repeated", {"beta": "alpha", "R_D": 15.4}, False),
    ("kaplan_general", {"s": 0.1}, True),
    ("kaplan_general", {"alpha": 0.07}, False),
    ("chinchilla_coupled", {"gamma": -0.2, "beta": "alpha"}, True),
    ("chinchilla_bent", {"delta": 0.02}, True),
    ("chinchilla_bent", {"beta": "alpha"}, True),
    ("chinchilla_bent", {"B": 20.0}, True),
    ("quadratic", {"alpha": 0.1, "q": 0.01}, True),
    ("farseer", {"alpha": 0.2}, False),
]


def make_obs(law, rows=9, seed=0):
    """Rows spread over the law's variables; the target is any loss."""
    rng = np.random.default_rng(seed)
    columns = (*law.variables, law.target)
    table = {v: np.exp(rng.uniform(*np.log(SPREAD[v]), size=rows)) for v in columns}
    return pd.DataFrame(table | {"weight": 1.0})


def draw_params(law, rng, n=4, **given):
    found = {
        name: np.exp(rng.uniform(-1, 3, n)) if p.is_scale else rng.uniform(0.1, 0.9, n)
        for name, p in law.params.items()
    }
    found |= {k: rng.uniform(*p.start, n) for k, p in law.params.items() if p.is_signed}
    if law.local:
        return law.local.raw(pd.DataFrame(found | given), (17.3, 22.2))
    found |= {name: value for name, value in given.items() if not isinstance(value, str)}
    found |= {name: found[to] for name, to in given.items() if isinstance(to, str)}
    return pd.DataFrame(found)


@pytest.mark.parametrize(
    "name, constraints", [(n, {}) for n in LAWS] + [c[:2] for c in CONSTRAINED]
)
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_raw_and_theta_are_inverse_and_predict_the_law(name, constraints, seed):
    rng, law = np.random.default_rng(seed), LAWS[name]
    obs, params = make_obs(law, seed=seed), draw_params(law, rng, **constraints)
    where = coordinates(obs, law, "log", constraints)
    theta = where.theta(params)
    assert theta.shape == (4, len(where.free))
    back = where.raw(theta)
    pd.testing.assert_frame_equal(back, params, rtol=1e-9, check_dtype=False)
    np.testing.assert_allclose(where.theta(back), theta, rtol=1e-9, atol=1e-9)
    loss = law.loss(params.iloc[0].to_dict(), **{v: obs[v].to_numpy() for v in law.variables})
    np.testing.assert_allclose(where.predict(theta[0]), np.log(loss), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name, constraints, linear", CONSTRAINED)
def test_constraints_that_stay_linear_keep_the_fast_coordinates(name, constraints, linear):
    where = coordinates(make_obs(LAWS[name]), LAWS[name], "log", constraints)
    assert type(where) is (PowerCoordinates if linear else FormulaCoordinates)
    assert len(where.free) == len(LAWS[name].params) - len(constraints)


@pytest.mark.parametrize(
    "name", ["chinchilla", "kaplan", "kaplan_steps", "power_C_E", "chinchilla_bent", "quadratic"]
)
@pytest.mark.parametrize("residual", ["log", "linear"])
@given(st.floats(-15, 15), st.floats(-3, 3))
@settings(max_examples=8)
def test_the_solver_never_sees_units(name, residual, log_unit, log_loss_unit):
    law = LAWS[name]
    obs = make_obs(law)
    moved = obs.assign(**{v: obs[v] * 10.0**log_unit for v in law.variables})
    moved[law.target] *= 10.0**log_loss_unit
    ours, theirs = (coordinates(o, law, residual) for o in (obs, moved))
    np.testing.assert_array_equal(ours.starts(16), theirs.starts(16))
    np.testing.assert_allclose(ours.problem.target, theirs.problem.target, atol=1e-12)
    theta = ours.starts(16)
    predicted = [w.problem.model.forward(theta)[0] for w in (ours, theirs)]
    np.testing.assert_allclose(*predicted, rtol=1e-9, atol=1e-9)
    assert theirs.unit / ours.unit == pytest.approx(
        10.0**log_loss_unit if residual == "linear" else 1.0
    )


@pytest.mark.parametrize("name", LAWS)
def test_starts_are_distinct_and_lie_within_the_bounds(name):
    where = coordinates(make_obs(LAWS[name]), LAWS[name])
    theta = where.starts(64)
    assert len(np.unique(theta, axis=0)) == 64
    assert ((theta >= where.problem.lower) & (theta <= where.problem.upper)).all()
    assert np.isfinite(where.problem.model.forward(theta)[0]).all()


def test_terms_of_the_starts_share_the_loss():
    where = coordinates(make_obs(LAWS["chinchilla"]), LAWS["chinchilla"])
    shares = np.exp(where.starts(64)[:, :3])
    np.testing.assert_allclose(shares.sum(1), 1.0, rtol=1e-12)
    assert shares.min() > 0.05


def test_bounds_are_told_by_name():
    where = coordinates(make_obs(LAWS["chinchilla"]), LAWS["chinchilla"])
    theta = where.starts(4)[1]
    theta[[0, 4]] = where.problem.lower[0], where.problem.upper[4]
    assert where.on_bound(theta) == ["E", "beta"]


def test_a_formula_tells_which_parameters_no_run_depends_on():
    law = LAWS["repeated"]
    obs = make_obs(law, rows=30)
    truth = PUBLISHED_LAWS["muennighoff2023"].params
    tables = {
        "": obs,
        "R_D": obs.assign(D=obs.U),  # nothing is repeated
        "R_N": obs.assign(N=1e3),  # no model is too large for its tokens
    }
    for idle, table in tables.items():
        where = coordinates(table, law)
        theta = where.theta(pd.DataFrame([truth]))[0]
        assert where.on_bound(theta) == ([idle] if idle else [])
    vanished = where.theta(pd.DataFrame([truth | {"E": 1e-6}]))[0]
    assert where.on_bound(vanished) == ["E", "R_N"]


def test_other_losses_keep_the_coordinates():
    obs = make_obs(LAWS["chinchilla"])
    for residual in ("log", "linear"):
        where = coordinates(obs, LAWS["chinchilla"], residual)
        theta = where.starts(4)[2]
        log_L = where.predict(theta)
        problem = where.with_data(np.tile(log_L, (3, 1)), np.ones((3, len(obs))))
        f = problem.model.forward(theta[None])[0]
        r = (np.exp(f) if residual == "linear" else f) - problem.target
        np.testing.assert_allclose(r, np.zeros((3, len(obs))), atol=1e-12)


@pytest.mark.parametrize(
    "law, constraints, message",
    [
        ("chinchilla", {"gamma": 1.0}, r"cannot constrain 'gamma': .* has \['E', 'A', 'B'"),
        ("chinchilla", {"A": "B"}, "cannot tie 'A' to 'B': only two exponents can be equal"),
        ("chinchilla", {"beta": "B"}, "cannot tie 'beta' to 'B': only two exponents"),
        ("chinchilla", {"beta": "gamma"}, "cannot tie 'beta' to 'gamma'"),
        ("chinchilla", {"beta": "beta"}, "'beta' to 'beta', which is constrained itself"),
        ("chinchilla", {"beta": "alpha", "alpha": 0.3}, "'alpha', which is constrained itself"),
        ("chinchilla", {"beta": "alpha", "alpha": "beta"}, "which is constrained itself"),
        ("chinchilla", {"alpha": 7.0}, r"cannot fix alpha=7.0: it lies outside of 0.005 .. 3"),
        ("chinchilla", {"E": -1.0}, r"cannot fix E=-1.0: it lies outside of 0 .. inf"),
        ("chinchilla", {"E": np.inf}, "cannot fix E=inf"),
        ("chinchilla", {"E": np.nan}, "cannot fix E=nan"),
        ("chinchilla", HOFFMANN, r"constraints leave no parameter of L\(N, D\) .* free"),
        ("kaplan", KAPLAN, "constraints leave no parameter"),
    ],
)
def test_impossible_constraints_are_refused(law, constraints, message):
    with pytest.raises(ValueError, match=message):
        coordinates(make_obs(LAWS[law]), LAWS[law], "log", constraints)


@pytest.mark.parametrize("name, constraints, linear", CONSTRAINED)
def test_constrained_starts_hold_the_constraints(name, constraints, linear):
    where = coordinates(make_obs(LAWS[name]), LAWS[name], "log", constraints)
    raw = where.raw(where.starts(8))
    for parameter, to in constraints.items():
        expected = raw[to] if isinstance(to, str) else np.full(8, to)
        np.testing.assert_allclose(raw[parameter], expected, rtol=1e-12)
