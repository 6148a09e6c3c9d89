"""Accelerators: dense peak FLOP/s by number format and memory, as their makers print them.

Adding a device is adding a line to devices.csv (memory in decimal GB, peaks in TFLOP/s, links in
GB/s one way, memory bandwidth in GB/s, power in W), or an entry to the `devices` of a user's own
configuration. Makers print links as the sum of both ways: the table has half of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.files import read_table
from scaling.hardware.formats import FORMATS

GB = 1e9  # bytes; datasheets count decimally
TERA = 1e12
LINKS = {  # field of a Device -> column of the table
    "node_bandwidth": "node_gbs",
    "network_bandwidth": "network_gbs",
    "host_bandwidth": "host_gbs",
}
CHIP = {"memory_bandwidth": "memory_gbs", "power": "watts", "server_power": "server_watts"}
FACTS = [*LINKS, *CHIP]
PEAK_FORMATS = {"fp8", *FORMATS}  # datasheets do not tell the two fp8 formats apart


@dataclass(frozen=True)
class Device:
    """One chip.

    Peaks are of dense matrix products; those "with sparsity" are twice as high and never reached.

    Raises
    ------
    ValueError
        No peak at all, a format that nobody knows, or a number that is not positive.

    Examples
    --------
    >>> a100 = get_device("A100")
    >>> print(f"{a100.peak_flops['bf16']:.3g} FLOP/s, {a100.memory_bytes / GB:.0f} GB")
    3.12e+14 FLOP/s, 80 GB
    """

    name: str
    peak_flops: Mapping[str, float]  # format -> FLOP/s
    memory_bytes: float
    source: str = ""  # where the numbers stand
    node_bandwidth: float | None = None  # bytes/s one way, to the others in a machine (NVLink)
    network_bandwidth: float | None = None  # its share of the machine's adapters (InfiniBand)
    host_bandwidth: float | None = None  # to the host's memory (PCIe)
    links_source: str = ""
    memory_bandwidth: float | None = None  # bytes/s, of its own memory
    power: float | None = None  # W, the most that the chip is rated for
    server_power: float | None = None  # W, its share of the most that its maker's server draws
    chip_source: str = ""  # of the last three

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
        for link in LINKS:
            if (speed := getattr(self, link)) is not None:
                _require_positive(self.name, link, speed, "bytes/s one way, as in 300.0e9")
        for fact in CHIP:
            if (value := getattr(self, fact)) is not None:
                unit = "W" if fact.endswith("power") else "bytes/s, as in 2.0e12"
                _require_positive(self.name, fact, value, unit)

    @property
    def training_format(self) -> str:
        """bf16 where the device has a peak for it, else fp16, else its fastest."""
        known = [format for format in ("bf16", "fp16") if format in self.peak_flops]
        return known[0] if known else max(self.peak_flops, key=lambda name: self.peak_flops[name])

    def training_flops(self, precision: str | None = None) -> float:
        """Peak FLOP/s at which this device trains.

        Parameters
        ----------
        precision : str or None
            A format of `peak_flops`; None: `training_format`.

        Raises
        ------
        ValueError
            The device has no such format.

        Examples
        --------
        >>> print(f"{a100.training_flops():.3g} {a100.training_flops('fp32'):.3g}")
        3.12e+14 1.95e+13
        """
        precision = self.training_format if precision is None else precision
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


def _read_devices() -> dict[str, Device]:
    table = read_table(Path(__file__).with_name("devices.csv"))
    units = dict.fromkeys((*LINKS, "memory_bandwidth"), GB)
    sources = [name for name in table if str(name).endswith("source")]
    other = {"device", "memory_gb", *sources, *(LINKS | CHIP).values()}
    found = {}
    for row in table.to_dict("records"):
        known = {name: value for name, value in row.items() if value == value}
        facts = {
            name: known[column] * units.get(name, 1.0)
            for name, column in (LINKS | CHIP).items()
            if column in known
        }
        found[row["device"]] = Device(
            row["device"],
            {str(name): value * TERA for name, value in known.items() if name not in other},
            row["memory_gb"] * GB,
            **{str(name): row[name] for name in sources},
            **facts,
        )
    return found


DEVICES: dict[str, Device] = _read_devices()


def device_from(name: str, fields: Device | Mapping[str, Any]) -> Device:
    """Make a device of what a user wrote.

    Parameters
    ----------
    name : str
    fields : Device, or mapping with peak_flops (format -> FLOP/s), memory_bytes and perhaps its
        sources, the links of `LINKS` (bytes/s one way), memory_bandwidth (bytes/s) and power (W)

    Raises
    ------
    ValueError
        A field is missing or unknown, or its value is refused by `Device`.

    Examples
    --------
    >>> mine = device_from("mine", {"peak_flops": {"bf16": 1.5e14}, "memory_bytes": 24e9})
    >>> mine.training_format, mine.memory_bytes
    ('bf16', 24000000000.0)
    """
    if isinstance(fields, Device):
        return fields
    if not isinstance(fields, Mapping):
        raise ValueError(
            f"device {name!r}: give a mapping with peak_flops and memory_bytes, got {fields!r}"
        )
    needed = {"peak_flops", "memory_bytes"}
    known = needed | {"source", "links_source", "chip_source", *FACTS}
    if lacking := sorted(needed - set(fields)):
        raise ValueError(f"device {name!r}: {lacking} missing; give {sorted(needed)}")
    if unknown := sorted(set(fields) - known):
        raise ValueError(f"device {name!r}: unknown fields {unknown}; use {sorted(known)}")
    return Device(name, **fields)


def get_device(name: str, extra: Mapping[str, Device | Mapping[str, Any]] | None = None) -> Device:
    """Look a device up by its name, as `find_device` does.

    Parameters
    ----------
    name : str
    extra : mapping of name -> Device or what `device_from` takes, or None
        The user's own devices; one of them hides a built-in of the same name.

    Raises
    ------
    ValueError
        Nobody knows the name, or the user's own device is refused.

    Examples
    --------
    >>> get_device("NVIDIA H100 SXM5 80GB").name
    'H100'
    >>> get_device("H9000")
    Traceback (most recent call last):
        ...
    ValueError: device 'H9000' is unknown; use one of ['V100', 'A100', ...
    """
    if (device := find_device(name, extra)) is None:
        known = [*DEVICES, *(key for key in extra or {} if key not in DEVICES)]
        raise ValueError(
            f"device {name!r} is unknown; use one of {known}, or add it to devices, as "
            "devices={NAME: {peak_flops: 1e15, memory_bytes: 8e10}}"
        )
    return device


def find_device(
    name: str, extra: Mapping[str, Device | Mapping[str, Any]] | None = None
) -> Device | None:
    """A device by name in any case, with or without maker, spaces, SXM and memory; None if unknown.

    "NVIDIA H100 SXM5 80GB" is the H100 and "A100 40GB" the A100-40GB; an H100 PCIe is neither.

    Examples
    --------
    >>> find_device("A100 40GB").name, find_device("H100 PCIe")
    ('A100-40GB', None)
    """
    table = {_squeeze(key): (key, fields) for key, fields in (DEVICES | dict(extra or {})).items()}
    wanted = _squeeze(str(name))
    if wanted not in table and (short := _MEMORY.fullmatch(wanted)) and short["name"] in table:
        device = device_from(*table[short["name"]])
        return device if device.memory_bytes == float(short["gb"]) * GB else None
    return device_from(*table[wanted]) if wanted in table else None


_MEMORY = re.compile(r"(?P<name>.*?)(?P<gb>[1-9]\d{1,2})gb")
_OMITTED = re.compile(r"[\s_-]|sxm\d?|^(?:nvidia|amd|intel|google|aws|geforce|instinct)+")


def _squeeze(name: str) -> str:
    """A name without what people add or leave out."""
    return _OMITTED.sub("", re.sub(r"[\s_-]", "", name.lower()))
