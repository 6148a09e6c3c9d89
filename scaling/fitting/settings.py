"""How a law is fitted and resampled: one object for every estimator, flat keys for the verbs."""

from dataclasses import dataclass, field

import pandas as pd

from scaling.errors import check_range
from scaling.fitting.criterion import Criterion
from scaling.tables.observations import Convention, default_convention

MOST_REFITS = 100_000  # beyond, intervals do not change and memory ends


@dataclass(frozen=True)
class FitSettings:
    """What every estimator is told.

    Attributes
    ----------
    criterion : Criterion
        Of parametric fits.
    bootstrap : int, 0 to `MOST_REFITS`
        Refits behind every interval; 0 for the point estimate alone.
    kind : {"seed", "wild", "pairs"}, optional
        Kind of bootstrap; the estimator's own default if omitted.
    seed : int
        Of the bootstrap.
    """

    criterion: Criterion = field(default_factory=Criterion)
    bootstrap: int = 1000
    kind: str | None = None
    seed: int = 0

    def __post_init__(self):
        if isinstance(self.bootstrap, bool) or not 0 <= self.bootstrap <= MOST_REFITS:
            raise ValueError(
                f"bootstrap={self.bootstrap!r} must be a number of refits from 0 to {MOST_REFITS:,}"
            )


DEFAULTS = FitSettings()


@dataclass
class FitConfig:
    """How a verb fits a runs table; None means "derive it from the table's columns"."""

    N: str | None = None  # total, non_embedding, blocks, as_given
    C: str | None = None  # counted, 6ND, as_given
    residual: str = "log"  # of the parametric fit: log (of L) or linear
    loss: str = "huber"  # of the residual: huber, l1 or mse
    huber_delta: float = 1e-3  # residual beyond which a run counts less
    bootstrap: int = 1000  # refits behind every interval
    seed: int = 0  # of the bootstrap
    audit: bool = True  # predict larger budgets from smaller ones by every law: some seconds

    def settings(self) -> FitSettings:
        """What the estimators are told; ValueError for a choice or number that is none."""
        Convention(self.N or "as_given", self.C or "as_given")  # refuses what is no choice
        check_range("fit.seed", self.seed, 0)
        criterion = Criterion(self.residual, self.loss, self.huber_delta)
        return FitSettings(criterion, self.bootstrap, seed=self.seed)

    def convention(self, runs: pd.DataFrame) -> Convention:
        """What is configured, completed from the table's own."""
        default = default_convention(runs)
        return Convention(self.N or default.N, self.C or default.C)
