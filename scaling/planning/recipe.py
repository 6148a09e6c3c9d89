"""How to train what a plan asks for: published rules of rate and batch side by side, one chosen."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling.files import read_table
from scaling.laws.papers import KAPLAN_CONSTANTS
from scaling.laws.steps import critical_batch
from scaling.quantities import format_quantity as short
from scaling.shapes.architecture import HEAD, Architecture, count_groups, count_params
from scaling.shapes.architecture import training_flops_per_token as flops_per_token
from scaling.shapes.flops import TRAINING_OVER_FORWARD
from scaling.shapes.rules import batch_rule, beta2_rule, lr_rule, warmup_rule

PRACTICE = "practice"  # whose runs are one published model
ASKED = "asked"  # by whom the batch is, where somebody named one
NEAR = 0.51  # of log2: a batch further off than the rounding of `plan_recipe` is noted
QUANTITIES = ("lr", "batch_tokens", "critical_batch", "timescale")
BETA1 = 0.9
MOST_PARAMS = 1e15  # larger numbers are FLOPs and written as such
MOST_WARMUP = 0.1  # of the steps
EXACT_BELOW, POWER_FROM = 16, 256  # sequences: see `plan_recipe`
NEAREST = 4  # published models beside it
CHOICE = (
    "of the rules that tell both rate and batch, the one whose own runs lie nearest in N, D or C; "
    "both numbers are taken from the same rule, as they were tuned together"
)


@dataclass(frozen=True, eq=False)
class TrainingRecipe:
    """How to train one model on D tokens with AdamW.

    Attributes
    ----------
    rule : str
        Whose rate and batch these are.
    batch_rule : str
        That, or "asked".
    outside : float
        By what factor in N, D or C the model is outside of the runs of that rule; 1 within.
    status : str
        "ok" or "extrapolated".
    N, D : float, parameters of a token, and tokens
    sequences : int, a step; each of seq_len tokens
    timescale : float
        B / (lr * weight_decay * D): over what share of the run AdamW averages; NaN without decay.
    timescale_decay : float
        The weight decay whose timescale is the best of Bergsma et al. 2025.
    rules : DataFrame
        One row per rule: rule; lr, batch_tokens, critical_batch and timescale, NaN where it tells
        none; outside; runs (their range) and where (what is outside of it), as text; source; read
        ("measured" here, "quoted" from who quotes the paper, "memory").
    models : DataFrame
        The published models nearest in N and D, as trained.
    notes : tuple of str
    """

    rule: str
    batch_rule: str
    outside: float
    status: str
    N: float
    D: float
    seq_len: int
    sequences: int
    steps: int
    lr: float
    final_lr: float
    warmup_steps: int
    schedule: str
    weight_decay: float
    beta1: float
    beta2: float
    grad_clip: float
    timescale: float
    timescale_decay: float
    rules: pd.DataFrame
    models: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def batch_tokens(self) -> int:
        """Tokens a step."""
        return self.sequences * self.seq_len


@dataclass(frozen=True)
class _Point:
    """What the rules ask for: N by convention, D, non-embedding C, and the loss."""

    N: Mapping[str, float]
    D: float
    C: float
    loss: float
    seq_len: int

    def get(self, symbol: str, convention: str) -> float:
        return self.N[convention] if symbol == "N" else {"D": self.D, "C": self.C}[symbol]


def read_rules() -> pd.DataFrame:
    """Rules by name: the range of their runs and with what else they were tuned."""
    return _read("recipe_rules").set_index("rule", drop=False)


def read_formulas() -> pd.DataFrame:
    """What each rule tells: a quantity, and the form and constants of its formula."""
    return _read("recipe_formulas").copy()


def read_models() -> pd.DataFrame:
    """Published models with their rate and last batch, GPT-3's quoted, the others from memory."""
    return _read("recipe_models").copy()


@cache
def _read(name: str) -> pd.DataFrame:
    return read_table(Path(__file__).with_name(f"{name}.csv"))


def _apply_power(row: Mapping[str, Any], at: _Point) -> float:
    """Coefficient * N^a * D^b * C^c."""
    value = row["coefficient"]
    for symbol in "NDC":
        exponent = row[f"{symbol}_exponent"]
        value *= 1.0 if np.isnan(exponent) else at.get(symbol, row["N"]) ** exponent
    return value


def _interpolate(row: Mapping[str, Any], at: _Point) -> float:
    """The table of GPT-3, in logarithms; its ends beyond."""
    models = read_models()
    table = models[models.model.str.startswith("GPT-3")]
    values = table[row["quantity"]].astype(float)
    return float(np.exp(np.interp(np.log(at.N["total"]), np.log(table.N), np.log(values))))


def _follow_house(row: Mapping[str, Any], at: _Point) -> float:
    """The rules that this laboratory measured."""
    batch = batch_rule(at.D, at.seq_len)
    return batch if row["quantity"] == "batch_tokens" else lr_rule(round(at.N["total"]), batch)


FORMS: dict[str, Callable[[Mapping[str, Any], _Point], float]] = {
    "power": _apply_power,
    "log": lambda row, at: row["coefficient"] + row["N_exponent"] * np.log(at.N[row["N"]]),
    "table": _interpolate,
    "moved": lambda row, at: (
        _interpolate(row, at) * (at.D / read_models().D.iloc[0]) ** row["D_exponent"]
    ),
    "nearest": lambda row, at: float(_find_nearest(at.N["total"], at.D).loc[0, row["quantity"]]),
    "house": _follow_house,
    "loss": lambda row, at: float(critical_batch(at.loss, **KAPLAN_CONSTANTS["B_crit(L)"])),
}


@lru_cache(maxsize=32)  # a plan asks twice, before and after its layout is known
def plan_recipe(
    a: Architecture, D: float, loss: float, batch_tokens: float | None = None
) -> TrainingRecipe:
    """Say how to train an architecture on D tokens.

    Parameters
    ----------
    loss : float, nats/token
        That the law expects, for the critical batch of Kaplan et al. 2020; NaN if none is known.
    batch_tokens : float, optional
        Of a step, as asked; by the rule of the rate if omitted.

    Raises
    ------
    ValueError
        A batch of more than all tokens.

    Notes
    -----
    For a mixture of experts N counts the parameters that a token passes.

    A batch by a rule is rounded so that many devices can divide it: from 16 sequences on to three
    leading binary digits, from 256 on to a power of two. One that was asked for is rounded to whole
    sequences.
    """
    counts = {
        name: float(count_params(a, name, active=True))
        for name in ("total", "non_embedding", "blocks")
    }
    at = _Point(counts, D, _count_inner_flops(a) * D, loss, a.seq_len)
    rules = _apply_rules(at)
    chosen = _choose(rules)
    settings, told = read_rules().loc[chosen], rules.set_index("rule").loc[chosen]
    if batch_tokens is None:
        sequences = _round_sequences(told.batch_tokens / a.seq_len, D / a.seq_len)
    elif batch_tokens > D:
        raise ValueError(
            f"batch_tokens={batch_tokens:g} is more than all {D:.4g} tokens of the training; name "
            "fewer"
        )
    else:
        sequences = max(1, round(batch_tokens / a.seq_len))
    batch, outside, N = sequences * a.seq_len, float(told.outside), counts["total"]
    steps, lr = max(1, round(D / batch)), float(told.lr)
    decay, tau = float(settings.weight_decay), float(rules.timescale.dropna().iloc[0])
    final = settings.final_lr if settings.final_lr == settings.final_lr else np.inf
    share = settings.final_share if settings.final_share == settings.final_share else MOST_WARMUP
    return TrainingRecipe(
        rule=chosen,
        batch_rule=chosen if batch_tokens is None else ASKED,
        outside=outside,
        status="ok" if outside == 1.0 else "extrapolated",
        N=N,
        D=D,
        seq_len=a.seq_len,
        sequences=sequences,
        steps=steps,
        lr=lr,
        final_lr=float(min(final, share * lr)),
        warmup_steps=_count_warmup(settings, N, batch, steps),
        schedule=settings.schedule,
        weight_decay=decay,
        beta1=BETA1,
        beta2=float(beta2_rule(batch) if np.isnan(settings.beta2) else settings.beta2),
        grad_clip=float(settings.grad_clip),
        timescale=batch / (lr * decay * D) if decay else float("nan"),
        timescale_decay=batch / (lr * tau * D),
        rules=rules,
        models=_find_nearest(N, D),
        notes=tuple(_note(a, settings.note, batch, rules, chosen)),
    )


def _count_inner_flops(a: Architecture) -> float:
    """Training FLOPs of a token without the head, as DeepSeek LLM counts its C."""
    head = int(count_groups(a).set_index("group").multiplied[HEAD])
    return flops_per_token(a) - TRAINING_OVER_FORWARD * 2 * head


def _apply_rules(at: _Point) -> pd.DataFrame:
    rows, formulas, rules = [], read_formulas(), read_rules()
    for name, told in formulas.groupby("rule", sort=False):
        rule = rules.loc[name]
        row = {"rule": name} | dict.fromkeys(QUANTITIES, float("nan"))
        for formula in told.to_dict("records"):
            value = float(FORMS[formula["form"]](formula | {"N": rule.N}, at))
            row[formula["quantity"]] = value if value > 0 else float("nan")  # it broke down
        row |= _find_outside(_find_ranges(rule, at), rule.N, at)
        rows.append(row | {"source": rule.source, "read": rule["read"]})
    return pd.DataFrame(rows)


def _find_ranges(rule: Any, at: _Point) -> dict[str, tuple[float, float]]:
    """Smallest and largest N, D or C of the runs behind a rule."""
    if rule.rule == PRACTICE:
        model = _find_nearest(at.N["total"], at.D).loc[0]
        return {"N": (model.N, model.N), "D": (model.D, model.D)}
    ends = {symbol: (rule[f"{symbol}_low"], rule[f"{symbol}_high"]) for symbol in "NDC"}
    return {symbol: both for symbol, both in ends.items() if not np.isnan(both[0])}


def _find_outside(
    ranges: Mapping[str, tuple[float, float]], convention: str, at: _Point
) -> dict[str, Any]:
    """By what factor a point is outside of ranges, all together and each in words."""
    outside, told = 1.0, []
    for symbol, (low, high) in ranges.items():
        value = at.get(symbol, convention)
        factor = max(value / high, low / value, 1.0)
        outside *= factor
        told += [f"{symbol} x{factor:.3g}"] if factor > 1.0 else []
    runs = (f"{symbol} {_write_range(*both)}" for symbol, both in ranges.items())
    where = f"outside: {', '.join(told)}" if told else "inside"
    return {"outside": outside, "runs": ", ".join(runs), "where": where}


def _write_range(low: float, high: float) -> str:
    ends = [f"{end:.0e}" if end >= MOST_PARAMS else short(end) for end in (low, high)]
    return ends[0] if low == high else " to ".join(ends)


def _choose(rules: pd.DataFrame) -> str:
    """Follow `CHOICE`; among equals the first of the file."""
    both = rules.dropna(subset=["lr", "batch_tokens"])
    return str(both.rule[both.outside.idxmin()])


def _round_sequences(wanted: float, most: float) -> int:
    """A whole number of sequences, as `plan_recipe` says; no more than there are."""
    wanted = max(1.0, min(wanted, most))
    if wanted < EXACT_BELOW:
        return round(wanted)
    if wanted >= POWER_FROM:
        nearest = 2 ** round(np.log2(wanted))
        return nearest if nearest <= most else nearest // 2
    unit = 2 ** (int(np.log2(wanted)) - 2)
    return min(unit * round(wanted / unit), int(most))


def _count_warmup(settings: Any, N: float, batch: int, steps: int) -> int:
    steps_named, tokens = settings.warmup_steps, settings.warmup_tokens
    if np.isnan(steps_named) and np.isnan(tokens):
        return warmup_rule(round(N), batch, steps)
    wanted = tokens / batch if np.isnan(steps_named) else steps_named
    return max(1, min(round(wanted), round(MOST_WARMUP * steps)))


def _find_nearest(N: float, D: float) -> pd.DataFrame:
    models = read_models()
    distance = np.abs(np.log(models.N / N)) + np.abs(np.log(models.D / D))
    return models.loc[distance.sort_values(kind="stable").index[:NEAREST]].reset_index(drop=True)


def _note(
    a: Architecture, note: str, batch: int, rules: pd.DataFrame, chosen: str
) -> Iterator[str]:
    if note:
        yield note
    told = float(rules.set_index("rule").batch_tokens[chosen])
    if abs(np.log2(batch / told)) > NEAR:
        yield (
            f"the batch is {batch / told:.2g} times that of {chosen}, whose rate was tuned with "
            "its own: bracket the rate"
        )
    if a.mixture:
        yield "N counts the parameters of a token; the rules are of dense models"
    for row in rules.loc[rules.critical_batch < batch].to_dict("records"):
        times = batch / row["critical_batch"]
        yield f"the batch is {times:.2g} times the critical one of {row['rule']} ({row['where']})"
