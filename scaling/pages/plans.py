"""A plan for people: sentences and tables, the same for the terminal and for Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from scaling.hardware.devices import GB
from scaling.hardware.memory import USABLE
from scaling.pages.given import given_section
from scaling.pages.goals import show_goals
from scaling.pages.recipe import recipe_section
from scaling.pages.text import (
    Column,
    Section,
    make_section,
    shown,
    shown_interval,
    tell,
    with_interval,
    written,
)
from scaling.pages.words import describe_verdict, name_sizes, write_digits, write_gigabytes
from scaling.planning.budgets import DEFAULT_UTILISATION, HOURS, Budget
from scaling.planning.data_limits import DataLimitPlan
from scaling.planning.few_bits import FP32, BitsPlan
from scaling.planning.inference import InferencePlan
from scaling.planning.placement import Placement
from scaling.planning.plan import NOTED, Plan
from scaling.planning.surface import WITHIN
from scaling.quantities import format_quantity as short
from scaling.shapes.buildable import BuildableShape

BARELY = 0.99  # of the budget: below, a plan says what it leaves
SHOWN_DEVICES = ("V100", "A100", "H100", "B200")  # of the table of devices, and the user's own


N, D = shown("N", write=short), shown("D", write=short)
RATIO = shown("tokens_per_param", "tokens/param", write_digits)
SIZE = Column("size", lambda row: f"{row['factor']:g} N_opt")
OPTIMUM = {  # quantity -> what a reader calls it, how it is written
    "N_opt": ("parameters N", short),
    "D_opt": ("tokens D", short),
    "tokens_per_param": ("tokens/param", write_digits),
    "L_opt": ("loss (nats/token)", ".4g"),
}


def plan_sections(
    plan: Plan, placement: Placement | None = None, *further: Section
) -> Iterator[Section]:
    """All that a plan holds, in the order in which a reader asks; the shape where it is placed."""
    yield _show_optimum(plan)
    if plan.asks_more:
        yield show_goals(plan.answer, plan.serving, plan.shape)
    if plan.departures is not None:
        yield _show_departures(plan.departures)
    if plan.comparison is not None:
        yield _show_laws(plan.comparison)
    if plan.verdict is not None:
        yield Section("Your model", (describe_verdict(plan.verdict),))
    if plan.given is not None:
        yield given_section(plan.given)
    if plan.data is not None:
        yield _show_data(plan.data)
    if plan.inference is not None:
        yield _show_inference(plan.inference)
    if plan.bits is not None:
        yield _show_bits(plan.bits)
    if plan.recipe is not None:
        yield recipe_section(plan.recipe)
    yield _show_hours(plan, placement)
    if placement is not None:
        yield _show_memory(placement, "planned shape" if plan.given is None else "architecture")
    yield from further
    if plan.notes:
        yield Section("Read this with it", items=plan.notes)


# ---------------------------------------------------------------- sentences


def describe_budget(budget: Budget) -> str:
    """A budget in FLOPs, PF-days and the hours of its device."""
    line = f"{budget.text}: {budget.flops:.3g} FLOPs = {short(budget.pf_days)} PF-days"
    if budget.device is None or budget.utilisation is None:
        return line
    line += f" = {short(budget.device_hours)} {budget.device}-hours"
    return f"{line} at {100 * budget.utilisation:.3g} % of the dense peak"


def describe_shape(built: BuildableShape) -> str:
    """A buildable shape: its sizes and what they cost."""
    return (
        f"{name_sizes(built.shape)}: {short(built.total_params)} "
        f"parameters ({built.params_off:+.1%} off N), "
        f"{built.flops_per_token:.3g} FLOPs/token, {built.flops_off:+.1%} of C at D, "
        f"{short(built.tokens)} tokens for C"
    )


def describe_data(plan: DataLimitPlan) -> str:
    """What a limit on data asks for, and what it costs."""
    at_hand = f"{short(plan.data_limit)} tokens at hand"
    if not plan.binding:
        return f"{at_hand}: more than {plan.law} asks for"
    row = plan.best
    used_up = (
        f"; saturated: {plan.C / row['C']:.3g} times the compute gains {WITHIN:g} nats/token more"
        if plan.status == "saturated"
        else ""
    )
    return (
        f"{at_hand}: {short(row['N'])} on {short(row['D'])} tokens, {row['epochs']:.3g} passes "
        f"({row['option'].replace('_', ' ')}, by {row['law']}); {row['loss_gap']:.3g} nats/token "
        f"above the unlimited optimum, {row['C_over']:.4g} times its compute for this loss{used_up}"
    )


def describe_inference(plan: InferencePlan) -> str:
    """What serves so many tokens within the budget, and what the same loss takes."""
    here, same, best = plan.planned, plan.same_loss, plan.optimum
    data = f", {short(plan.data_limit)} unique" if plan.data_limit is not None else ""
    return (
        f"serving {short(plan.inference_tokens)} tokens: {short(here.N)} on {short(here.D)} tokens"
        f"{data}; training within the budget, {here.total_flops:.3g} FLOPs in all, loss "
        f"{here.loss:.4g}, {max(here.loss - best.loss, 0.0):.2g} above the least. The least loss, "
        f"{best.loss:.4g}, is cheapest in {short(same.N)} on {short(same.D)} tokens: "
        f"{same.total_flops:.3g} FLOPs in all, {max(plan.saving, 0.0):.1%} less than with "
        f"{short(best.N)}; its training alone takes {plan.overspent:.3g} times the budget"
    )


def describe_bits(plan: BitsPlan) -> str:
    """The model for weights of so many bits, its bytes, and what the bits cost."""
    cost = plan.added_by_rounding
    return (
        f"training in {_name_bits(plan.train_bits)}, serving in {_name_bits(plan.serve_bits)} "
        f"({plan.status}): {short(plan.N)} on {short(plan.D)} tokens, worth "
        f"{short(plan.N_effective)} in fp32; loss {plan.loss:.4g}, of which training costs "
        f"{plan.added_by_training:.2g} and rounding "
        f"{tell(cost, '.2g')} nats/token; weights "
        f"{write_gigabytes(plan.served_bytes)} GB to serve, "
        f"{write_gigabytes(plan.training_bytes)} GB of state to train"
    )


def _name_bits(bits: int) -> str:
    return "fp32" if bits == FP32 else f"{bits} bits"


def _describe_turn(plan: BitsPlan) -> str:
    if plan.turning_tokens != plan.turning_tokens:
        return "What is trained is what is served: over-training makes it no dearer."
    return (
        f"Over-training makes rounding dear: from {short(plan.turning_tokens)} tokens "
        f"({plan.turning_tokens / plan.N:.3g} a parameter) on, more training raises the served "
        "loss."
    )


# ---------------------------------------------------------------- tables


def _show_optimum(plan: Plan) -> Section:
    text = [
        describe_budget(plan.budget),
        f"Law: {plan.law} ({plan.status}); {plan.citation}",
        f"N: {plan.N_meaning}; C: {plan.C_meaning}",
    ]
    text.append(f"To train: {short(plan.N)} on {short(plan.D)} tokens{_name_binding(plan)}")
    if plan.shape is not None:
        text.append(f"To build: {describe_shape(plan.shape)}")
    if plan.raw_tokens is not None:
        text.append(f"Raw text to collect, before curation: {short(plan.raw_tokens)} tokens")
    heads, rows = ("compute-optimal", "value", "90 % interval"), []
    for name, (head, write) in OPTIMUM.items():
        number = getattr(plan, name)
        ends = " to ".join(written(end, write) for end in (number.low, number.high))
        rows.append((head, written(number.value, write), "none" if np.isnan(number.low) else ends))
    columns = tuple(map(shown, heads))
    return make_section("The plan", pd.DataFrame(rows, columns=[*heads]), columns, *text)


def _name_binding(plan: Plan) -> str:
    asked = f"; the law was asked at {plan.law_flops:.3g} FLOPs, see below"
    bound = f" (held by {', '.join(plan.binding)})" if plan.binding else ""
    is_apart = abs(np.log(plan.law_flops / plan.budget.flops)) > NOTED
    return bound + (asked if is_apart else "")


def _show_departures(rows: pd.DataFrame) -> Section:
    def write_gap(row) -> str:
        ends = row["loss_gap_low"], row["loss_gap_high"]
        return "0" if row["factor"] == 1.0 else with_interval(row["loss_gap"], *ends, "+.2g")

    columns = (
        *(SIZE, N, D, RATIO, Column("loss above the optimum", write_gap)),
        Column("compute lost", lambda row: f"{max(1 - 1 / row['C_over'], 0.0):.1%}"),
    )
    return make_section("Another size for the same compute", rows, columns)


def _show_laws(rows: pd.DataFrame) -> Section:
    text = [
        "Brackets: 90 % intervals, where a law has draws. hoffmann2022_envelope, hoffmann2022_"
        "isoflop and hoffmann2022 are approaches 1, 2 and 3. Losses of different laws do not "
        "compare. Spent/C: what N and D cost, as the law counts, over the budget."
    ]
    for row in rows.loc[rows.flops_over.sub(1).abs() > 1 - BARELY].to_dict("records"):
        text.append(
            f"{row['law']}: both together cost {row['flops_over']:.3g} C; its N leaves "
            f"{short(row['D_opt'] / row['flops_over'])} tokens for C. {row['note']}."
        )

    def write_name(row) -> str:
        return row["law"] + ("" if row["status"] == "ok" else f" ({row['status']})")

    columns = (
        Column("law", write_name),
        shown_interval("N_opt", "N", short),
        shown_interval("D_opt", "D", short),
        shown_interval("tokens_per_param", "tokens/param", write_digits),
        shown("L_opt", "loss", ".4g"),
        shown("flops_over", "spent/C", ".3g"),
    )
    return make_section("All laws at this budget", rows, columns, *text)


def _show_data(plan: DataLimitPlan) -> Section:
    note = f"*: the best that the limit allows. {plan.note}"
    columns = (
        shown("law"),
        shown("option", write=lambda option: option.replace("_", " "), star="best"),
        *(N, D, shown("epochs", "passes", ".3g"), shown("C", write=".3g")),
        *(shown("loss", write=".4g"), shown("loss_gap", "above unlimited", "+.2g")),
    )
    return make_section("With so much data", plan.table, columns, describe_data(plan), note)


def _show_inference(plan: InferencePlan) -> Section:
    text = (describe_inference(plan), "Each trained until it reaches the least loss:")
    columns = (
        *(SIZE, N, D, shown("training_flops", "training", ".3g")),
        *(shown("inference_flops", "serving", ".3g"), shown("total_flops", "total FLOPs", ".3g")),
        shown("over", "over the optimum's", ".3g", missing="never reaches this loss"),
    )
    return make_section("With so much to serve", plan.table, columns, *text)


def _show_bits(plan: BitsPlan) -> Section:
    columns = (
        shown("ratio", "tokens/param", write_digits),
        *(D, shown("cost", "added by rounding", ".2g"), shown("loss", "served loss", ".4g")),
    )
    text = (describe_bits(plan), _describe_turn(plan), *plan.notes)
    return make_section("With weights of few bits", plan.table, columns, *text)


def _show_hours(plan: Plan, placement: Placement | None) -> Section:
    hours = plan.conversions
    named = {plan.budget.device} | ({placement.device.name} if placement else set())
    share = float(hours.utilisation.iloc[0])
    assumed = plan.budget.utilisation is None and share == DEFAULT_UTILISATION
    whence = ": assumed, say utilisation=SHARE" if assumed else ""
    text = [f"At {share:.0%} of the dense peak{whence}."]
    if placement is not None:
        text.append(describe_cost(plan, placement))
    days = [name for name in hours if name.startswith("days_on_")]
    columns = (
        *(shown("device"), shown("precision", "peak of")),
        shown("device_hours", "device-hours", short),
        *(shown(name, name.replace("_", " "), write_digits) for name in days),
    )
    rows = hours.loc[hours.device.isin({*SHOWN_DEVICES, *named})]
    return make_section("The budget on devices", rows, columns, *text)


def describe_cost(plan: Plan, placement: Placement) -> str:
    """How long the planned devices take, and what that costs."""
    device, price = placement.device.name, plan.budget.price_per_hour
    row = plan.conversions.set_index("device").loc[device]
    hours = plan.hours_on(device)
    days = hours / HOURS["day"] / placement.n_devices
    money = f", {hours * price:,.0f} at {price:g} per {device}-hour" if price == price else ""
    rest = f", {plan.spent:.2g} of the budget" if plan.spent < BARELY else ""
    return (
        f"{placement.n_devices} {device} take {write_digits(days)} days at their {row.precision} "
        f"peak for the plan{rest}{money}."
    )


def _show_memory(placement: Placement, of: str) -> Section:
    device, rows = placement.device, placement.table
    text = [
        f"{placement.n_devices} {device.name} of {device.memory_bytes / GB:g} GB, "
        f"{placement.precision}, sequences at once on each: {placement.n_sequences:g}. GB on a "
        f"device; *: fits, with {1 - USABLE:.0%} left for all else. Recomputing: every layer "
        "computed again, for 4/3 of the FLOPs; fewest devices: likewise."
    ]
    text += [_describe_offload(row, device.name) for row in rows.to_dict("records") if row["host"]]
    columns = (
        *(shown("strategy"), shown("state", "states", write_gigabytes)),
        shown("total", "peak", write_gigabytes, star="fits"),
        shown("total_recomputed", "recomputing", write_gigabytes, star="fits_recomputed"),
        shown("devices_needed", "fewest devices", ",.0f", missing="never fits"),
        shown("sent", "sent a step", write_gigabytes),
        shown("host", "in all hosts", write_gigabytes),
    )
    return make_section(f"Memory of the {of} on each device", rows, columns, *text)


def _describe_offload(row: Mapping[str, Any], device: str) -> str:
    """What an offload asks of the hosts and of the way to them."""
    seconds = row["host_seconds"]
    lasts = f", {write_digits(seconds)} s at its link's full speed" if seconds == seconds else ""
    return (
        f"{row['strategy']}: {write_gigabytes(row['host'])} GB of host memory in all, "
        f"{write_gigabytes(row['host_each'])} GB for each device, and "
        f"{write_gigabytes(row['host_sent'])} GB a step between each {device} and its host{lasts}."
    )
