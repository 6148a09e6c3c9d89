"""A pilot ladder for people: its runs, why this design, what it can be expected to tell."""

from collections.abc import Iterator

from scaling.pages.text import Section, make_section, shown, shown_interval
from scaling.planning.rehearsal import WORLDS, Pilot
from scaling.quantities import count
from scaling.quantities import format_quantity as short

EXPECTED = (
    *(shown("world"), shown("n"), shown("failed", "no answer", ".0%")),
    shown_interval("N_over", "N_opt over true", ".3g"),
    shown_interval("L_off", "loss off", "+.2%"),
    *(shown("excess", "nats lost", ".2g"), shown("excess_high", "95 %", ".2g")),
)
WEIGHED = (
    shown("design", star="chosen"),
    *(shown("runs", write=".0f"), shown("share", "of the budget", ".2%")),
    shown_interval("N_over", "N_opt over true", ".3g"),
    shown_interval("L_off", "loss off", "+.2%"),
    shown("excess_high", "nats lost, 95 %", ".2g", missing="does not fit"),
)


def pilot_sections(pilot: Pilot, where: str) -> Iterator[Section]:
    """What to train first, and what for; `where` says where the grid file is."""
    ladder = pilot.ladder
    rows = ladder.runs
    budgets = (
        "tokens a parameter " + ", ".join(f"{r:g}" for r in ladder.design.ratios)
        if ladder.design.ratios
        else "budgets " + ", ".join(f"{b:.3g}" for b in sorted(set(rows.budget))) + " FLOPs"
    )
    sizes = rows.groupby("width", as_index=False).agg(
        n_layers=("n_layers", "first"),
        N=("N", "first"),
        runs=("N", "size"),
        D_low=("D", "min"),
        D=("D", "max"),
    )
    trunks = "each size one trunk" if ladder.design.shared else "each run by itself"
    text = (
        f"{len(rows)} runs, {trunks}, {ladder.flops:.3g} FLOPs in all, {ladder.share:.2%} of "
        f"{ladder.target:.3g}; {budgets}; the largest run is {ladder.target / rows.C.max():,.0f} "
        "times smaller than what is planned.",
        where,
    )
    columns = (
        *(shown("width"), shown("n_layers", "layers"), shown("N", write=short), shown("runs")),
        *(shown("D_low", "tokens from", short), shown("D", "to", short)),
    )
    yield make_section("The pilot", sizes, columns, *text)
    yield _show_expected(pilot)
    yield _show_designs(pilot)


def _show_expected(pilot: Pilot) -> Section:
    text = (
        f"Rehearsed: losses drawn with a seed noise of {pilot.noise:.2%}, half of it shared in a "
        "trunk, and fitted as law=results/FOLDER would; the optimum at the whole budget as found, "
        "against that of the world drawn from. Brackets: 90 % of the rehearsals. "
        "Worlds are few and the truth is another one: results/pilot tells how such promises held.",
        "Worlds: " + "; ".join(f"{name}: {meaning}" for name, meaning in WORLDS.items()) + ".",
    )
    return make_section("What the pilot can be expected to tell", pilot.expected, EXPECTED, *text)


def _show_designs(pilot: Pilot) -> Section:
    rows = pilot.weighed.assign(chosen=pilot.weighed.design == pilot.ladder.design.name)
    text = (
        "*: chosen, as it loses least: nats/token that its N costs over the best N at the whole "
        "budget, 95 % quantile over all worlds; chosen by few rehearsals, so the table above draws "
        "anew."
    )
    return make_section("Designs weighed by the same rehearsal", rows, WEIGHED, text)


def tell_pilot(pilot: Pilot, where: str) -> str:
    """The runs to train first in a sentence, and how to go on."""
    ladder = pilot.ladder
    return (
        f"Pilot: {count(len(ladder.runs), 'run')} of {ladder.flops:.3g} FLOPs in all, "
        f"{ladder.share:.2%} of the budget. {where}"
    )
