"""What a plan costs beyond rental, for people."""

import numpy as np

from scaling.hardware.devices import GB
from scaling.pages.text import Column, Section, make_section, shown
from scaling.planning.upkeep import FAILURES, HOUR, PUE, WRITE, Upkeep, break_even
from scaling.quantities import format_quantity as short

WEEK = 168.0  # hours
UNITS = (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0))
MEGAWATT_HOUR = 1e6 * HOUR  # J
LLAMA = "Llama 3 405B on 16,384 H100, 2024"


def upkeep_section(found: Upkeep, price_per_hour: float) -> Section:
    """Failures and checkpoints, energy and CO2 by region, and when buying is cheaper."""
    text = [
        _describe_failures(found),
        _describe_energy(found),
        _describe_purchase(found, price_per_hour),
    ]
    columns = (
        *(shown("region"), shown("grams_per_kwh", "g CO2e/kWh", ".0f"), shown("year", "of", ".0f")),
        *(shown("tonnes", "t CO2e", ".3g"), shown("tonnes_high", "at most", ".3g")),
        Column("source", lambda row: row["source"]),
    )
    rows = found.emissions if np.isfinite(found.energy) else found.emissions.head(0)
    return make_section("What it costs beyond rental", rows, columns, *text)


def _describe_failures(found: Upkeep) -> str:
    terms = found.terms
    usual = f" ({LLAMA})" if terms.failures == FAILURES else ""
    line = f"At {terms.failures:.2g} interruptions of a device in a day{usual}"
    if found.lost >= 1:
        return (
            f"{line}, {found.n_devices} devices fail faster than they restart: nothing is trained."
        )
    size = short(found.checkpoint_bytes / GB)
    return (
        f"{line}, {found.interruptions:.2g} are to be expected: the best is a checkpoint every "
        f"{_last(found.interval)} (Young 1974), of {size} GB, written in "
        f"{found.checkpoint_seconds:.3g} s at {WRITE / GB:.2g} GB/s from each device "
        f"({LLAMA}); with restarts of {terms.restart:g} minutes {found.lost:.1%} of the time is "
        f"lost, and the training takes {found.days:.3g} days. Young clusters fail more often: "
        "OPT-175B was restarted over 100 times in two months of 992 A100, 2021."
    )


def _describe_energy(found: Upkeep) -> str:
    device, terms = found.device, found.terms
    if device.power is None or not np.isfinite(found.energy):
        return f"Energy: the power of one {device.name} is not known; set power, W, in devices."
    usual = " (large operators, 2023; the mean of all is 1.58)" if terms.pue == PUE else ""
    line = (
        f"Energy: {found.energy / MEGAWATT_HOUR:,.3g} MWh at the {device.power:g} W that one "
        f"{device.name} is rated for and a PUE of {terms.pue:g}{usual}"
    )
    if device.server_power is None:
        return f"{line}; the rest of the servers is left out."
    most = f"{found.energy_high / MEGAWATT_HOUR:,.3g} MWh"
    return (
        f"{line}; {most} where whole servers draw their most, {device.server_power:g} W a device."
    )


def _describe_purchase(found: Upkeep, price_per_hour: float) -> str:
    terms, name = found.terms, found.device.name
    missing = [
        key
        for key, value in (
            ("price_per_hour", price_per_hour if price_per_hour == price_per_hour else None),
            ("purchase_price", terms.purchase_price),
        )
        if value is None
    ]
    if missing:
        return f"To buy or to rent: say {' and '.join(missing)}; prices change, none is assumed."
    hours = break_even(found.device, terms, price_per_hour)
    if not np.isfinite(hours):
        return f"Power alone costs more than renting at {price_per_hour:g} an hour."
    return (
        f"One {name} bought for {terms.purchase_price:,.6g} is cheaper than one rented at "
        f"{price_per_hour:g} an hour after {short(hours)} hours of use ({hours / WEEK:,.3g} "
        f"weeks), with electricity at {terms.electricity_price:g} a kWh; this training uses "
        f"{short(found.device_hours / found.n_devices)} of each. Staff, space, interest and resale "
        "are left out."
    )


def _last(seconds: float) -> str:
    """A time in the largest unit of which it is two or more."""
    unit, size = next((u for u in UNITS if seconds >= 2 * u[1]), UNITS[-1])
    return f"{seconds / size:.3g} {unit}"
