"""What a training costs beyond rental: failures, checkpoints, energy, CO2; to buy or to rent."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling.files import read_table
from scaling.hardware.devices import Device, get_device
from scaling.hardware.setup import PRECISION_BYTES

DAY, HOUR, KILO, MEGA = 86_400.0, 3_600.0, 1e3, 1e6
# 419 unexpected interruptions in 54 days on 16,384 H100, 2024: Llama Team, arXiv:2407.21783, 3.3.4
FAILURES = 419 / (54 * 16_384)
RESTART = 10.0  # minutes, assumed: with it the same run loses what its authors report, under 10 %
WRITE = 2e12 / 16_384  # bytes/s to storage for each device: 2 TB/s, same run, section 3.3.1
PUE = 1.1  # of large operators: Google 2023; the mean of all is 1.58, Uptime Institute 2023
ELECTRICITY = 0.08  # USD/kWh, mean of US industry, EIA 2023, from memory
TELLING = ("World", "USA", "Germany", "France", "Sweden", "China")  # where no region is named


@dataclass(frozen=True)
class Terms:
    """What a person may know better than the defaults.

    Raises
    ------
    ValueError
        A number that is not positive, a PUE below 1, a region that the table does not know.
    """

    failures: float = FAILURES  # interruptions of a device in a day
    restart: float = RESTART  # minutes from an interruption to the first new step
    pue: float = PUE
    region: str | None = None
    purchase_price: float | None = None  # of one device with its share of servers and network
    electricity_price: float = ELECTRICITY  # of a kWh, in the currency of the other prices

    def __post_init__(self):
        """Refuse what cannot be; see Raises of the class."""
        for name in ("failures", "restart", "pue", "purchase_price", "electricity_price"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        if self.pue < 1:
            raise ValueError(f"pue={self.pue:g} must be at least 1: all power over that of servers")
        if self.region is not None:
            find_region(self.region)


@dataclass(frozen=True, eq=False)
class Upkeep:
    """What a training of so many device-hours costs beside them.

    Energy is NaN where the device's power is not known.
    """

    device: Device
    n_devices: int
    device_hours: float  # of productive work
    terms: Terms
    interruptions: float  # to be expected
    checkpoint_bytes: float
    checkpoint_seconds: float  # to write one
    interval: float  # s between checkpoints, the best
    lost: float  # share of the time that is paid and spent on this
    energy: float  # J, devices at their rating, with the PUE; lost time included
    energy_high: float  # J, whole servers at the most they draw
    emissions: pd.DataFrame  # region, grams_per_kwh, year, tonnes, tonnes_high

    @property
    def days(self) -> float:
        """From the first to the last step, with what is lost."""
        return self.device_hours * HOUR / DAY / self.n_devices / (1 - self.lost)


def interval_between(write: float, between_failures: float) -> float:
    """Seconds between checkpoints that lose the least: sqrt(2 * write * between failures).

    Young 1974, doi:10.1145/361147.361115; the first order of Daly 2006.
    """
    return float(np.sqrt(2 * write * between_failures))


def share_lost(write: float, between_failures: float, restart: float) -> float:
    """Share of time that goes to checkpoints, to work done twice, and to restarts.

    write / interval + (interval / 2 + restart) / between failures, at the best interval; seconds.
    No more than 1: from there on the training stands still.
    """
    interval = interval_between(write, between_failures)
    return min(1.0, write / interval + (interval / 2 + restart) / between_failures)


def read_grids() -> pd.DataFrame:
    """Grams of CO2-equivalent for a kWh of a region's electricity, over its life cycle."""
    return read_table(Path(__file__).with_name("grids.csv"))


def find_region(name: str) -> pd.DataFrame:
    """The row of a region, in any case; ValueError names those there are."""
    grids = read_grids()
    found = grids.loc[grids.region.str.casefold() == str(name).casefold()]
    if not len(found):
        raise ValueError(f"region {name!r} is unknown; use one of {[*grids.region]}")
    return found


def energy_of(device_hours: float, watts: float, pue: float) -> float:
    """Joules: hours * 3600 * W * PUE."""
    return device_hours * HOUR * watts * pue


def emit(energy: Any, grams_per_kwh: Any) -> Any:
    """Tonnes of CO2-equivalent of joules."""
    return energy / (KILO * HOUR) * grams_per_kwh / MEGA


def keep_up(
    params: float,
    device: Device,
    n_devices: int,
    device_hours: float,
    *,
    precision: str = "bf16_mixed",
    terms: Terms | None = None,
) -> Upkeep:
    """Tell what a training costs beside its device-hours of productive work.

    A checkpoint has weights, master copy and moments, and is written by all devices at once.
    """
    terms, of = Terms() if terms is None else terms, PRECISION_BYTES[precision]
    size = params * (of.weights + of.master + of.moments)
    write, between = size / (n_devices * WRITE), DAY / (terms.failures * n_devices)
    lost = share_lost(write, between, terms.restart * 60)
    paid = device_hours / (1 - lost) if lost < 1 else float("inf")
    energy, most = (
        energy_of(paid, float("nan") if watts is None else watts, terms.pue)
        for watts in (device.power, device.server_power or device.power)
    )
    grids = read_grids()
    shown = grids[grids.region.isin(TELLING)] if terms.region is None else find_region(terms.region)
    return Upkeep(
        device,
        n_devices,
        device_hours,
        terms,
        interruptions=terms.failures * paid / 24,
        checkpoint_bytes=size,
        checkpoint_seconds=write,
        interval=interval_between(write, between),
        lost=lost,
        energy=energy,
        energy_high=most,
        emissions=shown.assign(
            tonnes=emit(energy, shown.grams_per_kwh), tonnes_high=emit(most, shown.grams_per_kwh)
        ),
    )


def break_even(device: Device, terms: Terms, price_per_hour: float) -> float:
    """Hours of use from which on buying a device is cheaper than renting it.

    purchase_price / (price_per_hour - kW * PUE * electricity_price); infinite where power alone
    costs more than rent. Staff, space, interest and what it fetches in the end are left out.

    Raises
    ------
    ValueError
        No purchase price.
    """
    if terms.purchase_price is None:
        raise ValueError("purchase_price must be given: of one device with its share of a server")
    watts = device.server_power or device.power or 0.0
    saved = price_per_hour - watts / KILO * terms.pue * terms.electricity_price
    return terms.purchase_price / saved if saved > 0 else float("inf")


def check_energy() -> pd.DataFrame:
    """Published energy and emissions beside ours, from their own hours, power, PUE and grid.

    Returns
    -------
    DataFrame with columns run, device, megawatt_hours, ours_megawatt_hours,
        default_megawatt_hours (by the device's rating and `PUE`), tonnes, ours_tonnes
    """
    runs = read_table(Path(__file__).with_name("published_energy.csv"))
    energy = energy_of(runs.device_hours, runs.watts, runs.pue)
    ours = {"ours_megawatt_hours": energy / HOUR / MEGA}
    rated = runs.device.map(lambda name: get_device(name).power)
    ours |= {"default_megawatt_hours": energy_of(runs.device_hours, rated, PUE) / HOUR / MEGA}
    ours |= {"ours_tonnes": emit(energy, runs.grams_per_kwh)}
    return runs[["run", "device", "megawatt_hours", "tonnes"]].assign(**ours)


def read_terms(**given: Any) -> Terms:
    """Terms of what a person gave; what is None keeps its default."""
    known: Mapping[str, Any] = {name: value for name, value in given.items() if value is not None}
    return Terms(**known)
