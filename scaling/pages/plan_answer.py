"""A plan in a few sentences: what to train, on what, whether it fits, what to distrust."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from scaling.fitting.estimate import Estimate
from scaling.hardware.devices import GB
from scaling.pages.answer import Answer
from scaling.pages.given import describe_given
from scaling.pages.goals import describe_answer
from scaling.pages.layouts import write_degrees, write_rest
from scaling.pages.plans import describe_bits, describe_cost, describe_data, describe_inference
from scaling.pages.text import tell
from scaling.pages.words import describe_verdict, name_sizes, write_digits, write_gigabytes
from scaling.planning.laid_out import LaidOut
from scaling.planning.placement import Placement
from scaling.planning.plan import Plan
from scaling.planning.recipe import TrainingRecipe
from scaling.quantities import format_quantity as short

CLOSE = 1.1  # factor that two laws are not apart
LONG = 40  # characters of a law's path that leave the sentence its numbers


def tell_plan(
    plan: Plan,
    a: Estimate | None = None,
    placement: Placement | None = None,
    layouts: LaidOut | None = None,
    *more: str,
) -> Answer:
    """The plan; `a` is the exponent of the law's N_opt ~ C^a, `more` are sentences of others.

    The first two sentences are what the law asks for and what to train.
    """
    found = [_tell_optimum(plan, a), _tell_trained(plan)]
    if placement is not None:
        found.append(f"{describe_cost(plan, placement)} {_tell_memory(placement, layouts)}")
    found += [*_tell_asked(plan), *more]
    if plan.recipe is not None:
        found.append(_tell_recipe(plan.recipe))
    laws = () if plan.comparison is None else tuple(_doubt_law(plan))
    return Answer(tuple(found), (*laws, *(f"{note}." for note in plan.notes)))


def _tell_asked(plan: Plan) -> Iterator[str]:
    """What only some plans hold, as it was asked for."""
    if plan.verdict is not None:
        yield f"{describe_verdict(plan.verdict)}."
    if plan.data is not None:
        yield f"{describe_data(plan.data)}."
    if plan.inference is not None:
        yield f"{describe_inference(plan.inference)}."
    if plan.bits is not None:
        yield f"{describe_bits(plan.bits)}."
    if plan.asks_more:
        yield f"{describe_answer(plan.answer)}."


def _tell_optimum(plan: Plan, a: Estimate | None) -> str:
    numbers = (plan.tokens_per_param, plan.N_opt, plan.D_opt)
    ratio, (N, D) = tell(numbers[0], write_digits), (tell(n, short) for n in numbers[1:])
    loss = plan.L_opt.value
    loss = f", loss {tell(plan.L_opt, '.4g')} nats/token" if loss == loss else ""
    growth = "" if a is None else f"; N_opt grows as C^a with a = {tell(a)}"
    return (
        f"{ratio} tokens per parameter at {plan.law_flops:.3g} FLOPs by {_name_law(plan.law)} "
        f"({plan.status}): N_opt {N} parameters, D_opt {D} tokens{loss}{growth}."
    )


def _name_law(law: str) -> str:
    """A law as it was asked for; of a long path the end."""
    return law if len(law) <= LONG else str(Path("...", *Path(law).parts[-2:]))


def _tell_trained(plan: Plan) -> str:
    """What to train, held by what, and the shape to build."""
    if plan.given is not None:
        return f"{describe_given(plan.given)}."
    held = f" (held by {', '.join(plan.binding)})" if plan.binding else ""
    line = f"Train {short(plan.N)} parameters on {short(plan.D)} tokens{held}"
    if plan.shape is None:
        return f"{line}; no shape can be built."
    return f"{line}: {name_sizes(plan.shape.shape)}."


def _tell_memory(placement: Placement, layouts: LaidOut | None) -> str:
    """The fastest layout that fits, or whether any strategy does."""
    device = placement.device
    if layouts is not None and len(layouts.table):
        row = layouts.table.head(1).to_dict("records")[0]
        fits = "It fits" if row["fits"] else "It does not fit"
        low, high = f"{row['mfu_low']:.0%}", f"{row['mfu_high']:.0%}"
        return (
            f"{fits}: {write_degrees(row)}, {write_rest(row)} take {row['memory'] / GB:.3g} of "
            f"{device.memory_bytes / GB:g} GB at an estimated MFU of {row['mfu']:.0%} "
            f"[{low}, {high}]."
        )
    rows = placement.table
    good = rows[rows.fits_recomputed]
    if good.empty:
        return f"It fits {placement.n_devices} {device.name} by no strategy."
    row = good.iloc[0]
    size = row.total if row.fits else row.total_recomputed
    how = "" if row.fits else ", layers computed again"
    return (
        f"It fits by {row.strategy}{how}: {write_gigabytes(size)} of "
        f"{device.memory_bytes / GB:g} GB."
    )


def _tell_recipe(recipe: TrainingRecipe) -> str:
    return (
        f"Recipe by {recipe.rule} ({recipe.status}): {recipe.steps:,} steps of "
        f"{short(recipe.batch_tokens)} tokens, peak rate {recipe.lr:.3g}: bracket it by x2."
    )


def _doubt_law(plan: Plan) -> Iterator[str]:
    """How far other laws are from the plan's."""
    assert plan.comparison is not None
    rows = pd.DataFrame(plan.comparison).dropna(subset="N_opt").sort_values("N_opt")
    low, high = rows.iloc[0], rows.iloc[-1]
    if high.N_opt > CLOSE * low.N_opt:
        yield (
            f"Laws disagree at this budget: N_opt {short(low.N_opt)} ({low.law}) to "
            f"{short(high.N_opt)} ({high.law})."
        )
