import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.planning.plain import to_plain
from scaling.planning.request import read_request
from scaling.planning.sources import SOURCES, get_source
from scaling.planning.verdicts import judge

LAWS = {name: get_source(name) for name in SOURCES}
BESIROGLU = LAWS["besiroglu2024"]


@pytest.mark.parametrize(
    ("N", "D", "verdict"),
    [
        ("175B", "300B", "under-trained"),  # GPT-3
        ("280B", "300B", "under-trained"),  # Gopher
        ("70B", "1.4T tokens", "about optimal"),  # Chinchilla
        ("7B parameters", "1T", "over-trained"),  # LLaMA-7B
    ],
)
def test_known_models(N, D, verdict):
    model = read_request(1e23, model=(N, D)).model
    assert judge(*model, BESIROGLU).verdict == verdict


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=20)
@given(C=st.floats(1e19, 1e26), factor=st.floats(0.01, 100))
def test_the_optimum_is_optimal_and_nothing_else(name, C, factor):
    law = LAWS[name]
    best = law.point(C)
    found = judge(best["N_opt"], factor * best["D_opt"], law)
    assert found.trained == pytest.approx(factor)
    assert found.over_rule == pytest.approx(found.tokens_per_param / 20)
    if law.has_surface:
        assert found.C_over >= 1 - 1e-6
        assert found.loss_gap.value >= -1e-12


def test_gpt3_left_loss_on_the_table():
    gpt3 = judge(175e9, 300e9, BESIROGLU, name="GPT-3")
    assert gpt3.over_rule == pytest.approx(300 / 175 / 20)
    assert gpt3.loss_gap.low > 0.005
    assert 1.3 < gpt3.C_over < 2
    assert gpt3.N_opt.value == pytest.approx(BESIROGLU.N_opt(6 * 175e9 * 300e9).value)
    assert to_plain(gpt3)["loss"]["value"] == gpt3.loss.value


def test_kaplan_judges_the_other_way_round_without_a_loss():
    gpt3 = judge(175e9, 300e9, LAWS["kaplan2020"])
    assert gpt3.verdict == "over-trained"
    assert np.isnan(gpt3.loss.value) and np.isnan(gpt3.C_over)


@pytest.mark.parametrize(
    ("N", "D", "match"),
    [
        (0, 1e9, "your model: N must be positive"),
        (1e9, -1, "your model: D must be positive"),
        ("70B tokens", 1e9, "your model: N '70B tokens' is no quantity"),
        ("70B", "1T parameters", "your model: D '1T parameters' is no quantity"),
    ],
)
def test_nonsense_is_refused(N, D, match):
    with pytest.raises(ValueError, match=match):
        read_request(1e23, model=(N, D))
