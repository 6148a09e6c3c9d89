"""What bits a weight cost, in training and after it; Kumar et al. 2024, arXiv:2411.04330."""

import numpy as np


def effective_params(N, bits, gamma):
    """Parameters of fp32 that N trained in so many bits are worth: N (1 - e^(-bits / gamma)).

    Kumar et al. 2024, section 4, for weights alone.
    """
    return N * (1 - np.exp(-bits / gamma))


def trained_in_bits(N, D, bits, *, E, A, B, alpha, beta, gamma):
    """Loss of N parameters trained on D tokens with weights of so many bits."""
    return E + A / effective_params(N, bits, gamma) ** alpha + B / D**beta


def rounding_cost(N, D, bits, *, C_T, gamma_N, gamma_D, gamma):
    """Loss that rounding after training adds: C_T D^gamma_D / N^gamma_N e^(-bits / gamma).

    Kumar et al. 2024, section 3.
    """
    return C_T * D**gamma_D / N**gamma_N * np.exp(-bits / gamma)
