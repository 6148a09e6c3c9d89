"""What to train under a budget, limited data and a demand to serve, all at once."""

from dataclasses import dataclass

import numpy as np

from scaling.planning.data_limits import DataLimitPlan, plan_data
from scaling.planning.inference import InferencePlan, plan_inference
from scaling.planning.request import PlanRequest
from scaling.shapes.buildable import BuildableShape, build, refuse_context

COST_OFF = 1.25  # a shape's FLOPs over the law's own, or its inverse: beyond, the plan follows
SETTLED, ROUNDS = 1.02, 8  # how near shape and law come, and in how many rounds at most


@dataclass(frozen=True)
class Wanted:
    """What a law asks for at C FLOPs under all constraints of a request."""

    C: float
    N: float
    D: float
    spent: float  # FLOPs of the law
    binding: tuple[str, ...]
    data: DataLimitPlan | None
    inference: InferencePlan | None


def _want(request: PlanRequest, C: float) -> Wanted:
    law, limit, served = request.law, request.data_limit, request.inference_tokens
    best = law.point(C)
    N, D, spent, binding = best["N_opt"], best["D_opt"], C, ()
    data = inference = None
    if limit is not None:
        data = plan_data(C, limit, law, repeat=request.repeat)
        if data.binding:
            row, binding = data.best, ("data",)
            N, D, spent = row["N"], row["D"], row["C"]
    if served is not None:
        inference = plan_inference(law, C, served, data_limit=limit, repeat=request.repeat)
        planned = inference.planned
        N, D, spent = planned.N, planned.D, planned.training_flops
        held = inference.data_limit
        binding = ("data",) if held is not None and held < D else ()
        binding += ("serving",) if served > 0 else ()
    if spent > C * (1 - 1e-6):
        binding = ("budget", *binding)
    return Wanted(C, N, D, spent, binding, data, inference)


def settle(request: PlanRequest) -> tuple[Wanted, BuildableShape | None, str]:
    """What to train, at the FLOPs of the law that buy what the budget pays for the shape.

    Long contexts, and heads of small models, make a token dearer than the law counts: beyond
    `COST_OFF` the law is asked at as much less compute, until shape and law agree.
    """
    budget = C = request.budget.flops
    enough = np.log(COST_OFF)
    for last in (False,) * ROUNDS + (True,):
        wanted = _want(request, C)
        shape, why = _find_shape(request, wanted.N, wanted.D, wanted.spent * budget / C)
        if shape is None:
            return wanted, None, why
        ratio = shape.flops_per_token / request.law.flops_per_token(wanted.N)
        if last or abs(np.log(C * ratio / budget)) < enough:
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
            ffn=request.ffn,
            tied=request.tied,
        )
    except ValueError as error:
        if request.seq_len is not None or request.vocab_size is not None:
            raise
        return None, f"no shape: {error}"
    return shape, ""
