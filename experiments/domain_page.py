"""What domain.py writes: tables, laws, figures and the page of results/domain."""

import numpy as np
import pandas as pd
from domain_tables import (
    GENERAL,
    LIMIT,
    PAPER_R,
    RATIO,
    compare_orders,
    compare_repeats,
    compare_shares,
    compare_tokenizers,
    fit_repeats,
    law_loss,
    list_parameters,
    plan_limits,
    read_ended,
)

from scaling.figures.domain import limit_figure, mixing_figure, repeats_figure
from scaling.figures.saving import save_figure
from scaling.files import write_table, write_text
from scaling.fitting.result import LEVEL
from scaling.pages.text import (
    Section,
    Table,
    make_section,
    markdown,
    shown,
    shown_interval,
    tell,
    with_interval,
)
from scaling.quantities import format_quantity as short
from scaling.tables.runs import runs_to_csv

REPEATS = "Muennighoff et al. 2023 (arXiv:2305.16264)"
BLOOMBERG = "Wu et al. 2023 (BloombergGPT, arXiv:2303.17564)"
CONTINUED = "Ibrahim et al. 2024 (arXiv:2403.08763)"
SIZE = shown("N", "N", short)


def write_record(folder, runs: pd.DataFrame, planned: int, expected: pd.DataFrame) -> None:
    """Write the record: runs, tables, laws, figures and README.md."""
    table, (law, refused) = read_ended(runs), fit_repeats(runs)
    mixing, orders = compare_shares(table), compare_orders(table)
    tokenizers, repeats = compare_tokenizers(table), compare_repeats(table, law, expected)
    write_text(folder / "runs.csv", runs_to_csv(runs))
    tables = {"mixing": mixing, "orders": orders, "tokenizers": tokenizers, "repeats": repeats}
    for name, found in tables.items():
        write_table(folder / f"{name}.csv", found)
    later = orders.loc[orders.name.str.startswith("then")]
    save_figure(mixing_figure(mixing, later), folder / "mixing.png")
    sections = [
        tell_runs(runs, planned),
        compare_paper(mixing, orders, tokenizers, repeats, law),
        show_mixing(mixing),
        show_orders(orders),
        show_tokenizers(tokenizers),
    ]
    if law is None or repeats.empty:
        sections.append(Section("Repeated", (f"Nothing to fit yet: {refused or 'no repeats'}.",)))
    else:
        write_table(folder / "fits.csv", list_parameters(law))
        save_figure(draw_repeats(table, repeats, law), folder / "repeats.png")
        plans = plan_limits(law)
        write_table(folder / "limit.csv", plans)
        alone = table.loc[table.arm.isin(["domain", "new"])].rename(columns={"flops": "C"})
        save_figure(limit_figure(plans, LIMIT, alone), folder / "limit.png")
        sections += [show_repeats(repeats, law), show_limit(plans, law)]
    write_text(folder / "README.md", f"# General text and a domain\n\n{markdown(sections)}\n")


def draw_repeats(table, repeats, law):
    """Return the figure of repeats, with the lines of the paper's R_D and of the law."""
    alone = table.loc[table.arm.isin(["new", "domain", "repeated"])].drop_duplicates("run_id")
    alone = alone.assign(kind=np.where(alone.arm == "repeated", "repeated", "new"))
    names = "new tokens worth as much", "law of repeats"
    lines = [repeats.assign(D=LIMIT * repeats.passes, loss=repeats.domain_other + repeats.foretold)]
    lines[0]["name"] = names[0]
    D = np.geomspace(LIMIT, alone["D"].max(), 40)
    for N in sorted(alone.N.unique()):
        lines.append(pd.DataFrame({"N": N, "D": D, "name": names[1]}))
        lines[-1]["loss"] = law_loss(law.params, N, D, LIMIT)
    R_D = dict(zip(names, (PAPER_R["R_D"], law.params["R_D"]), strict=True))
    return repeats_figure(alone.assign(loss=alone.domain), pd.concat(lines), repeats, R_D)


def tell_runs(runs, planned):
    """Say what was trained, and what of the plan was not."""
    ok = runs.loc[runs.status == "ok"]
    sizes = ", ".join(short(N) for N in sorted(ok.total_params.unique()))
    left = "" if len(runs) == planned else "; the same command trains the rest"
    seeds = ok.groupby("arm", sort=False).apply(lambda rows: rows.groupby("seed").size().to_dict())
    there = "; ".join(
        f"{arm} " + " and ".join(f"{n} of seed {seed}" for seed, n in found.items())
        for arm, found in seeds.items()
    )
    alone = ok.drop_duplicates("run_id")
    return Section(
        "What was trained",
        (
            "Made by `python experiments/domain.py`. GPTs of N "
            f"{sizes} (all parameters, the token table among them), context 128, vocabulary 1,024, "
            f"batches of 512 tokens; general text is {GENERAL} (Wikipedia), the domain PubMed's "
            "titles and abstracts. Unless another tokenizer is named, it is one trained on both "
            f"corpora, so that nats/token of the same corpus compare. D is {RATIO:.4g} tokens per "
            "parameter, as BloombergGPT saw, none of them twice unless repeats are said. Losses: "
            "512 held-out windows of each corpus, the same for all runs.",
            f"**{len(runs)} of {planned} planned rows are in this record**{left}: {there}. "
            f"{len(alone)} models in {alone.trunk_id.nunique()} trunks, "
            f"{alone.wall_s.sum() / 60:.0f} minutes of wall time on one thread of a machine that "
            "others used (AMD EPYC, two cores, no GPU).",
            f"Brackets: {LEVEL:.0%} intervals of a mean over seeds, by Student's t with the spread "
            "between seeds that all cells of a table share; differences are taken seed by seed. "
            "They know of seeds, not of other corpora, rates or sizes. Without a second seed there "
            "is no bracket.",
        ),
    )


def show_mixing(mixing):
    """Losses by share, and what tokens of one corpus are worth for the other."""
    columns = (SIZE, shown("share", "domain", ".0%"))
    columns += (shown_interval("general", "general loss", ".3f"),)
    columns += (shown_interval("general_added", "over general alone", "+.3f"),)
    columns += (shown_interval("domain", "domain loss", ".3f"),)
    columns += (shown_interval("domain_added", "over domain alone", "+.3f"),)
    columns += (shown_interval("for_general", "domain token for general", ".2f"),)
    columns += (shown_interval("for_domain", "general token for domain", ".2f"),)
    text = (
        "As many tokens in every row of a size; nats/token. The last two columns: how many tokens "
        "of the corpus itself a token of the other one stood for. (Tokens of a run on one corpus "
        "alone that ends at the same loss, less those of that corpus, over those of the other; 0: "
        "of no use, 1: as good, below 0: in the way. Missing where no such run is as bad or as "
        "good, or where there are none of the other.)",
    )
    return Section("Mixed", text, tables=(Table(mixing, columns),), figures=("mixing",))


def show_orders(orders):
    """General text first and the domain after it, beside both mixed."""
    columns = (SIZE, shown("name", "trained on"))
    for kind in ("general", "domain"):
        columns += (shown_interval(kind, f"{kind} loss", ".3f"),)
        columns += (shown_interval(f"{kind}_added", "over mixed", "+.3f"),)
    columns += (shown_interval("above", "domain loss over the line", "+.3f"),)
    text = (
        "49 % of D on general text, cooled down and saved; then 51 % on the domain with a warm-up "
        "of its own, again to the peak rate times the factor that is named, and a second cooldown; "
        "Adam begins anew. *Replayed*: so many of the later tokens are general ones (the general "
        "split from its start, so they were seen). Mixed: the same numbers of tokens all along. "
        "*Over the line*: over a mixture of as many tokens and the same general loss, on the line "
        "between the shares of the figure.",
    )
    return make_section("One after the other", orders, columns, *text)


def show_tokenizers(tokenizers):
    """Bits per byte of the domain by whose tokenizer it is."""
    columns = (SIZE, shown("tokenizer", "tokenizer of"))
    columns += (shown("bytes_per_token", "bytes/token", ".3f"),)
    columns += (shown_interval("bits", "domain, bits/byte", ".4f"),)
    columns += (shown_interval("bits_added", "over its own", "+.4f"),)
    text = (
        "Trained on the domain alone, as many *tokens* and FLOPs in every row of a size: a "
        "tokenizer with more bytes a token has seen more text for them, which is part of what it "
        "is worth. All have 1,024 tokens. Held out: 512 windows of tokens, which end a few "
        "kilobytes apart in the same text.",
    )
    return make_section("Whose tokenizer", tokenizers, columns, *text)


def show_repeats(repeats, law):
    """Losses on repeated tokens beside new ones, and what laws say."""
    columns = (SIZE, shown("passes", write=".0f"), shown("domain_other", "new tokens", ".3f"))
    columns += (shown_interval("domain", "repeated", ".3f"),)
    columns += (shown_interval("domain_added", "added", "+.3f"),)
    columns += (
        shown("expected", "expected", "+.3f"),
        shown("foretold", f"R_D {PAPER_R['R_D']:.3g}", "+.3f"),
    )
    columns += (shown("fitted", "fitted", "+.3f"),)
    columns += (shown_interval("worth", "worth/unique", ".3g"),)
    value = shown_interval("value", f"value [{LEVEL:.0%}]")
    shape = (shown("parameter"), value, shown("status"), shown("runs"))
    R_D, R_N = (f"{PAPER_R[name]:.3g}" for name in ("R_D", "R_N"))
    text = (
        f"{short(LIMIT)} unique tokens of the domain, seen 1 to 32 times, beside as many new ones. "
        "*Expected* was written before the first run (expected.csv): the reference sweep's law of "
        f"enwik8 with R_D {R_D} and R_N {R_N} of {REPEATS}. *R_D {R_D}*: what so many fewer new "
        "tokens lost here, no repeated run and no law of N and D having a say. *Fitted*: the law "
        "of repeats, of all runs on the domain alone. *Worth*: new tokens that end at the same "
        "loss, over the unique ones; missing where new tokens never were as bad.",
        "At one pass nothing is repeated. What is added there is the price of the sample: its "
        "windows lie side by side in few abstracts, those of the new tokens are drawn "
        "from all. It is in every later row.",
        f"Law of repeats: {tell_fit(law)}.",
    )
    tables = Table(repeats, columns), Table(list_parameters(law), shape)
    return Section("Repeated", text, tables=tables, figures=("repeats",))


def tell_fit(fit):
    """Say the status of a fit, and what the runs hold against it."""
    lack = fit.lack_of_fit
    return f"status {fit.status}" + ("" if lack is None else f"; {lack.describe()}")


def show_limit(plans, law):
    """N and D by the law, with and without the limit."""
    rows = plans.loc[plans.option.isin(["unlimited", "repeated", "one_pass"])]
    rows = rows.loc[rows.budget.isin(plans.budget.unique()[::8])]
    columns = (shown("budget", "C (FLOPs)", ".2g"), shown("option"), SIZE, shown("D", "D", short))
    columns += (shown("epochs", "passes", ".3g"), shown("loss", "loss", ".3f"))
    columns += (shown("loss_gap", "over no limit", "+.3f"),)
    text = (
        f"Best N and D at C FLOPs by the law of repeats above ({law.status}): without a limit, or "
        f"with {short(LIMIT)} unique tokens repeated, or each seen once by a larger model. No "
        "intervals: a drawing of that law, and beyond the grey dots an extrapolation.",
    )
    tables = (Table(rows, columns),)
    return Section("N and D under a limit", text, tables=tables, figures=("limit",))


def compare_paper(mixing, orders, tokenizers, repeats, law):
    """What papers report beside what is seen here, a sentence a table that has rows."""
    half = mixing.loc[mixing.share == 0.51]
    foreign = tokenizers.loc[tokenizers.tokenizer == GENERAL]
    few = repeats.loc[repeats.passes == 4]
    later = {name: rows for name, rows in orders.groupby("name") if name.startswith("then")}
    items = []
    if len(half):
        items += [
            "Reported: better on finance than known models and no worse on general benchmarks, "
            f"with 51 % of the domain ({BLOOMBERG}; beside others' models, none without it). Here "
            f"51 % {tell_sign(half, 'general_added', 'costs general loss', 'helps it')} over "
            f"as many general tokens: {tell_rows(half, 'general_added', '+.3f')} nats/token. A "
            f"token of the domain stood for {tell_rows(half, 'for_general', '.2f')} general ones.",
            f"The same mixture on the domain: {tell_rows(half, 'domain_added', '+.3f')} nats/token "
            "over as many tokens of it. A general token stood for "
            f"{tell_rows(half, 'for_domain', '.2f')} of the domain.",
        ]
    if later:
        items.append(
            "Reported: second warm-up, second decay and replay do as well as all anew "
            f"({CONTINUED}). Here, beside the mixture of 51 %, in nats/token:"
        )
    for name, rows in later.items():
        items.append(
            f"general text first, {name}: on the domain {tell_rows(rows, 'domain_added', '+.3f')}, "
            f"on general text {tell_rows(rows, 'general_added', '+.3f')}; on the domain over a "
            f"mixture of the same general loss {tell_rows(rows, 'above', '+.3f')}."
        )
    if len(foreign):
        items.append(
            "BloombergGPT's tokenizer was trained on general text. Here one of general text "
            f"{tell_sign(foreign, 'bits_added', 'costs the domain', 'saves the domain')} "
            f"{tell_rows(foreign, 'bits_added', '+.4f')} bits/byte over its own, on as many tokens."
        )
    if len(few) and law:
        R_D = law.param("R_D")
        items.append(
            "Reported: up to 4 passes are about as good as new tokens, R_D = "
            f"{PAPER_R['R_D']:.3g} ({REPEATS}). Here 4 passes add "
            f"{tell_rows(few, 'domain_added', '+.3f')} nats/token where that R_D says "
            f"{tell_rows(few, 'foretold', '+.3f')}; the law of repeats ({law.status}) has R_D = "
            f"{tell(R_D)}."
        )
        least = repeats.loc[repeats.groupby("N").domain.idxmin()]
        told = ", ".join(f"{row['passes']:g} at {short(row['N'])}" for _, row in least.iterrows())
        items.append(f"The lowest loss on 100k unique tokens, of 1 to 32 passes: {told}.")
    return Section("What holds at this scale", items=tuple(items))


def tell_rows(rows, name, write):
    """Write a value of each size, smallest first."""
    told = (
        f"{with_interval(row[name], row[f'{name}_low'], row[f'{name}_high'], write)}"
        for row in rows.sort_values("N").to_dict("records")
    )
    return ", ".join(told) + " (N " + ", ".join(short(N) for N in sorted(rows.N)) + ")"


def tell_sign(rows, name, above, below):
    """Say which way it goes, if all sizes and intervals agree."""
    low, high = (rows[f"{name}_{end}"].fillna(rows[name]) for end in ("low", "high"))
    if (low > 0).all():
        return above
    return below if (high < 0).all() else f"neither surely {above} nor {below}:"
