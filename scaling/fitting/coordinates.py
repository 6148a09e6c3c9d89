"""A law on data as the solver sees it: centred logarithms there, raw parameters here."""

import numpy as np
import pandas as pd

from scaling.fitting.formula_coordinates import FormulaCoordinates
from scaling.fitting.power_coordinates import Constraints, PowerCoordinates
from scaling.laws.law import Law


def coordinates(
    obs: pd.DataFrame, law: Law, residual: str = "log", constraints: Constraints | None = None
) -> "PowerCoordinates | FormulaCoordinates":
    """Centred coordinates for a sum of power terms, logarithms of the parameters for the rest.

    Parameters
    ----------
    obs : DataFrame with the law's variables, its target and weight
    law : Law
    residual : {"log", "linear"}
    constraints : dict, parameter -> value, or -> the parameter that it equals

    Raises
    ------
    ValueError
        A constraint names no parameter of the law, ties other than two exponents, or leaves
        nothing free.
    """
    constraints = dict(constraints or {})
    _check(law, constraints)
    if isinstance(other := constraints.get(law.outer), str):
        del constraints[law.outer]
        constraints[other] = law.outer
    if law.function is None and _is_linear(law, constraints):
        return PowerCoordinates.of(obs, law, residual, constraints)
    return FormulaCoordinates.of(obs, law, residual, constraints)


def _check(law: Law, constraints: Constraints) -> None:
    for name, to in constraints.items():
        if name not in law.params:
            raise ValueError(f"cannot constrain {name!r}: {law.formula} has {[*law.params]}")
        if isinstance(to, str):
            if to not in law.params or law.params[to].is_scale or law.params[name].is_scale:
                raise ValueError(f"cannot tie {name!r} to {to!r}: only two exponents can be equal")
            if to in constraints or to == name:
                raise ValueError(f"cannot tie {name!r} to {to!r}, which is constrained itself")
        elif not law.params[name].lower <= to <= law.params[name].upper or not np.isfinite(to):
            raise ValueError(
                f"cannot fix {name}={to}: it lies outside of "
                f"{law.params[name].lower:g} .. {law.params[name].upper:g}"
            )
    if set(law.params) == set(constraints):
        raise ValueError(f"constraints leave no parameter of {law.formula} free")


def _is_linear(law: Law, constraints: Constraints) -> bool:
    """Whether the constraints stay linear in the solver's coordinates of a power sum."""
    fixed = {name for name, to in constraints.items() if not isinstance(to, str)}
    return not law.outer or not fixed or law.outer in fixed
