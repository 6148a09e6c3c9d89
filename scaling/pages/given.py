"""A given architecture for people: what it is, what it costs, where it stands."""

from scaling.pages.text import Section, Table, shown, tell
from scaling.pages.words import describe_verdict, name_sizes, write_digits, write_gigabytes
from scaling.planning.given import GivenPlan
from scaling.quantities import format_quantity as short

KB = 1e3  # bytes


def given_section(plan: GivenPlan) -> Section:
    """All of a given architecture: its size, its groups, its bytes, its place on the law."""
    groups = (
        shown("group"),
        shown("total", "parameters", ",d"),
        shown("active", "of a token", ",d"),
        shown("multiplied", "in its products", ",d"),
    )
    serving = (
        shown("format"),
        shown("weights", "weights (GB)", write_gigabytes),
        shown("cache_per_token", "cache a token (kB)", lambda size: write_digits(size / KB)),
        shown("cache_per_sequence", "cache a sequence (GB)", write_gigabytes),
    )
    return Section(
        "The given architecture",
        tuple(
            filter(None, (describe_given(plan), describe_verdict(plan.verdict), _name_loss(plan)))
        ),
        plan.notes,
        (Table(plan.groups, groups), Table(plan.serving, serving)),
    )


def describe_given(plan: GivenPlan) -> str:
    """Sizes, exact parameters and FLOPs, and what the budget makes of them."""
    a, total = plan.architecture, plan.total_params
    passed = f", {plan.active_params:,} of a token" if a.mixture else ""
    keys = f", {a.kv_heads} for keys" if a.kv_heads != a.n_heads and not a.kv_rank else ""
    budget = "" if abs(plan.spent - 1) < 1e-9 else f", {plan.spent:.3g} times the budget"
    return (
        f"{a.name}: {name_sizes(a, keys)}: {total:,} parameters{passed}; "
        f"{plan.flops_per_token:.4g} training FLOPs a token, {plan.attention_share:.1%} of them in "
        f"attention; {short(plan.D)} tokens for {plan.flops:.3g} FLOPs{budget}"
    )


def _name_loss(plan: GivenPlan) -> str:
    """The law's loss, of a mixture twice, and what it asks for at the same compute."""
    verdict, said = plan.verdict, ""
    if verdict.loss.value == verdict.loss.value:
        said = f"loss by {verdict.law}: {tell(verdict.loss, '.4g')} with N = {short(verdict.N)}"
        if plan.architecture.mixture:
            said += (
                f", those of a token; {tell(plan.dense_loss, '.4g')} for a dense model of all "
                f"{short(plan.total_params)}"
            )
        said += "; "
    optimum = f"{short(verdict.N_opt.value)} on {short(verdict.D_opt.value)} tokens"
    return f"{said}at its compute {verdict.law} asks for {optimum}"
