import functools
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.fitting.estimate import LEVEL, Estimate, interval
from scaling.fitting.origin import Bootstrap, Data
from scaling.fitting.report import fit_law
from scaling.fitting.result import Diagnosis, Fit, load_fit
from scaling.laws.compute import ComputeModel
from scaling.tables.observations import Convention

PARAMS = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


def fit(n=200, **changes):
    rng = np.random.default_rng(0)
    draws = pd.DataFrame({k: v * np.exp(0.01 * rng.standard_normal(n)) for k, v in PARAMS.items()})
    parts = {
        "method": "parametric",
        "law": "chinchilla",
        "params": PARAMS,
        "status": "ok",
        "objective": 1.5e-3,
        "objective_name": "sum of Huber",
        "n_runs": 28,
        "convention": Convention(),
        "compute": ComputeModel(),
        "sampled": {"N": (1e6, 1e12), "D": (1e8, 1e13), "C": (1e18, 1e22)},
        "draws": draws,
        "bootstrap": Bootstrap("seed", n, n),
    }
    return Fit(**(parts | changes))


def test_estimates_have_values_intervals_and_a_status():
    inside, outside = fit().N_opt(1e20), fit().N_opt(5.76e23)
    assert inside.low < inside.value < inside.high
    assert (inside.status, outside.status) == ("ok", "extrapolated")
    assert inside.level == LEVEL
    assert fit().tokens_per_param(5.76e23).value == pytest.approx(92.6, abs=0.05)


def test_budget_relations_hold_in_estimates():
    D, N = fit().D_opt(1e20).value, fit().N_opt(1e20).value
    np.testing.assert_allclose(N * D, 1e20 / 6)
    a, b = fit().exponents().values()
    assert a.value + b.value == pytest.approx(1.0)


def test_an_optimum_outside_of_the_sampled_sizes_is_extrapolated():
    narrow = fit(sampled={"N": (1e6, 2e6), "D": (1e8, 1e13), "C": (1e18, 1e22)})
    assert narrow.N_opt(1e20).status == "extrapolated"


def test_a_worse_status_of_the_fit_stays():
    assert fit(status="at_bound", reason="E ended on a bound").N_opt(1e30).status == "at_bound"


def test_arrays_of_compute_give_arrays():
    C = np.geomspace(1e18, 1e22, 5)
    found = fit().L_opt(C)
    assert found.value.shape == found.low.shape == found.high.shape == (5,)
    assert found.value[2] == pytest.approx(fit().L_opt(C[2]).value)
    assert found.low[2] == pytest.approx(fit().L_opt(C[2]).low)
    assert repr(found) == "Estimate(5 values, status='ok')"


def test_every_value_has_its_own_status():
    C = np.array([1e17, 1e20, 5.76e23])
    for estimate in (fit().N_opt, fit().L_opt):
        assert estimate(C).status.tolist() == [estimate(c).status for c in C]
    assert repr(fit().N_opt(C)) == "Estimate(3 values, status='extrapolated, ok')"
    assert set(fit(status="at_bound").N_opt(C).status) == {"at_bound"}
    grown = fit().loss(N=np.array([1e9, 1e13]), D=1e10)
    assert grown.status.tolist() == ["ok", "extrapolated"]


def test_losses_have_intervals_too():
    one = fit().loss(N=1e9, D=1e10)
    many = fit().loss(N=np.array([1e9, 2e9]), D=np.array([1e10, 1e10]))
    assert one.low < one.value < one.high
    assert many.low[0] == pytest.approx(one.low)


def test_without_draws_the_ends_are_nan():
    bare = fit(draws=pd.DataFrame(), bootstrap=Bootstrap())
    assert np.isnan(bare.N_opt(1e20).low)
    assert repr(bare.N_opt(1e20)) == f"{bare.N_opt(1e20).value:.4g}"
    assert "bootstrap" not in repr(bare)


def test_interval_is_equal_tailed():
    low, high = interval(np.arange(101.0))
    assert (low, high) == pytest.approx((5.0, 95.0))


def test_repr_tells_what_to_trust():
    text = repr(
        fit(diagnosis=Diagnosis(start_agreement=0.9), reason="", excluded=(("a", "diverged"),))
    )
    for part in (
        "parametric fit of chinchilla: ok",
        "E 1.69 [",
        "objective 0.0015 = sum of Huber",
        "28 runs, 1 excluded; N: all parameters",
        "90% intervals: seed bootstrap, 200 of 200 refits",
        "90% of the starts agree",
    ):
        assert part in text
    assert repr(fit().N_opt(1e25)).endswith("(extrapolated)")


def test_fits_are_frozen_and_name_their_parameters():
    with pytest.raises(AttributeError):
        fit().status = "ok"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="chinchilla has no parameter 'gamma'; it has"):
        fit().param("gamma")


def test_nothing_that_is_done_to_a_fit_changes_its_answers():
    frozen = fit(constraints={"beta": "alpha"})
    for mapping in (frozen.params, frozen.constraints, frozen.sampled):
        with pytest.raises(TypeError, match="does not support item assignment"):
            mapping["alpha"] = 9.0
    answers = repr((frozen.N_opt(1e20), frozen.param("alpha"), frozen.params, frozen.exponents()))
    frozen.draws.loc[:, "alpha"] = 9.0
    del frozen.draws["beta"]
    again = frozen.N_opt(1e20), frozen.param("alpha"), frozen.params, frozen.exponents()
    assert repr(again) == answers


def test_parameters_are_floats_that_print_with_intervals():
    params = fit().params
    assert params["alpha"] == 0.34
    assert params == PARAMS
    assert repr(params).startswith("E 1.69 [1.6")
    assert repr(fit(draws=pd.DataFrame()).params).startswith("E 1.69, A 406.4")
    assert float(fit().N_opt(1e20)) == fit().N_opt(1e20).value


def test_a_new_run_is_less_certain_than_the_law():
    rng = np.random.default_rng(1)
    residuals = tuple(0.02 * rng.standard_normal(28))
    found = fit(diagnosis=Diagnosis(residuals=residuals))
    law, run = found.L_opt(1e20), found.L_opt(1e20, prediction=True)
    assert run.value == law.value
    assert run.low < law.low < law.high < run.high
    noise_only = fit(
        n=4000, diagnosis=Diagnosis(residuals=residuals), draws=pd.DataFrame([PARAMS] * 4000)
    )
    run = noise_only.loss(N=1e9, D=1e10, prediction=True)
    expected = 2 * 1.645 * np.std(residuals) * np.sqrt(28 / 23)
    assert np.log(run.high / run.low) == pytest.approx(expected, rel=0.15)
    with pytest.raises(ValueError, match="a isoflop fit keeps no residuals to predict a run with"):
        fit(method="isoflop").L_opt(1e20, prediction=True)


def test_predictions_are_as_much_wider_as_earlier_ones_missed():
    residuals = tuple(0.01 * np.random.default_rng(1).standard_normal(28))
    plain, wide = (fit(diagnosis=Diagnosis(residuals=residuals), inflation=i) for i in (1.0, 2.0))
    one, two = (f.loss(N=1e9, D=1e10, prediction=True) for f in (plain, wide))
    for end in ("low", "high"):
        ratio = np.log(getattr(two, end) / two.value) / np.log(getattr(one, end) / one.value)
        assert ratio == pytest.approx(2)
    assert plain.loss(N=1e9, D=1e10) == wide.loss(N=1e9, D=1e10)
    assert "x2.00 wider" in repr(wide) and "wider" not in repr(plain)


def test_an_interval_holds_its_value_and_has_a_width_or_there_is_none():
    found = Estimate.of(1.0, np.array([2.0, 3.0, 4.0]), "ok")
    assert np.isnan(found.low) and np.isnan(found.high)  # it excludes its value
    fixed = Estimate.of(1.69, np.full(50, 1.69), "ok")
    assert np.isnan(fixed.low) and np.isnan(fixed.high)
    assert np.isnan(Estimate.of(1.0, None, "ok").low)
    both = Estimate.of(np.array([1.0, 2.0]), np.array([[1.0, 1.0], [1.0, 3.0]]), "ok")
    np.testing.assert_array_equal(both.low, [np.nan, 1.0])
    np.testing.assert_array_equal(both.high, [np.nan, 3.0])


def test_a_fit_reads_back_exactly(tmp_path):
    draws = pd.DataFrame({name: [value, np.inf] for name, value in PARAMS.items()})
    minima = pd.DataFrame({"budget": [1e18, 4e18], "N_opt": [1e8, np.nan], "status": ["ok", "no"]})
    saved = fit(
        draws=draws,
        minima=minima,
        data=Data("epoch2024", "ab" * 32, "five rows less"),
        excluded=(("row0001", "loss 5"),),
        constraints={"beta": "alpha", "E": 1.69},
        compute=ComputeModel(5.0, 0.9, 0.01, 1e6, (1e5, 1e7), 0.001),
        diagnosis=Diagnosis(0.9, 1e-9, ("E",), (0.1, -0.1)),
    )
    saved.save(tmp_path / "fit.json")
    again = load_fit(tmp_path / "fit.json")
    for name, value in vars(saved).items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(getattr(again, name), value, check_exact=True)
        else:
            assert repr(getattr(again, name)) == repr(value), name
    assert repr(again.tokens_per_param(1e20)) == repr(saved.tokens_per_param(1e20))
    assert again.version == saved.version != ""


def test_a_column_that_says_nothing_of_a_run_leaves_a_fit_that_reads_back(grid, tmp_path):
    runs = grid(noise=0.01).assign(steps=100, vocab_size=0, seq_len=64)
    runs.loc[runs.index[0], "steps"] = 0
    found = fit_law(runs, bootstrap=0)
    found.save(tmp_path / "fit.json")
    assert load_fit(tmp_path / "fit.json").sampled == found.sampled
    assert "seq_len" in found.sampled and not {"S", "vocab_size"} & {*found.sampled}


def test_what_is_no_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no fit at .*nowhere"):
        load_fit(tmp_path / "nowhere.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json is no JSON file"):
        load_fit(tmp_path / "a.json")
    (tmp_path / "b.json").write_text('{"format": "scaling fit 0"}')
    with pytest.raises(ValueError, match=r"b\.json is no fit of format 'scaling fit 1'"):
        load_fit(tmp_path / "b.json")


def edited(tmp_path, change, hashed=False):
    """Path of a saved fit with something changed in it, which an older program may have written."""
    fit(n=5).save(path := tmp_path / "fit.json")
    parts = json.loads(path.read_text())
    change(parts)
    if not hashed:
        del parts["sha256"]
    path.write_text(json.dumps(parts))
    return path


def test_an_edited_fit_is_refused(tmp_path):
    path = edited(tmp_path, lambda parts: parts["params"].update(E=1.7), hashed=True)
    with pytest.raises(ValueError, match=r"fit.json is not what was written there"):
        load_fit(path)


NONSENSE = {
    "E -1": lambda parts: parts["params"].update(E=-1.0),
    "alpha 0": lambda parts: parts["params"].update(alpha=0.0),
    "beta text": lambda parts: parts["params"].update(beta="x"),
    "another parameter": lambda parts: parts["params"].update(zeta=1.0),
    "no law": lambda parts: parts.update(law="moore"),
    "status": lambda parts: parts.update(status="certain"),
    "draws of text": lambda parts: parts["draws"].update(E=["x"] * 5),
    "draws of unequal length": lambda parts: parts["draws"].update(E=[1.0]),
    "no draws of B": lambda parts: parts["draws"].pop("B"),
    "sampled": lambda parts: parts["sampled"].update(C=[1e22, 1e18]),
    "narrower": lambda parts: parts.update(inflation=0.5),
    "no runs": lambda parts: parts.update(n_runs=0),
    "compute": lambda parts: parts["compute"].update(kappa={"number": "nan"}),
    "free compute": lambda parts: parts["compute"].update(kappa=0),
    "no centre": lambda parts: parts["compute"].update(centre=-1.0),
    "convention": lambda parts: parts["convention"].update(N="some"),
    "unknown key": lambda parts: parts.update(zz=1),
    "no bootstrap kind": lambda parts: parts.update(bootstrap="seed"),
}


@pytest.mark.parametrize("change", NONSENSE.values(), ids=NONSENSE)
def test_what_no_fit_says_is_refused_in_one_line(change, tmp_path):
    path = edited(tmp_path, change)
    with pytest.raises(
        ValueError, match=r"fit.json is no fit that can be used: .*; fit again"
    ) as e:
        load_fit(path)
    assert "\n" not in str(e.value)


def places(value, path=()):
    """Paths to everything in a JSON value, of lists to the first two entries."""
    yield path
    keys = [*value] if isinstance(value, dict) else []
    for key in [0, 1][: len(value)] if isinstance(value, list) else keys:
        yield from places(value[key], (*path, key))


@given(st.data())
@settings(max_examples=60)
def test_any_edit_is_refused_or_leaves_a_fit_that_answers(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fit")
    json_values = st.one_of(
        st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=3),
        st.just([]), st.just({}), st.just({"number": "x"}), st.just([[1]]),
    )  # fmt: skip

    def change(parts):
        *path, last = data.draw(st.sampled_from([p for p in places(parts) if p]))
        inside = functools.reduce(lambda found, key: found[key], path, parts)
        inside[last] = data.draw(json_values)
        parts.setdefault("sha256", "")

    try:
        found = load_fit(edited(folder, change))
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        ratio = found.tokens_per_param(1e20)
        assert repr(found) and (0 < ratio.value < np.inf or ratio.status == "no_minimum")


@pytest.mark.parametrize(("name", "value"), [("A", 0), ("A", 1e300), ("B", 0), ("B", 5e-324)])
def test_a_law_whose_term_is_nothing_has_no_minimum(name, value, tmp_path):
    found = load_fit(edited(tmp_path, lambda parts: parts["params"].update({name: value})))
    for quantity in (found.N_opt, found.D_opt, found.tokens_per_param):
        assert quantity(1e20).status == "no_minimum"
        assert {*quantity(np.array([1e19, 1e20])).status} == {"no_minimum"}
