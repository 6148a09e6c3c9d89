"""Quantities as people write them: 70B, 1.4T tokens, 5.76e23, 100k; read and written."""

import re

import numpy as np

LEVEL = 0.9  # of every interval
ENDS = 1.6449  # standard deviations from its middle to its ends, if it is normal
SUFFIXES = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
WRITTEN = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
TOKENS, PARAMETERS, FLOPS = ("tokens",), ("parameters", "params"), ("flops", "flop")
UNITS = TOKENS + PARAMETERS + FLOPS
_GROUPED = r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?"  # 70,650,045
_DECIMAL_COMMA = r"0*,\d+|\d+,(?:\d{1,2}|\d{4,})"  # no group of thousands: 5,76
_NUMBER = rf"[-+]?(?:(?P<grouped>{_GROUPED})|{_DECIMAL_COMMA}|\d[\d_]*\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_QUANTITY = re.compile(
    rf"(?P<number>{_NUMBER})\s*(?P<suffix>[kmbgt]?)(?:\s*(?P<unit>{'|'.join(UNITS)}))?",
    re.IGNORECASE,
)


def parse_quantity(
    text: str | float, name: str = "quantity", units: tuple[str, ...] = UNITS
) -> float:
    """Read a number with a suffix k, M, B (or G), T and a unit: '1.4T tokens' -> 1.4e12.

    Upper and lower case mean the same: 'm' is million. A comma before exactly three digits groups
    thousands ('5,760' is 5760), any other is a decimal comma ('5,76' is 5.76).

    Parameters
    ----------
    text : str or float
    name : str
        What an error calls it.
    units : tuple of str
        Words that may follow; "70B tokens" are no parameters.

    Raises
    ------
    ValueError
        The text is no number with a known suffix, or its unit is another one.

    Examples
    --------
    >>> parse_quantity("1.4T tokens") / parse_quantity("70B")  # tokens per parameter of Chinchilla
    20.0
    >>> parse_quantity("5,76"), parse_quantity("5,760")
    (5.76, 5760.0)
    """
    if isinstance(text, int | float | np.number) and not isinstance(text, bool):
        try:
            return float(text)
        except OverflowError:
            raise ValueError(f"{name} is beyond the largest number, 1.8e308") from None
    found = _QUANTITY.fullmatch(text.strip()) if isinstance(text, str) else None
    if not found or (found["unit"] or units[0]).lower() not in units:
        raise ValueError(
            f"{name} {text!r} is no quantity; write 70B, 1.4T tokens, 100k or 5.76e23 (suffixes "
            f"k, M, B, T; unit none or {', '.join(units)})"
        )
    point = "" if found["grouped"] else "."
    number = float(found["number"].replace(",", point).replace("_", ""))
    return number * SUFFIXES.get(found["suffix"].lower(), 1.0)


def positive_quantity(text: str | float, name: str, units: tuple[str, ...] = UNITS) -> float:
    """Read a quantity that must be positive and finite; ValueError names it.

    Examples
    --------
    >>> positive_quantity("300B tokens", "data_limit")
    300000000000.0
    >>> positive_quantity("-1B", "data_limit")
    Traceback (most recent call last):
        ...
    ValueError: data_limit must be positive and finite, got '-1B'
    """
    value = parse_quantity(text, name, units)
    if not (value > 0 and np.isfinite(value)):
        raise ValueError(f"{name} must be positive and finite, got {text!r}")
    return value


def format_quantity(value: float, digits: int = 3) -> str:
    """Write a number with the suffix of a model size: 1.4T; '-' for NaN.

    Examples
    --------
    >>> format_quantity(124_439_808), format_quantity(1.4e12), format_quantity(999_999)
    ('124M', '1.4T', '1M')
    """
    if not np.isfinite(value):
        return "-" if np.isnan(value) else "inf"
    rounded = float(f"{value:.{digits - 1}e}")
    if abs(rounded) >= 10.0**15:
        return f"{rounded:.{digits - 1}e}"
    for scale, suffix in WRITTEN:
        if abs(rounded) >= scale:
            return f"{rounded / scale:.{digits}g}{suffix}"
    return f"{rounded:.{digits}g}"


def count(number: int, noun: str, nouns: str | None = None) -> str:
    """Write a number of things: '1 cell', '12 cells', '0 boxes'.

    Examples
    --------
    >>> count(1, "cell"), count(1200, "cell"), count(0, "box", "boxes")
    ('1 cell', '1,200 cells', '0 boxes')
    """
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def pass_tenth(before: float, now: float) -> int | None:
    """Percent of the last tenth that a share has passed since it was `before`; None if none.

    `before` is negative where nothing has been told yet.

    Examples
    --------
    >>> [pass_tenth(before, now) for before, now in ((0.58, 0.61), (0.61, 0.69), (-1, 0.02))]
    [60, None, 0]
    """
    reached = int(10 * now + 1e-9)
    return 10 * reached if reached > int(10 * before + 1e-9) or before < 0 else None


def write_bare(value: float, digits: int = 3) -> str:
    """Write a number as one types it: 3.2e12 for 3.2e+12.

    Examples
    --------
    >>> write_bare(5.76e23), write_bare(0.34)
    ('5.76e23', '0.34')
    """
    return f"{value:.{digits}g}".replace("e+", "e")
