import pytest

from scaling.hardware.activations import Network
from scaling.hardware.devices import get_device
from scaling.hardware.job import Job
from scaling.hardware.memory import USABLE
from scaling.planning.layouts import list_splits, rank

NETWORK = Network(n_layers=40, width=5120, n_heads=40, vocab_size=50_000, seq_len=2048)
JOB = Job(NETWORK, get_device("A100"), 96, 192)


def test_every_split_uses_all_devices_and_whole_heads():
    table = list_splits(JOB)
    assert len(table) > 100
    assert (table[["data", "tensor", "pipeline", "context"]].prod(axis=1) == 96).all()
    assert set(table.tensor) == {1, 2, 4, 8} and set(table.context) == {1}
    assert (table.pipeline <= 40).all() and (table.data * table.micro_batch <= 192).all()
    assert (table.pipeline[table.zero >= 2] == 1).all()
    virtual = table[table.interleave > 1]
    assert (192 / (virtual.data * virtual.micro_batch) % virtual.pipeline == 0).all()
    assert not table.duplicated().any()


def test_a_long_context_is_divided():
    long = Job(Network(40, 5120, 40, 50_000, 32_768), get_device("A100"), 96, 192)
    assert set(list_splits(long).context) == {1, 2, 3, 4, 6, 8}


def test_what_is_asked_for_is_all_there_is():
    asked = list_splits(JOB, {"tensor": 4, "pipeline": 3, "zero": None})
    assert set(asked.tensor) == {4} and set(asked.pipeline) == {3} and set(asked.data) == {8}
    assert list_splits(JOB, {"tensor": 3}).empty  # of 40 heads
    with pytest.raises(ValueError, match="expert=2 divides experts, and this has none"):
        list_splits(JOB, {"expert": 2})


def test_the_fastest_that_fits_comes_first():
    table = rank(JOB, reached=0.6)
    assert table.fits[0] and (table.fits == (table.memory <= USABLE * 80e9)).all()
    fitting = table[table.fits]
    assert fitting.total_s.is_monotonic_increasing and fitting.index.max() < len(fitting)
    parts = [name for name in table if name.endswith("_s") and name != "total_s"]
    assert table[parts].sum(axis=1).to_numpy() == pytest.approx(table.total_s.to_numpy())
    assert 0.4 < table.mfu[0] < 0.6
