"""What to train under all constraints of a request, and a shape that can be built."""

from dataclasses import dataclass, replace

import numpy as np

from scaling.planning.allocation import Goals
from scaling.planning.data_limits import DataLimitPlan, plan_data
from scaling.planning.goals import Answer, solve
from scaling.planning.inference import InferencePlan, plan_inference
from scaling.planning.request import PlanRequest
from scaling.shapes.buildable import BuildableShape, build, refuse_context

COST_OFF = 1.25  # a shape's FLOPs over the law's own, or its inverse: beyond, the plan follows
SETTLED, ROUNDS = 1.02, 8  # how near shape and law come, and in how many rounds at most


@dataclass(frozen=True)
class Wanted:
    """What a law asks for within C FLOPs under all constraints of a request."""

    C: float  # infinite where a target alone says what to spend
    answer: Answer
    data: DataLimitPlan | None  # tables of what the data cost and what serving costs, where a plan
    inference: InferencePlan | None  # is held by nothing else besides its budget

    @property
    def N(self) -> float:
        """Parameters."""
        return float(self.answer.N)

    @property
    def D(self) -> float:
        """Tokens."""
        return float(self.answer.D)

    @property
    def law_flops(self) -> float:
        """FLOPs at which the law is asked for its optimum."""
        return self.C if np.isfinite(self.C) else float(self.answer.training)


def _want(request: PlanRequest, C: float) -> Wanted:
    law, limit, served = request.law, request.data_limit, request.inference_tokens
    goals = Goals(
        budget=C,
        target=request.target_loss,
        data_limit=limit,
        repeat=request.repeat,
        size=request.serve_params or np.inf,
        fixed=request.size_is_fixed,
        serving=request.serving,
        served=served or 0.0,
    )
    data = inference = None
    if limit is not None and not goals.asks_more:
        data = plan_data(C, limit, law, repeat=request.repeat)
    if served is not None and not goals.asks_more:
        inference = plan_inference(law, C, served, data_limit=limit, repeat=request.repeat)
    return Wanted(C, solve(law, goals), data, inference)


def settle(request: PlanRequest) -> tuple[Wanted, BuildableShape | None, str]:
    """What to train, at the FLOPs of the law that buy what the budget pays for the shape.

    Long contexts, and heads of small models, make a token dearer than the law counts: beyond
    `COST_OFF` the law is asked at as much less compute, until shape and law agree.
    """
    budget = C = request.budget.flops
    enough = np.log(COST_OFF)
    for last in (False,) * ROUNDS + (True,):
        wanted = _want(request, C)
        dearer = budget / C if np.isfinite(C) else 1.0
        shape, why = _find_shape(
            request, wanted.N, wanted.D, float(wanted.answer.training) * dearer
        )
        if shape is None:
            return wanted, None, why
        if request.target_loss is not None:  # the loss says on how many tokens
            shape = replace(shape, tokens=wanted.D)
        ratio = shape.flops_per_token / request.law.flops_per_token(wanted.N)
        if last or not np.isfinite(C) or abs(np.log(C * ratio / budget)) < enough:
            return wanted, shape, ""
        C, enough = budget / ratio, np.log(SETTLED)
    raise AssertionError("the last round returns")


def _find_shape(
    request: PlanRequest, N: float, D: float, C: float
) -> tuple[BuildableShape | None, str]:
    """The nearest shape that can be built, or why there is none; named sizes must fit."""
    if request.seq_len is not None:
        limit = D if request.data_limit is None else min(D, request.data_limit)
        refuse_context(request.seq_len, limit)
    try:
        shape = build(
            N,
            C,
            D,
            convention=request.law.fit.convention.N,
            seq_len=request.seq_len,
            vocab_size=request.vocab_size,
            setting=request.law.setting,
            ffn=request.ffn,
            tied=request.tied,
        )
    except ValueError as error:
        if request.seq_len is not None or request.vocab_size is not None:
            raise
        return None, f"no shape: {error}"
    return shape, ""
