"""From a shape to its model, whatever the family.

Every model has `shape` and `loss(*arrays)`: the cross-entropy of every target in nats, shape
(B, targets), of the arrays that the objective of its family makes (`scaling.data.objectives`).
"""

from scaling.models.bert import BERT
from scaling.models.gpt import GPT
from scaling.models.t5 import T5
from scaling.shapes.shape import Shape

Model = GPT | BERT | T5
CLASSES: dict[str, type[GPT] | type[BERT] | type[T5]] = {"gpt": GPT, "bert": BERT, "t5": T5}


def build_model(shape: Shape, seed: int = 0) -> Model:
    """Build the model of a shape's family on the CPU; the seed decides its weights."""
    return CLASSES[shape.family](shape, seed)


def group_params(model: Model) -> dict[str, int]:
    """Count the parameters that torch holds, in the groups of `param_groups`."""
    table, head = model.table.weight, model.head.weight
    parameters = list(model.parameters())  # a tied head once
    return {
        "embedding_params": table.numel(),
        "block_params": sum(
            p.numel() for p in parameters if p.ndim == 2 and p is not table and p is not head
        ),
        "head_params": 0 if head is table else head.numel(),
        "norm_params": sum(p.numel() for p in parameters if p.ndim == 1),
    }
