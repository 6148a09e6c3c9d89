import numpy as np
import pytest

from scaling.pages.ability import show_ability
from scaling.pages.text import markdown
from scaling.planning.ability import predict_ability


def test_values_by_hand():
    """RedPajama, 6.9B on 138B tokens: M = 20, C = 5.71e21."""
    row = predict_ability(6.9e9, 138e9).set_index("training_data").loc["RedPajama"]
    loss = 1.84 + (212 * 20**0.136 + 367 * 20**-0.136) * 5.7132e21**-0.136
    assert row.loss == pytest.approx(loss) and row.status == "ok"
    assert row.error == pytest.approx(0.857 - 2.21 * np.exp(-0.715 * loss))
    assert 0.4 < row.error < 0.55


def test_more_of_either_makes_fewer_errors():
    base = predict_ability(1e9, 20e9).error
    assert (predict_ability(4e9, 20e9).error < base).all()
    assert (predict_ability(1e9, 80e9).error < base).all()
    assert (predict_ability(70e9, 15e12).status == "extrapolated").all()


def test_never_without_a_warning():
    page = markdown([show_ability(1e9, 20e9, predict_ability(1e9, 20e9))])
    assert "Read with care" in page and "cannot be put into their link" in page
    assert "from memory" in page and "| RedPajama |" in page
