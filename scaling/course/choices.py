"""How the next token is chosen, on logits that can be checked by hand; no torch."""

import numpy as np
import pandas as pd

LOGITS = (2.0, 1.0, 0.0)
WAYS = {  # way -> temperature, top-k, top-p
    "greedy": (0.0, None, None),
    "temperature 0.5": (0.5, None, None),
    "temperature 1": (1.0, None, None),
    "temperature 2": (2.0, None, None),
    "top-k 2": (1.0, 2, None),
    "top-p 0.7": (1.0, None, 0.7),
    "top-p 0.5": (1.0, None, 0.5),
}


def choose_probabilities(
    logits, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> np.ndarray:
    """Probabilities with which each token is drawn: softmax(logits / T) of those that are kept.

    Parameters
    ----------
    logits : sequence of float, the likeliest first
    temperature : float
        T; 0 always takes the likeliest.
    top_k : int or None
        Keep so many.
    top_p : float or None
        Of these keep the fewest whose probabilities reach this.

    Notes
    -----
    `scaling.models.sampling.Sampler` does the same to tensors of any order. Holtzman et al. 2019,
    arXiv:1904.09751, section 3.1.
    """
    logits = np.asarray(logits, float)
    if temperature == 0:
        return (np.arange(len(logits)) == 0).astype(float)
    weights = np.exp((logits - logits.max()) / temperature)
    weights[len(weights) if top_k is None else top_k :] = 0.0
    p = weights / weights.sum()
    if top_p is not None:
        p = np.where(np.arange(len(p)) == 0, p, np.where(p.cumsum() - p < top_p, p, 0.0))
    return p / p.sum()


def choices_table() -> pd.DataFrame:
    """Return columns way, first, second, third: probabilities of tokens with logits 2, 1, 0."""
    rows = [(way, *choose_probabilities(LOGITS, *how)) for way, how in WAYS.items()]
    return pd.DataFrame(rows, columns=["way", "first", "second", "third"])
