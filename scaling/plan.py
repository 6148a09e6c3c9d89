"""python -m scaling.plan budget=5.76e23: what to train with a budget, by which law, how sure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from scaling.commandline import TABLES, make_console, verb
from scaling.files import write_text
from scaling.hardware.devices import Device, device_from, get_device
from scaling.pages.layouts import layout_section
from scaling.pages.plans import plan_sections
from scaling.pages.text import markdown, print_sections
from scaling.pages.upkeep import upkeep_section
from scaling.planning.budgets import Budget
from scaling.planning.laid_out import LaidOut, plan_laid_out
from scaling.planning.placement import DEFAULT_COUNT, DEFAULT_DEVICE, Placement, place
from scaling.planning.plan import Plan, to_plain
from scaling.planning.request import PlanRequest, read_request
from scaling.planning.upkeep import Terms, Upkeep, keep_up, read_terms

ASKED = ("budget", "law", "compare", "data_limit", "kept_share", "repeat", "inference_tokens")
ASKED += ("train_bits", "serve_bits", "device", "utilisation", "price_per_hour", "seq_len")
ASKED += ("vocab_size", "ffn", "tied", "columns", "where", "best_of")


@dataclass
class PlanCommand:
    """What you have and know, and where the plan goes. Write quantities as 70B, 1.4T or 5.76e23."""

    budget: Any = MISSING  # 5.76e23, '3640 PF-days', '512 A100 for 30 days at 40 %', '$2M on H100'
    law: str = "besiroglu2024"  # a published law, or a path: fit JSON, runs table, results folder
    columns: Any = None  # of law=TABLE: {their name: ours}
    where: Any = None  # of law=TABLE: {column: value}; keeps the rows of this value
    best_of: list[str] = field(default_factory=list)  # of law=TABLE: [N, D] keeps the lowest loss
    compare: bool = True  # all published laws beside it
    data_limit: Any = None  # unique tokens at hand
    kept_share: Any = None  # share of raw text that curation keeps: the course names 0.01 to 0.03
    repeat: bool = True  # whether they may be seen more than once
    inference_tokens: Any = None  # what the model will serve over its life
    train_bits: int | None = None  # of a weight in training: 2 to 8, None: fp32
    serve_bits: int | None = None  # of a weight in serving; None: as in training
    params: Any = None  # a model to judge: its size ...
    tokens: Any = None  # ... and what it was trained on
    device: str | None = None  # None: that of the budget, else an H100
    n_devices: int | None = None  # for days and memory; None: that of the budget, else 64
    utilisation: float | None = None  # share of the dense peak; None: estimated, else 0.4 assumed
    layout: Any = None  # {tensor: 8, pipeline: 4}: also context, zero, micro_batch, interleave ...
    batch_tokens: Any = None  # of a global batch; None: as published trainings of this compute
    price_per_hour: float | None = None  # what one device costs an hour; there is no default
    purchase_price: float | None = None  # of one device with its share of servers and network
    electricity_price: float | None = None  # of a kWh; None: 0.08, US industry 2023
    failures_per_day: float | None = None  # interruptions of a device; None: of Llama 3, 4.7e-4
    restart_minutes: float | None = None  # after an interruption; None: 10
    region: str | None = None  # whose electricity: World, USA, France ...; None: some of them
    pue: float | None = None  # power of the site over that of its servers; None: 1.1
    peak: str | None = None  # number format of the peak; None: bf16, else fp16
    precision: str = "bf16_mixed"  # of the memory: fp32, bf16_autocast, bf16_mixed, fp16_mixed
    n_sequences: float = 1  # sequences at once on each device, for the memory
    seq_len: int | None = None  # context of the shape; None: derived from N
    vocab_size: int | None = None  # None: derived from N
    ffn: str = "gelu"  # gelu, swiglu
    tied: bool = True  # the output head shares the token table
    json: str | None = None  # file for everything in full precision
    markdown: str | None = None  # file for the report
    devices: Any = None  # your own, name -> peak_flops and memory_bytes; see conf/plan.yaml
    results: str = "results"  # where folders are made


@verb("plan", PlanCommand, TABLES)
def main(command: PlanCommand) -> None:
    """Plan, print, write."""
    console = make_console()
    devices = _read_devices(command)
    request, terms = _read_command(command, devices), _read_terms(command)
    device, count = _choose_devices(command, request.budget, devices)
    plan, layouts, why = plan_laid_out(
        request,
        device,
        count,
        precision=command.precision,
        peak=command.peak,
        batch_tokens=command.batch_tokens,
        asked=command.layout,
    )
    placement = _place_shape(command, plan, device, count)
    further, upkeep = [layout_section(layouts, why)], None
    if plan.shape is not None:
        size, hours = plan.shape.total_params, plan.hours_on(device.name)
        upkeep = keep_up(size, device, count, hours, precision=command.precision, terms=terms)
        further.append(upkeep_section(upkeep, plan.budget.price_per_hour))
    sections = [*plan_sections(plan, placement, *further)]
    print_sections(console, sections)
    if command.json is not None:
        write_text(Path(command.json), _write_json(plan, placement, layouts, upkeep))
        console.print(f"JSON: {Path(command.json).resolve()}")
    if command.markdown is not None:
        page = f"# Plan for {command.budget}\n\n{markdown(sections)}\n"
        write_text(Path(command.markdown), page)
        console.print(f"Markdown: {Path(command.markdown).resolve()}")


def _read_devices(command: PlanCommand) -> dict[str, Device]:
    own = {} if command.devices is None else command.devices
    if not isinstance(own, Mapping):
        raise ValueError(f"devices={own!r} must map names to peak_flops and memory_bytes")
    return {name: device_from(name, chip) for name, chip in own.items()}


def _read_command(command: PlanCommand, devices: dict[str, Device]) -> PlanRequest:
    if (command.params is None) != (command.tokens is None):
        raise ValueError("to judge a model give both params=N and tokens=D, as in 70B and 1.4T")
    return read_request(
        **{name: getattr(command, name) for name in ASKED},
        model=None if command.params is None else (command.params, command.tokens),
        precision=command.peak,
        devices=devices,
    )


def _read_terms(command: PlanCommand) -> Terms:
    return read_terms(
        failures=command.failures_per_day,
        restart=command.restart_minutes,
        pue=command.pue,
        region=command.region,
        purchase_price=command.purchase_price,
        electricity_price=command.electricity_price,
    )


def _choose_devices(
    command: PlanCommand, budget: Budget, devices: dict[str, Device]
) -> tuple[Device, int]:
    """The device that is named, or that of the budget, and how many; else the defaults."""
    device = get_device(command.device or budget.device or DEFAULT_DEVICE, devices)
    named = command.n_devices
    count = (budget.n_devices or DEFAULT_COUNT) if named is None else named
    if count < 1:
        raise ValueError(f"n_devices must be at least 1, got {count}")
    return device, count


def _place_shape(command: PlanCommand, plan: Plan, device: Device, count: int) -> Placement | None:
    """The planned shape on the devices; None where no shape can be built."""
    if plan.shape is None:
        return None
    return place(
        plan.shape.shape,
        plan.shape.total_params,
        device,
        count,
        precision=command.precision,
        n_sequences=command.n_sequences,
    )


def _write_json(
    plan: Plan, placement: Placement | None, layouts: LaidOut | None, upkeep: Upkeep | None
) -> str:
    """The plan by name; the memory in bytes; what is not finite as null."""
    parts = plan.to_dict()
    if placement is not None:
        chip = {"device": placement.device.name, "n_devices": placement.n_devices}
        rows = {"precision": placement.precision, "by_strategy": to_plain(placement.table)}
        parts["memory"] = chip | rows
    if layouts is not None:
        parts["layouts"] = to_plain(layouts.table)
    if upkeep is not None:
        parts["upkeep"] = to_plain(upkeep)
    return json.dumps(parts, indent=2, allow_nan=False) + "\n"


if __name__ == "__main__":
    main()
