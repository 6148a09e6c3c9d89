"""A plan for people: blocks of lines and tables, the same for the terminal and for Markdown."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from scaling.fitting.result import Estimate
from scaling.hardware.memory import USABLE
from scaling.planning.budgets import DEFAULT_UTILISATION, days_on, hours_for
from scaling.planning.placement import Placement
from scaling.planning.plan import Plan
from scaling.quantities import format_quantity as short

GB = 1e9  # bytes
SHOWN_DEVICES = ("V100", "A100", "H100", "B200")  # of the table of devices, and the user's own


class Block(NamedTuple):
    """A part of a report; without a header it has no table."""

    title: str
    lines: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()


def plan_blocks(plan: Plan, placement: Placement | None = None, price: float | None = None):
    """All that a plan holds, in the order in which a reader asks.

    Parameters
    ----------
    plan : Plan
    placement : Placement, optional
        The planned shape on devices.
    price : float, the user's currency per device-hour, optional

    Returns
    -------
    list of Block
    """
    blocks = [_optimum(plan), _departures(plan), _laws(plan.comparison), _verdict(plan)]
    blocks += [_data(plan), _inference(plan), _hours(plan, placement, price), _memory(placement)]
    notes = Block("Read this with it", plan.notes) if plan.notes else None
    return [block for block in (*blocks, notes) if block is not None]


def _optimum(plan: Plan) -> Block:
    rows = (
        ("parameters N", plan.N_opt, short),
        ("tokens D", plan.D_opt, short),
        ("tokens/param", plan.tokens_per_param, _digits),
        ("loss (nats/token)", plan.L_opt, _loss),
    )
    lines = [
        f"{plan.budget!r}",
        f"Law: {plan.law} ({plan.status}); {plan.citation}",
        f"N: {plan.N_meaning}; C: {plan.C_meaning}",
    ]
    if plan.shape is not None:
        lines.append(f"To build: {plan.shape!r}")
    cells = [(name, write(number.value), _ends(number, write)) for name, number, write in rows]
    header = ("compute-optimal", "value", "90 % interval")
    return Block("The plan", tuple(lines), header, tuple(cells))


def _departures(plan: Plan) -> Block | None:
    if plan.departures is None:
        return None
    cells = [
        (
            f"{row['factor']:g} N_opt",
            short(row["N"]),
            short(row["D"]),
            _digits(row["tokens_per_param"]),
            *_lost(row),
        )
        for row in plan.departures.to_dict("records")
    ]
    header = ("size", "N", "D", "tokens/param", "loss above the optimum", "compute lost")
    return Block("Another size for the same compute", (), header, tuple(cells))


def _lost(row: dict) -> tuple[str, str]:
    """Loss above the optimum, and the share of C without which the optimum had this loss."""
    if row["factor"] == 1.0:
        return "0", "0%"
    gap = f"{row['loss_gap']:+.2g}" + _bracket(row, "loss_gap", "{:.1g}".format)
    return gap, f"{1 - 1 / row['C_over']:.1%}"


def _laws(table: pd.DataFrame | None) -> Block | None:
    if table is None:
        return None
    cells = [
        (
            row["law"] + ("" if row["status"] == "ok" else f" ({row['status']})"),
            short(row["N_opt"]) + _bracket(row, "N_opt", short),
            short(row["D_opt"]) + _bracket(row, "D_opt", short),
            _digits(row["tokens_per_param"]) + _bracket(row, "tokens_per_param", _digits),
            _loss(row["L_opt"]),
        )
        for row in table.to_dict("records")
    ]
    lines = (
        "Brackets: 90 % intervals, where a law has draws. hoffmann2022_envelope, hoffmann2022_"
        "isoflop and hoffmann2022 are approaches 1, 2 and 3. Losses of different laws do not "
        "compare.",
    )
    header = ("law", "N", "D", "tokens/param", "loss")
    return Block("All laws at this budget", lines, header, tuple(cells))


def _verdict(plan: Plan) -> Block | None:
    return None if plan.verdict is None else Block("Your model", (repr(plan.verdict),))


def _data(plan: Plan) -> Block | None:
    if plan.data is None:
        return None
    cells = [
        (
            row["law"],
            row["option"].replace("_", " ") + (" *" if row["best"] else ""),
            short(row["N"]),
            short(row["D"]),
            f"{row['epochs']:.3g}",
            f"{row['C']:.3g}",
            _loss(row["loss"]),
            f"{row['loss_gap']:+.2g}",
        )
        for row in plan.data.table.to_dict("records")
    ]
    header = ("law", "option", "N", "D", "passes", "C", "loss", "above unlimited")
    lines = (repr(plan.data), f"*: the best that the limit allows. {plan.data.note}")
    return Block("With so much data", lines, header, tuple(cells))


def _inference(plan: Plan) -> Block | None:
    if plan.inference is None:
        return None
    cells = [
        (
            f"{row['factor']:g} N_opt",
            short(row["N"]),
            short(row["D"]),
            *(f"{row[name]:.3g}" for name in ("training_flops", "inference_flops", "total_flops")),
            f"{row['over']:.3g}" if np.isfinite(row["over"]) else "never reaches this loss",
        )
        for row in plan.inference.table.to_dict("records")
    ]
    header = ("size", "N", "D", "training", "serving", "total FLOPs", "over the optimum's")
    lines = (repr(plan.inference), "Each trained until it reaches the optimum's loss:")
    return Block("With so much to serve", lines, header, tuple(cells))


def _hours(plan: Plan, placement: Placement | None, price: float | None) -> Block:
    table = plan.conversions
    own = {placement.device.name} if placement else set()
    kept = table.loc[table.device.isin({*SHOWN_DEVICES, *own, plan.budget.device})]
    days = [name for name in table if name.startswith("days_on_")]
    cells = [
        (row["device"], short(row["device_hours"]), *(_digits(row[name]) for name in days))
        for row in kept.to_dict("records")
    ]
    share = float(table.utilisation.iloc[0])
    line = f"At {share:.0%} of the dense peak"
    assumed = plan.budget.utilisation is None and share == DEFAULT_UTILISATION
    lines = [f"{line}: assumed, say utilisation=SHARE." if assumed else f"{line}."]
    lines += [*_cost(plan, placement, share, price)]
    header = ("device", "device-hours", *(f"days on {name.split('_')[-1]}" for name in days))
    return Block("The budget on devices", tuple(lines), header, tuple(cells))


def _cost(
    plan: Plan, placement: Placement | None, share: float, price: float | None
) -> Iterator[str]:
    if placement is None:
        return
    device = placement.device
    options = {"devices": {device.name: device}}
    hours = hours_for(plan.budget.flops, device.name, share, **options)
    days = days_on(plan.budget.flops, placement.n_devices, device.name, share, **options)
    money = "" if price is None else f", {hours * price:,.0f} at {price:g} per {device.name}-hour"
    yield f"{placement.n_devices} {device.name} take {_digits(days)} days{money}."


def _memory(placement: Placement | None) -> Block | None:
    if placement is None:
        return None
    cells = [
        (
            row["strategy"],
            _digits(row["state"] / GB),
            _digits(row["total"] / GB) + " *" * row["fits"],
            _digits(row["total_recomputed"] / GB) + " *" * row["fits_recomputed"],
            _devices(row["devices_needed"]),
            _digits(row["sent"] / GB),
        )
        for row in placement.table.to_dict("records")
    ]
    device = placement.device
    lines = (
        f"{placement.n_devices} {device.name} of {device.memory_bytes / GB:g} GB, "
        f"{placement.precision}, {placement.n_sequences:g} sequence(s) at once on each. GB on a "
        f"device; *: fits, with {1 - USABLE:.0%} left for all else. Fewest devices: with every "
        "layer computed again.",
    )
    header = ("strategy", "states", "peak", "recomputing")
    header += ("fewest devices", "sent a step")
    return Block("Memory of the planned shape on each device", lines, header, tuple(cells))


def _devices(count: float) -> str:
    return f"{count:,.0f}" if np.isfinite(count) else "never fits"


def _digits(value: float) -> str:
    """Three digits, no suffix: a ratio, days."""
    return f"{value:,.3g}" if abs(value) < 1e3 else f"{value:,.0f}"


def _loss(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "-"


def _ends(number: Estimate, write) -> str:
    if not np.isfinite(number.low):
        return "none"
    return f"{write(number.low)} to {write(number.high)}"


def _bracket(row: dict, name: str, write) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if not np.isfinite(low):
        return ""
    return f" [{write(low)}, {write(high)}]"
