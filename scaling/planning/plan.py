"""From a budget and a law to a training plan that says how far to trust it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from scaling.fitting.result import Estimate
from scaling.planning.budgets import ASSUMED_UTILISATION, Budget, conversions
from scaling.planning.comparison import compare_laws, gather_laws
from scaling.planning.constraints import Wanted, settle
from scaling.planning.data_limits import DataLimitPlan
from scaling.planning.departures import departures
from scaling.planning.few_bits import FP32, BitsPlan, plan_bits
from scaling.planning.given import GivenPlan, plan_given
from scaling.planning.goals import Answer
from scaling.planning.inference import InferencePlan
from scaling.planning.plain import to_plain
from scaling.planning.recipe import TrainingRecipe, plan_recipe
from scaling.planning.request import PlanRequest, Quantity, read_request
from scaling.planning.serving import Serving
from scaling.planning.sources import LawLike
from scaling.planning.verdicts import Verdict, judge
from scaling.quantities import format_quantity
from scaling.shapes.architecture import Architecture, architecture_of
from scaling.shapes.buildable import BuildableShape
from scaling.shapes.shape import Shape

FAR = 100.0  # times the largest compute of the runs: from here on a plan says so
NOTED = np.log(1.1)  # of a shape's FLOPs over the law's: from here on a note says so
LARGEST_VOCABULARY = 50_257  # of the published laws: where no shape says one


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
    law_flops : float
        Of the law, C: the budget, or less where a token of the shape costs far more than the law
        counts; everything but the shape, D and the hours is told in it.
    N, D : float, parameters and tokens
        What to train under all constraints at once; D is what the budget buys of the shape.
    answer : Answer
        The same as the law counts it, with intervals, and every constraint with its status.
    raw_tokens : float or None, tokens
        Of raw text behind the unique tokens of D, where the share that curation keeps was given.
    shape : BuildableShape or None
        Near N; None where none can be built, the notes say why.
    departures : DataFrame or None
        As `scaling.planning.departures.departures`; None where the law knows the optimum only.
    conversions : DataFrame
        The budget in the hours of every device, as `scaling.planning.budgets.conversions`.
    serving : Serving or None
        Where latency or sequences to hold at once were given.
    inference : InferencePlan or None
        Where an inference demand was given and neither a target nor a size.
    data : DataLimitPlan or None
        Where a data limit was given and neither a target nor a size.
    bits : BitsPlan or None
        Where weights of few bits were asked for.
    verdict : Verdict or None
        Where a model was given.
    given : GivenPlan or None
        Where an architecture was given.
    recipe : TrainingRecipe or None
        For the given architecture, else for the shape; None without either.
    comparison : DataFrame or None
        All laws side by side, on request; as `compare_laws`.
    notes : tuple of str
        Assumptions and conditions.

    Examples
    --------
    >>> plan  # of help(scaling)
    1e21: 3.66B parameters on 40.7B tokens, by DataFrame (extrapolated)
    >>> plan.shape.shape.label, plan.binding, plan.tokens_per_param
    ('2688x41', ('budget',), 12.42 (extrapolated))
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
    law_flops: float
    N: float
    D: float
    answer: Answer
    shape: BuildableShape | None
    departures: pd.DataFrame | None
    conversions: pd.DataFrame
    raw_tokens: float | None = None
    serving: Serving | None = None
    inference: InferencePlan | None = None
    data: DataLimitPlan | None = None
    bits: BitsPlan | None = None
    verdict: Verdict | None = None
    given: GivenPlan | None = None
    recipe: TrainingRecipe | None = None
    comparison: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()

    @property
    def binding(self) -> tuple[str, ...]:
        """What holds the plan where it is: "budget", "data", "serving", ..."""
        return self.answer.binding

    @property
    def asks_more(self) -> bool:
        """Whether something besides a budget was asked."""
        return [part.name for part in self.answer.constraints] != ["budget"]

    @property
    def trained(self) -> Shape | Architecture | None:
        """The given architecture, else the shape to build; None without either."""
        return self.given.architecture if self.given else self.shape and self.shape.shape

    @property
    def total_params(self) -> float:
        """Of what is trained; N where nothing can be built."""
        found = self.given or self.shape
        return found.total_params if found else self.N

    @property
    def spent(self) -> float:
        """Share of the budget that the training takes; 1 where nothing can be built."""
        if self.given is not None:
            return self.given.spent
        return self.D * self.shape.flops_per_token / self.budget.flops if self.shape else 1.0

    def hours_on(self, device: str) -> float:
        """Device-hours of the plan on a device of `conversions`.

        Examples
        --------
        >>> round(plan.hours_on("H100"))
        702
        """
        return float(self.conversions.set_index("device").device_hours[device]) * self.spent

    def to_dict(self) -> dict[str, Any]:
        """Everything by name in JSON's types; tables as lists of rows, NaN as None.

        Examples
        --------
        >>> plan.to_dict()["shape"]["total_params"]
        3641108352
        """
        return to_plain(self)

    def __repr__(self) -> str:
        N, D = format_quantity(self.N), format_quantity(self.D)
        return f"{self.budget.text}: {N} parameters on {D} tokens, by {self.law} ({self.status})"


def make_plan(
    budget: Quantity | Budget | None = None, law: LawLike = "besiroglu2024", **options: Any
) -> Plan:
    """Plan a training: `make_plan("512 A100 for 30 days", law="besiroglu2024")`.

    Parameters
    ----------
    budget : str, float (FLOPs) or Budget
        As `scaling.planning.budgets.parse_budget` reads it, with the options `utilisation`,
        `price_per_hour`, `device`, `precision` and `devices`. A utilisation that nobody named is
        assumed here; `scaling.planning.laid_out.plan_laid_out` estimates it.
    law : str, Path or Fit
        A published law by name (`scaling.planning.sources.SOURCES`), the path of a fit JSON, of a
        runs table or of a results folder, or a Fit.
    columns, where, best_of
        Of a runs table, as `scaling.load_runs` takes them.
    data_limit : float or str, unique tokens, optional
        "709B", repeated unless `repeat` is False; see `scaling.planning.data_limits.plan_data`.
    kept_share : float in (0, 1], optional
        Share of raw text that curation keeps: how much of it D takes.
    target_loss : float, nats/token, optional
        Reach it for the fewest FLOPs, within the budget where there is one.
    serve_params : float or str, parameters, optional
        "8B": that size; "at most 8B": that or less.
    latency : str, optional
        "20 ms": a generated token at batch 1, at most; see `scaling.planning.serving.Serving`.
    serve_on : str, optional
        "H100" or "8 H100": where; the budget's device if omitted.
    serve_sequences, serve_context, kv_share : float, optional
        Sequences held at once, tokens of each, key/value heads over heads.
    inference_tokens : float or str, tokens, optional
        What the model will serve; see `scaling.planning.inference.plan_inference`.
    train_bits, serve_bits : int, optional
        Bits of the weights in training and in serving, 2 to 8 or 32 (fp32, where one is omitted);
        see `scaling.planning.few_bits.plan_bits`.
    model : (N, D), parameters and tokens, optional
        A model to judge by the law: ("70B", "1.4T").
    architecture : str or Path, optional
        A config.json in Hugging Face's form; see `scaling.planning.given.plan_given`.
    tokens : float or str, tokens, optional
        What the architecture is trained on; what the budget buys if omitted.
    batch_tokens : float or str, tokens, optional
        Of a step: of the recipe and of layouts; by a published rule if omitted.
    seq_len, vocab_size, ffn, tied : optional
        Of the buildable shape, as in `scaling.shapes.buildable.build`.
    factors : iterable of float, default (0.5, 1, 2)
        Sizes over N_opt whose loss is told.
    compare : bool, default False
        Put all published laws beside it.

    Raises
    ------
    ValueError
        Nonsense, by name: a budget or a limit that is not positive, an unknown device or law, a
        utilisation that is no share, a context longer than D, an inference demand with a law that
        has no loss for every N and D.

    Examples
    --------
    >>> scaling.make_plan("1e21")
    1e21: 2.79B parameters on 52.9B tokens, by besiroglu2024 (ok)
    """
    return answer(read_request(budget, law, **options))


def answer(request: PlanRequest) -> Plan:
    """The plan that a request asks for; ValueError as in `make_plan`."""
    law, (wanted, shape, why) = request.law, settle(request)
    C, model = wanted.law_flops, request.model
    D = wanted.D if shape is None else shape.tokens
    if not np.isfinite(request.budget.flops):  # what the target takes, as the shape counts
        flops = C if shape is None else D * shape.flops_per_token
        request = replace(request, budget=replace(request.budget, flops=flops))
    unique = D if request.data_limit is None else min(D, request.data_limit)
    vocabulary = shape.shape.vocab_size if shape else LARGEST_VOCABULARY
    given = _plan_given(request)
    blind = float(law.L_opt(C)) > np.log(vocabulary)
    return Plan(
        budget=request.budget,
        law=law.name,
        citation=law.citation,
        N_meaning=law.N_meaning,
        C_meaning=law.C_meaning,
        status="extrapolated" if blind and law.status(C) == "ok" else law.status(C),
        N_opt=law.N_opt(C),
        D_opt=law.D_opt(C),
        L_opt=law.L_opt(C),
        tokens_per_param=law.tokens_per_param(C),
        law_flops=C,
        N=wanted.N,
        D=D,
        answer=wanted.answer,
        shape=shape,
        departures=departures(law, C, request.factors) if law.has_surface else None,
        conversions=conversions(
            request.budget, utilisation=request.utilisation, devices=request.devices
        ),
        raw_tokens=None if request.kept_share is None else unique / request.kept_share,
        serving=request.serving,
        inference=wanted.inference,
        data=wanted.data,
        bits=_plan_bits(request, C),
        verdict=None if model is None else judge(*model, law=law, name="your model"),
        given=given,
        recipe=_plan_recipe(request, C, given, shape),
        comparison=compare_laws(C, gather_laws(law)) if request.compare else None,
        notes=tuple(_note_conditions(request, wanted, shape, why, vocabulary)),
    )


def _plan_bits(request: PlanRequest, C: float) -> BitsPlan | None:
    train, serve = request.train_bits, request.serve_bits
    if train is None and serve is None:
        return None
    train = FP32 if train is None else train
    return plan_bits(request.law, C, train, train if serve is None else serve)


def _plan_given(request: PlanRequest) -> GivenPlan | None:
    if request.architecture is None:
        return None
    named = {"tokens": request.tokens, "seq_len": request.seq_len}
    return plan_given(request.architecture, request.law, request.budget.flops, **named)


def _plan_recipe(
    request: PlanRequest, C: float, given: GivenPlan | None, shape: BuildableShape | None
) -> TrainingRecipe | None:
    law, batch = request.law, request.batch_tokens
    if given is not None:
        return plan_recipe(given.architecture, given.D, float(given.verdict.loss), batch)
    if shape is None:
        return None
    loss = law.loss(shape.params, shape.tokens) if law.has_surface else law.L_opt(C)
    return plan_recipe(architecture_of(shape.shape), shape.tokens, float(loss), batch)


def _note_conditions(
    request: PlanRequest, wanted: Wanted, shape: BuildableShape | None, why: str, vocabulary: int
) -> Iterator[str]:
    """What a reader must know before trusting the plan: conditions, then assumptions."""
    law, C = request.law, wanted.law_flops
    yield from [why] if why else []
    if (reach := law.reach) and reach[1] * FAR < C:
        yield (
            f"this budget is {C / reach[1]:.2g} times the largest of the runs behind the law: an "
            "extrapolation that nothing here tests"
        )
    if reach and reach[0] > C:
        yield f"this budget is {C / reach[0]:.2g} of the smallest of the runs behind the law"
    if (loss := float(law.L_opt(C))) > np.log(vocabulary):
        yield (
            f"the law's loss, {loss:.4g} nats/token, is above ln {vocabulary:,} = "
            f"{np.log(vocabulary):.4g} of guessing blindly: it says nothing about so small a budget"
        )
    if shape is not None and abs(np.log(request.budget.flops / C)) > NOTED:
        yield _describe_cost(request, wanted, shape)
    yield from [law.note] if law.note else []
    yield from request.budget.assumptions
    if request.budget.device is None and request.utilisation is None:
        yield f"device-hours at {ASSUMED_UTILISATION}"
    yield from shape.assumptions if shape else ()


def _describe_cost(request: PlanRequest, wanted: Wanted, shape: BuildableShape) -> str:
    """Why the law was asked at other FLOPs than those of the budget."""
    s, budget = shape.shape, request.budget.flops
    attention = 12 * s.n_layers * s.seq_len * s.n_heads * s.head_width / shape.flops_per_token
    head = 6 * s.vocab_size * s.width / shape.flops_per_token
    C = wanted.law_flops
    return (
        f"a token of this shape costs {budget / C:.3g} times what the law counts for its "
        f"size: attention over {s.seq_len:,} tokens is {attention:.0%} of it, the head over "
        f"{s.vocab_size:,} tokens {head:.0%}; so the law was asked at {C:.3g} FLOPs"
    )
