"""python -m scaling.plan budget=5.76e23: what to train with a budget, by which law, how sure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from scaling.commandline import TABLES, make_console, retell, verb
from scaling.files import write_text
from scaling.hardware.devices import Device, device_from, get_device
from scaling.pages.ability import show_ability, tell_ability
from scaling.pages.answer import print_answer
from scaling.pages.layouts import layout_section
from scaling.pages.pilot import pilot_sections, tell_pilot
from scaling.pages.plan_answer import tell_plan
from scaling.pages.plans import plan_sections
from scaling.pages.text import Section, markdown
from scaling.pages.upkeep import upkeep_section
from scaling.planning.ability import predict_ability
from scaling.planning.budgets import Budget
from scaling.planning.laid_out import plan_laid_out
from scaling.planning.pilot import write_grid
from scaling.planning.placement import DEFAULT_COUNT, DEFAULT_DEVICE, Placement, place
from scaling.planning.plain import to_plain
from scaling.planning.plan import Plan
from scaling.planning.recipe_files import check_suffix, write_recipe
from scaling.planning.rehearsal import Pilot, count_rehearsals, make_pilot
from scaling.planning.request import PlanRequest, read_request
from scaling.planning.upkeep import Terms, keep_up, read_terms
from scaling.shapes.architecture import architecture_of
from scaling.shapes.shape import ModelConfig

LONG = 60  # of a command, from where it is not said again
ASKED = ("budget", "law", "compare", "data_limit", "kept_share", "repeat", "inference_tokens")
ASKED += ("target_loss", "serve_params", "latency", "serve_on", "serve_sequences")
ASKED += ("serve_context", "kv_share")
ASKED += ("train_bits", "serve_bits", "device", "utilisation", "price_per_hour", "seq_len")
ASKED += ("batch_tokens", "vocab_size", "ffn", "tied", "columns", "where", "best_of")


@dataclass
class PlanCommand:
    """What you have and know, and where the plan goes. Write quantities as 70B, 1.4T or 5.76e23."""

    budget: Any = None  # 5.76e23, '3640 PF-days', '512 A100 for 30 days at 40 %', '$2M on H100'
    law: str = "besiroglu2024"  # a published law, or a path: fit JSON, runs table, results folder
    columns: Any = None  # of law=TABLE: {their name: ours}
    where: Any = None  # of law=TABLE: {column: value}; keeps the rows of this value
    best_of: list[str] = field(default_factory=list)  # of law=TABLE: [N, D] keeps the lowest loss
    compare: bool = True  # all published laws beside it
    data_limit: Any = None  # unique tokens at hand
    kept_share: Any = None  # share of raw text that curation keeps: the course names 0.01 to 0.03
    repeat: bool = True  # whether they may be seen more than once
    target_loss: Any = None  # nats/token to reach for the fewest FLOPs; then budget is a bound
    inference_tokens: Any = None  # what the model will serve over its life
    serve_params: Any = None  # a size to serve, '8B', or a bound, 'at most 8B'
    latency: Any = None  # of a generated token at batch 1, at most: '20 ms'
    serve_on: Any = None  # 'H100' or '8 H100'; None: the budget's device, else an H100
    serve_sequences: Any = None  # held at once in the memory of serve_on
    serve_context: Any = None  # tokens of each; None: 2,048
    kv_share: float | None = None  # key/value heads over heads where it is served; None: 1
    train_bits: int | None = None  # of a weight in training: 2 to 8, None: fp32
    serve_bits: int | None = None  # of a weight in serving; None: as in training
    pilot: float | None = None  # share of the budget for small runs first: 0.01
    pilot_file: str | None = None  # their grid file, DIR/grid/NAME.yaml, that scaling.sweep runs
    pilot_noise: float | None = None  # of ln L between seeds; None: 0.0018, measured on enwik8
    ability: bool = False  # average error on 17 tasks, by Gadre et al.'s own law, with warnings
    params: Any = None  # a model to judge: its size ...
    tokens: Any = None  # ... and what it was trained on; of `model` too, None: what C buys
    model: str | None = None  # an architecture: a config.json in Hugging Face's form
    device: str | None = None  # None: that of the budget, else an H100
    n_devices: int | None = None  # for days and memory; None: that of the budget, else 64
    utilisation: float | None = None  # share of the dense peak; None: estimated, else 0.4 assumed
    layout: Any = None  # {tensor: 8, pipeline: 4}: also context, expert, zero, micro_batch ...
    batch_tokens: Any = None  # of a step; None: by the rule of the recipe
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
    seq_len: int | None = None  # context of the shape; None: of the law's runs, or derived from N
    vocab_size: int | None = None  # likewise
    ffn: str = "gelu"  # gelu, swiglu
    tied: bool = True  # the output head shares the token table
    recipe: str | None = None  # file for the recipe: .yaml for scaling.sweep; .py, .json: nanoGPT
    json: str | None = None  # file for everything in full precision
    markdown: str | None = None  # file for the report
    html: str | None = None  # file for a page with sliders, by the law of this plan
    devices: Any = None  # your own, name -> peak_flops and memory_bytes; see conf/plan.yaml
    verbose: bool = False  # print every table, not the answer alone
    results: str = "results"  # where folders are made


@verb("plan", PlanCommand, TABLES)
def main(command: PlanCommand) -> None:
    """Plan, print, write."""
    console = make_console()
    if command.recipe is not None:
        check_suffix(Path(command.recipe).suffix)
    devices = _read_devices(command)
    request, terms = _read_command(command, devices), _read_terms(command)
    device, count = _choose_devices(command, request.budget, devices)
    plan, layouts, why = plan_laid_out(
        request,
        device,
        count,
        precision=command.precision,
        peak=command.peak,
        asked=command.layout,
    )
    placement, upkeep = None, None
    if plan.trained is not None:
        size, hours, at = plan.total_params, plan.hours_on(device.name), command.precision
        placement = place(
            plan.trained, size, device, count, precision=at, n_sequences=command.n_sequences
        )
        upkeep = keep_up(size, device, count, hours, precision=at, terms=terms)
    recipe = None if command.recipe is None else _write_recipe(Path(command.recipe), plan)
    pilot = None if command.pilot is None else _plan_pilot(console, command, request, plan)
    where = "" if pilot is None else _write_pilot(command, pilot)
    ability = predict_ability(plan.N, plan.D) if command.ability else None

    def list_sections() -> Iterator[Section]:  # when they are asked for: tables take their time
        further = [layout_section(layouts, why)]
        if upkeep is not None:
            further.append(upkeep_section(upkeep, plan.budget.price_per_hour))
        first, *others = plan_sections(plan, placement, *further)
        yield first
        yield from () if pilot is None else pilot_sections(pilot, where)
        yield from others
        yield from () if ability is None else [show_ability(plan.N, plan.D, ability)]

    more = {"pilot": pilot, "ability": ability, "upkeep": upkeep}
    more |= {"layouts": None if layouts is None else layouts.table}
    held = {"precision": command.precision, "n_sequences": command.n_sequences}
    texts = {
        "recipe": lambda: recipe,
        "json": lambda: _write_json(plan, placement, more),
        "markdown": lambda: _write_markdown(command, plan, list_sections()),
        "html": lambda: _write_page(plan, request, device, count, [*list_sections()], **held),
    }
    asked = {name: Path(path) for name in texts if (path := getattr(command, name)) is not None}
    for name, path in asked.items():
        write_text(path, texts[name]())
    told = [] if pilot is None else [tell_pilot(pilot, where)]
    told += [] if ability is None else [f"Ability: {tell_ability(ability)} Read with care."]
    a = request.law.fit.exponents()["N_exponent"]
    answer = replace(
        tell_plan(plan, a, placement, layouts, *told),
        steps=_list_steps(command, plan),
        rest=tuple(f"{name}: {path.resolve()}" for name, path in asked.items()),
    )
    print_answer(console, answer, list_sections(), verbose=command.verbose)


def _write_markdown(command: PlanCommand, plan: Plan, sections: Iterator[Section]) -> str:
    return f"# Plan for {command.budget or plan.budget.text}\n\n{markdown(sections)}\n"


def _list_steps(command: PlanCommand, plan: Plan) -> tuple[str, ...]:
    """The same command with what it was not asked for and what helps most."""
    again = retell("plan")
    again = again if len(again) < LONG else "the same command with"
    steps = [] if command.html else [f"{again} html=plan.html"]
    if plan.status == "extrapolated" and plan.shape is not None and command.pilot is None:
        steps.insert(0, f"{again} pilot=0.01")
    return tuple(steps)


def _read_devices(command: PlanCommand) -> dict[str, Device]:
    own = {} if command.devices is None else command.devices
    if not isinstance(own, Mapping):
        raise ValueError(f"devices={own!r} must map names to peak_flops and memory_bytes")
    return {name: device_from(name, chip) for name, chip in own.items()}


def _read_command(command: PlanCommand, devices: dict[str, Device]) -> PlanRequest:
    if command.model is not None and command.params is not None:
        raise ValueError("params=N is known where model=FILE is given: leave one of the two out")
    if command.model is None and (command.params is None) != (command.tokens is None):
        raise ValueError("to judge a model give both params=N and tokens=D, as in 70B and 1.4T")
    return read_request(
        **{name: getattr(command, name) for name in ASKED},
        model=None if command.params is None else (command.params, command.tokens),
        architecture=command.model,
        tokens=None if command.model is None else command.tokens,
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


def _write_recipe(path: Path, plan: Plan) -> str:
    """The recipe as a text of the kind that the file's name asks for."""
    if plan.recipe is None:
        raise ValueError(f"recipe={path}: no shape can be built, so there is nothing to train")
    if plan.given is not None:
        return write_recipe(plan.recipe, plan.given.architecture, None, path.suffix)
    assert plan.shape is not None
    shape = plan.shape.shape
    return write_recipe(plan.recipe, architecture_of(shape), shape, path.suffix)


def _plan_pilot(console: Console, command: PlanCommand, request: PlanRequest, plan: Plan) -> Pilot:
    """Small runs first: chosen and rehearsed."""
    if plan.shape is None:
        raise ValueError("pilot needs a plan whose shape can be built; name a larger budget")
    path = Path(command.pilot_file or "grid/pilot.yaml")
    if (path.parent.name, path.suffix) != ("grid", ".yaml"):
        raise ValueError(f"pilot_file={path} must be DIR/grid/NAME.yaml: so the sweep finds it")
    s = plan.shape.shape
    from rich.progress import Progress  # here: other plans need none

    with Progress(*Progress.get_default_columns(), console=console, transient=True) as progress:
        task = progress.add_task("rehearsing pilots", total=count_rehearsals())
        return make_pilot(
            request.law,
            plan.budget.flops,
            command.pilot or 0.0,
            vocab_size=s.vocab_size,
            model=ModelConfig(seq_len=s.seq_len, ffn=s.ffn, tied=s.tied),
            noise=command.pilot_noise,
            advance=lambda: progress.advance(task),
        )


def _write_pilot(command: PlanCommand, pilot: Pilot) -> str:
    """Write the grid file where one was asked for; how to go on."""
    if command.pilot_file is None:
        return "As a grid file for the sweep: pilot_file=DIR/grid/NAME.yaml."
    path = Path(command.pilot_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    told = retell("plan")
    write_text(path, write_grid(pilot.ladder, told))
    run = f"python -m scaling.sweep --config-dir {path.parent.parent} grid={path.stem}"
    return f"Train: {run} name={path.stem}; then plan again with law=results/{path.stem}."


def _write_json(plan: Plan, placement: Placement | None, more: Mapping[str, Any]) -> str:
    """The plan by name; the memory in bytes; what is not finite as null."""
    parts = plan.to_dict()
    if placement is not None:
        chip = {"device": placement.device.name, "n_devices": placement.n_devices}
        rows = {"precision": placement.precision, "by_strategy": to_plain(placement.table)}
        parts["memory"] = chip | rows
    parts |= {name: to_plain(part) for name, part in more.items() if part is not None}
    return json.dumps(parts, indent=2, allow_nan=False) + "\n"


def _write_page(plan: Plan, request: PlanRequest, *placed: Any, **held: Any) -> str:
    """The page with sliders; its parts are imported here, as only who wants it pays for them."""
    from scaling.pages.html.planned import plan_page

    told = retell("plan")
    return plan_page(told, plan, request, *placed, **held)


if __name__ == "__main__":
    main()
