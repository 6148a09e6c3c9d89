"""What the laws of N and D say of the reference sweep, by least squares on ln L."""

from pathlib import Path

import numpy as np
import pytest

from scaling.fitting.criterion import Criterion
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.settings import FitSettings
from scaling.tables.observations import observations
from scaling.tables.runs import load_runs

RUNS = Path(__file__).parents[2] / "results/reference-enwik8-cpu/runs.csv"
KNOWN = {  # rms in %, tokens per parameter at 1.28e13 and 1.024e14 FLOPs, by another solver
    "chinchilla": (1.19, 29.0, 54.5),
    "kaplan": (0.73, 14.7, 16.5),
    "kaplan_general": (0.49, 17.0, 21.6),
    "chinchilla_coupled": (0.43, 14.1, 17.8),
    "chinchilla_bent": (0.25, 13.2, 12.3),
    "quadratic": (0.31, 16.2, 20.5),
    "farseer": (0.24, 12.9, 8.5),
}


@pytest.mark.parametrize("law", KNOWN)
def test_the_laws_on_the_reference_sweep(law):
    data = Prepared.of(observations(load_runs(RUNS))[0])
    fit = fit_parametric(data, FitSettings(Criterion(loss="mse"), bootstrap=0), law=law)
    rms, *ratios = KNOWN[law]
    assert 100 * np.sqrt(np.mean(np.square(fit.diagnosis.residuals))) == pytest.approx(
        rms, abs=0.01
    )
    found = fit.tokens_per_param(np.array([1.28e13, 1.024e14])).value
    assert found == pytest.approx(ratios, rel=0.02)
    assert fit.diagnosis.start_agreement > 0.5
