import numpy as np
import pytest

from scaling.laws.papers import (
    HOFFMANN_EXPONENTS,
    KAPLAN_CONSTANTS,
    MUENNIGHOFF_CHECKS,
    PF_DAY,
    PUBLISHED_ALLOCATIONS,
    PUBLISHED_LAWS,
    cerebras_models,
    hoffmann_optima,
)
from scaling.laws.table import LAWS

CHINCHILLA = 5.76e23  # FLOPs


def loss(name, **variables):
    published = PUBLISHED_LAWS[name]
    return LAWS[published.law].loss(published.params, **variables)


def tokens_per_param(name, C):
    """D / N of the lowest loss under 6ND, on a fine grid."""
    N = np.geomspace(1e9, 1e12, 200_001)
    best = N[np.argmin(loss(name, N=N, D=C / (6 * N)))]
    return C / (6 * best) / best


@pytest.mark.parametrize("name", PUBLISHED_LAWS)
def test_every_law_has_the_parameters_of_its_formula(name):
    published = PUBLISHED_LAWS[name]
    assert set(published.params) == set(LAWS[published.law].params)
    assert "arXiv:" in published.citation


@pytest.mark.parametrize(
    "name, ratio", [("hoffmann2022", 58.9), ("hoffmann2022_rounded", 92.6), ("besiroglu2024", 18.3)]
)
def test_rounding_moves_the_optimum(name, ratio):
    assert tokens_per_param(name, CHINCHILLA) == pytest.approx(ratio, abs=0.1)


def test_exponents_agree_with_the_law_that_they_belong_to():
    law = PUBLISHED_LAWS["hoffmann2022"].params
    a = law["beta"] / (law["alpha"] + law["beta"])
    assert a == pytest.approx(HOFFMANN_EXPONENTS["parametric"]["N_exponent"][0], abs=0.005)
    for approach in HOFFMANN_EXPONENTS.values():
        assert approach["N_exponent"][0] + approach["D_exponent"][0] == pytest.approx(1)


def test_hoffmanns_rows_are_6ND_unless_marked():
    table = hoffmann_optima()
    ratio = table.flops / (6 * table.params * table.tokens)
    marked = table.inconsistent != ""
    assert (abs(ratio[~marked] - 1) < 0.012).all()
    assert (abs(ratio[marked] - 1) > 0.035).all()
    assert [*zip(table.approach[marked], table.params[marked] / 1e9, strict=True)] == [
        ("envelope", 67),
        ("parametric", 67),
        ("parametric", 175),
        ("parametric", 280),
    ]


def test_hoffmanns_rows_lie_on_their_exponents():
    table = hoffmann_optima()
    for approach, exponents in HOFFMANN_EXPONENTS.items():
        rows = table[(table.approach == approach) & (table.inconsistent == "")]
        slope = np.polyfit(np.log(rows.flops), np.log(rows.params), 1)[0]
        assert slope == pytest.approx(exponents["N_exponent"][0], abs=0.006), approach


def test_kaplans_frontier_is_consistent():
    allocation = {key[-1]: PUBLISHED_ALLOCATIONS[f"kaplan2020_{key}"] for key in "NBSD"}
    N, B, S, D = (allocation[key].at(PF_DAY) for key in "NBSD")
    assert (N, B, S, D) == (1.3e9, 2.0e6, 5.4e3, 2e10)
    assert sum(allocation[key].exponent for key in "NBS") == pytest.approx(1)
    # at the critical batch size, steps and compute are twice the least
    np.testing.assert_allclose(2 * B * S, D, rtol=0.1)
    np.testing.assert_allclose(6 * N * D, 2 * PF_DAY, rtol=0.1)


def test_kaplans_laws_of_one_variable_are_1_at_their_scale():
    for symbol, unit in (("N", 1), ("D", 1), ("C", PF_DAY)):
        scale = KAPLAN_CONSTANTS[f"L({symbol})"][f"{symbol}_c"] * unit
        assert loss(f"kaplan2020_{symbol}", **{symbol: scale}) == pytest.approx(1)
    # joint and single fits differ by their rounding only
    assert loss("kaplan2020", N=1e9, D=1e30) == pytest.approx(loss("kaplan2020_N", N=1e9), rel=0.03)


@pytest.mark.parametrize("N, D, U, expected", MUENNIGHOFF_CHECKS)
def test_muennighoffs_printed_losses(N, D, U, expected):
    assert loss("muennighoff2023", N=N, D=D, U=U) == pytest.approx(expected, abs=1e-8)


def test_cerebras_law_passes_its_models():
    models = cerebras_models()
    assert np.max(abs(loss("cerebras2023", C=models.flops) - models.loss)) < 0.07
    np.testing.assert_allclose(models.tokens / models.params, 20, rtol=0.025)


def test_deepseek_splits_compute_between_size_and_tokens():
    M, D = (PUBLISHED_ALLOCATIONS[f"deepseek2024_{key}"] for key in "MD")
    assert M.at(1e20) * D.at(1e20) == pytest.approx(1e20, rel=1e-3)
    assert PUBLISHED_ALLOCATIONS["llama2024_D"].at(3.8e25) == pytest.approx(1.05e13, rel=0.01)
