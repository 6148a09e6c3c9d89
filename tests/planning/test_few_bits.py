import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling.fitting.criterion import Criterion
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.settings import FitSettings
from scaling.laws.table import LAWS
from scaling.planning import few_bits
from scaling.planning.few_bits import plan_bits, turning_tokens
from scaling.planning.plan import make_plan
from scaling.planning.sources import get_source

C = 1e21
SHIPPED = dict(few_bits.SHIPPED)
TRUTHS = {
    "trained_in_bits": {"E": 1.8, "A": 480.0, "B": 2085.0, "alpha": 0.35, "beta": 0.37}
    | {"gamma": 2.0},
    "rounding_cost": {"C_T": 0.06, "gamma_N": 0.34, "gamma_D": 0.5, "gamma": 0.6},
}


def exact_fit(law):
    axes = np.geomspace(1e8, 1e11, 4), np.geomspace(1e9, 1e13, 4), (2.0, 3.0, 4.0, 6.0, 8.0)
    table = pd.DataFrame([*itertools.product(*axes)], columns=["N", "D", "bits"])
    table[LAWS[law].target] = LAWS[law].loss(TRUTHS[law], **table)
    start = pd.DataFrame([TRUTHS[law]])
    settings = FitSettings(Criterion("log", "mse"), 0)
    return fit_parametric(Prepared.of(table), settings, law=law, n_starts=start)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The laws of bits, known exactly, where the planner looks for its own."""
    folder = tmp_path_factory.mktemp("laws")
    with pytest.MonkeyPatch.context() as patch:
        for law in TRUTHS:
            exact_fit(law).save(folder / law)
            patch.setitem(few_bits.SHIPPED, law, folder / law)
        yield get_source("besiroglu2024")


def test_it_is_the_lowest_served_loss_at_this_compute(known):
    found = plan_bits(known, C, 8, 4)
    fits = [few_bits.load_fit(path) for path in few_bits.SHIPPED.values()]
    assert pytest.approx(C) == found.N * found.D * 6
    for factor in (0.8, 1.25):
        N = found.N * factor
        other = few_bits.served_loss(known, N, C / (6 * N), 8, 4, *fits)
        assert other > found.loss
    assert found.status == "ok"


def test_fp32_is_the_plan_without_bits(known):
    found = plan_bits(known, C, 32, 32)
    assert pytest.approx(known.point(C)["N_opt"], rel=1e-3) == found.N
    assert found.added_by_rounding.value == 0
    assert found.N_effective == pytest.approx(found.N, rel=1e-5)
    assert np.isnan(found.turning_tokens)


def test_fewer_bits_to_serve_ask_for_a_larger_model_on_fewer_tokens(known):
    plans = [plan_bits(known, C, 32, bits) for bits in (8, 4, 3)]
    assert np.diff([plan.N for plan in plans]).min() > 0
    assert np.diff([plan.loss for plan in plans]).min() > 0
    assert [plan.served_bytes / plan.N for plan in plans] == [1, 0.5, 0.375]


def test_from_the_turning_tokens_on_training_raises_the_served_loss(known):
    fits = [few_bits.load_fit(path) for path in few_bits.SHIPPED.values()]
    D = turning_tokens(known, 1e9, 32, 4, fits[1])
    less, at, more = (
        few_bits.served_loss(known, 1e9, D * f, 32, 4, *fits) for f in (0.8, 1.0, 1.25)
    )
    assert at < min(less, more)


def test_far_from_the_models_of_the_laws_it_says_so(known):
    found = plan_bits(known, 1e25, 8, 4)
    assert found.status == "extrapolated"
    assert any("an extrapolation that nothing here tests" in note for note in found.notes)
    assert any("charged as from fp32" in note for note in found.notes)


def test_where_nothing_near_was_measured_there_is_no_answer(monkeypatch):
    """The shipped laws end at 132,432 parameters; 1e21 FLOPs ask for 2.79e9, 21,000 times that."""
    monkeypatch.setattr(few_bits, "SHIPPED", SHIPPED)
    told = r"up to 1.32e\+05 parameters; this budget asks for 2.79e\+09, 2.1e\+04 times as many"
    with pytest.raises(ValueError, match=told):
        make_plan(1e21, train_bits=8, serve_bits=4)
    near = make_plan(1e13, "results/synthetic-cpu", train_bits=8, serve_bits=4).bits
    assert near is not None and near.N < 100 * 132_432


def test_make_plan_takes_bits(known):
    assert make_plan(C, serve_bits=4).bits.train_bits == 32
    both = make_plan(C, train_bits=6).bits
    assert (both.serve_bits, both.added_by_rounding.value) == (6, 0.0)
    assert make_plan(C).bits is None


@pytest.mark.parametrize(
    "options, told",
    [
        (
            {"serve_bits": 1},
            "serve_bits=1: the laws of bits were measured from 2 to 8 bits and for",
        ),
        ({"train_bits": 16}, "train_bits=16: the laws of bits were measured"),
        ({"serve_bits": 4, "law": "kaplan2020"}, "has no loss for every N and D"),
    ],
)
def test_nonsense_is_refused_by_name(options, told):
    with pytest.raises(ValueError, match=told):
        make_plan(C, **options)


def test_the_shipped_laws_are_those_of_the_record():
    here = Path(few_bits.__file__).parent
    for law in TRUTHS:
        record = here.parents[1] / "results" / "precision" / f"{law}.json"
        assert (here / f"{law}.json").read_bytes() == record.read_bytes()
