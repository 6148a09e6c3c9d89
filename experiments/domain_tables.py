"""What the runs of domain.py say: losses beside each other, what tokens are worth, laws."""

import numpy as np
import pandas as pd
from scipy.stats import t as student

from scaling.errors import FitError
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import LEVEL, Fit
from scaling.laws.repeats import effective
from scaling.laws.table import LAWS
from scaling.planning.data_limits import plan_data
from scaling.planning.sources import SOURCES, get_source
from scaling.tables.noise import seed_noise
from scaling.tables.observations import Convention, observations
from scaling.tables.runs import COLUMNS, load_runs

GENERAL, DOMAIN = "enwik8", "pubmed"
RATIO = 569 / 50.6  # tokens per parameter, BloombergGPT's
LIMIT = 100_000  # unique tokens of a domain that has no more
PAPER_R = SOURCES["muennighoff2023"]().repeats or {}  # R_D and R_N
CONVENTION = Convention("total", "counted")
LOSSES = {"general": f"loss_{GENERAL}", "domain": f"loss_{DOMAIN}"}
AT = ["N", "seed"]


def read_ended(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs that ended well, in the names of this page."""
    renamed = {"total_params": "N", "tokens": "D"} | {loss: kind for kind, loss in LOSSES.items()}
    return runs.loc[runs.status == "ok"].rename(columns=renamed)


# ---------------------------------------------------------------- estimates


def pool(rows: pd.DataFrame, by: list[str], *names: str) -> pd.DataFrame:
    """Mean over seeds of each group, with the interval of a spread that all groups share.

    mean +- t(df) s / sqrt(n), s^2 the mean variance between the seeds of a group, of df degrees.
    """
    groups = rows.groupby(by, sort=False)[[*names]]
    mean, n, spread = (pd.DataFrame(g) for g in (groups.mean(), groups.count(), groups.var()))
    freedom = (n - 1).clip(lower=0)
    found = {}
    for name in names:
        df = float(freedom[name].sum())
        variance = (spread[name].fillna(0) * freedom[name]).sum() / df if df else np.nan
        half = student.ppf((1 + LEVEL) / 2, max(df, 1)) * np.sqrt(variance / n[name])
        found |= {name: mean[name], f"{name}_low": mean[name] - half}
        found |= {f"{name}_high": mean[name] + half}
    return pd.DataFrame(found).reset_index().assign(seeds=n.max(axis=1).to_numpy())


def beside(rows: pd.DataFrame, others: pd.DataFrame, on: list[str], *names: str) -> pd.DataFrame:
    """Rows with `name`_added: what they lose over the others of the same size and seed.

    NaN beside itself.
    """
    both = rows.merge(others[[*on, "run_id", *names]], on=on, suffixes=("", "_other"))
    another = both.run_id != both.pop("run_id_other")
    added = {f"{n}_added": (both[n] - both[f"{n}_other"]).where(another) for n in names}
    return both.assign(**added)


def worth(losses, curve: pd.DataFrame, loss: str) -> np.ndarray:
    """Tokens of a run of one corpus alone that end at these losses; NaN beyond its horizons."""
    curve = curve.sort_values(loss)
    log_D = np.interp(losses, curve[loss], np.log(curve["D"]), left=np.nan, right=np.nan)
    return np.exp(log_D)


def add_worth(rows: pd.DataFrame, alone: pd.DataFrame, loss: str) -> pd.DataFrame:
    """Rows with `as_tokens`: those of the corpus alone, at the same size and seed, for the loss."""
    curves = dict(iter(alone.groupby(AT)))
    found = [
        group.assign(as_tokens=worth(group[loss], curves[at], loss))
        for at, group in rows.groupby(AT)
        if at in curves
    ]
    return pd.concat(found) if found else rows.assign(as_tokens=np.nan)


def compare_shares(table: pd.DataFrame) -> pd.DataFrame:
    """Both losses by share of the domain, what they lose to one corpus alone, what tokens help.

    `for_general`: general tokens that a token of the domain stands for in the general loss, and
    `for_domain` the reverse: (tokens alone for the same loss / all tokens - own share) / the other.
    """
    arms = table.loc[table.arm.isin(["general", "mixed", "domain"])]
    full = arms.loc[arms.part == 1]
    found = full
    for kind, own in (("general", 1 - full.share), ("domain", full.share)):
        alone = arms.loc[arms.arm == kind]
        found = beside(found, alone.loc[alone.part == 1], AT, kind)
        found = add_worth(found, alone, kind).rename(columns={"as_tokens": f"as_{kind}"})
        own = 1 - found.share if kind == "general" else found.share
        found[f"for_{kind}"] = (found[f"as_{kind}"] / found["D"] - own) / (1 - own).where(own < 1)
    names = ["general", "domain", "general_added", "domain_added", "for_general", "for_domain"]
    return pool(found, ["N", "share"], *names).sort_values(["N", "share"])


def compare_orders(table: pd.DataFrame) -> pd.DataFrame:
    """Losses of general text first and the domain after it, beside both mixed from the start.

    `above`: domain loss over that of a mixture of the same general loss, between the shares tried.
    """
    mixed = table.loc[(table.arm == "mixed") & (table.share == 0.51)]
    kinds = {
        "mixed, 51 % domain": mixed,
        "general alone, its 49 %": table.loc[(table.arm == "general") & (table.part == 0.49)],
        "domain alone, its 51 %": table.loc[(table.arm == "domain") & (table.part == 0.51)],
    }
    if "rewarmed" in table:
        later = table.loc[table.arm == "continued"]
        kinds |= {f"then domain, rate x {n}": rows for n, rows in later.groupby("rewarmed")}
    arms = table.loc[table.arm.isin(["general", "mixed", "domain"]) & (table.part == 1)]
    every = arms.share.nunique()  # a line of fewer shares is another one
    lines = {at: rows.sort_values("general") for at, rows in arms.groupby(AT) if len(rows) == every}
    found = pd.concat(
        [beside(rows, mixed, AT, *LOSSES).assign(name=name) for name, rows in kinds.items()],
        ignore_index=True,
    )
    found["above"] = [height(row, lines.get((row.N, row.seed))) for _, row in found.iterrows()]
    names = [*LOSSES, *(f"{name}_added" for name in LOSSES), "above"]
    return pool(found, ["N", "name"], *names).sort_values("N", kind="stable")


def height(row, line: pd.DataFrame | None) -> float:
    """Domain loss of a run over a line of mixtures, where it reaches the same general loss."""
    if line is None:
        return np.nan
    return row.domain - np.interp(row.general, line.general, line.domain, np.nan, np.nan)


def compare_tokenizers(table: pd.DataFrame) -> pd.DataFrame:
    """Bits per byte of the domain by tokenizer, trained on as many of its tokens."""
    rows = table.loc[
        (table.share == 1) & (table.part == 1) & table.arm.isin(["domain", "tokenizer"])
    ]
    rows = rows.assign(bytes_per_token=rows.loss / rows.bits_per_byte / np.log(2))
    rows = rows.rename(columns={"bits_per_byte": "bits"})
    own = rows.loc[rows.tokenizer == DOMAIN]
    found = beside(rows, own, AT, "bits")
    found = pool(found, ["N", "tokenizer"], "bytes_per_token", "bits", "bits_added")
    return found.sort_values(["N", "bits"])


def compare_repeats(table: pd.DataFrame, law: Fit | None, expected: pd.DataFrame) -> pd.DataFrame:
    """Losses on new and repeated tokens, what is lost and what others say it would be.

    `foretold`: the new tokens that Muennighoff et al. say the repeated ones are worth would lose
    so much, by the runs on new tokens of the same size and seed; no law of N and D has a say.
    """
    new, repeated = (table.loc[table.arm == arm] for arm in ("new", "repeated"))
    found = beside(repeated, new, [*AT, "passes"], "domain")
    alone = table.loc[table.arm.isin(["new", "domain"])].drop_duplicates("run_id")
    found = add_worth(found, alone, "domain")
    found["worth"] = found.as_tokens / LIMIT
    curves = {at: rows.sort_values("D") for at, rows in alone.groupby(AT)}
    found["foretold"] = [
        read_loss(curves[row.N, row.seed], LIMIT * effective(1, row.passes - 1, PAPER_R["R_D"]))
        - row.domain_other
        for _, row in found.iterrows()
    ]
    names = ["domain", "domain_other", "domain_added", "foretold", "worth"]
    found = pool(found, ["N", "passes"], *names).sort_values(["N", "passes"], ignore_index=True)
    found = found.merge(expected[["N", "passes", "added"]], on=["N", "passes"], how="left")
    found = found.rename(columns={"added": "expected"}).assign(fitted=np.nan)
    if law is not None:
        D = found.passes * float(LIMIT)
        found["fitted"] = law_loss(law.params, found.N, D, LIMIT) - law_loss(
            law.params, found.N, D, D
        )
    return found


def read_loss(curve: pd.DataFrame, D: float) -> float:
    """Domain loss after D new tokens, between horizons of one size and seed."""
    return float(np.interp(np.log(D), np.log(curve["D"]), curve.domain, np.nan, np.nan))


# ---------------------------------------------------------------- laws


def fit_repeats(runs: pd.DataFrame) -> tuple[Fit | None, str]:
    """Fit the law of repeats to all runs on the domain alone; or say why there is none yet."""
    alone = runs.loc[runs.arm.isin(["domain", "new", "repeated"])].drop_duplicates("run_id")
    known = load_runs(alone[[name for name in alone if name in COLUMNS]])
    obs, _ = observations(known, CONVENTION)
    data = Prepared.of(obs, CONVENTION, noise=seed_noise(known))
    try:
        return fit_parametric(data, law="repeated"), ""
    except FitError as error:
        return None, str(error)


def law_loss(params, N, D, U) -> np.ndarray:
    """Loss by the law of repeats."""
    arrays = np.broadcast_arrays(*(np.asarray(value, float) for value in (N, D, U)))
    return LAWS["repeated"].loss(params, **dict(zip("NDU", arrays, strict=True)))


def list_parameters(law: Fit) -> pd.DataFrame:
    """Every parameter of a law, a row each."""
    rows, lack = [], law.lack_of_fit
    for name in law.params:
        found = law.param(name)
        row = {"law": law.law, "parameter": name, "value": found.value, "value_low": found.low}
        row |= {"value_high": found.high, "status": law.status, "runs": law.n_runs}
        rows.append(row | {"test": lack.describe() if lack else ""})
    return pd.DataFrame(rows)


def plan_limits(law: Fit) -> pd.DataFrame:
    """N and D by compute, by the law of repeats, with and without the limit."""
    source, tables = get_source(law), []
    for C in np.geomspace(1e10, 1e13, 25):
        found = plan_data(float(C), LIMIT, source).table
        tables.append(found.loc[found.law == source.name].assign(budget=C))
    return pd.concat(tables, ignore_index=True)
