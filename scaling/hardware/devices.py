"""Accelerators: dense peak FLOP/s by number format and memory, as their makers print them.

Adding a device is adding an entry to `DEVICES`, or to the `devices` of a user's own configuration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scaling.hardware.formats import FORMATS

GB = 1e9  # bytes; datasheets count decimally
TERA = 1e12
PEAK_FORMATS = {"fp8", *FORMATS}  # datasheets do not tell the two fp8 formats apart


@dataclass(frozen=True)
class Device:
    """One chip.

    Parameters
    ----------
    name : str
    peak_flops : dict, format -> FLOP/s
        Dense matrix products; figures "with sparsity" are twice as high and never reached.
    memory_bytes : float, bytes
    source : str
        Where the numbers stand.

    Raises
    ------
    ValueError
        No peak at all, a format that nobody knows, or a number that is not positive.
    """

    name: str
    peak_flops: Mapping[str, float]
    memory_bytes: float
    source: str = ""

    def __post_init__(self):
        """Refuse a device that cannot be planned with; see Raises of the class."""
        if not isinstance(self.peak_flops, Mapping) or not self.peak_flops:
            raise ValueError(
                f"device {self.name!r}: peak_flops must map formats to FLOP/s, for instance "
                f"{{'bf16': 3.12e14}}, got {self.peak_flops!r}"
            )
        if unknown := sorted(set(self.peak_flops) - PEAK_FORMATS):
            raise ValueError(
                f"device {self.name!r}: unknown formats {unknown} in peak_flops; "
                f"use some of {sorted(PEAK_FORMATS)}"
            )
        for format, peak in self.peak_flops.items():
            _require_positive(self.name, f"peak_flops[{format!r}]", peak, "FLOP/s, as in 3.12e14")
        _require_positive(self.name, "memory_bytes", self.memory_bytes, "bytes, as in 80.0e9")

    def training_flops(self, precision: str | None = None) -> float:
        """Peak FLOP/s at which this device trains.

        Parameters
        ----------
        precision : str or None
            A format of `peak_flops`; None: bf16 where the device has it, else fp16, else its best.

        Raises
        ------
        ValueError
            The device has no such format.
        """
        if precision is None:
            known = [format for format in ("bf16", "fp16") if format in self.peak_flops]
            return self.peak_flops[known[0]] if known else max(self.peak_flops.values())
        if precision not in self.peak_flops:
            raise ValueError(
                f"{self.name} has no peak for {precision!r}; it has {[*self.peak_flops]}"
            )
        return self.peak_flops[precision]


def _require_positive(device: str, field: str, value: Any, unit: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise ValueError(
            f"device {device!r}: {field} must be a positive number of {unit}, got {value!r}"
        )


NVIDIA = "NVIDIA datasheet"
_TABLE = (  # name, memory (GB), source, peaks (TFLOP/s)
    ("V100", 32, f"{NVIDIA}, V100 SXM2", {"fp16": 125, "fp32": 15.7}),
    (
        "A100",
        80,
        f"{NVIDIA}, A100 80GB SXM",
        {"bf16": 312, "fp16": 312, "tf32": 156, "fp32": 19.5},
    ),
    (
        "A100-40GB",
        40,
        f"{NVIDIA}, A100 40GB SXM",
        {"bf16": 312, "fp16": 312, "tf32": 156, "fp32": 19.5},
    ),
    ("H100", 80, f"{NVIDIA}, H100 SXM", {"bf16": 989, "fp16": 989, "fp8": 1979, "fp32": 67}),
    ("H200", 141, f"{NVIDIA}, H200 SXM", {"bf16": 989, "fp16": 989, "fp8": 1979, "fp32": 67}),
    ("B200", 192, f"{NVIDIA}, B200", {"bf16": 2250, "fp16": 2250, "fp8": 4500}),
    ("TPUv4", 32, "Google Cloud documentation, TPU v4", {"bf16": 275}),
    ("TPUv5e", 16, "Google Cloud documentation, TPU v5e", {"bf16": 197}),
    ("TPUv5p", 95, "Google Cloud documentation, TPU v5p", {"bf16": 459}),
    ("MI300X", 192, "AMD datasheet, Instinct MI300X", {"bf16": 1307, "fp16": 1307}),
)
DEVICES: dict[str, Device] = {
    name: Device(name, {format: peak * TERA for format, peak in peaks.items()}, gb * GB, source)
    for name, gb, source, peaks in _TABLE
}


def device_from(name: str, fields: Device | Mapping[str, Any]) -> Device:
    """Make a device of what a user wrote.

    Parameters
    ----------
    name : str
    fields : Device, or mapping with peak_flops (format -> FLOP/s), memory_bytes and perhaps source

    Raises
    ------
    ValueError
        A field is missing or unknown, or its value is refused by `Device`.
    """
    if isinstance(fields, Device):
        return fields
    if not isinstance(fields, Mapping):
        raise ValueError(
            f"device {name!r}: give a mapping with peak_flops and memory_bytes, got {fields!r}"
        )
    needed, known = {"peak_flops", "memory_bytes"}, {"peak_flops", "memory_bytes", "source"}
    if lacking := sorted(needed - set(fields)):
        raise ValueError(f"device {name!r}: {lacking} missing; give {sorted(needed)}")
    if unknown := sorted(set(fields) - known):
        raise ValueError(f"device {name!r}: unknown fields {unknown}; use {sorted(known)}")
    return Device(name, **fields)


def get_device(name: str, extra: Mapping[str, Device | Mapping[str, Any]] | None = None) -> Device:
    """Look a device up by its name, in any case.

    Parameters
    ----------
    name : str
    extra : mapping of name -> Device or what `device_from` takes, or None
        The user's own devices; one of them hides a built-in of the same name.

    Raises
    ------
    ValueError
        Nobody knows the name, or the user's own device is refused.
    """
    table: dict[str, tuple[str, Any]] = {
        key.lower(): (key, fields) for key, fields in (DEVICES | dict(extra or {})).items()
    }
    if str(name).lower() not in table:
        known = [key for key, _ in table.values()]
        raise ValueError(f"device {name!r} is unknown; use one of {known}, or add it to devices")
    return device_from(*table[str(name).lower()])


def devices_table(extra: Mapping[str, Device | Mapping[str, Any]] | None = None) -> pd.DataFrame:
    """List the devices, the user's own after the built-in ones.

    Returns
    -------
    DataFrame with columns device, memory_gb (decimal), one per format (dense TFLOP/s, NaN where the
        device has none) and source
    """
    devices = [device_from(name, fields) for name, fields in (DEVICES | dict(extra or {})).items()]
    table = pd.DataFrame([{f: peak / TERA for f, peak in d.peak_flops.items()} for d in devices])
    table.insert(0, "memory_gb", [device.memory_bytes / GB for device in devices])
    table.insert(0, "device", [device.name for device in devices])
    return table.assign(source=[device.source for device in devices])
