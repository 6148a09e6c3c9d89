"""Steps, batch and compute at a loss; Kaplan et al. 2020, arXiv:2001.08361."""


def critical_batch(L, *, B_star, alpha_B):
    """Critical batch size in tokens at loss L: B_star / L^(1/alpha_B).

    References
    ----------
    Kaplan et al. 2020, arXiv:2001.08361, equation 1.4.
    """
    return B_star / L ** (1 / alpha_B)


def minimum_steps(S, batch, L, *, B_star, alpha_B):
    """Fewest steps that reach loss L, from S steps at a batch size in tokens: S/(1 + B_crit/B).

    References
    ----------
    Kaplan et al. 2020, arXiv:2001.08361, equation 5.4; McCandlish et al. 2018, arXiv:1812.06162.
    """
    return S / (1 + critical_batch(L, B_star=B_star, alpha_B=alpha_B) / batch)


def minimum_compute(C, batch, L, *, B_star, alpha_B):
    """Least compute that reaches loss L, at a small batch: C/(1 + B/B_crit); equation 5.5."""
    return C / (1 + batch / critical_batch(L, B_star=B_star, alpha_B=alpha_B))


def steps_and_batch(N, S, batch, L, *, N_c, S_c, alpha_N, alpha_S, B_star, alpha_B):
    """Loss at S steps of a batch size in tokens; equations 1.6 and 5.4."""
    S_min = minimum_steps(S, batch, L, B_star=B_star, alpha_B=alpha_B)
    return (N_c / N) ** alpha_N + (S_c / S_min) ** alpha_S
