"""From a model to the tasks it can do: a published law of loss with its own link to accuracy."""

from pathlib import Path

import numpy as np
import pandas as pd

from scaling.files import read_table

LARGEST = 7.6e21  # FLOPs of their largest run: 1.4B parameters on 900B tokens
LINKS = Path(__file__).with_name("abilities.csv")


def predict_ability(N: float, D: float) -> pd.DataFrame:
    """Average top-1 error over 17 tasks of N parameters on D tokens of three corpora.

    L = E + (a M^eta + b M^-eta) C^-eta with M = D / N and C = 6ND; error = epsilon - k e^(-gamma L)

    Parameters
    ----------
    N, D : float, parameters and tokens

    Returns
    -------
    DataFrame with columns training_data, loss (nats/token on C4), error (share), status
        ("extrapolated" beyond the largest of their runs), source

    References
    ----------
    Gadre et al. 2024, arXiv:2403.08540, equations 4 and 5.

    Notes
    -----
    The loss is that of their law, never of the plan's: a link holds for the tokenizer and the
    held-out text it was fitted on, and a loss of others put into it means nothing. It comes from
    their 104 models, of which they fit the link to few; their own two predictions ahead were off
    by 0.05 and 3.6 % (from memory).
    """
    table = read_table(LINKS)
    M, C = D / N, 6 * N * D
    left = (table.a * M**table.eta + table.b * M**-table.eta) * C**-table.eta
    loss = table.E + left
    error = table.epsilon - table.k * np.exp(-table.gamma * loss)
    status = "ok" if C <= LARGEST else "extrapolated"
    found = pd.DataFrame({"training_data": table.training_data, "loss": loss, "error": error})
    return found.assign(status=status, source=table.source)
