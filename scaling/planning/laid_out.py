"""A plan laid out on its devices, and told at the utilisation that is estimated there."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from scaling.hardware.devices import Device
from scaling.hardware.job import Job
from scaling.planning.budgets import ASSUMED_UTILISATION, DEFAULT_UTILISATION
from scaling.planning.layouts import KEYS, rank
from scaling.planning.placement import network_of
from scaling.planning.plan import Plan, answer
from scaling.planning.request import PlanRequest
from scaling.planning.utilisation import Calibration, load_calibration
from scaling.quantities import format_quantity

SHOWN = 5  # layouts
ROUNDS, SETTLED = 2, 0.01  # the shape follows from the budget, the budget from the utilisation
FAR = 0.1  # of the smallest published run: below, nothing is estimated
MOST_DEVICES = 2**17  # searched for the fewest that fit
APART = ["tensor", "pipeline", "context", "expert", "zero"]  # by which a reader tells layouts apart


@dataclass(frozen=True, eq=False)
class LaidOut:
    """The fastest layouts of a planned shape on so many devices.

    The table is that of `scaling.planning.layouts.weigh` with mfu_low and mfu_high, the 90 %
    interval by the calibration; empty where nothing fits.
    """

    job: Job
    table: pd.DataFrame
    calibration: Calibration
    batch_rule: str  # of the recipe, whose batch it is
    fewest: int | None  # devices on which a layout fits, where none does on the given; else None

    @property
    def mfu(self) -> tuple[float, float, float] | None:
        """Of the first layout, with its interval; None where nothing fits."""
        if not len(self.table):
            return None
        first = self.table.iloc[0]
        return float(first.mfu), float(first.mfu_low), float(first.mfu_high)


def lay_out(
    plan: Plan,
    device: Device,
    n_devices: int,
    *,
    precision: str = "bf16_mixed",
    peak: str | None = None,
    asked: Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
) -> LaidOut:
    """Lay out what a plan trains on devices, by step time at the calibrated share of the peaks.

    A step has the batch of the plan's recipe.

    Parameters
    ----------
    asked : mapping of `scaling.planning.layouts.KEYS`, or None; the rest is chosen
    calibration : of all published trainings, if omitted

    Raises
    ------
    ValueError
        No shape or a tiny one, a device whose links or memory bandwidth nobody knows, a layout that
        the devices or the shape cannot have.
    """
    if plan.trained is None or plan.recipe is None:
        raise ValueError("no shape can be built, so none can be laid out")
    network = network_of(plan.trained)
    calibration = load_calibration() if calibration is None else calibration
    if network.params < FAR * calibration.smallest:
        raise ValueError(
            f"a shape of {format_quantity(network.params)} parameters is far below the smallest of "
            f"the published runs, {format_quantity(calibration.smallest)}: starting its kernels, "
            "which is not counted, may take most of the time"
        )
    job = Job(
        network,
        device,
        n_devices,
        plan.recipe.sequences,
        precision=precision,
        peak=peak if peak in device.peak_flops else None,
    )
    table = rank(job, _read_layout(asked), calibration.reached)
    if asked and not len(table):
        raise ValueError(
            f"layout={dict(asked)} cannot be on {n_devices} {device.name}: the product of tensor, "
            f"pipeline and context must divide their number, tensor the {network.n_heads} heads, "
            f"pipeline at most the {network.n_layers} layers, expert what pipeline leaves and the "
            "experts"
        )
    if not asked:
        table = table.loc[table.fits]
    table = table.drop_duplicates(subset=APART, ignore_index=True).head(SHOWN)
    low, high = calibration.interval(table.mfu)
    fewest = None if len(table) else _find_fewest(job)
    return LaidOut(
        job, table.assign(mfu_low=low, mfu_high=high), calibration, plan.recipe.batch_rule, fewest
    )


def _read_layout(asked: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Refuse what is no layout; ValueError says what is."""
    if asked is None:
        return None
    if not isinstance(asked, Mapping):
        raise ValueError(f"layout={asked!r} must map some of {[*KEYS]} to values")
    for name, value in asked.items():
        counted = name in KEYS and name not in ("recompute", "zero")
        if counted and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"layout: {name}={value!r} must be a whole number of at least 1")
    if asked.get("zero") not in (None, 0, 1, 2, 3):
        raise ValueError(f"layout: zero={asked['zero']!r} must be a stage of ZeRO, 0 to 3")
    if asked.get("recompute") not in (None, "none", "selective", "full"):
        raise ValueError(f"layout: recompute={asked['recompute']!r}; use none, selective or full")
    return asked


def _find_fewest(job: Job) -> int | None:
    """The power of two of devices, above those of the job, on which a layout fits."""
    count = 1 << job.n_devices.bit_length()
    while count <= MOST_DEVICES and job.device.network_bandwidth:
        if rank(replace(job, n_devices=count)).fits.any():
            return count
        count *= 2
    return None


def plan_laid_out(
    request: PlanRequest, device: Device, n_devices: int, **options: Any
) -> tuple[Plan, LaidOut | None, str]:
    """The plan of a request at the utilisation that its layout promises, where none was named.

    Returns
    -------
    plan, its layouts (None where none can be estimated), and why not or whence the utilisation

    Raises
    ------
    ValueError
        As in `answer`, and of options that were asked for, as in `lay_out`.
    """
    budget, draft = request.budget, replace(request, compare=False)
    assumed = ASSUMED_UTILISATION in budget.assumptions
    assumed |= budget.device is None and request.utilisation is None
    try:
        found = lay_out(answer(draft), device, n_devices, **options)
    except ValueError as error:
        if options.get("asked") or request.batch_tokens:
            raise
        return answer(request), None, str(error)
    if found.mfu is None or not assumed or budget.device not in (None, device.name):
        return answer(request), found, ""
    said = ""
    for _ in range(ROUNDS):
        mfu, low, high = found.mfu
        said = (
            f"utilisation {mfu:.3g} [{low:.2g}, {high:.2g}] of the dense peak: estimated for "
            f"{n_devices} {device.name}, as nobody named one (and taken for other devices "
            "too); see how it is laid out"
        )
        known = replace(
            budget,
            flops=budget.flops * (mfu / DEFAULT_UTILISATION if budget.device else 1.0),
            utilisation=mfu if budget.device else None,
            assumptions=(said,),
        )
        request = replace(request, budget=known, utilisation=mfu)
        if budget.device is None:
            break
        found = lay_out(answer(replace(request, compare=False)), device, n_devices, **options)
        if found.mfu is None or abs(found.mfu[0] / mfu - 1) < SETTLED:
            break
    return answer(request), found, said
