"""What bits a weight cost, in training and after it; Kumar et al. 2024, arXiv:2411.04330."""

import numpy as np


def effective_params(N, bits, gamma):
    """Parameters of fp32 that N trained in so many bits are worth: N (1 - e^(-bits / gamma)).

    `gamma` is in bits. Kumar et al. 2024, section 4, for weights alone.

    Examples
    --------
    At this laboratory's gamma (`results/precision`) 4 bits cost three tenths of the parameters:

    >>> [f"{effective_params(1e9, bits, gamma=3.317):.3g}" for bits in (2, 4, 8)]
    ['4.53e+08', '7.01e+08', '9.1e+08']
    """
    return N * (1 - np.exp(-bits / gamma))


def trained_in_bits(N, D, bits, *, E, A, B, alpha, beta, gamma):
    """Loss of N parameters trained on D tokens with weights of so many bits, nats/token.

    E + A / N_eff^alpha + B / D^beta, N_eff as in `effective_params`; Kumar et al. 2024, section 4.

    Examples
    --------
    What 3 bits cost the model of Hoffmann et al. 2022, were gamma 3.317 there:

    >>> chinchilla = dict(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28, gamma=3.317)
    >>> fp32, int3 = (trained_in_bits(70e9, 1.4e12, bits, **chinchilla) for bits in (32, 3))
    >>> print(f"{fp32:.3f} {int3:.3f}")
    1.937 1.953
    """
    return E + A / effective_params(N, bits, gamma) ** alpha + B / D**beta


def rounding_cost(N, D, bits, *, C_T, gamma_N, gamma_D, gamma):
    """Nats/token that rounding after training adds: C_T D^gamma_D / N^gamma_N e^(-bits / gamma).

    Kumar et al. 2024, section 3; with gamma_D > 0 it grows with the tokens a model has seen.

    Examples
    --------
    By this laboratory's law (`results/precision`), twice the tokens lose half as much again:

    >>> law = dict(C_T=0.01097, gamma_N=0.08778, gamma_D=0.6302, gamma=0.6254)
    >>> costs = [rounding_cost(1e6, D, 4, **law) for D in (2e7, 4e7)]
    >>> print(f"{costs[0]:.3f} {costs[1]:.3f}")
    0.217 0.336
    """
    return C_T * D**gamma_D / N**gamma_N * np.exp(-bits / gamma)
