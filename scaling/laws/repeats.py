"""What repeated tokens and excess parameters are worth; Muennighoff et al., arXiv:2305.16264."""

import numpy as np


def base_params(U, *, A, B, alpha, beta):
    """Parameters for which U tokens are compute-optimal under 6ND: G (G U)^(beta/alpha).

    G = (alpha A / (beta B))^(1 / (alpha + beta)); Muennighoff et al. 2023, section 3.1.
    """
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    return G * (G * U) ** (beta / alpha)


def effective(unique, repeats, decay):
    """What `unique` tokens (or parameters) are worth after `repeats` further passes.

    unique * (1 + decay * (1 - exp(-repeats / decay))); Muennighoff et al. 2023, equation 5.
    """
    return unique * (1 + decay * (1 - np.exp(-repeats / decay)))


def needed(unique, worth, decay):
    """Tokens (or parameters) that are worth so much, the inverse of `effective`; NaN: none are."""
    worth = np.asarray(worth, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        passed = -decay * np.log1p(-(worth / unique - 1) / decay)
        return np.where(worth <= unique, worth, unique * (1 + passed))


def repeated_loss(N, D, U, *, E, A, B, alpha, beta, R_D, R_N):
    """Loss at N parameters and D tokens of which U are unique; equation 6 of the same paper."""
    U_D = np.minimum(D, U)
    base = base_params(U_D, A=A, B=B, alpha=alpha, beta=beta)
    U_N = np.minimum(base, N)
    D_effective = effective(U_D, D / U_D - 1, R_D)
    N_effective = effective(U_N, N / U_N - 1, R_N)
    return E + A / N_effective**alpha + B / D_effective**beta


def as_fresh(R_D, D, U, **others):
    """Variables of a law of fresh tokens that is worth as much, if R_D were known."""
    U_D = np.minimum(D, U)
    return others | {"D": effective(U_D, D / U_D - 1, R_D)}
