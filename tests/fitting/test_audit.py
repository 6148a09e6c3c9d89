import numpy as np
import pandas as pd
import pytest

from scaling.errors import FitError
from scaling.fitting.audit import audit_laws
from scaling.fitting.prepared import Prepared
from scaling.fitting.settings import FitSettings
from scaling.laws.table import LAWS
from scaling.tables.observations import observations
from scaling.tables.runs import load_runs

KAPLAN = {"N_c": 3e7, "D_c": 8e7, "alpha_N": 0.25, "alpha_D": 0.35}


def obs_of_law(law, params, noise=0.0, seed=0):
    """Five budgets of six sizes on the surface of a law."""
    rng, rows = np.random.default_rng(seed), []
    for C in 1e12 * 4.0 ** np.arange(5):
        N = 1e5 * (C / 1e12) ** 0.5 * np.geomspace(0.2, 5, 6)
        D = C / (6 * N)
        L = LAWS[law].loss(params, N=N, D=D) * np.exp(noise * rng.standard_normal(6))
        rows.append(pd.DataFrame({"N": N, "D": D, "loss": L}))
    return observations(load_runs(pd.concat(rows, ignore_index=True)))[0]


def quiet(obs, **options):
    return audit_laws(Prepared.of(obs), FitSettings(bootstrap=0), **options)


@pytest.mark.parametrize(
    "law, params",
    [
        ("chinchilla", {"E": 1.7, "A": 60.0, "B": 300.0, "alpha": 0.3, "beta": 0.4}),
        ("kaplan", KAPLAN),
    ],
)
def test_the_law_that_made_the_runs_is_recommended(law, params):
    audit = quiet(obs_of_law(law, params))
    assert audit.recommended == law
    best = audit.ranking.iloc[0]
    assert best.mean_abs_error < 1e-6
    assert audit.ranking.mean_abs_error.is_monotonic_increasing
    others = audit.ranking.iloc[1:]
    assert (others.mean_abs_error > 1e-4).all()
    assert not others.as_good.any()


def test_the_largest_budget_is_hidden_from_the_fits():
    obs = obs_of_law("kaplan", KAPLAN)
    audit = quiet(obs)
    top = obs[obs.budget == obs.budget.max()]
    assert set(audit.predictions.run_id) == set(top.run_id)
    assert (audit.ranking.n_training == 24).all()
    assert (audit.ranking.C_from == top.C.min()).all()
    spoilt = obs.assign(L=obs.L.where(obs.budget < obs.budget.max(), 9.0))
    again = quiet(spoilt)
    columns = ["law", "run_id", "predicted"]
    pd.testing.assert_frame_equal(
        audit.predictions[columns].sort_values(columns, ignore_index=True),
        again.predictions[columns].sort_values(columns, ignore_index=True),
    )


@pytest.mark.long
def test_prediction_intervals_hold_new_runs_as_often_as_they_say():
    """The law is true, so 90 % intervals of single runs must hold about 90 % of them."""
    truth = {"E": 1.7, "A": 60.0, "B": 300.0, "alpha": 0.3, "beta": 0.4}
    held = [
        audit_laws(
            Prepared.of(obs_of_law("chinchilla", truth, noise=5e-3, seed=seed)),
            FitSettings(bootstrap=200),
            laws=("chinchilla",),
        ).predictions.held.mean()
        for seed in range(25)
    ]
    assert 0.82 < np.mean(held) < 0.97


def test_a_run_of_no_budget_is_hidden_with_the_budgets_it_costs_as_much_as():
    obs = obs_of_law("kaplan", KAPLAN)
    arm = obs.iloc[[0, 12, 29]].assign(budget=np.nan, run_id=["low", "middle", "high"])
    audit = quiet(pd.concat([obs, arm], ignore_index=True))
    assert {"low", "middle", "high"} & set(audit.predictions.run_id) == {"high"}


def test_more_is_left_out_on_request():
    audit = quiet(obs_of_law("kaplan", KAPLAN), min_share=0.3)
    assert (audit.ranking.n_held_out == 12).all()


def test_a_law_of_compute_is_judged_by_the_best_runs_and_does_not_compete():
    audit = quiet(obs_of_law("kaplan", KAPLAN), laws=("kaplan", "power_C"))
    ranking = audit.ranking.set_index("law")
    assert ranking.n_training["power_C"] == 4
    assert ranking.n_held_out["power_C"] == 1
    assert audit.recommended == "kaplan"


def test_a_law_without_enough_runs_is_refused_and_the_others_stand():
    obs = obs_of_law("kaplan", KAPLAN)
    few = obs[obs.budget.rank(method="dense") >= 4].iloc[1:].reset_index(drop=True)
    ranking = quiet(few, laws=("kaplan", "chinchilla")).ranking.set_index("law")
    assert ranking.status["chinchilla"] == "refused"
    assert "need more than 5 runs" in ranking.reason["chinchilla"]
    assert ranking.status["kaplan"] != "refused"


def test_one_budget_cannot_be_audited():
    obs = obs_of_law("kaplan", KAPLAN)
    with pytest.raises(FitError, match=r"leaves out at least 3 of 6 runs.*there are 1 budgets"):
        quiet(obs[obs.budget == obs.budget.min()])
