"""plan.html: a plan with sliders, its law and draws in the page."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from scaling.hardware.devices import DEVICES, Device
from scaling.hardware.memory import USABLE
from scaling.hardware.speed import PER_MACHINE
from scaling.laws.frontier import QUANTITIES
from scaling.pages.html.assemble import (
    page,
    show_chart,
    show_choices,
    show_sections,
    show_slider,
    to_numbers,
)
from scaling.pages.html.fitted import read_quantity
from scaling.pages.plan_answer import tell_plan
from scaling.pages.text import Section
from scaling.pages.words import name_sizes
from scaling.planning.budgets import HOURS
from scaling.planning.ladder import Rung, build_ladder
from scaling.planning.plan import Plan
from scaling.planning.request import PlanRequest
from scaling.planning.sources import LawSource
from scaling.planning.surface import FORWARD_SHARE, SATURATED, WITHIN, is_sum, read_decays

SCRIPTS = ("chart.js", "law.js", "plan.js")
STEP = 8  # positions of a slider per decade
AROUND = 2  # decades of budget below and above that of the plan
BELOW, ABOVE = 30.0, 3.0  # how far shapes go from the smallest and the largest best size
PER_DECADE = 10  # of those shapes
MOST_DRAWS = 1000
TOKENS_FROM = 6  # the least limit and demand, powers of ten
DEVICES_TO = 17  # doublings
SHOWN = ("V100", "A100-40GB", "A100", "H100", "H200", "B200")
NO_SCRIPT = "Without script the sliders are not there; the plan as it was asked for is below."
SLIDERS = {"budget", "data", "serving"}  # constraints of a plan that they move
MOVES = (
    "Budgets count FLOPs as the law does. Memory is that of the shape that a plan builds, at every "
    "budget of the slider without limit and demand; between them of the nearest such shape. "
    "Brackets: 90 % intervals of {} of the law's {} draws."
)


def plan_page(
    command: str,
    plan: Plan,
    request: PlanRequest,
    device: Device,
    n_devices: int,
    sections: Iterable[Section],
    *,
    precision: str = "bf16_mixed",
    n_sequences: float = 1,
) -> str:
    """The page of a plan: what to train, sliders to ask again, and the plan's own tables.

    Parameters
    ----------
    command : str
        What makes the page again.
    plan, request : what was planned, and what was asked
    device, n_devices, precision, n_sequences
        Where and how it trains; as in `scaling.planning.placement.place`.
    sections : the plan as it is printed
    """
    title = f"Plan for {plan.budget.text}"
    devices = {name: DEVICES[name] for name in SHOWN} | {device.name: device}
    data = _collect_data(plan, request, devices, precision=precision, n_sequences=n_sequences)
    data |= {"device": device.name, "count": n_devices, "left_out": _list_left_out(plan)}
    found = tell_plan(plan, request.law.fit.exponents()["N_exponent"]).found
    parts = [
        _show_controls(devices, device, data),
        show_sections(sections),
    ]
    return page(title, " ".join(found[:2]), parts, command, data, SCRIPTS)


def _collect_data(
    plan: Plan,
    request: PlanRequest,
    devices: dict[str, Device],
    *,
    precision: str,
    n_sequences: float,
) -> dict[str, Any]:
    """Everything that the sliders of a plan move."""
    law, C = request.law, plan.law_flops
    budgets = C * 10.0 ** (np.arange(-AROUND * STEP, AROUND * STEP + 1) / STEP)
    best = law.N_opt(budgets).value
    ladder = build_ladder(
        _choose_sizes(np.array([plan.N, *best[np.isfinite(best)]])),
        convention=law.fit.convention.N,
        precision=precision,
        n_sequences=n_sequences,
        seq_len=request.seq_len,
        vocab_size=request.vocab_size,
        ffn=request.ffn,
        tied=request.tied,
    )
    most = float(np.log10(C)) / 2 + 3  # powers of ten of tokens
    tokens = 10.0 ** (np.arange(TOKENS_FROM * STEP, int(np.ceil(most)) * STEP + 1) / STEP)
    return {
        "law": _tell_law(law),
        "grid": None  # of what the script does not know
        if is_sum(law)
        else {name: to_numbers(read_quantity(law.fit, name, budgets)) for name in QUANTITIES},
        "budgets": to_numbers(budgets, 8),
        "first": AROUND * STEP,
        "tokens": to_numbers(tokens, 8),
        "limit": request.data_limit,
        "repeat": request.repeat,
        "served": request.inference_tokens or 0,
        "most_devices": DEVICES_TO,
        "utilisation": float(plan.conversions.utilisation.iloc[0]),
        "constants": {"forward": FORWARD_SHARE, "within": WITHIN, "saturated": SATURATED}
        | {"usable": USABLE, "per_machine": PER_MACHINE, "day": 3600.0 * HOURS["day"]},
        "devices": {
            name: {"memory": chip.memory_bytes, "flops": chip.training_flops()}
            | {"format": chip.training_format}
            for name, chip in devices.items()
        },
        "shapes": [_tell_rung(rung) for rung in ladder],
        "drawn": [min(len(law.fit.draws), MOST_DRAWS), len(law.fit.draws)],
        "setup": f"{precision}, {n_sequences:g} sequence(s) at once on each device",
    }


def _list_left_out(plan: Plan) -> str:
    """What the plan holds to and the sliders do not know."""
    names = [part.name for part in plan.answer.constraints if part.name not in SLIDERS]
    names += [] if plan.given is None else ["the given architecture"]
    return f" No slider knows of this plan: {', '.join(names)}." if names else ""


def _choose_sizes(best: np.ndarray) -> np.ndarray:
    """The best sizes themselves, and coarser ones below and above, for limits and demands."""
    low, high = best.min(), best.max()
    below, above = (
        np.geomspace(*ends, int(np.ceil(np.log10(ends[1] / ends[0]) * PER_DECADE)) + 1)
        for ends in ((low / BELOW, low), (high, high * ABOVE))
    )
    return np.concatenate([below[:-1], best, above[1:]])


def _tell_law(law: LawSource) -> dict[str, Any]:
    """A law's parameters, draws and compute model; `sum` tells whether the script knows it."""
    fit, decays = law.fit, read_decays(law)[0]
    compute = fit.compute
    told: dict[str, Any] = {
        "name": law.name,
        "status": fit.status,
        "sum": is_sum(law),
        "reach": None if law.reach is None else to_numbers(law.reach, 8),
        "compute": {
            "kappa": compute.kappa,
            "gamma": compute.gamma,
            "bend": compute.bend,
            "centre": compute.centre,
            "sizes": [*compute.sizes],
            "crossing": to_numbers(compute.crossing, 17),
        },
        "decays": [decays["R_N"], decays["R_D"]],
        "params": {},
        "draws": {},
    }
    if told["sum"]:
        told["params"] = dict(fit.params)
        drawn = fit.draws.head(MOST_DRAWS)
        told["draws"] = {name: to_numbers(drawn[name], 7) for name in fit.params if name in drawn}
    return told


def _tell_rung(rung: Rung) -> dict[str, Any]:
    return {
        "wanted": to_numbers(rung.wanted, 9),
        "label": name_sizes(rung.shape),
        "N": to_numbers(rung.params, 7),
        "total": rung.total_params,
        "bytes": {name: to_numbers(lines, 7) for name, lines in rung.bytes_on.items()},
        "alone": to_numbers(rung.alone, 7),
    }


def _show_controls(devices: dict[str, Device], device: Device, data: dict[str, Any]) -> str:
    """Sliders, the answer, the bowl of the budget, and memory."""
    sliders = [show_slider("budget", "Compute budget C (FLOPs)", 0, len(data["budgets"]) - 1, 0)]
    if data["law"]["sum"]:
        last = len(data["tokens"])
        sliders += [
            show_slider("limit", "Unique tokens at hand", 0, last, last),
            show_slider("served", "Tokens to serve", 0, last, 0),
        ]
    sliders.append(show_slider("count", "Devices", 0, DEVICES_TO, 0))
    return "\n".join(
        [
            '<section id="explore" class="needs-script"><h2>Ask again</h2>',
            *sliders,
            show_choices("Device", "device", {name: name for name in devices}, device.name),
            '<div id="answer" role="status" aria-live="polite"></div>',
            '<div class="charts">',
            show_chart("bowl", "Loss against parameters at this budget"),
            '<figure class="chart" id="memory"><figcaption>Memory on each device</figcaption>'
            '<div class="bars"></div><p class="told"></p></figure></div>',
            f'<p class="note">{MOVES.format(*data["drawn"])}{data["left_out"]}</p></section>',
            f"<noscript><p>{NO_SCRIPT}</p></noscript>",
        ]
    )
