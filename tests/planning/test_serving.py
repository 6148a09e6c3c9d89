import pytest

from scaling.hardware.devices import DEVICES
from scaling.planning.serving import Serving, read_devices, read_seconds, read_size


def test_bytes_by_hand():
    """12 x 32 x 4096^2 parameters have about 32 layers x 4096: 2 x 2 bytes of each and token."""
    serving = Serving(DEVICES["H100"], context=2048)
    N = 12 * 32 * 4096**2
    assert serving.weight_bytes(N) == 2 * N
    assert serving.cache_bytes(N) == pytest.approx(4 * 32 * 4096 * 2048, rel=0.2)
    shared = Serving(DEVICES["H100"], context=4096, kv_share=0.25)
    assert shared.cache_bytes(N) == pytest.approx(serving.cache_bytes(N) / 2)


def test_bits_and_devices_make_room():
    one = Serving(DEVICES["H100"], latency=0.02, sequences=4.0)
    bits = Serving(DEVICES["H100"], bits=4, latency=0.02, sequences=4.0)
    two = Serving(DEVICES["H100"], 2, latency=0.02, sequences=4.0)
    for name, N in one.largest().items():
        assert bits.largest()[name] > 2 * N and two.largest()[name] > 1.9 * N
        allowed, taken = one.compare(name, N)
        assert taken == pytest.approx(allowed)


def test_words_are_read():
    assert read_size("at most 8B") == (8e9, False) and read_size("8B") == (8e9, True)
    assert (read_seconds("20 ms"), read_seconds("0.5s")) == (0.02, 0.5)
    assert read_devices("8 H100")[1] == 8 and read_devices("RTX 4090")[0].name == "RTX4090"


def test_no_bound_was_asked_for():
    assert Serving(DEVICES["H100"]).largest() == {}


@pytest.mark.parametrize(
    ("read", "text", "match"),
    [
        (read_seconds, "20", "latency='20' is no time; write '20 ms'"),
        (read_size, "at most many", "serve_params 'many' is no quantity"),
        (read_devices, "8", "is no device|is unknown"),
        (read_devices, "9 H1000", "device 'H1000' is unknown"),
    ],
)
def test_nonsense_is_refused(read, text, match):
    with pytest.raises(ValueError, match=match):
        read(text)
