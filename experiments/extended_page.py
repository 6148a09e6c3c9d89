"""The page of a grid beyond the known runs: what was predicted, what came, and what of "20".

Of whatever is trained: what is missing is said, and what cannot be fitted yet is left out.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from scaling.errors import FitError
from scaling.figures.predicted import predicted_figure
from scaling.figures.saving import save_figure
from scaling.files import write_text
from scaling.fitting.conventions import convention_table, fit_conventions
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.prepared import prepare
from scaling.fitting.report import Report
from scaling.fitting.settings import FitSettings
from scaling.laws.papers import TOKENS_PER_PARAM_RULE as RULE
from scaling.pages.fit_answer import tell_report
from scaling.pages.fits import answer_section
from scaling.pages.text import Section, make_section, markdown, shown, shown_interval
from scaling.quantities import LEVEL
from scaling.quantities import format_quantity as short
from scaling.tables.noise import seed_noise
from scaling.tables.observations import Convention
from scaling.tables.runs import load_runs, runs_to_csv

METHODS = {"isoflop_power": fit_isoflop_power, "isoflop": fit_isoflop}
ONE_SETTING = ("grid", "seed", "again")  # parts that are fitted with the runs before
SIDES = ("context", "vocabulary")
HALF = "half_batch"
APART = (*SIDES, HALF)  # parts of another setting
CELL = ["C", "width", "seed"]
SIDE_C = 4e12  # where vocabulary and context are compared
RATIO, ENDS = "tokens_per_param", ("_low", "_high")


def gather(folder: Path, part: str) -> pd.DataFrame:
    """Finished runs of a part: of its records, and what runs.csv keeps of earlier ones."""
    paths = sorted((folder / "records" / part).glob("records/*.json"))
    rows = [json.loads(path.read_text())["row"] for path in paths]
    new = pd.DataFrame([row for row in rows if row.get("status") in ("ok", "diverged")])
    if (folder / "runs.csv").is_file():
        kept = load_runs(folder / "runs.csv")
        kept = kept[kept.part.eq(part) & ~kept.run_id.isin(new.get("run_id", []))]
        new = pd.concat([new, kept.drop(columns="part")], ignore_index=True)
    return load_runs(new) if len(new) else pd.DataFrame()


def fit_minima(runs: pd.DataFrame, settings: FitSettings) -> pd.DataFrame:
    """Bowls of all budgets, for both N by both methods, a row each; empty where too few runs."""
    found = []
    for N, (method, fit) in product(("total", "non_embedding"), METHODS.items()):
        try:
            with warnings.catch_warnings(action="ignore"):
                bowls = fit(prepare(runs, convention=Convention(N, "counted")), settings)
        except FitError:
            continue
        found.append(bowls.minima.assign(method=method, N=N))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def judge(predictions: pd.DataFrame, minima: pd.DataFrame) -> pd.DataFrame:
    """Predictions beside what the power bowl of the budget says, and whether they held it."""
    keys = ["N", "C"]
    known = minima[(minima.method == "isoflop_power") & (minima.status == "ok")]
    known = known.assign(C=known.budget.round(-9))[
        [*keys, *columns_of(RATIO), *columns_of("L_opt")]
    ]
    near = predictions.assign(C=predictions.C.round(-9))
    table = near.merge(known, on=keys, suffixes=("", "_found"))
    for name in (RATIO, "L_opt"):
        value = table[f"{name}_found"]
        low, high = (table[f"{name}{end}_found"].fillna(value) for end in ENDS)
        inside = value.between(table[f"{name}_low"], table[f"{name}_high"])
        meets = (low <= table[f"{name}_high"]) & (high >= table[f"{name}_low"])
        wide = value.between(table[f"{name}_wide_low"], table[f"{name}_wide_high"])
        said = np.select([inside, meets, wide], ["held", "overlaps", "held widened"], "missed")
        table[f"{name}_verdict"] = np.where(table[f"{name}_low"].isna(), "no interval", said)
    return table


def columns_of(name: str) -> list[str]:
    """A quantity and the ends of its interval."""
    return [name, *(name + end for end in ENDS)]


def judge_runs(predicted: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """How far each law missed the losses of single runs, and the share that its intervals held."""
    known = runs.assign(C=runs.flops_budget.round(-9))[["C", "width", "loss"]]
    table = predicted.assign(C=predicted.C.round(-9)).merge(
        known, on=["C", "width"], suffixes=("", "_found")
    )
    table["error"] = table.loss / table.loss_found - 1
    table["held"] = table.loss_found.between(table.loss_low, table.loss_high)
    rms = ("error", lambda e: float(np.sqrt((e**2).mean())))
    found = table.groupby(["N", "method"], as_index=False).agg(
        runs=("held", "size"), held=("held", "mean"), rms=rms, bias=("error", "mean")
    )
    return found.sort_values(["N", "rms"], ascending=[False, True])


def side_rows(reference: pd.DataFrame, sides: dict[str, pd.DataFrame], settings) -> pd.DataFrame:
    """Optimum at 4e12 FLOPs with another vocabulary or context, and of the reference there."""
    rows = []
    for name, runs in {"reference": reference, **sides}.items():
        if not len(runs):
            continue
        for N in ("total", "non_embedding"):
            facts = {"setting": name, "N": N}
            facts |= {key: int(runs[key].iloc[0]) for key in ("vocab_size", "seq_len")}
            try:
                with warnings.catch_warnings(action="ignore"):
                    data = prepare(runs, convention=Convention(N, "counted"))
                    fit = fit_isoflop_power(data, settings)
            except (FitError, ValueError) as error:
                rows.append(facts | {"status": str(error).partition(":")[0].partition(";")[0]})
                continue
            for quantity in ("N_opt", RATIO, "L_opt"):
                e = getattr(fit, quantity)(SIDE_C)
                facts |= dict(zip(columns_of(quantity), (e.value, e.low, e.high), strict=True))
            rows.append(facts | {"status": e.status})
    return pd.DataFrame(rows).reindex(
        columns=["setting", "vocab_size", "seq_len", "N"]
        + [c for q in ("N_opt", RATIO, "L_opt") for c in columns_of(q)]
        + ["status"]
    )


def minima_by_batch(
    minima: pd.DataFrame, runs: pd.DataFrame, half: pd.DataFrame, settings: FitSettings
) -> pd.DataFrame:
    """Power bowls by the rule's batch and by half of it, of budgets that have both at every size.

    They share the draws of the bootstrap, and the runs of all other budgets; `minima` are those of
    `runs`, all by the rule.
    """
    runs, half = (t.assign(C=t.flops_budget.round(-9)).set_index(CELL) for t in (runs, half))
    changed, found = ["loss", "tokens", "flops"], []
    for C, halved in half[changed].groupby("C"):
        if {*runs.loc[C].index} != {*halved.loc[C].index}:
            continue
        other = runs.copy()
        other.loc[halved.index, changed] = halved
        halves = fit_minima(other.reset_index().drop(columns="C"), settings)
        for batch, table in (("the rule's", minima), ("half of it", halves)):
            here = (table.budget.round(-9) == C) & (table.method == "isoflop_power")
            found.append(table[here].assign(batch=batch))
    order = ["N", "budget"]
    table = pd.concat(found) if found else pd.DataFrame(columns=order)
    return table.sort_values(order, ascending=[False, True], kind="stable")


def batch_sections(own: pd.DataFrame, half: pd.DataFrame, minima: pd.DataFrame, noise: float):
    """Yield what half the rule's batch gains, cell by cell, and where the bowls' minima go.

    `noise` is the spread of seeds, of the loss.
    """
    own, half = (t.assign(C=t.flops_budget.round(-9)) for t in (own, half))
    gains = own.merge(half, on=CELL, suffixes=("", "_half")).sort_values(CELL)
    gains = gains.assign(
        D_over_N=gains.tokens / gains.total_params, gain=gains.loss - gains.loss_half
    )
    rise, error = slope_of(np.log2(gains.width), gains.gain, gains.C)
    text = (
        "In whole windows, at the rate of the rule for that batch; one seed, another processor. "
        f"Two spreads of such a difference between seeds are {2 * 2**0.5 * noise:.2%} of a loss "
        f"({noise:.2%} between seeds, all that these records repeat). The gain rises by {rise:.3f} "
        f"+- {error:.3f} nats (90 % interval, by its own scatter) with every doubling of the width."
    )
    columns = (shown("C", write=".4g"), shown("width"), shown("D_over_N", "D/N", ".3g"))
    columns += (shown("steps"), shown("batch_tokens", "batch"), shown("loss", write=".4f"))
    columns += (shown("steps_half", "steps"), shown("batch_tokens_half", "half"))
    columns += (shown("loss_half", "loss", ".4f"), shown("gain", write="+.4f"))
    yield make_section("Half the batch", gains, columns, text)
    columns = (shown("N"), shown("budget", "C", ".4g"), shown("batch"))
    columns += (shown_interval("N_opt", write=short), shown_interval(RATIO, "tokens/param"))
    columns += (shown_interval("L_opt", write=".4g"), shown("status"))
    text = "Power bowls, with other budgets by the rule and the same draws."
    yield make_section("Minima by batch", minima, columns, text)


def slope_of(x: pd.Series, y: pd.Series, group: pd.Series) -> tuple[float, float]:
    """Slope of y on x within groups, and half of its 90 % interval by the residuals."""
    x, y = (v - v.groupby(group).transform("mean") for v in (x, y))
    slope = float(x @ y / (x @ x))
    freedom = len(x) - group.nunique() - 1
    error = np.sqrt(((y - slope * x) ** 2).sum() / freedom / (x @ x))
    return slope, float(error * stdtrit(freedom, (1 + LEVEL) / 2))


def doubt_batch(minima: pd.DataFrame) -> list[str]:
    """What half the rule's batch does to the ratio, in a sentence if any is known; N total."""
    good = minima[(minima.N == "total") & (minima.status == "ok")]
    table, told = good.set_index(["batch", "budget"]).sort_index(), []
    for C in good.budget.unique():
        if {("the rule's", C), ("half of it", C)} <= {*table.index}:
            rule = table.loc[("the rule's", C), RATIO]
            half = shown_interval(RATIO).write(table.loc[("half of it", C)])
            told.append(f"{half} instead of {rule:.3g} at {C:.4g} FLOPs")
    said = f"No interval holds the choice of the batch: half of the rule's says {', '.join(told)}."
    return [said] if told else []


def rule_section(reports: Sequence[Report], C: float) -> Section:
    """On which side of the rule of thumb lies what each N says."""
    told = []
    for report in reports:
        said, (method, _) = " ".join(tell_report(report).found), report.recommended
        if method is not None:
            ratio = report[method].tokens_per_param(C)
            side = "below" if ratio.low > RULE else "above" if ratio.high < RULE else "inside of"
            said += f" {RULE:g} lies {side} the interval."
        told.append(said)
    return Section(f"Is it {RULE:g}?", items=tuple(told), figures=("predicted",))


def write_page(
    folder: Path,
    lead: str,
    before: pd.DataFrame,
    planned: dict[str, int],
    cells: Sequence[tuple[float, int]],
    settings: FitSettings,
    doubts: Sequence[str] = (),
) -> str:
    """Write the tables and the page of what there is; return the page.

    `lead` is its title and how it was made; `planned` tells how many runs each part has, `cells`
    the budgets (FLOPs) and widths of the grid; `doubts` of other runs stand beside its own.
    """
    parts = {name: gather(folder, name) for name in planned}
    main = [table for name, table in parts.items() if len(table) and name in ONE_SETTING]
    own = pd.concat(main, ignore_index=True) if main else pd.DataFrame()
    sections = [trained_section(parts, planned, own)]
    if main:
        there = {*zip(own.flops_budget.round(-9), own.width, strict=True)}
        missing = [
            f"width {w} at {C:.4g} FLOPs" for C, w in cells if (round(C, -9), w) not in there
        ]
        odd = [*doubts, *([f"Not trained: {', '.join(missing)}."] if missing else [])]
        runs = pd.concat([before, own], ignore_index=True)
        alike = [table for name, table in parts.items() if name not in APART]
        twins = twin_section(pd.concat([before, *alike], ignore_index=True), own)
        minima, batches = fit_minima(runs, settings), []
        if len(half := parts.get(HALF, ())):
            repeated = seed_noise(pd.concat([before, *parts.values()]))
            both = minima_by_batch(minima, runs, half, settings)
            batches = [*batch_sections(own, half, both, repeated.std if repeated else np.nan)]
            if len(both):
                write_text(folder / "batches.csv", both.to_csv(index=False))
                odd += doubt_batch(both)
        found = found_sections(folder, own, runs, minima, odd, settings)
        sections = [*found, *twins, *batches, *sections]
        named = [table.assign(part=name) for name, table in parts.items() if len(table)]
        write_text(folder / "runs.csv", runs_to_csv(pd.concat(named, ignore_index=True)))
    sides = {name: parts[name] for name in SIDES if name in parts}
    if any(map(len, sides.values())):
        sections.append(side_section(side_rows(before, sides, settings)))
    left = sum(n - len(parts[name]) for name, n in planned.items())
    lead += ": what every law\npredicts was committed before the first of these runs."
    lead += f"\n\n**Not finished: {left} runs are missing.**" if left else ""
    page = f"{lead}\n\n{markdown(sections)}\n"
    write_text(folder / "README.md", page)
    return page


def trained_section(parts: dict[str, pd.DataFrame], planned: dict[str, int], own: pd.DataFrame):
    """How much of each part is there, by what, and whether tokens were seen more than once."""
    told = []
    for name, n in planned.items():
        rows = parts[name]
        took = f", {rows.wall_s.sum() / 60:.1f} minutes of process time" if len(rows) else ""
        told.append(f"{name}: {len(rows)} of {n} runs{took}")
    for C, rows in own.groupby("flops_budget") if len(own) else ():
        by = f"{', '.join(rows.device.unique())} in {', '.join(rows.precision.unique())}"
        told.append(f"{C:.4g} FLOPs, by {by}: {rows.epochs.max():.2g} epochs at most")
    return Section("What is trained", items=tuple(told))


def found_sections(
    folder: Path,
    own: pd.DataFrame,
    runs: pd.DataFrame,
    minima: pd.DataFrame,
    odd: Sequence[str],
    settings: FitSettings,
):
    """Yield the answer, verdicts on predictions, and the bowls; of budgets above those before.

    `minima` are the bowls of `runs`; `odd` is what must be known of these before their answer is
    trusted.
    """
    known = 1.01 * runs.flops_budget[~runs.run_id.isin(own.run_id)].max()
    read = (pd.read_csv(folder / f"{name}.csv") for name in ("predictions", "predicted_runs"))
    predictions, predicted_runs = (table[table.C.gt(known)] for table in read)
    new = pd.DataFrame(minima[minima.budget > known])
    top = max(new.budget[new.status == "ok"], default=known)
    odd = [*odd]
    if wide := sorted({*new.budget[new.budget > 1.01 * top]}):
        at = ", ".join(f"{C:.4g}" for C in wide)
        odd.append(f"At {at} FLOPs no bowl closes: these runs are left out.")
    if (seen := own.epochs[own.flops_budget <= 1.01 * top].max()) > 1:
        odd.append(f"Tokens are seen up to {seen:.2g} times, most by the smallest models.")
    with warnings.catch_warnings(action="ignore"):
        within = pd.DataFrame(
            runs[~(runs.flops_budget > 1.01 * top)]
        )  # no bowl stands for what has none
        reports = fit_conventions(within, "counted", settings)
    table = convention_table(reports)
    write_text(folder / "conventions.csv", table.to_csv(index=False))
    write_text(folder / "minima.csv", minima.to_csv(index=False))
    found = minima[minima.method == "isoflop_power"]
    save_figure(predicted_figure(predictions, found), folder / "predicted.png")
    answer = answer_section(reports[0], table)
    yield replace(answer, items=(*odd, *answer.items))
    yield rule_section(reports, top)
    table = judge(predictions, new)
    write_text(folder / "verdicts.csv", table.to_csv(index=False))
    if len(table):
        yield verdict_section(table)
    losses = judge_runs(predicted_runs, own)
    write_text(folder / "losses.csv", losses.to_csv(index=False))
    columns = (shown("N"), shown("method", "law"), shown("runs"), shown("held", write=".0%"))
    columns += (shown("rms", "rms error", ".2%"), shown("bias", write="+.2%"))
    text = "Held: share of losses inside of the 90 % interval of one more run."
    yield make_section("Single runs, predicted", losses, columns, text)
    columns = (shown("budget", "C", ".4g"), shown("N"), shown("method"), shown("n_runs", "runs"))
    columns += (shown_interval("N_opt", write=short), shown_interval(RATIO, "tokens/param"))
    columns += (shown_interval("L_opt", write=".4g"), shown("status"))
    yield make_section("The bowls", new, columns, "Fitted with those before.")


def twin_section(runs: pd.DataFrame, own: pd.DataFrame):
    """Yield the cells of this grid that were trained more than once: seeds, rates, devices."""
    keys = ["C", "width"]
    cells, mine = (table.assign(C=table.flops_budget.round(-9)) for table in (runs, own))
    twins = cells[cells.duplicated(keys, keep=False)].merge(mine[keys].drop_duplicates())
    twins = twins.sort_values([*keys, "lr"])
    if len(twins):
        columns = (shown("C", write=".4g"), shown("width"), shown("seed"), shown("lr", write=".3g"))
        columns += (shown("precision"), shown("device"), shown("loss", write=".4f"))
        yield make_section("Cells trained more than once", twins, columns)


def verdict_section(table: pd.DataFrame) -> Section:
    """What was predicted and what came, per budget and law."""
    columns = (shown("C", write=".4g"), shown("N"), shown("method", "law or method"))
    columns += (shown_interval(RATIO, "predicted"), shown_interval_found(RATIO))
    columns += (shown(f"{RATIO}_verdict", "tokens/param"),)
    columns += (shown_interval("L_opt", "L predicted", ".4g"),)
    columns += (shown("L_opt_found", "L found", ".4g"), shown("L_opt_verdict", "L"))
    text = (
        "Found: the power bowl of the budget, fitted with the runs before. Held: it lies in the "
        "predicted 90 % interval; overlaps: its interval and the predicted one share values; held "
        "widened: only as the law's earlier misses widen it. A law that those runs reject claims "
        "too much by itself.",
    )
    order = table.sort_values(["N", "C", "method"], ascending=[False, True, True])
    return make_section("Predicted, and what came", order, columns, *text)


def shown_interval_found(name: str):
    """Show what was found, under the names that the merge gave."""
    ends = {f"{name}_found_low": f"{name}_low_found", f"{name}_found_high": f"{name}_high_found"}
    column = shown_interval(f"{name}_found", "found")
    return type(column)(
        column.head, lambda row: column.write({**row, **{k: row[v] for k, v in ends.items()}})
    )


def side_section(table: pd.DataFrame) -> Section:
    """Vocabulary and context."""
    columns = (shown("setting"), shown("vocab_size", "vocabulary"), shown("seq_len", "context"))
    columns += (shown("N"), shown_interval("N_opt", write=short))
    columns += (shown_interval(RATIO, "tokens/param"), shown_interval("L_opt", write=".4g"))
    text = (
        "Power bowls. A width keeps its rate and batch within 12 %. Tokens of another vocabulary "
        "are other pieces of text: their losses do not compare.",
    )
    title = f"Vocabulary and context, at {SIDE_C:g} FLOPs"
    return make_section(title, table, (*columns, shown("status")), *text)
