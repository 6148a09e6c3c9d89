"""From a budget and a law to a training plan that says how far to trust it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd

from scaling.fitting.result import Estimate
from scaling.planning.budgets import ASSUMED_UTILISATION, Budget, conversions, parse_budget
from scaling.planning.comparison import compare_laws
from scaling.planning.data_limits import DataLimitPlan, plan_data
from scaling.planning.departures import departures
from scaling.planning.inference import InferencePlan, plan_inference
from scaling.planning.sources import SOURCES, LawLike, LawSource, get_source
from scaling.planning.verdicts import Verdict, judge
from scaling.quantities import TOKENS, format_quantity, parse_quantity
from scaling.shapes.buildable import BuildableShape, build, refuse_context

FACTORS = (0.5, 1.0, 2.0)  # of N_opt
FAR = 100.0  # times the largest compute of the runs: from here on a plan says so
COST_OFF = 1.25  # a shape's FLOPs over the law's own, or its inverse: likewise


@dataclass(frozen=True, eq=False)
class Plan:
    """What to train with a budget, by one law.

    Attributes
    ----------
    budget : Budget
    law, citation : str
    N_meaning, C_meaning : str
        What the law counts.
    status : str
        Of N_opt at this budget: "ok", "extrapolated", ...
    N_opt : Estimate, parameters
    D_opt : Estimate, tokens
    L_opt : Estimate, nats/token
        NaN where the law has no loss.
    tokens_per_param : Estimate
    N, D : float, parameters and tokens
        What to train: N_opt and D_opt, or the best under a data limit that binds.
    shape : BuildableShape or None
        Near N; None where none can be built, the notes say why.
    departures : DataFrame or None
        As `scaling.planning.departures.departures`; None where the law knows the optimum only.
    conversions : DataFrame
        The budget in the hours of every device, as `scaling.planning.budgets.conversions`.
    inference : InferencePlan or None
        Where an inference demand was given.
    data : DataLimitPlan or None
        Where a data limit was given.
    verdict : Verdict or None
        Where a model was given.
    comparison : DataFrame or None
        All laws side by side, on request; as `compare_laws`.
    notes : tuple of str
        Assumptions and conditions.
    """

    budget: Budget
    law: str
    citation: str
    N_meaning: str
    C_meaning: str
    status: str
    N_opt: Estimate
    D_opt: Estimate
    L_opt: Estimate
    tokens_per_param: Estimate
    N: float
    D: float
    shape: BuildableShape | None
    departures: pd.DataFrame | None
    conversions: pd.DataFrame
    inference: InferencePlan | None = None
    data: DataLimitPlan | None = None
    verdict: Verdict | None = None
    comparison: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything by name in JSON's types; tables as lists of rows, NaN as None."""
        return {part.name: _plain(getattr(self, part.name)) for part in fields(self)}

    def __repr__(self) -> str:
        return "\n".join(_lines(self))


def make_plan(
    budget: str | float | Budget,
    law: LawLike = "besiroglu2024",
    *,
    data_limit: str | float | None = None,
    repeat: bool = True,
    inference_tokens: str | float | None = None,
    model: tuple[str | float, str | float] | None = None,
    utilisation: float | None = None,
    price_per_hour: float | None = None,
    device: str | None = None,
    precision: str | None = None,
    devices: Mapping | None = None,
    seq_len: int | None = None,
    vocab_size: int | None = None,
    ffn: str = "gelu",
    tied: bool = True,
    factors: Iterable[float] = FACTORS,
    compare: bool = False,
) -> Plan:
    """Plan a training: `make_plan("512 A100 for 30 days", law="besiroglu2024")`.

    Parameters
    ----------
    budget : str, float (FLOPs) or Budget
        As `scaling.planning.budgets.parse_budget` reads it, with `utilisation`, `price_per_hour`,
        `device`, `precision` and `devices`.
    law : str, Path or Fit
        A published law by name (`scaling.planning.sources.SOURCES`), the path of a fit JSON, of a
        runs table or of a results folder, or a Fit.
    data_limit : float or str, unique tokens, optional
        "709B"; see `scaling.planning.data_limits.plan_data`.
    repeat : bool
        Whether the data may be repeated.
    inference_tokens : float or str, tokens, optional
        What the model will serve; see `scaling.planning.inference.plan_inference`.
    model : (N, D), parameters and tokens, optional
        A model to judge by the law: ("70B", "1.4T").
    seq_len, vocab_size : int, tokens, optional
        Of the buildable shape; derived from N_opt if omitted.
    ffn, tied
        As in `scaling.shapes.shape.Shape`.
    factors : iterable of float
        Sizes over N_opt whose loss is told.
    compare : bool
        Put all published laws beside it.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        Nonsense, by name: a budget or a limit that is not positive, an unknown device or law, a
        utilisation that is no share, a context longer than D, an inference demand with a law that
        has no loss for every N and D.
    """
    spent = parse_budget(
        budget, utilisation, price_per_hour, devices, device=device, precision=precision
    )
    source, C = get_source(law), spent.flops
    data = None if data_limit is None else plan_data(C, data_limit, source, repeat=repeat)
    N, D = source.point(C)["N_opt"], source.point(C)["D_opt"]
    if data is not None and data.binding:
        N, D = data.best["N"], data.best["D"]
    if seq_len is not None:
        refuse_context(seq_len, D if data is None else min(D, data.data_limit))
    wanted: dict[str, Any] = {"convention": source.fit.convention.N, "ffn": ffn, "tied": tied}
    shape, why = None, ""
    try:
        shape = build(N, C, D, seq_len=seq_len, vocab_size=vocab_size, **wanted)
    except ValueError as error:
        if seq_len is not None or vocab_size is not None:
            raise
        why = f"no shape: {error}"
    demand = None
    if inference_tokens is not None:
        demand = plan_inference(
            source, C, parse_quantity(inference_tokens, "inference_tokens", TOKENS)
        )
    assumed = () if spent.device or utilisation else (f"device-hours at {ASSUMED_UTILISATION}",)
    conditions = (source.note, why, *_far_out(source, C, shape), *spent.assumptions, *assumed)
    conditions += shape.assumptions if shape else ()
    return Plan(
        budget=spent,
        law=source.name,
        citation=source.citation,
        N_meaning=source.N_meaning,
        C_meaning=source.C_meaning,
        status=source.N_opt(C).status,
        N_opt=source.N_opt(C),
        D_opt=source.D_opt(C),
        L_opt=source.L_opt(C),
        tokens_per_param=source.tokens_per_param(C),
        N=N,
        D=D,
        shape=shape,
        departures=departures(source, C, factors) if source.has_surface else None,
        conversions=conversions(spent, utilisation=utilisation, devices=devices),
        inference=demand,
        data=data,
        verdict=None if model is None else judge(*model, law=source, name="your model"),
        comparison=compare_laws(spent, _laws(source)) if compare else None,
        notes=tuple(note for note in conditions if note),
    )


def _far_out(source: LawSource, C: float, shape: BuildableShape | None) -> Iterator[str]:
    """What an extrapolation rests on."""
    reach = source.fit.sampled.get("C")
    if reach and reach[1] * FAR < C:
        yield (
            f"this budget is {C / reach[1]:.2g} times the largest of the runs behind the law: an "
            "extrapolation that nothing here tests"
        )
    if shape is not None and abs(np.log1p(shape.flops_off)) > np.log(COST_OFF):
        yield (
            f"the law's own compute per token, carried on from its runs, is off by "
            f"{shape.flops_off:+.0%} of what this shape costs: D, and with it N, follow a cost "
            "that does not hold at this size"
        )


def _laws(source: LawSource) -> list[LawLike]:
    return [*([] if source.name in SOURCES else [source]), *SOURCES]


# ---------------------------------------------------------------- written out


def _lines(plan: Plan) -> Iterable[str]:
    yield repr(plan.budget)
    yield f"law: {plan.law}, {plan.citation} ({plan.status})"
    yield f"N: {plan.N_meaning}; C: {plan.C_meaning}"
    yield f"N_opt {_written(plan.N_opt)}, D_opt {_written(plan.D_opt)}"
    loss = f", loss {plan.L_opt.value:.4g}" if np.isfinite(plan.L_opt.value) else ", no loss"
    yield f"tokens/param {_written(plan.tokens_per_param)}{loss}"
    if plan.shape is not None:
        yield f"shape: {plan.shape!r}"
    if plan.departures is not None:
        for row in plan.departures.to_dict("records"):
            if row["factor"] != 1.0:
                yield (
                    f"{row['factor']:g} N_opt at the same compute: {row['loss_gap']:+.3g} "
                    f"nats/token, as if {1 - 1 / row['C_over']:.1%} of C were lost"
                )
    yield from (repr(part) for part in (plan.inference, plan.data, plan.verdict) if part)
    if plan.comparison is not None:
        for row in plan.comparison.to_dict("records"):
            N, D = format_quantity(row["N_opt"]), format_quantity(row["D_opt"])
            yield f"  {row['law']}: {N} on {D} tokens, {row['tokens_per_param']:.3g} a parameter"
    yield from (f"note: {note}" for note in plan.notes)


def _written(estimate: Estimate) -> str:
    value = format_quantity(estimate.value)
    if not np.isfinite(estimate.low):
        return f"{value} (no interval)"
    ends = f"{format_quantity(estimate.low)}, {format_quantity(estimate.high)}"
    return f"{value} [{ends}]"


def _plain(value: Any) -> Any:
    """JSON's types; what is not finite is None."""
    if isinstance(value, pd.DataFrame):
        return [_plain(row) for row in value.to_dict("records")]
    if hasattr(value, "to_dict"):
        return _plain(value.to_dict())
    if isinstance(value, Budget):
        return _plain(asdict(value) | {"pf_days": value.pf_days, "money": value.money})
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    value = value.item() if isinstance(value, np.generic | np.ndarray) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
