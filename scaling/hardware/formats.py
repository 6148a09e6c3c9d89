"""Number formats: range, spacing, memory, and what a value becomes in each."""

import itertools
import math
from dataclasses import asdict, dataclass, replace

import ml_dtypes
import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Format:
    """A floating-point format, or an integer one where there are no exponent bits.

    Examples
    --------
    >>> e4m3 = FORMATS["fp8_e4m3"]
    >>> e4m3.exponent_bits, e4m3.mantissa_bits, e4m3.largest, e4m3.bytes
    (4, 3, 448.0, 1.0)
    """

    name: str
    bits: int  # as stored: tf32 uses 19 of its 32
    sign_bits: int
    exponent_bits: int
    mantissa_bits: int  # without the hidden one; of an integer all beside the sign
    lowest: float  # finite
    largest: float  # finite
    smallest_normal: float  # positive, in full relative precision; 1 for an integer
    smallest_subnormal: float  # positive; 1 for an integer
    has_infinity: bool  # if not, a value beyond the range becomes its end ("saturates")
    source: str

    @property
    def bytes(self) -> float:
        """Bytes that a number takes in memory."""
        return self.bits / 8

    @property
    def is_integer(self) -> bool:
        """Whether the format has no exponent."""
        return self.exponent_bits == 0


def _read_format(name: str, dtype: type, source: str) -> Format:
    """Ask `ml_dtypes` for the range of a type."""
    if np.issubdtype(dtype, np.integer):
        info = ml_dtypes.iinfo(dtype)
        ends = float(info.min), float(info.max)
        return Format(name, info.bits, 1, 0, info.bits - 1, *ends, 1.0, 1.0, False, source)
    info = ml_dtypes.finfo(dtype)
    ends = float(info.min), float(info.max)
    smallest = float(info.smallest_normal), float(info.smallest_subnormal)
    infinity = bool(np.isinf(dtype(np.inf)))
    return Format(name, info.bits, 1, info.nexp, info.nmant, *ends, *smallest, infinity, source)


_OCP = "Micikevicius et al. 2022, FP8 Formats for Deep Learning, arXiv:2209.05433"
_FP32 = _read_format("fp32", np.float32, "IEEE 754-2019")
_TF32 = replace(  # no dtype: fp32's exponent with fp16's mantissa
    _FP32,
    name="tf32",
    mantissa_bits=10,
    lowest=-(2 - 2.0**-10) * 2.0**127,
    largest=(2 - 2.0**-10) * 2.0**127,
    smallest_subnormal=2.0**-136,
    source="NVIDIA A100 whitepaper; 19 bits used, 32 stored",
)
DTYPES = {
    "fp32": np.float32,
    "fp16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "fp8_e4m3": ml_dtypes.float8_e4m3fn,
    "fp8_e5m2": ml_dtypes.float8_e5m2,
    "int8": np.int8,
}
_SOURCES = {
    "fp16": "IEEE 754-2019",
    "bf16": "Kalamkar et al. 2019, arXiv:1905.12322",
    "fp8_e4m3": f"{_OCP}; torch.float8_e4m3fn",
    "fp8_e5m2": f"{_OCP}; torch.float8_e5m2",
    "int8": "two's complement",
}
FORMATS: dict[str, Format] = {"fp32": _FP32, "tf32": _TF32} | {
    name: _read_format(name, DTYPES[name], source) for name, source in _SOURCES.items()
}


def get_format(name: str | Format) -> Format:
    """Look a format up; ValueError lists the known names.

    Examples
    --------
    >>> get_format("fp16").largest, get_format("fp16").smallest_subnormal
    (65504.0, 5.960464477539063e-08)
    """
    if isinstance(name, Format):
        return name
    if name not in FORMATS:
        raise ValueError(f"format {name!r} is unknown; use one of {[*FORMATS]}")
    return FORMATS[name]


def spacing(value, format: str | Format):
    """Gap between neighbouring numbers of the format at the size of a value.

    2^(floor(log2 max(|value|, smallest_normal)) - m); 1 for an integer format.

    Parameters
    ----------
    value : float or array
        Beyond the largest number the gap of an unbounded exponent is told.
    format : str or Format

    Returns
    -------
    float64 array of the shape of `value`; NaN where it is not finite

    Examples
    --------
    From 2048 on fp16 knows even numbers only; bf16 has less than three digits:

    >>> print(spacing(2048, "fp16"), spacing(1.0, "bf16"))
    2.0 0.0078125
    """
    format = get_format(format)
    x = np.asarray(value, dtype=np.float64)
    if format.is_integer:
        return np.where(np.isfinite(x), 1.0, np.nan)
    exponent = np.frexp(np.maximum(np.abs(x), format.smallest_normal))[1] - 1
    return np.where(np.isfinite(x), np.ldexp(1.0, exponent - format.mantissa_bits), np.nan)


def project(value, format: str | Format):
    """Round a value to the nearest number of a format, ties to the even one.

    Beyond the range: fp32, tf32, fp16, bf16 and fp8_e5m2 give an infinity, as IEEE 754 asks;
    fp8_e4m3 (infinity included) and int8 saturate.

    Parameters
    ----------
    value : float or array
        Rounded once, from float64.
    format : str or Format

    Returns
    -------
    float64 array of the shape of `value`; a NaN stays NaN

    Raises
    ------
    ValueError
        An unknown format, or NaN for int8, which has none.

    Notes
    -----
    The ranges are those of `ml_dtypes`, the rounding is not: its casts send float64 by way of
    float32, so a value close to a tie is rounded twice, and e4m3 overflows to NaN. Torch rounds
    twice too; its 2.13 saturates fp8_e4m3 as here. `Tensor.to(int8)` cuts the decimals off and
    wraps around; torch's quantisers round and saturate as here.

    Examples
    --------
    >>> [float(project(value, "fp16")) for value in (0.1, 2049, 70_000)]
    [0.0999755859375, 2048.0, inf]
    >>> [float(project(value, "fp8_e4m3")) for value in (0.1, 2049, 1e-3)]
    [0.1015625, 448.0, 0.001953125]
    """
    format = get_format(format)
    x = np.asarray(value, dtype=np.float64)
    if format.is_integer and np.isnan(x).any():
        raise ValueError(f"{format.name} has no NaN; drop the NaN values first")
    finite = np.where(np.isfinite(x), x, 0.0)
    gap = spacing(finite, format)
    rounded = np.where(np.isfinite(x), np.rint(finite / gap) * gap, x)
    if not format.has_infinity:
        return np.clip(rounded, format.lowest, format.largest)
    return np.where(np.abs(rounded) > format.largest, np.copysign(np.inf, x), rounded)


def bits_of(value: float, format: str | Format) -> str:
    """Bits of the number that a value becomes: sign, exponent and fraction, a space between them.

    The 19 of tf32 that count; an integer's sign and the rest of its two's complement.

    Raises
    ------
    ValueError
        An unknown format, or NaN for int8.

    Examples
    --------
    >>> bits_of(0.1, "bf16"), bits_of(-1, "int8")
    ('0 01111011 1001101', '1 1111111')
    """
    format = get_format(format)
    stored = project(value, format)
    wide = DTYPES["fp32" if format.name == "tf32" else format.name]
    with np.errstate(over="ignore"):  # the ends of tf32 are those of fp32
        raw = np.asarray(stored, np.float64).astype(wide)
    pattern = int(raw.view(f"u{raw.dtype.itemsize}"))
    digits = f"{pattern:0{8 * raw.dtype.itemsize}b}"
    ends = np.cumsum([0, format.sign_bits, format.exponent_bits, format.mantissa_bits])
    return " ".join(digits[a:b] for a, b in itertools.pairwise(ends) if b > a)


def bits_table(value: float) -> pd.DataFrame:
    """One value bit by bit in every format, and what the format can hold near it.

    Returns
    -------
    DataFrame with columns format, bits, value, stored, error (stored - value), spacing (at the
        value), lowest, largest, smallest_normal

    Examples
    --------
    >>> bits_table(0.1).set_index("format").bits[["tf32", "bf16", "fp8_e5m2"]].to_dict()
    {'tf32': '0 01111011 1001100110', 'bf16': '0 01111011 1001101', 'fp8_e5m2': '0 01011 10'}
    """
    table = projection_table(value)
    table.insert(1, "bits", [bits_of(value, name) for name in FORMATS])
    ends = ("lowest", "largest", "smallest_normal")
    return table.assign(**{name: [getattr(f, name) for f in FORMATS.values()] for name in ends})


def quantisation_error(tensor, format: str | Format, scale: str | None = None) -> float:
    """Root mean square error of a tensor stored in a format, relative to its own size.

    sqrt(sum (q - x)^2 / sum x^2), with q the stored value.

    Parameters
    ----------
    tensor : array
    format : str or Format
    scale : {None, "absmax"}
        None stores the values as they are. "absmax" stores x / s with s = max|x| / largest, one
        scale for the tensor, and multiplies by s again: what int8 needs for weights below one.

    Returns
    -------
    float, 0 for exact; infinite where a value overflowed

    Raises
    ------
    ValueError
        A scale that nobody knows, or a tensor that is empty, all zero or not finite.

    References
    ----------
    Dettmers et al. 2022, LLM.int8(), arXiv:2208.07339, section 2.1, for absmax.

    Examples
    --------
    Weights of a layer in int8, as they are and scaled:

    >>> weights = 0.02 * np.random.default_rng(0).standard_normal(10_000)
    >>> print(f"{quantisation_error(weights, 'int8'):.0%} "
    ...       f"{quantisation_error(weights, 'int8', scale='absmax'):.1%}")
    100% 0.9%
    """
    format = get_format(format)
    x = np.asarray(tensor, dtype=np.float64)
    if scale not in (None, "absmax"):
        raise ValueError(f"scale must be None or 'absmax', got {scale!r}")
    if not x.size or not np.isfinite(x).all() or not x.any():
        raise ValueError("quantisation_error needs a finite tensor with a value other than zero")
    unit = np.abs(x).max() / format.largest if scale == "absmax" else 1.0
    stored = project(x / unit, format) * unit
    return math.sqrt(float(np.mean((stored - x) ** 2)) / float(np.mean(x**2)))


def formats_table() -> pd.DataFrame:
    """Compare the formats: bits, range, spacing at 1, bytes of a number and of 1B parameters.

    Returns
    -------
    DataFrame with columns format, bits, sign_bits, exponent_bits, mantissa_bits, bytes, lowest,
        largest, smallest_normal, smallest_subnormal, spacing_at_1, gb_per_billion (decimal GB),
        overflow ("inf" or "saturates"), source

    Examples
    --------
    >>> formats_table().set_index("format").spacing_at_1[["fp16", "bf16", "fp8_e4m3"]].to_dict()
    {'fp16': 0.0009765625, 'bf16': 0.0078125, 'fp8_e4m3': 0.125}
    """
    formats = FORMATS.values()
    table = pd.DataFrame([asdict(format) for format in formats]).rename(columns={"name": "format"})
    table.insert(5, "bytes", table.bits / 8)
    overflow = table.pop("has_infinity").map({True: "inf", False: "saturates"})
    source, spacings = table.pop("source"), [float(spacing(1.0, format)) for format in formats]
    return table.assign(
        spacing_at_1=spacings, gb_per_billion=table.bytes, overflow=overflow, source=source
    )


def projection_table(value: float = math.pi) -> pd.DataFrame:
    """What one value becomes in every format.

    Returns
    -------
    DataFrame with columns format, value, stored, error (stored - value), spacing (at the value)

    Examples
    --------
    >>> projection_table().set_index("format").stored[["bf16", "fp8_e4m3", "fp8_e5m2"]].to_dict()
    {'bf16': 3.140625, 'fp8_e4m3': 3.25, 'fp8_e5m2': 3.0}
    """
    stored = {name: float(project(value, name)) for name in FORMATS}
    gaps = [float(spacing(value, name)) for name in FORMATS]
    table = pd.DataFrame({"format": [*stored], "value": value, "stored": [*stored.values()]})
    return table.assign(error=table.stored - table.value, spacing=gaps)


def quantisation_table(tensor) -> pd.DataFrame:
    """Compare the errors of one tensor in every format, as it is and scaled by its largest value.

    Returns
    -------
    DataFrame with columns format, scale ("none" or "absmax"), bytes (of the tensor), error

    Examples
    --------
    >>> table = quantisation_table(0.02 * np.linspace(-1, 1, 1001)).query("scale == 'absmax'")
    >>> table.set_index("format").error.map("{:.1%}".format)[["fp8_e4m3", "int8"]].to_dict()
    {'fp8_e4m3': '2.5%', 'int8': '0.4%'}
    """
    size = np.asarray(tensor).size
    rows = [
        (name, scale or "none", size * f.bytes, quantisation_error(tensor, f, scale))
        for name, f in FORMATS.items()
        for scale in (None, "absmax")
    ]
    return pd.DataFrame(rows, columns=["format", "scale", "bytes", "error"])
