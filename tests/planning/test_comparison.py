import numpy as np
import pytest

from scaling.planning.comparison import compare_laws
from scaling.planning.sources import SOURCES, get_source


def test_all_laws_stand_side_by_side():
    table = compare_laws("5.76e23").set_index("law")
    assert [*table.index] == [*SOURCES]
    for name in SOURCES:
        assert table.N_opt[name] == get_source(name).N_opt(5.76e23).value
    assert np.isnan(table.L_opt["hoffmann2022_envelope"])
    assert np.isfinite(table.N_opt_low["besiroglu2024"])
    assert table.flops_over.drop("kaplan2020").to_numpy() == pytest.approx(1, rel=0.01)
    assert table.flops_over["kaplan2020"] == pytest.approx(1.8, rel=0.03)  # its C is C_min
    assert table.N_opt.idxmax() == "kaplan2020"


def test_budgets_and_laws_are_the_users():
    table = compare_laws("512 A100 for 30 days", ["hoffmann2022"], utilisation=0.5)
    assert table.C[0] == pytest.approx(512 * 30 * 86400 * 156e12)
    with pytest.raises(ValueError, match="law 'mine' is neither"):
        compare_laws(1e20, ["mine"])
