import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.hardware.formats import (
    FORMATS,
    bits_of,
    bits_table,
    formats_table,
    get_format,
    project,
    projection_table,
    quantisation_error,
    quantisation_table,
    spacing,
)

TORCH = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8_e4m3": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}
floats32 = st.floats(width=32, allow_nan=False)


def in_torch(values, name):
    return torch.tensor(values, dtype=torch.float32).to(TORCH[name]).to(torch.float64).numpy()


@pytest.mark.parametrize("name", TORCH)
def test_ranges_are_torchs(name):
    format, finfo = FORMATS[name], torch.finfo(TORCH[name])
    assert (format.largest, format.lowest) == (finfo.max, finfo.min)
    assert format.smallest_normal == finfo.tiny
    assert spacing(1.0, name) == finfo.eps
    assert format.bits == finfo.bits == 8 * torch.empty(0, dtype=TORCH[name]).element_size()


@pytest.mark.parametrize("name", FORMATS)
def test_bits_add_up(name):
    format = FORMATS[name]
    used = format.sign_bits + format.exponent_bits + format.mantissa_bits
    assert used == (19 if name == "tf32" else format.bits)
    assert format.bytes == format.bits / 8


@pytest.mark.parametrize("name", ["fp16", "bf16", "fp8_e4m3", "fp8_e5m2"])
def test_every_number_of_a_format_stays(name):
    """All bit patterns at once: none moves, and the smallest and largest are those stated."""
    bits = FORMATS[name].bits
    integers = torch.arange(2**bits) - 2 ** (bits - 1)
    integers = integers.to(torch.int8 if bits == 8 else torch.int16)
    values = integers.view(TORCH[name]).to(torch.float64).numpy()
    np.testing.assert_array_equal(project(values, name), values)
    finite = np.unique(values[np.isfinite(values)])
    assert finite[finite > 0][0] == FORMATS[name].smallest_subnormal
    assert finite[-1] == FORMATS[name].largest
    positive = finite[finite >= 0]
    np.testing.assert_array_equal(spacing(positive[:-1], name), np.diff(positive))


@pytest.mark.parametrize("name", TORCH)
@settings(max_examples=50)
@given(values=st.lists(floats32, min_size=1, max_size=8))
def test_projection_is_torchs(name, values):
    if name == "fp8_e4m3":  # torch before 2.13 made NaN of what lies beyond
        values = [math.copysign(min(abs(v), 448.0), v) for v in values]
    np.testing.assert_array_equal(project(values, name), in_torch(values, name))


@pytest.mark.parametrize("name", TORCH)
@settings(max_examples=50)
@given(mantissa=st.integers(-(2**24), 2**24), exponent=st.integers(-40, 20), half=st.booleans())
def test_ties_go_to_the_even_number(name, mantissa, exponent, half):
    """Values on, and half way between, numbers of the format, where hypothesis seldom looks."""
    value = math.ldexp(mantissa % 64 + 0.5 * half, exponent)
    if abs(value) <= FORMATS[name].largest:
        assert project(value, name) == in_torch([value], name)[0]


@given(value=st.floats(allow_nan=False))
def test_half_precision_is_numpys_even_from_float64(value):
    with np.errstate(over="ignore"):
        assert project(value, "fp16") == np.float64(np.float16(value))


@given(value=st.floats(-300, 300))
def test_int8_is_what_torchs_quantiser_makes(value):
    x = torch.tensor([value], dtype=torch.float32)
    fake = torch.fake_quantize_per_tensor_affine(x, 1.0, 0, -128, 127)
    assert project(x.item(), "int8") == fake.item()


@pytest.mark.parametrize("name", FORMATS)
@given(value=st.floats(-100, 100))
def test_the_error_is_at_most_half_a_gap(name, value):
    assert abs(project(value, name) - value) <= spacing(value, name) / 2
    assert project(project(value, name), name) == project(value, name)
    assert project(-value, name) == -project(value, name)


def test_pi_as_the_course_stores_it():
    table = projection_table().set_index("format")
    assert table.stored["fp16"] == table.stored["bf16"] == table.stored["tf32"] == 3.140625
    assert table.stored["int8"] == 3
    assert table.stored["fp32"] == np.float64(np.float32(math.pi))
    assert (table.stored["fp8_e4m3"], table.stored["fp8_e5m2"]) == (3.25, 3.0)
    assert table.spacing["bf16"] == 8 * table.spacing["fp16"] == 2**-6


def test_beyond_the_range():
    assert project(65_519.0, "fp16") == 65_504
    assert project(65_520.0, "fp16") == np.inf
    assert project(-1e39, "fp32") == -np.inf
    assert project(65_520.0, "bf16") == 65_536
    assert project(np.inf, "fp8_e5m2") == np.inf
    assert project([465.0, -1e9, np.inf], "fp8_e4m3").tolist() == [448, -448, 448]
    assert project([127.5, -1e9, 1e9], "int8").tolist() == [127, -128, 127]
    assert np.isnan(project(np.nan, "fp8_e4m3"))


def test_torch_saturates_or_makes_nan_of_large_e4m3():
    """Which of the two changed between versions of torch; an infinity never comes out."""
    beyond = in_torch([465.0, 1e9], "fp8_e4m3")
    assert (np.isnan(beyond) | (beyond == 448)).all()


def test_arrays_keep_their_shape():
    assert project(np.zeros((2, 3)), "bf16").shape == (2, 3)
    assert project(1.0, "bf16").shape == ()
    assert spacing(np.ones((2, 3)), "int8").shape == (2, 3)
    assert np.isnan(spacing([np.inf, np.nan], "fp16")).all()


def test_the_course_table_of_formats():
    table = formats_table().set_index("format")
    columns = ["sign_bits", "exponent_bits", "mantissa_bits"]
    assert table.loc["fp32", columns].tolist() == [1, 8, 23]
    assert table.loc["fp16", columns].tolist() == [1, 5, 10]
    assert table.loc["bf16", columns].tolist() == [1, 8, 7]
    assert table.loc["int8", columns].tolist() == [1, 0, 7]
    assert table.largest["fp16"] == 65_504
    assert table.largest["fp32"] == np.finfo(np.float32).max
    assert (table.lowest["int8"], table.largest["int8"]) == (-128, 127)
    assert table.gb_per_billion[["fp32", "fp16", "bf16", "int8"]].tolist() == [4, 2, 2, 1]


def test_error_of_gaussian_weights_falls_with_the_mantissa():
    weights = 0.02 * np.random.default_rng(0).standard_normal(50_000)
    error = {name: quantisation_error(weights, name) for name in FORMATS}
    assert error["bf16"] / error["fp16"] == pytest.approx(2**3, rel=0.05)
    assert error["tf32"] / error["fp32"] == pytest.approx(2**13, rel=0.05)
    assert error["fp32"] < 2**-24
    assert error["int8"] == 1  # every weight rounds to zero without a scale
    uniform = np.abs(weights).max() / 127 / math.sqrt(12) / np.sqrt(np.mean(weights**2))
    assert quantisation_error(weights, "int8", "absmax") == pytest.approx(uniform, rel=0.01)


@settings(max_examples=20)
@given(power=st.integers(-8, 8))
def test_absmax_error_does_not_depend_on_the_unit(power):
    weights = np.random.default_rng(1).standard_normal(64)
    for name in ("int8", "fp8_e4m3"):
        scaled = quantisation_error(weights * 2.0**power, name, "absmax")
        assert scaled == pytest.approx(quantisation_error(weights, name, "absmax"))


def test_quantisation_table_compares_scales():
    table = quantisation_table([0.1, -0.2, 0.3]).set_index(["format", "scale"])
    assert table.error["int8", "absmax"] < table.error["int8", "none"]
    assert table.bytes["fp32", "none"] == 12
    assert quantisation_error([1e5], "fp16") == np.inf
    assert quantisation_error([1.5, 3.0], "bf16") == 0


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"format 'fp64' is unknown; use one of .*'fp32'"):
        get_format("fp64")
    with pytest.raises(ValueError, match="int8 has no NaN"):
        project([1.0, np.nan], "int8")
    with pytest.raises(ValueError, match="scale must be None or 'absmax', got 'max'"):
        quantisation_error([1.0], "int8", "max")
    for tensor in ([], [0.0], [np.inf]):
        with pytest.raises(ValueError, match="needs a finite tensor with a value other than zero"):
            quantisation_error(tensor, "int8")


PI_BITS = {  # sign, exponent, fraction
    "fp32": "0 10000000 10010010000111111011011",
    "tf32": "0 10000000 1001001000",
    "fp16": "0 10000 1001001000",
    "bf16": "0 10000000 1001001",
    "fp8_e4m3": "0 1000 101",
    "fp8_e5m2": "0 10000 10",
    "int8": "0 0000011",
}


def test_pi_bit_by_bit():
    table = bits_table(math.pi).set_index("format")
    assert table.bits.to_dict() == PI_BITS
    assert table.stored["fp32"] == pytest.approx(3.1415927410125732, rel=1e-16)
    assert (table.error == table.stored - math.pi).all()


def test_the_course_prints_the_bits_of_another_number():
    assert bits_of(3.141592, "fp32") == "0 10000000 10010010000111111011000"
    assert float(project(3.141592, "fp32")) == 3.1415920257568359375


@pytest.mark.parametrize("name", FORMATS)
@given(value=st.floats(-1e6, 1e6))
@settings(max_examples=30)
def test_bits_say_the_number(name, value):
    """The formula of a float, or two's complement, read from the boxes."""
    f, (sign, *fields) = FORMATS[name], bits_of(value, name).split()
    stored = float(project(value, name))
    if f.is_integer:
        assert int(fields[0], 2) - (128 if sign == "1" else 0) == stored
        return
    exponent, fraction = (int(bits, 2) for bits in fields)
    bias = 2 ** (f.exponent_bits - 1) - 1
    hidden = exponent > 0
    size = (hidden + fraction / 2**f.mantissa_bits) * 2.0 ** (max(exponent, 1) - bias)
    if np.isfinite(stored):
        assert (-1) ** int(sign) * size == stored
