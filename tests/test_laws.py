import numpy as np
import pytest

from scaling.laws import LAWS, get_law

HOFFMANN = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
KAPLAN = {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103}


def test_chinchilla_by_hand():
    loss = get_law("chinchilla").loss(HOFFMANN, N=70e9, D=1.4e12)
    assert loss == pytest.approx(1.69 + 406.4 / 70e9**0.34 + 410.7 / 1.4e12**0.28, rel=1e-14)


def test_parameters_travel_by_name():
    shuffled = dict(sorted(HOFFMANN.items(), reverse=True))
    law = get_law("chinchilla")
    assert law.loss(shuffled, N=1e9, D=1e10) == law.loss(HOFFMANN, N=1e9, D=1e10)


def test_kaplan_joins_its_limits():
    law, N, D = get_law("kaplan"), 1e9, 1e10
    assert law.loss(KAPLAN, N=N, D=1e40) == pytest.approx((6.4e13 / N) ** 0.076, rel=1e-9)
    assert law.loss(KAPLAN, N=1e40, D=D) == pytest.approx((1.8e13 / D) ** 0.103, rel=1e-3)


@pytest.mark.parametrize("variable", "NDC")
def test_single_variable_laws(variable):
    plain, with_E = get_law(f"power_{variable}"), get_law(f"power_{variable}_E")
    assert plain.loss({"A": 8.0, "alpha": 1.5}, **{variable: 4.0}) == 1.0
    assert with_E.loss({"E": 2.0, "A": 8.0, "alpha": 1.5}, **{variable: 4.0}) == 3.0


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_every_law_falls_and_takes_arrays(law):
    params = {name: 0.3 if p.upper < 10 else 5.0 for name, p in law.params.items()}
    x = np.geomspace(10, 1e6, 7)
    variables = {t.variable: x for t in law.terms if t.variable} or {"N": x, "D": x}
    loss = law.loss(params, **variables)
    assert loss.shape == x.shape
    assert (np.diff(loss) < 0).all()


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="law 'gopher' is unknown; use one of"):
        get_law("gopher")
    with pytest.raises(ValueError, match=r"takes \['E', 'A', 'B', 'alpha', 'beta'\], got \['E'\]"):
        get_law("chinchilla").loss({"E": 1.0}, N=1.0, D=1.0)
    with pytest.raises(ValueError, match=r"needs \['D'\], got \['N'\]"):
        get_law("chinchilla").loss(HOFFMANN, N=1.0)
