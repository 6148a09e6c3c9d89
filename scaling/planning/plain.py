"""A plan in JSON's types."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd

from scaling.planning.budgets import Budget
from scaling.planning.data_limits import DataLimitPlan
from scaling.planning.goals import Answer
from scaling.planning.inference import Allocation, InferencePlan
from scaling.planning.recipe import TrainingRecipe
from scaling.shapes.shape import Shape

DERIVED = {  # what a dictionary tells of a class beside its fields: name -> attribute
    Budget: {"pf_days": "pf_days", "money": "money"},
    DataLimitPlan: {"best": "best", "status": "status"},
    InferencePlan: {"saving": "saving", "overspent": "overspent"},
    Allocation: {"total_flops": "total_flops"},
    Answer: {"binding": "binding"},
    TrainingRecipe: {"batch_tokens": "batch_tokens"},
    Shape: {"head_width": "head_width", "ffn_width": "hidden"},
}


def to_plain(value: Any) -> Any:
    """JSON's types: classes and tables by name, what is not finite as None."""
    if is_dataclass(value) and not isinstance(value, type):
        names = {part.name: part.name for part in fields(value)} | DERIVED.get(type(value), {})
        return {name: to_plain(getattr(value, source)) for name, source in names.items()}
    if isinstance(value, pd.DataFrame):
        return [to_plain(row) for row in value.to_dict("records")]
    if isinstance(value, Mapping):
        return {str(name): to_plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(part) for part in value]
    value = value.item() if isinstance(value, np.generic | np.ndarray) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
