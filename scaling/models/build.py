"""From a shape to its model, whatever the family.

Every model has `shape` and `loss(*arrays)`: the cross-entropy of every target in nats, shape
(B, targets), of the arrays that the objective of its family makes (`scaling.data.objectives`).
"""

from scaling.models.bert import BERT
from scaling.models.gpt import GPT
from scaling.models.t5 import T5
from scaling.shapes.shape import Shape

Model = GPT | BERT | T5
CLASSES: dict[str, type[Model]] = {"gpt": GPT, "bert": BERT, "t5": T5}


def build_model(shape: Shape, seed: int = 0) -> Model:
    """Build the model of a shape's family on the CPU; the seed decides its weights."""
    return CLASSES[shape.family](shape, seed)
