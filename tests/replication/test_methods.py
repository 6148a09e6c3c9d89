from dataclasses import replace

import pytest

from scaling.fitting.report import fit_all
from scaling.replication import methods
from scaling.replication.checks import (
    HELD,
    MISSED,
)
from scaling.tables.published import PUBLISHED, Reference


@pytest.fixture(scope="module")
def report(grid):
    return fit_all(grid(noise=0.003), bootstrap=40, audit=False)


def table_with(**params):
    own = Reference("they", params, huber_delta=1e-3)
    return replace(PUBLISHED["gemstones_hot"], references=(own,), citation="They 2025, arXiv:1")


def test_every_method_stands_beside_the_printed_exponents(report):
    a = report["parametric"].exponents()["N_exponent"].value
    checks = methods.method_checks("mine", table_with(alpha=1 - a, beta=a), report)
    assert set(checks.method) == set(methods.METHODS)
    parametric = checks[checks.method == "parametric"].set_index("quantity")
    assert parametric.published.N_exponent == pytest.approx(a)
    assert parametric.ok.N_exponent and parametric.verdict.N_exponent == HELD
    assert parametric.verdict[methods.RATIO] == "no published value"


def test_a_disagreement_is_ok_only_if_it_is_known(report, monkeypatch):
    table = table_with(alpha=0.1, beta=0.9)
    checks = methods.method_checks("mine", table, report)
    wrong = checks[(checks.method == "parametric") & (checks.quantity == "N_exponent")].iloc[0]
    assert wrong.verdict == MISSED and not wrong.ok and wrong.is_finding
    known = {("mine", "parametric", "N_exponent", table.citation): "everybody knows"}
    monkeypatch.setattr(methods, "KNOWN", known)
    checks = methods.method_checks("mine", table, report)
    wrong = checks[(checks.method == "parametric") & (checks.quantity == "N_exponent")].iloc[0]
    assert wrong.ok and wrong.is_finding and "everybody knows" in wrong.note


def test_a_refused_method_is_a_row(report):
    fits = tuple(fit for fit in report.fits if fit.method != "isoflop")
    refused = replace(report, fits=fits, refusals=(("isoflop", "no bowls"),))
    checks = methods.method_checks("mine", table_with(alpha=0.3, beta=0.3), refused)
    row = checks[checks.method == "isoflop"]
    assert row.verdict.tolist() == ["refused: no bowls"] and row.ok.all()


def test_hoffmanns_points_stand_beside_table_2():
    values = methods.printed_values("epoch2024", PUBLISHED["epoch2024"], "parametric", "N_exponent")
    assert [value.value for value in values] == [0.46, 0.513]
    assert (values[0].low, values[0].high) == (0.454, 0.455)
    bowls = [
        methods.printed_values("kyo2024", PUBLISHED["kyo2024"], method, "D_exponent")
        for method in ("isoflop", "isoflop_power")
    ]
    assert bowls[0] == bowls[1]
