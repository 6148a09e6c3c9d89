"""Number formats: range, spacing, memory, and what a value becomes in each."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Format:
    """A floating-point format, or an integer one where there are no exponent bits.

    Attributes
    ----------
    name : str
    bits : int
        Stored bits, so that bits / 8 is what a number takes in memory.
    sign_bits, exponent_bits, mantissa_bits : int
        Mantissa without the hidden one; for an integer the bits beside the sign.
    has_infinity : bool
        If not, a value beyond `largest` becomes `largest` ("saturates").
    source : str
    """

    name: str
    bits: int
    exponent_bits: int
    mantissa_bits: int
    has_infinity: bool
    source: str
    sign_bits: int = 1

    @property
    def bytes(self) -> float:
        """Bytes that a number takes in memory."""
        return self.bits / 8

    @property
    def is_integer(self) -> bool:
        """Whether the format has no exponent."""
        return self.exponent_bits == 0

    @property
    def bias(self) -> int:
        """Exponent bias, 2^(exponent_bits - 1) - 1."""
        return 2 ** (self.exponent_bits - 1) - 1 if self.exponent_bits else 0

    @property
    def largest(self) -> float:
        """Largest finite value.

        (2 - 2^-m) * 2^bias where the top exponent is kept for infinity and NaN. Without infinity
        the top exponent counts too, less the one pattern that stands for NaN:
        (2 - 2^(1-m)) * 2^(bias+1).
        """
        m = self.mantissa_bits
        if self.is_integer:
            return 2.0**m - 1
        if self.has_infinity:
            return (2 - 2.0**-m) * 2.0**self.bias
        return (2 - 2.0 ** (1 - m)) * 2.0 ** (self.bias + 1)

    @property
    def lowest(self) -> float:
        """Most negative finite value: -largest, or one further for an integer."""
        return -self.largest - self.is_integer

    @property
    def smallest_normal(self) -> float:
        """Smallest positive value with full relative precision: 2^(1 - bias), or 1."""
        return 1.0 if self.is_integer else 2.0 ** (1 - self.bias)

    @property
    def smallest_subnormal(self) -> float:
        """Smallest positive value: 2^(1 - bias - m), or 1."""
        return 1.0 if self.is_integer else 2.0 ** (1 - self.bias - self.mantissa_bits)


_OCP = "Micikevicius et al. 2022, FP8 Formats for Deep Learning, arXiv:2209.05433"
_IEEE = "IEEE 754-2019"
FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        Format("fp32", 32, 8, 23, True, _IEEE),
        Format("tf32", 32, 8, 10, True, "NVIDIA A100 whitepaper; 19 bits used, 32 stored"),
        Format("fp16", 16, 5, 10, True, _IEEE),
        Format("bf16", 16, 8, 7, True, "Kalamkar et al. 2019, arXiv:1905.12322"),
        Format("fp8_e4m3", 8, 4, 3, False, f"{_OCP}; torch.float8_e4m3fn"),
        Format("fp8_e5m2", 8, 5, 2, True, f"{_OCP}; torch.float8_e5m2"),
        Format("int8", 8, 0, 7, False, "two's complement"),
    )
}


def get_format(name: str | Format) -> Format:
    """Look a format up.

    Raises
    ------
    ValueError
        Nobody knows the name.
    """
    if isinstance(name, Format):
        return name
    if name not in FORMATS:
        raise ValueError(f"format {name!r} is unknown; use one of {[*FORMATS]}")
    return FORMATS[name]


def spacing(value, format: str | Format):
    """Gap between neighbouring numbers of the format at the size of a value.

    2^(max(floor(log2 |value|), 1 - bias) - m); 1 for an integer format.

    Parameters
    ----------
    value : float or array
        Beyond the largest number the gap of an unbounded exponent is told.
    format : str or Format

    Returns
    -------
    float64 array of the shape of `value`; NaN where it is not finite
    """
    format = get_format(format)
    x = np.asarray(value, dtype=np.float64)
    if format.is_integer:
        return np.where(np.isfinite(x), 1.0, np.nan)
    exponent = np.maximum(np.frexp(x)[1] - 1, 1 - format.bias)
    exponent = np.where(x == 0, 1 - format.bias, exponent)
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
    Torch 2.13 saturates fp8_e4m3 as here; other libraries, ml_dtypes among them, turn values that
    round beyond 448 into NaN. Torch rounds float64 twice, by way of float32. `Tensor.to(int8)` cuts
    the decimals off and wraps around; its quantisers round and saturate as here.
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
    """
    rows: list[dict[str, Any]] = [
        {
            "format": name,
            "bits": f.bits,
            "sign_bits": f.sign_bits,
            "exponent_bits": f.exponent_bits,
            "mantissa_bits": f.mantissa_bits,
            "bytes": f.bytes,
            "lowest": f.lowest,
            "largest": f.largest,
            "smallest_normal": f.smallest_normal,
            "smallest_subnormal": f.smallest_subnormal,
            "spacing_at_1": float(spacing(1.0, f)),
            "gb_per_billion": f.bytes,
            "overflow": "inf" if f.has_infinity else "saturates",
            "source": f.source,
        }
        for name, f in FORMATS.items()
    ]
    return pd.DataFrame(rows)


def projection_table(value: float = math.pi) -> pd.DataFrame:
    """What one value becomes in every format.

    Returns
    -------
    DataFrame with columns format, value, stored, error (stored - value), spacing (at the value)
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
    """
    size = np.asarray(tensor).size
    rows = [
        (name, scale or "none", size * f.bytes, quantisation_error(tensor, f, scale))
        for name, f in FORMATS.items()
        for scale in (None, "absmax")
    ]
    return pd.DataFrame(rows, columns=["format", "scale", "bytes", "error"])
