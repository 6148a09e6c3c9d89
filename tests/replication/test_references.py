from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scaling.fitting.criterion import Criterion
from scaling.fitting.parametric import fit_parametric, objective_at
from scaling.fitting.prepared import Prepared
from scaling.fitting.settings import FitSettings
from scaling.laws.papers import PublishedLaw
from scaling.replication.references import criterion_of, law_checks, reference_checks
from scaling.tables.published import Reference

BOOTSTRAP = FitSettings(bootstrap=40)


@pytest.fixture(scope="module")
def obs(obs_of):
    return obs_of(noise=0.01)


@pytest.fixture(scope="module")
def optimum(obs):
    """What an honest author would print of these runs."""
    fit = fit_parametric(Prepared.of(obs), FitSettings(bootstrap=0))
    return Reference("an author", dict(fit.params), fit.objective, huber_delta=1e-3)


def compared(obs, *references):
    return reference_checks("mine", Prepared.of(obs), references, BOOTSTRAP)


def test_an_optimum_is_reproduced(obs, optimum):
    table = compared(obs, optimum)
    assert table.ok.all() and not table.is_finding.any()
    assert set(table.verdict) == {"reproduced"}
    assert [*table.quantity[:5]] == ["E", "A", "B", "alpha", "beta"]
    np.testing.assert_allclose(table.objective_published, table.objective_ours, rtol=1e-9)
    assert (table.low < table.ours).all() and (table.ours < table.high).all()


@pytest.mark.parametrize("name", ["E", "alpha", "B"])
@pytest.mark.parametrize("factor", [0.99, 1.0001])
def test_a_perturbed_optimum_is_not(obs, optimum, name, factor):
    perturbed = replace(optimum, params=optimum.params | {name: optimum.params[name] * factor})
    table = compared(obs, perturbed).set_index("quantity")
    assert not table.ok[name]
    assert (table.objective_ours < table.objective_published).all()


def test_what_is_said_to_be_no_optimum_must_be_none(obs, optimum):
    table = compared(obs, replace(optimum, is_optimum=False))
    assert not table.ok.any()
    worse = optimum.params | {"alpha": optimum.params["alpha"] * 1.02}
    table = compared(obs, replace(optimum, params=worse, is_optimum=False))
    assert table.ok.all() and table.is_finding.all()
    assert table.verdict.str.startswith("not an optimum of its stated objective: ours is").all()


def test_an_optimum_of_another_objective_is_recognised(obs, optimum):
    least_squares = fit_parametric(
        Prepared.of(obs), FitSettings(criterion=Criterion(loss="mse"), bootstrap=0)
    )
    params = dict(least_squares.params)
    table = compared(
        obs,
        replace(optimum, params=params, is_optimum=False),  # they say Huber, it is least squares
        Reference("another author", params, least_squares.objective, loss="mse"),
    )
    assert table.ok.all()
    first = table[table.source == "an author"]
    assert first.note.str.contains(Criterion(loss="mse").describe(), regex=False).all()


def test_exponents_alone_are_compared_as_printed(obs, optimum):
    params = {name: round(optimum.params[name], 4) for name in ("alpha", "beta")}
    printed = replace(optimum, params=params)
    assert set(compared(obs, printed).verdict) == {"agrees to the printed digits"}
    beside = replace(printed, params=params | {"alpha": params["alpha"] + 0.0002})
    table = compared(obs, beside).set_index("quantity")
    assert table.ok.all() and table.is_finding.alpha
    wrong = replace(printed, params=params | {"alpha": params["alpha"] + 0.01})
    assert not compared(obs, wrong).set_index("quantity").ok.alpha


def test_a_printed_objective_that_we_miss_is_not_ok(obs, optimum):
    params = {"alpha": optimum.params["alpha"]}
    unreached = replace(optimum, params=params, objective=0.9 * optimum.objective)
    assert compared(obs, unreached).verdict.str.startswith("not reached").all()
    assert not compared(obs, unreached).ok.any()


def test_standard_errors_are_those_of_the_bootstrap(obs, optimum):
    draws = fit_parametric(Prepared.of(obs), FitSettings(bootstrap=40, seed=0)).draws
    a = draws.beta / (draws.alpha + draws.beta)
    std = {"alpha": draws.alpha.std(), "N_exponent": a.std(), "beta": 2 * draws.beta.std()}
    table = compared(obs, replace(optimum, std=std)).set_index("quantity")
    assert table.ok["standard error of alpha"]
    # a under 6ND is not a where small models pay more FLOPs per parameter, but near it
    assert table.ours["standard error of N_exponent"] == pytest.approx(a.std(), rel=0.5)
    assert not table.ok["standard error of beta"]


def test_an_unstated_delta_is_the_customary_one():
    assert criterion_of(Reference("", {}, loss="l1")) == Criterion(loss="l1")
    assert criterion_of(Reference("", {}, huber_delta=1e-4)).delta == 1e-4


def test_a_law_of_compute_is_judged_by_its_interval():
    C = np.geomspace(1e18, 1e23, 12)
    params = {"E": 1.7, "A": 30.0, "alpha": 0.08}
    noise = np.random.default_rng(0).standard_normal(12)
    table = pd.DataFrame({"C": C, "L": (1.7 + 30 * C**-0.08) * np.exp(0.002 * noise)}).assign(
        weight=1.0
    )
    law = PublishedLaw("power_C_E", params, "C", "them", "them")
    assert law_checks("mine", Prepared.of(table), law, BOOTSTRAP).ok.all()
    far = replace_law(law, alpha=0.2)
    assert not law_checks("mine", Prepared.of(table), far, BOOTSTRAP).set_index("quantity").ok.alpha
    ours = law_checks("mine", Prepared.of(table), law, BOOTSTRAP)
    assert ours.objective_published[0] == objective_at(table, params, law="power_C_E")


def replace_law(law, **params):
    return law._replace(params=law.params | params)
