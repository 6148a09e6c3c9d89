import numpy as np
import pytest

from scaling.laws import papers
from scaling.laws.papers import KAPLAN_CONSTANTS, PF_DAY
from scaling.replication.checks import (
    checks_table,
)
from scaling.replication.formulas import FORMULAS
from scaling.replication.kaplan import data_frontier, inverse_sum, steps_frontier


@pytest.mark.parametrize("entry", FORMULAS)
def test_constants_say_what_is_known_of_them(entry):
    table = checks_table(FORMULAS[entry]())
    assert table.ok.all(), table[~table.ok]
    assert (table.entry == entry).all()
    assert np.isfinite(table.ours).all()


def test_hoffmanns_inconsistent_rows_are_found():
    table = checks_table(FORMULAS["hoffmann2022"]())
    found = table[table.verdict == "not 6ND of its own row"]
    assert found.is_finding.all()
    assert [*zip(found.method, found.quantity, strict=True)] == [
        ("envelope, 6ND", "FLOPs of 67B"),
        ("parametric, 6ND", "FLOPs of 67B"),
        ("parametric, 6ND", "FLOPs of 175B"),
        ("parametric, 6ND", "FLOPs of 280B"),
    ]


def test_an_unknown_inconsistency_is_not_ok(monkeypatch):
    misprinted = papers.hoffmann_optima()
    misprinted.loc[0, "flops"] *= 1.1
    monkeypatch.setattr(papers, "hoffmann_optima", lambda: misprinted)
    table = checks_table(FORMULAS["hoffmann2022"]())
    assert table.quantity[~table.ok].tolist() == ["FLOPs of 400M"]


def test_a_known_inconsistency_that_is_gone_is_not_ok(monkeypatch):
    corrected = papers.hoffmann_optima()
    is_misprint = (corrected.approach == "parametric") & (corrected.params == 175e9)
    corrected.loc[is_misprint, "flops"] = 1.26e25
    monkeypatch.setattr(papers, "hoffmann_optima", lambda: corrected)
    assert not checks_table(FORMULAS["hoffmann2022"]()).ok.all()


def test_chinchilla_follows_from_table_3():
    table = checks_table(FORMULAS["hoffmann2022"]()).set_index(["method", "quantity"])
    line = table.loc["envelope, line through table 3"].ours
    assert 67e9 < line["N_opt at 5.76e+23"] < 73e9
    assert line["D_opt at 5.76e+23"] == pytest.approx(1.4e12, rel=0.02)


def test_kaplans_frontier_by_minimisation_is_its_closed_form():
    steps, batch = KAPLAN_CONSTANTS["L(N,S_min)"], KAPLAN_CONSTANTS["B_crit(L)"]
    a = inverse_sum(steps["alpha_N"], steps["alpha_S"], batch["alpha_B"]) / steps["alpha_N"]
    low, high = steps_frontier(PF_DAY), steps_frontier(100 * PF_DAY)
    assert np.log(high["N"] / low["N"]) / np.log(100) == pytest.approx(a, rel=1e-5)
    # at the optimum the loss is this far above that of the same model trained for ever
    for best in (low, high):
        for_ever = (steps["N_c"] / best["N"]) ** steps["alpha_N"]
        assert best["L"] / for_ever == pytest.approx(1 + steps["alpha_N"] / steps["alpha_S"])
    assert 6 * low["N"] * low["B"] * low["S"] == pytest.approx(PF_DAY)


def test_kaplans_data_law_under_6ND_is_its_closed_form():
    constants = KAPLAN_CONSTANTS["L(N,D)"]
    a = constants["alpha_D"] / (constants["alpha_N"] + constants["alpha_D"])
    slope = np.log(data_frontier(1e23) / data_frontier(1e21)) / np.log(100)
    assert slope == pytest.approx(a, rel=1e-5)
