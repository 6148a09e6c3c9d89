import pytest

from scaling.fitting.settings import MOST_REFITS, FitConfig, FitSettings


@pytest.mark.parametrize("bootstrap", [10**9, MOST_REFITS + 1, -1, True])
def test_refits_have_a_limit_that_is_named(bootstrap):
    with pytest.raises(ValueError, match=rf"bootstrap={bootstrap} must be .* from 0 to 100,000"):
        FitSettings(bootstrap=bootstrap)
    with pytest.raises(ValueError, match="from 0 to 100,000"):
        FitConfig(bootstrap=bootstrap).settings()


def test_refits_within_the_limit_are_taken():
    assert FitSettings(bootstrap=MOST_REFITS).bootstrap == 100_000
