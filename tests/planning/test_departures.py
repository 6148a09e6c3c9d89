import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.planning.departures import compute_for, compute_of_size, departures
from scaling.planning.search import find_crossing
from scaling.planning.sources import get_source, surface_sources

SURFACES = {name: get_source(name) for name in surface_sources()}


@pytest.mark.parametrize("name", SURFACES)
@settings(max_examples=20)
@given(C=st.floats(1e18, 1e27), factor=st.floats(0.1, 10))
def test_leaving_the_optimum_costs(name, C, factor):
    row = departures(SURFACES[name], C, [factor]).iloc[0]
    assert row.loss_gap >= 0
    assert row.C_over >= 1 - 1e-9
    assert pytest.approx(C) == 6 * row.N * row.D
    assert SURFACES[name].point(C / row.C_over)["L_opt"] == pytest.approx(row.loss)


def test_half_and_double_cost_about_a_sixth_of_the_compute():
    half, kept, double = departures(SURFACES["besiroglu2024"], 5.76e23).itertuples()
    assert kept.loss_gap == 0 and kept.C_over == pytest.approx(1)
    for row in (half, double):
        assert 0.003 < row.loss_gap < 0.007
        assert 0.14 < 1 - 1 / row.C_over < 0.17
        assert 0 < row.loss_gap_low < row.loss_gap < row.loss_gap_high
    assert half.tokens_per_param == pytest.approx(4 * kept.tokens_per_param)


def test_a_law_without_draws_has_no_interval():
    assert np.isnan(departures(SURFACES["hoffmann2022"], 1e21).loss_gap_low).all()


def test_a_law_of_the_optimum_only_is_refused():
    with pytest.raises(ValueError, match="'hoffmann2022_envelope' has no loss for every N and D"):
        departures(get_source("hoffmann2022_envelope"), 1e21)


@settings(max_examples=20)
@given(st.floats(1e18, 1e27))
def test_compute_is_found_again(C):
    law = SURFACES["besiroglu2024"]
    assert compute_for(law, law.point(C)["L_opt"]) == pytest.approx(C, rel=1e-6)
    assert compute_of_size(law, law.point(C)["N_opt"]) == pytest.approx(C)


def test_no_compute_reaches_the_irreducible_loss():
    law = SURFACES["hoffmann2022"]
    assert np.isnan(compute_for(law, law.fit.params["E"] * 0.99))
    assert np.isnan(find_crossing(lambda x: 1.0))
