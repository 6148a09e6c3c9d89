"""What a comparison of two sweeps found, the answer first; and what a test would take."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from scaling.fitting.detection import DECADE, POWER, Detection, seen_at
from scaling.fitting.estimate import Estimate
from scaling.fitting.gain import TOLD, Comparison
from scaling.pages.answer import ANSWER, Answer
from scaling.pages.text import Section, Table, make_section, shown, shown_interval, tell
from scaling.quantities import LEVEL, count

GAIN = ".3f"
FLOPS = shown("budget", "C (FLOPs)", ".3g")
STATUS = shown("status")


def gain_sections(
    found: Comparison, names: tuple[str, str], wanted: tuple[float, ...] = ()
) -> Iterator[Section]:
    """Sections of a comparison of a and b; `wanted` are FLOPs to extrapolate to."""
    yield Section(ANSWER, (*_answer(found, names),))
    yield _budgets(found, wanted)
    yield Section("A better constant or a better exponent", (*_constant_or_exponent(found),))
    yield Section("Where they cross", (_crossing(found, names),))
    yield _noise(found, names)
    yield _laws(found)
    yield Section("What was compared", items=(*_compared(found, names),))


def tell_gain(
    found: Comparison | None, names: tuple[str, str], test: Detection | None = None
) -> Answer:
    """The gain, whether it lasts, where the two cross, and what a test takes."""
    told, doubts = [], []
    if found is not None:
        told = [part.replace("**", "") for part in _answer(found, names)]
        doubts = [_crossing(found, names), *_doubt_pairs(found)]
    return Answer((*told, *([] if test is None else _tell_test(test))), tuple(doubts))


def _doubt_pairs(found: Comparison) -> Iterator[str]:
    if not found.pairs:
        yield "No cell of a has its partner in b: nothing is paired."
    if found.differences:
        yield f"Paired cells differ in: {', '.join(found.differences)}."
    if found.unsaid:
        yield f"Taken on trust, as not both tables say it: the same {', '.join(found.unsaid)}."


def _tell_test(test: Detection) -> Iterator[str]:
    """The cheapest design that sees the gain, and what its own does."""
    rows = test.designs.dropna(subset=["flops"])
    if rows.empty:
        yield f"No design of these budgets sees a gain of {test.gain:g} {POWER:.0%} of the time."
        return
    row = rows.sort_values("flops").iloc[0]
    yield (
        f"What it takes to see a gain of {test.gain:g} {POWER:.0%} of the time: "
        f"{count(round(row.seeds), 'seed')} of every cell of {count(round(row.budgets), 'budget')}"
        f", to {row.largest:.3g} FLOPs, or {row.flops:.3g} FLOPs in all."
    )


def _answer(found: Comparison, names: tuple[str, str]) -> Iterator[str]:
    a, b = names
    low, high = found.budgets.min(), found.budgets.max()
    if found.status != "ok":
        yield (
            f"No gain is quoted: {found.status}: {found.reason}. The gains of single budgets below "
            "are what the minima of bowls say."
        )
        return
    gain = found.gain
    if gain.low > 1 or gain.high < 1:
        better = (a, b) if gain.low > 1 else (b, a)
        ratio = gain if gain.low > 1 else Estimate(1 / gain.value, 1 / gain.high, 1 / gain.low, "")
        yield (
            f"**{better[1]} is ahead**: {better[0]} needs {tell(ratio, GAIN)} times the compute "
            f"to reach its loss, between {low:.3g} and {high:.3g} FLOPs, if the gain is one for "
            "all budgets."
        )
    else:
        yield (
            f"**Neither is told to be ahead** between {low:.3g} and {high:.3g} FLOPs: the gain of "
            f"{b} over {a} is {tell(gain, GAIN)}, which holds 1."
        )
    if found.exponents_differ:
        grows = "grows" if found.slope.value > 0 else "shrinks"
        yield (
            f"**The gain {grows} with compute**, as C^{tell(found.slope)} (p = "
            f"{found.p_equal:.2g} of equal exponents): quote it at a budget, not as one number."
        )
    else:
        yield (
            f"Whether it lasts cannot be told: equal exponents are not excluded (p = "
            f"{found.p_equal:.2g}), and neither is a gain that changes as C^{tell(found.slope)}."
        )


def _budgets(found: Comparison, wanted: tuple[float, ...]) -> Section:
    rows = found.points.copy()
    rows["line"], rows["line_low"], rows["line_high"] = np.nan, np.nan, np.nan
    extra = [C for C in wanted if not np.isclose(C, rows.budget, rtol=0.02).any()]
    rows = pd.concat([rows, pd.DataFrame({"budget": extra})], ignore_index=True)
    lines = found.gain_at(rows.budget.to_numpy(float))
    rows["status"] = rows.status.where(rows.status == "no_minimum", lines.status)
    if found.status != "rejected":
        rows["line"], rows["line_low"], rows["line_high"] = lines.value, lines.low, lines.high
    columns = (
        FLOPS,
        shown_interval("loss_a", "L_opt of a", ".4g"),
        shown_interval("loss_b", "L_opt of b", ".4g"),
        shown_interval("gain", "gain, own minima", GAIN),
        shown_interval("line", "gain, along the lines", GAIN),
        STATUS,
    )
    text = (
        f"How many times the compute a needs to reach the loss of b at C; brackets: {LEVEL:.0%} "
        "intervals. Losses in nats/token at the minima of power bowls. Along the lines the "
        "exponents are free, so that the interval widens outside of the budgets."
    )
    return Section("Budget by budget", (text,), tables=(Table(rows, columns),), figures=("gain",))


def _constant_or_exponent(found: Comparison) -> Iterator[str]:
    lines, drawn = found.lines, found.drawn
    floor = Estimate.of(float(lines.floor[0]), drawn.floor, "ok")
    slopes = [
        tell(Estimate.of(float(getattr(lines, s)[0]), getattr(drawn, s), "ok"))
        for s in ("slope_a", "slope_b")
    ]
    seen = float(np.exp(seen_at(POWER) * np.std(drawn.excess / drawn.slope_a) * DECADE))
    yield (
        f"ln(L_opt - {tell(floor)}) falls by {slopes[0]} (a) and {slopes[1]} (b) per ln C; the "
        f"floor is one for both. Equal exponents have p = {found.p_equal:.2g}; below {TOLD:.2g} "
        "they are called different."
    )
    yield (
        f"This design sees four times in five an exponent that changes the gain x{seen:.3g} or "
        "more within ten times the compute, and no smaller one."
    )
    if np.isfinite(found.p_line):
        yield f"A straight line of ln gain over ln C has p = {found.p_line:.2g}."
        largest = found.points[found.points.status == "ok"].iloc[-1]
        one, line = found.predicted
        yield (
            f"From the smaller budgets alone the gain at {largest.budget:.3g} FLOPs would have "
            f"been {tell(one, GAIN)} as one gain and {tell(line, GAIN)} along the lines; it is "
            f"{largest.gain:{GAIN}} [{largest.gain_low:{GAIN}}, {largest.gain_high:{GAIN}}]."
        )


def _crossing(found: Comparison, names: tuple[str, str]) -> str:
    crossing, budgets = found.crossing, found.budgets
    if found.status == "rejected":
        return "Not said of lines that the runs reject."
    if np.isfinite(crossing.C.value):
        first, second = names if found.slope.value > 0 else names[::-1]
        where = "inside of" if crossing.C.status == "ok" else "outside of"
        return (
            f"{first} is ahead below, {second} above {tell(crossing.C)} FLOPs, {where} the common "
            "budgets. An end of 0 or inf: the interval is open there."
        )
    low, high = crossing.clear_low, crossing.clear_high
    if np.isfinite(low):
        return (
            f"They do not cross between {low:.3g} and {high:.3g} FLOPs: there the interval of the "
            f"gain leaves out 1 (the budgets are {budgets.min():.3g} to {budgets.max():.3g}). "
            "Beyond it nothing is said."
        )
    return "It cannot be told: in the middle of the budgets the interval of the gain holds 1."


def _noise(found: Comparison, names: tuple[str, str]) -> Section:
    paired, alone = found.gain_std, found.unpaired_std
    rows = pd.DataFrame(
        {
            "what": [
                f"noise of a run of {names[0]}, sd of ln L",
                f"noise of a run of {names[1]}, sd of ln L",
                "correlation of paired cells",
                "sd of ln gain, cells paired",
                "sd of ln gain, as if unpaired",
            ],
            "value": [
                f"{found.a.noise:.2%}",
                f"{found.b.noise:.2%}",
                f"{found.correlation:.2f}",
                f"{paired:.2%}",
                f"{alone:.2%}",
            ],
        }
    )
    saved = 1 - (paired / alone) ** 2 if alone > 0 else 0.0
    text = (
        f"{found.pairs} pairs of cells share budget, shape and seed. Pairing "
        f"{'saves' if saved >= 0 else 'adds'} {abs(saved):.0%} of the variance of ln gain."
        if found.pairs
        else "Nothing is paired."
    )
    return make_section("Noise", rows, (shown("what", ""), shown("value")), text)


def _laws(found: Comparison) -> Section:
    rows = found.laws.rename(columns={"C": "budget"})
    refused = rows.reason[rows.gain.isna()].unique()
    if len(refused):
        return Section("By parametric laws", (f"Not quoted: {refused[0]}.",))
    columns = (FLOPS, shown_interval("gain", write=GAIN), STATUS)
    text = "L = E + A / N^alpha + B / D^beta, each sweep with its own five, resampled on its own."
    return make_section("By parametric laws", rows, columns, text)


def _compared(found: Comparison, names: tuple[str, str]) -> Iterator[str]:
    for label, name, sweep in zip("ab", names, (found.a, found.b), strict=True):
        obs = sweep.data.obs
        yield f"{label}: {name}, {len(obs)} runs of {obs.C.sum():.3g} FLOPs"
    yield found.a.data.convention.describe()
    yield from _doubt_pairs(found)


def detection_section(found: Detection) -> Section:
    """What a test of a gain takes."""
    kind = "of seeds" if found.is_seed_noise else "of residuals (no cell has several seeds)"
    correlation = (
        f"cells of both arms correlate by {found.correlation:.2f}"
        if found.correlation
        else "cells of both arms are taken as unpaired"
    )
    text = (
        f"Noise {kind}: {found.noise:.2%} of the loss; {correlation}. A gain is seen where its "
        f"{LEVEL:.0%} interval leaves out 1; power is how often that happens. FLOPs are those of "
        "both arms, every run on its own: shared trunks, or an arm that is trained already, cost "
        "less."
    )
    columns = (
        shown("budgets", "budgets, smallest first"),
        shown("largest", "largest (FLOPs)", ".3g"),
        shown("power", f"power of {found.seeds:.3g} seeds", ".0%"),
        shown("seen", f"gain seen at {POWER:.0%} by them", ".3g"),
        shown("seeds", f"seeds for {POWER:.0%}", ".0f"),
        shown("flops", "FLOPs", ".3g"),
        shown("seeds_exponent", "seeds for the exponent", ".0f"),
        shown("flops_exponent", "FLOPs for it", ".3g"),
    )
    last = (
        "The exponent: one that doubles this gain, or undoes it, within ten times the compute. "
        "Few small budgets are cheapest for a gain that is one; only several tell whether it lasts."
    )
    return Section(
        f"What it takes to see a gain of {found.gain:g}",
        (text,),
        tables=(Table(found.designs, columns, last),),
    )
