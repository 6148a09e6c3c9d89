import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaling.models import native


@given(st.lists(st.floats(-87, 88, width=32), min_size=1, max_size=40))
def test_an_exponential_is_right_to_the_last_bits(numbers):
    x = torch.tensor(numbers)
    found = torch.empty_like(x)
    native.call("exponentials", len(x), x, found)
    torch.testing.assert_close(found.double(), x.double().exp(), rtol=3e-7, atol=0)


def test_what_is_no_number_stays_none():
    x = torch.tensor([math.nan, math.inf, -math.inf, 1.0])
    found = torch.empty_like(x)
    native.call("exponentials", len(x), x, found)
    assert found[0].isnan() and found[1] > 1e38 and found[2] < 1e-37


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A machine on which nothing was compiled."""
    monkeypatch.setenv("SCALING_CACHE_DIR", str(tmp_path))
    native.library.cache_clear()
    yield tmp_path
    native.library.cache_clear()


def test_without_a_compiler_torch_computes_and_the_reason_is_told(fresh, monkeypatch):
    monkeypatch.setattr(native, "COMPILERS", ())
    assert native.library() == "no C compiler"
    with pytest.raises(RuntimeError, match="do not work here: no C compiler; compute without them"):
        native.call("gelus", 0, None, None)


def test_a_compiler_that_fails_is_a_reason(fresh, monkeypatch):
    monkeypatch.setattr(native, "OPTIONS", ("--no-such-option",))
    assert "failed" in native.library()
    assert not [*fresh.rglob("*.so")]


def test_what_a_compiler_has_got_wrong_is_not_used(fresh, monkeypatch):
    monkeypatch.setattr(native, "OPTIONS", (*native.OPTIONS, "-O0", "-Dlogf=expf", "-Dsqrtf=expf"))
    assert native.library() == "own attention differ from torch's here"
