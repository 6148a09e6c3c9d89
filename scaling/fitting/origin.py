"""What a fit was made from, how its draws were made, and by which version."""

import functools
from dataclasses import dataclass


@dataclass(frozen=True)
class Data:
    """What a fit was made from.

    Attributes
    ----------
    source : str
        File, registry name or "DataFrame".
    sha256 : str
        Of N, D, C, L and weight of the fitted rows, in the order of the table.
    filter : str
        Which rows its reader left out, in words.
    """

    source: str = ""
    sha256: str = ""
    filter: str = ""


@dataclass(frozen=True)
class Bootstrap:
    """How the draws were made.

    Attributes
    ----------
    kind : str
        "seed", "wild" or "pairs" (see `scaling.fitting.bootstrap`); "none" without draws.
    n : int
        Resamples asked for.
    converged : int
        Refits that reached an optimum; the others are no draws.
    noise : float
        Standard deviation of ln L between runs that differ in their seed only, as the fit
        estimates it.
    """

    kind: str = "none"
    n: int = 0
    converged: int = 0
    noise: float = float("nan")


@functools.cache
def read_version() -> str:
    """Version of this package."""
    from importlib import metadata  # here, so that `import scaling` stays fast

    return metadata.version("scaling-laboratory")
