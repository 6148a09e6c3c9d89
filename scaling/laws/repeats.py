"""What repeated tokens and excess parameters are worth; Muennighoff et al., arXiv:2305.16264."""

import numpy as np


def base_params(U, *, A, B, alpha, beta):
    """Parameters for which U tokens are compute-optimal under 6ND: G (G U)^(beta/alpha).

    G = (alpha A / (beta B))^(1 / (alpha + beta)); Muennighoff et al. 2023, section 3.1.

    Examples
    --------
    For 25B tokens, by the paper's law:

    >>> print(f"{base_params(25e9, A=520.8, B=1487.7, alpha=0.35266, beta=0.35266):.3g}")
    1.27e+09
    """
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    return G * (G * U) ** (beta / alpha)


def effective(unique, repeats, decay):
    """What `unique` tokens (or parameters) are worth after `repeats` further passes.

    unique * (1 + decay * (1 - exp(-repeats / decay))); Muennighoff et al. 2023, equation 5.

    Examples
    --------
    Four passes over 100B tokens, with the paper's decay, are worth nearly as much as 400B new ones;
    forty are not worth 4T, and no number of passes is worth more than 16.4:

    >>> passes = np.array([4, 40, np.inf])
    >>> (effective(100e9, passes - 1, decay=15.39) / 1e9).round().tolist()
    [373.0, 1517.0, 1639.0]
    """
    return unique * (1 + decay * (1 - np.exp(-repeats / decay)))


def needed(unique, worth, decay):
    """Tokens (or parameters) that are worth so much, the inverse of `effective`; NaN: none are.

    Examples
    --------
    To be worth 373B, 100B unique tokens take 4 passes; they are never worth 2T:

    >>> print(f"{needed(100e9, 373e9, decay=15.39):.3g} {needed(100e9, 2e12, decay=15.39)}")
    4.01e+11 nan
    """
    worth = np.asarray(worth, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        passed = -decay * np.log1p(-(worth / unique - 1) / decay)
        return np.where(worth <= unique, worth, unique * (1 + passed))


def repeated_loss(N, D, U, *, E, A, B, alpha, beta, R_D, R_N):
    """Loss at N parameters and D tokens of which U are unique, nats/token.

    E + A / N'^alpha + B / D'^beta with D' and N' what D and N are worth: `effective`, R_D and R_N
    their decays, U and `base_params` what is not in excess. Equation 6 of the same paper.

    Examples
    --------
    The model that the paper trained on 25B tokens for 9.7 passes, and what new ones would give:

    >>> from scaling.laws.papers import PUBLISHED_LAWS
    >>> params = PUBLISHED_LAWS["muennighoff2023"].params
    >>> losses = [repeated_loss(6.34e9, 242e9, U, **params) for U in (25e9, 242e9)]
    >>> print(f"{losses[0]:.4f} {losses[1]:.4f}")
    2.2256 2.1949
    """
    U_D = np.minimum(D, U)
    base = base_params(U_D, A=A, B=B, alpha=alpha, beta=beta)
    U_N = np.minimum(base, N)
    D_effective = effective(U_D, D / U_D - 1, R_D)
    N_effective = effective(U_N, N / U_N - 1, R_N)
    return E + A / N_effective**alpha + B / D_effective**beta


def as_fresh(R_D, D, U, **others):
    """Variables of a law of fresh tokens that is worth as much, if R_D were known.

    Examples
    --------
    400B tokens of which 100B are unique, as the law for fresh ones has to read them:

    >>> fresh = as_fresh(15.39, D=400e9, U=100e9, N=1e9)
    >>> print(f"N {fresh['N']:.3g}, D {fresh['D']:.3g}")
    N 1e+09, D 3.73e+11
    """
    U_D = np.minimum(D, U)
    return others | {"D": effective(U_D, D / U_D - 1, R_D)}
