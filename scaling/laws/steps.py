"""Steps, batch and compute at a loss; Kaplan et al. 2020, arXiv:2001.08361.

Examples
--------
The paper's constants, `known` of the other examples:

>>> known = dict(B_star=2.1e8, alpha_B=0.21)
"""


def critical_batch(L, *, B_star, alpha_B):
    """Critical batch size in tokens at loss L: B_star / L^(1/alpha_B).

    References
    ----------
    Kaplan et al. 2020, arXiv:2001.08361, equation 1.4.

    Examples
    --------
    >>> print([f"{critical_batch(L, **known):.3g}" for L in (4.0, 3.0, 2.5)])
    ['2.85e+05', '1.12e+06', '2.67e+06']
    """
    return B_star / L ** (1 / alpha_B)


def minimum_steps(S, batch, L, *, B_star, alpha_B):
    """Fewest steps that reach loss L, from S steps at a batch size in tokens: S/(1 + B_crit/B).

    References
    ----------
    Kaplan et al. 2020, arXiv:2001.08361, equation 5.4; McCandlish et al. 2018, arXiv:1812.06162.

    Examples
    --------
    At the critical batch twice as many steps are taken as are needed:

    >>> print(round(minimum_steps(1000, critical_batch(3.0, **known), 3.0, **known)))
    500
    """
    return S / (1 + critical_batch(L, B_star=B_star, alpha_B=alpha_B) / batch)


def minimum_compute(C, batch, L, *, B_star, alpha_B):
    """Least compute that reaches loss L, at a small batch, in the unit of C: C/(1 + B/B_crit).

    References
    ----------
    Kaplan et al. 2020, arXiv:2001.08361, equation 5.5.

    Examples
    --------
    >>> print(f"{minimum_compute(1e21, 2**19, 3.0, **known):.3g}")
    6.82e+20
    """
    return C / (1 + batch / critical_batch(L, B_star=B_star, alpha_B=alpha_B))


def steps_and_batch(N, S, batch, L, *, N_c, S_c, alpha_N, alpha_S, B_star, alpha_B):
    """Loss in nats/token at S steps of `batch` tokens: (N_c/N)^alpha_N + (S_c/S_min)^alpha_S.

    S_min as `minimum_steps` has it, B_crit at the loss L that was reached; equations 1.6 and 5.4.

    Examples
    --------
    A few rounds find the loss at which B_crit is taken:

    >>> law, L = known | dict(N_c=6.5e13, S_c=2.1e3, alpha_N=0.077, alpha_S=0.76), 3.0
    >>> for _ in range(9):
    ...     L = steps_and_batch(1.5e9, 2.5e5, 2**19, L, **law)
    >>> print(f"{L:.2f}")
    2.39
    """
    S_min = minimum_steps(S, batch, L, B_star=B_star, alpha_B=alpha_B)
    return (N_c / N) ** alpha_N + (S_c / S_min) ** alpha_S
