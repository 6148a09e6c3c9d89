"""What was asked of a plan, what it takes of that, and what holds it: a section of its page."""

import pandas as pd

from scaling.pages.text import Section, make_section, shown, tell
from scaling.planning.allocation import write_amount
from scaling.planning.goals import Answer
from scaling.planning.serving import Serving
from scaling.quantities import format_quantity as short
from scaling.shapes.buildable import BuildableShape

BOUNDS = {  # name of a constraint -> what it is about
    "budget": "training within",
    "target": "loss to reach",
    "data": "unique tokens",
    "size": "parameters",
    "latency": "a token at batch 1",
    "memory": "weights, keys and values",
    "serving": "tokens served",
}


def describe_answer(answer: Answer) -> str:
    """The plan as the law counts it, with its intervals."""
    training, total = answer.training, answer.total
    served = "" if training.value == total.value else f", {tell(total, '.3g')} with serving"
    lender = f" by {answer.lender}, whose losses are those of its own text" if answer.lender else ""
    status = "" if training.status == "ok" else f" ({training.status})"
    line = (
        f"{tell(answer.N, short)} parameters on {tell(answer.D, short)} tokens: "
        f"{tell(training, '.3g')} FLOPs of training{served}, loss {tell(answer.loss, '.4g')}"
        f"{status}{lender}"
    )
    if answer.unreachable > 0:
        line += (
            f". In {answer.unreachable:.0%} of the law's draws no model does what was asked; the "
            "intervals are of the others"
        )
    return line


def describe_serving(serving: Serving, shape: BuildableShape) -> str:
    """What the shape to build costs where it is served."""
    N = shape.total_params
    where = f"{serving.n_devices} {serving.device.name}, {serving.bits} bits a weight"
    parts = [f"weights {write_amount('memory', serving.weight_bytes(N))}"]
    parts.append(
        f"keys and values of a sequence of {serving.context:,.0f} tokens "
        f"{write_amount('memory', serving.cache_bytes(N))}"
    )
    if serving.sequences is not None:
        parts.append(
            f"with {serving.sequences:g} sequences {write_amount('memory', serving.held(N))} of "
            f"{write_amount('memory', serving.usable)} that are usable"
        )
    if serving.device.memory_bandwidth is not None:
        parts.append(
            f"{write_amount('latency', serving.seconds(N))} a token at batch 1, at the memory's "
            "full bandwidth: the least there can be"
        )
    return f"As built, {short(N)} parameters on {where}: {'; '.join(parts)}."


def show_goals(answer: Answer, serving: Serving | None, shape: BuildableShape | None) -> Section:
    """The constraints of a plan, each with its status."""
    rows = pd.DataFrame(
        {
            "constraint": f"{part.name}: {BOUNDS[part.name]}",
            "asked": write_amount(part.name, part.asked),
            "taken": write_amount(part.name, part.taken),
            "status": part.status,
        }
        for part in answer.constraints
    )
    text = [describe_answer(answer)]
    if serving is not None and shape is not None:
        text.append(describe_serving(serving, shape))
    text.append("Active: without it the plan would be another. Slack: it would not.")
    columns = (shown("constraint"), shown("asked"), shown("taken", "plan takes"), shown("status"))
    return make_section("What was asked, and what holds", rows, columns, *text)
