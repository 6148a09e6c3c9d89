"""Values by name that cannot be changed."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from scaling.fitting.estimate import Estimate


class Frozen(Mapping[str, Any]):
    """Values by name that cannot be changed; numbers with draws are printed with intervals."""

    def __init__(self, values: Mapping[str, Any], drawn: Mapping[str, np.ndarray] | None = None):
        self._values, self._drawn = dict(values), drawn

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return self._values | dict(other)

    def __repr__(self) -> str:
        if self._drawn is None:
            return repr(self._values)
        found = {n: Estimate.of(v, self._drawn.get(n), "ok") for n, v in self.items()}
        return ", ".join(f"{name} {number!r}" for name, number in found.items())
